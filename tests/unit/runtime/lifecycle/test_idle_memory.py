"""What the idle rule remembers: whole on disk, nothing of another boot, only what was really done."""

from __future__ import annotations

import pytest
from tests.unit.runtime.lifecycle.subjects import NOON, id_of, moment, written

from ds01.core.value import replace
from ds01.runtime.containers.start import Start
from ds01.runtime.lifecycle.decision import Action, Decision, LifecycleRule
from ds01.runtime.lifecycle.idle_memory import GpuSign, IdleMemory, Spell, from_document, settle
from ds01.runtime.lifecycle.record import RecordError

BARE = Spell("alice", Start(NOON, 0, NOON), 0.0, 12.5)
FULL = Spell(
    user="bob",
    start=Start(None, 7, NOON.replace(microsecond=123000)),
    began_at=3.5,
    checked_at=99.25,
    cpu_usec=2**60,
    network_bytes=0,
    gpus={"MIG-1": GpuSign(None, NOON), "GPU-0": GpuSign(NOON, NOON, "no DCGM")},
    idle_since=90.0,
    checks=3,
    warned_at=95.0,
    promised=180.5,
    told=True,
    kept_since=1.0,
)
MEMORY = IdleMemory("boot-1", {id_of("web"): BARE, id_of("train"): FULL})


@pytest.mark.parametrize("memory", [IdleMemory(), MEMORY])
def test_a_memory_comes_back_from_disk_as_it_was(memory: IdleMemory):
    assert from_document(written(memory)) == memory


@pytest.mark.parametrize(
    "change",
    [
        {"boot": 1},
        {"spells": []},
        {"spells": {"a": {}}},
        {"spells": {"a": dict(written(BARE)) | {"checks": "3"}}},
        {"spells": {"a": dict(written(BARE)) | {"gpus": {"MIG-1": {"since": "noon"}}}}},
    ],
)
def test_what_is_damaged_is_an_error(change: dict[str, object]):
    with pytest.raises(RecordError):
        from_document(dict(written(MEMORY)) | change)


def test_nothing_of_another_boot_counts():
    assert MEMORY.of("boot-1") == MEMORY.spells
    assert MEMORY.of("boot-2") == {}


def decided(action: Action, name: str = "web", **changes: float) -> Decision:
    return Decision(id_of(name), name, "alice", action, LifecycleRule.IDLE, "idle", **changes)  # type: ignore[arg-type] # fields by name


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ([], MEMORY.spells),
        (
            [decided(Action.WARN, ahead_seconds=30)],
            {
                id_of("web"): replace(BARE, warned_at=moment(60).awake_seconds, promised=moment(90).awake_seconds),
                id_of("train"): FULL,
            },
        ),
        ([decided(Action.WARN, binding=False)], {id_of("web"): replace(BARE, told=True), id_of("train"): FULL}),
        ([decided(Action.STOP)], {id_of("train"): FULL}),
        ([decided(Action.STOP, "gone"), decided(Action.WARN, "gone")], MEMORY.spells),
    ],
)
def test_only_what_was_done_is_noted(done: list[Decision], expected: dict[str, Spell]):
    assert settle(MEMORY, done, moment(60)) == IdleMemory("boot-1", expected)
