"""What holding the ledger against Docker released, said as the other rules say it."""

from __future__ import annotations

import pytest
from tests.unit.runtime.gpu.hosts import held
from tests.unit.runtime.lifecycle.subjects import NOON, written

from ds01.core.events import Event
from ds01.runtime.gpu.state import describe
from ds01.runtime.lifecycle.decision import Action, Decision, Decisions, LifecycleRule, Remark
from ds01.runtime.lifecycle.record import RecordError
from ds01.runtime.lifecycle.stale_gpu import HoldMemory, HoldSweep, from_document, settle, sweep_holds

OVER = "its container stopped and the hold is over"


def note(event_type: str, user: str | None = "alice", slot: str = "2:0", reason: str = OVER) -> Event:
    return Event(event_type, user, "gpu", NOON, {**describe(held(user, slot, name="train")), "reason": reason})


RELEASE = Decision(
    container_id="id-train",
    name="train",
    user="alice",
    action=Action.RELEASE,
    rule=LifecycleRule.GPU_HOLD,
    reason=OVER,
    key="gpu_hold:id-train",
    slots=("2:0",),
)


@pytest.mark.parametrize("event_type", ["gpu.expired", "gpu.freed"])
def test_what_is_over_is_a_release(event_type: str):
    assert sweep_holds([note(event_type)], [], HoldMemory()) == HoldSweep(Decisions((RELEASE,)), HoldMemory())


def test_every_other_difference_is_a_remark():
    notes = [
        note("gpu.adopted", None, reason="a container with GPU 2:0 was not in the ledger"),
        Event("gpu.state_rebuilt", None, "gpu", NOON, {"reason": "no JSON", "allocations": 2}),
    ]
    remarks = (
        Remark("train", None, "a container with GPU 2:0 was not in the ledger"),
        Remark("the record", None, "no JSON"),
    )
    assert sweep_holds(notes, [], HoldMemory()).decisions == Decisions(remarks=remarks)


def test_where_holds_do_not_end_it_is_said_once_what_would():
    ending = [note("gpu.expired"), note("gpu.adopted")]
    sweep = sweep_holds([], ending, HoldMemory())
    would = Decision(
        container_id="id-train",
        name="train",
        user="alice",
        action=Action.WARN,
        rule=LifecycleRule.GPU_HOLD,
        reason=f"would be relieved of its GPU: {OVER}",
        text=f"container train would be relieved of its GPU now, were the rule enforced: {OVER}",
        key="gpu_hold:id-train",
        binding=False,
        slots=("2:0",),
    )
    assert sweep == HoldSweep(Decisions((would,)), HoldMemory())
    told = settle(sweep.memory, [would])
    assert told == HoldMemory({"id-train": "alice"})
    assert sweep_holds([], ending, told) == HoldSweep(Decisions(), told)


def test_what_was_said_is_taken_back_when_it_is_over():
    told = HoldMemory({"id-train": "alice"})
    cleared = (("alice", "gpu_hold:id-train"),)
    assert sweep_holds([], [], told) == HoldSweep(Decisions(cleared=cleared), HoldMemory())
    # It is gone for another reason: released, and no more something that would be.
    both = sweep_holds([note("gpu.freed")], [note("gpu.freed")], told)
    assert both == HoldSweep(Decisions((RELEASE,), cleared=cleared), HoldMemory())


def test_a_release_is_nothing_that_anybody_was_told():
    assert settle(HoldMemory(), [RELEASE]) == HoldMemory()


@pytest.mark.parametrize("memory", [HoldMemory(), HoldMemory({"id-train": "alice"})])
def test_a_memory_comes_back_from_disk_as_it_was(memory: HoldMemory):
    assert from_document(written(memory)) == memory


@pytest.mark.parametrize("document", [{}, {"told": []}, {"told": {"a": 1}}])
def test_what_is_damaged_is_an_error(document: dict[str, object]):
    with pytest.raises(RecordError):
        from_document(document)
