"""Who gets which GPU: every rule of the policy alone, the line, and a machine of states that never breaks one."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.unit.runtime.gpu import oracle
from tests.unit.runtime.gpu.hosts import (
    A30,
    ACCOUNTS,
    LAB,
    LIMITS,
    MIXED,
    NOON,
    PROCESS,
    RACE,
    STUDENT,
    ask,
    held,
    ledger,
    outside,
    split,
    waiting,
    whole,
)

from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.gpu.allocate import MIXED as MIXED_NOTE
from ds01.runtime.gpu.allocate import ONE_OF_SEVERAL, allocate, as_request
from ds01.runtime.gpu.answer import Grant, Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger, Waiter
from ds01.runtime.gpu.request import AccountLimits, GpuUnit, Limits, Named, Request, Strategy, parse_wanted

EMPTY = Ledger()


def decide(request: Request, book: Ledger = EMPTY, devices: Devices = LAB, limits: Limits = LIMITS) -> Grant | Refusal:
    return allocate(devices, book, request, limits, NOON)


def given(
    request: Request, book: Ledger = EMPTY, devices: Devices = LAB, limits: Limits = LIMITS
) -> tuple[str, ...] | str:
    """The slots that are granted, or the reason of the refusal."""
    answer = decide(request, book, devices, limits)
    return answer.allocation.slots if isinstance(answer, Grant) else answer.reason.value


def with_limits(user: str, **changes: object) -> Limits:
    return replace(LIMITS, accounts={**ACCOUNTS, user: replace(ACCOUNTS[user], **changes)})  # type: ignore[arg-type] # fields by name


# --- What is asked for ------------------------------------------------------------------------------------------------

ONLY_WHOLE = Devices((whole(0), whole(1), whole(2)))
ONLY_MIG = Devices((split(0, 2, 2, 2), split(1, 2, 2, 2)))
ASKED = {
    "a student's one is a MIG instance": (ask("alice"), LAB, ("2:0",)),
    "a student's all is one MIG instance": (ask("alice", "all"), LAB, ("2:0",)),
    "a student gets no whole GPU": (ask("alice"), ONLY_WHOLE, "not_allowed"),
    "a student's all on a host without MIG": (ask("alice", "all"), ONLY_WHOLE, "not_allowed"),
    "a researcher's one is the smaller of equals": (ask("bob"), LAB, ("2:0",)),
    "a researcher's one where there is no MIG": (ask("bob"), ONLY_WHOLE, ("0",)),
    "a researcher's two are whole GPUs": (ask("bob", "2"), LAB, ("0", "1")),
    "a researcher's two where there are only instances": (ask("bob", "2"), ONLY_MIG, ("0:0", "1:0")),
    "a researcher's all is one where there is MIG": (ask("bob", "all"), LAB, ("2:0",)),
    "a researcher's all is what one container may have elsewhere": (ask("bob", "all"), ONLY_WHOLE, ("0", "1")),
    "a quarter of an A30": (ask("alice"), A30, ("0:1",)),
    "a researcher's two where there are instances and one whole GPU": (ask("bob", "2"), MIXED, ("0:1", "1:1")),
    "one by two names with another": (ask("bob", "device=GPU-1,0,1"), LAB, ("1", "0")),
    "a slot with a leading nought is none": (ask("bob", "device=00"), LAB, "no_such_gpu"),
    "one full GPU": (ask("carol"), LAB, ("0",)),
    "all full GPUs": (ask("carol", "all"), LAB, ("0", "1")),
    "all full GPUs on a host without": (ask("carol", "all"), ONLY_MIG, "no_such_gpu"),
    "an administrator's two": (ask("root", "2"), LAB, ("0", "1")),
    "an administrator's all on a host without MIG": (ask("root", "all"), ONLY_WHOLE, ("0", "1", "2")),
    "more than there are": (ask("root", "9"), LAB, "no_such_gpu"),
    "more than there are of one kind": (ask("root", "7"), LAB, "no_such_gpu"),
    "more than one container may have": (ask("bob", "3"), LAB, "too_many"),
    "a slot": (ask("alice", "device=3:1"), LAB, ("3:1",)),
    "a UUID": (ask("alice", "device=MIG-22"), LAB, ("2:2",)),
    "a whole GPU by index": (ask("bob", "device=1"), LAB, ("1",)),
    "the same one by two names": (ask("bob", "device=1,GPU-1"), LAB, ("1",)),
    "a slot that is none": (ask("bob", "device=2:3"), LAB, "no_such_gpu"),
    "a GPU in MIG mode is no unit": (ask("bob", "device=2"), LAB, "no_such_gpu"),
    "its UUID is none either": (ask("root", "device=GPU-2"), LAB, "no_such_gpu"),
    "a student names a whole GPU": (ask("alice", "device=0"), LAB, "not_allowed"),
    "nothing at all": (ask("root"), Devices(()), "no_such_gpu"),
    "MIG mode without instances": (ask("root"), Devices((split(0),)), "no_such_gpu"),
}


@pytest.mark.parametrize(("request_", "devices", "answer"), ASKED.values(), ids=ASKED)
def test_what_is_asked_for_is_given_as_the_group_may_have_it(
    request_: Request, devices: Devices, answer: tuple[str, ...] | str
) -> None:
    assert given(request_, devices=devices) == answer


def test_a_grant_is_the_whole_allocation() -> None:
    answer = decide(ask("alice", "1", name="train"))
    assert isinstance(answer, Grant)
    assert answer == Grant(
        Allocation("train", "id-train", "alice", ("2:0",), (GpuUuid("MIG-20"),), NOON, 10), (LAB.units[2],)
    )


def test_without_a_name_the_key_is_the_requests_id() -> None:
    answer = decide(ask("alice", container=None))
    assert isinstance(answer, Grant)
    assert answer.allocation.container == "id-new"


@pytest.mark.parametrize(
    ("wanted", "notes"),
    [
        ("device=2:0,2:1", (ONE_OF_SEVERAL,)),
        ("device=0,2:0", (MIXED_NOTE,)),
        ("device=0,1", ()),
        ("device=2:0", ()),
    ],
)
def test_what_cuda_makes_of_several_is_said(wanted: str, notes: tuple[str, ...]) -> None:
    answer = decide(ask("bob", wanted))
    assert isinstance(answer, Grant)
    assert answer.notes == notes


def test_no_count_is_ever_met_with_some_of_either_kind() -> None:
    book = ledger(held("carol", "0"), *(held("root", slot) for slot in ("2:0", "2:1", "2:2", "3:0", "3:1")))
    assert given(ask("bob", "2"), book) == "taken", "one whole GPU and one instance are free"


def test_instances_are_not_given_where_the_policy_says_so() -> None:
    limits = replace(LIMITS, enable_mig=False)
    assert given(ask("bob"), limits=limits) == ("0",)
    assert (given(ask("alice"), limits=limits), given(ask("bob", "device=2:0"), limits=limits)) == ("not_allowed",) * 2


NOT_GIVEN = "MIG instances are not given out here (gpu_allocation.enable_mig)"
ASK_FOR_MORE = "ask an administrator for another group or quota, see ds01 gpu status for what there is"
FEWER = "ask for fewer, or see ds01 gpu status for what there is"
IMPOSSIBLE = {
    "a student where all are whole": (
        ask("alice"), ONLY_WHOLE, LIMITS,
        Refusal(Reason.NOT_ALLOWED, "alice may not have a whole GPU; this machine has nothing else", ASK_FOR_MORE),
    ),
    "anybody where none of the instances are given out": (
        ask("root"), ONLY_MIG, replace(LIMITS, enable_mig=False),
        Refusal(Reason.NOT_ALLOWED, f"{NOT_GIVEN}; this machine has nothing else", ASK_FOR_MORE),
    ),
    "a student where both hold": (
        ask("alice"), LAB, replace(LIMITS, enable_mig=False),
        Refusal(
            Reason.NOT_ALLOWED,
            f"alice may not have a whole GPU and {NOT_GIVEN}; this machine has nothing else",
            ASK_FOR_MORE,
        ),
    ),
    "a student names a whole GPU": (
        ask("alice", "device=0"), LAB, LIMITS,
        Refusal(
            Reason.NOT_ALLOWED,
            "GPU 0 cannot be given: alice may not have a whole GPU",
            "ask for one without naming it, such as --gpus 1",
        ),
    ),
    "a student names one where there is nothing else": (
        ask("alice", "device=0"), ONLY_WHOLE, LIMITS,
        Refusal(Reason.NOT_ALLOWED, "GPU 0 cannot be given: alice may not have a whole GPU", ASK_FOR_MORE),
    ),
    "anybody names an instance": (
        ask("root", "device=2:0"), LAB, replace(LIMITS, enable_mig=False),
        Refusal(
            Reason.NOT_ALLOWED,
            f"GPU 2:0 cannot be given: {NOT_GIVEN}",
            "ask for one without naming it, such as --gpus 1",
        ),
    ),
    "more instances than there are": (
        ask("alice", "7"), LAB, LIMITS,
        Refusal(
            Reason.NO_SUCH_GPU, "alice asks for 7 MIG instances; this machine has 6 that alice may have", FEWER
        ),
    ),
    "a whole one where all are split": (
        ask("carol"), ONLY_MIG, LIMITS,
        Refusal(
            Reason.NO_SUCH_GPU, "carol asks for 1 whole GPU; this machine has 0 that carol may have", ASK_FOR_MORE
        ),
    ),
    "more of one kind than there are": (
        ask("root", "7"), LAB, LIMITS,
        Refusal(
            Reason.NO_SUCH_GPU, "root asks for 7 GPU units of one kind; this machine has 6 that root may have", FEWER
        ),
    ),
    "nothing there": (
        ask("root"), Devices(()), LIMITS,
        Refusal(Reason.NO_SUCH_GPU, "this machine has no GPU that can be given", "tell an administrator"),
    ),
    "not there": (
        ask("root", "device=1,9"), LAB, LIMITS,
        Refusal(Reason.NO_SUCH_GPU, "this machine has no GPU 9 now", "see ds01 gpu status for what there is"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "devices", "limits", "refusal"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_can_never_be_is_refused_with_the_reason(
    request_: Request, devices: Devices, limits: Limits, refusal: Refusal
) -> None:
    assert decide(request_, devices=devices, limits=limits) == refusal


def test_the_policys_profile_comes_first() -> None:
    mixed = Devices((split(0, 3, 1), split(1, 3, 1)))
    assert given(ask("alice"), devices=mixed) == ("0:1",)
    assert given(ask("alice"), devices=mixed, limits=replace(LIMITS, profile="3g.30gb")) == ("0:0",)


# --- Quotas -----------------------------------------------------------------------------------------------------------

THREE = tuple(held("alice", slot) for slot in ("2:0", "2:1", "3:0"))


def test_a_quota_that_is_used_up_is_no_reason_to_wait() -> None:
    answer = decide(ask("alice"), ledger(*THREE))
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.waitable) == (Reason.QUOTA, False)


def test_the_quota_is_said_before_what_is_taken() -> None:
    everything = [held("root", slot) for slot in ("2:2", "3:1", "3:2")]
    assert given(ask("alice"), ledger(*THREE, *everything)) == "quota"


def test_above_the_quota_is_warned_or_silent_where_the_rule_says_so_and_never_taken_from_anybody() -> None:
    warn = decide(ask("alice"), ledger(*THREE), limits=replace(LIMITS, mode=Mode.WARN))
    assert isinstance(warn, Grant)
    assert warn.notes == ("above the quota: alice holds 3 of 3 GPU units and asks for 1 more",)
    off = decide(ask("alice"), ledger(*THREE), limits=replace(LIMITS, mode=Mode.OFF))
    assert isinstance(off, Grant)
    assert off.notes == ()
    full = ledger(*THREE, *(held("root", slot) for slot in ("2:2", "3:1", "3:2")))
    assert given(ask("alice"), full, limits=replace(LIMITS, mode=Mode.OFF)) == "taken"


WHOLE_ONLY = replace(STUDENT, unit=GpuUnit.FULL)
EITHER = replace(STUDENT, unit=GpuUnit.ANY)
MIG_ONLY = Devices((split(2, 2),))


@pytest.mark.parametrize(
    ("own", "wanted", "enforced", "slots"),
    [
        (STUDENT, "device=0", "not_allowed", ("0",)),
        (WHOLE_ONLY, "1", "no_such_gpu", ("0",)),
        (WHOLE_ONLY, "all", "no_such_gpu", ("0",)),
        (EITHER, "1", ("2:0",), ("2:0",)),
    ],
)
def test_a_whole_gpu_that_an_account_may_not_have_is_refused_only_where_the_rule_is_enforced(
    own: AccountLimits, wanted: str, enforced: str | tuple[str, ...], slots: tuple[str, ...]
) -> None:
    """Who can be served as the policy has it is served so."""
    limits = {mode: replace(LIMITS, accounts={"alice": own}, mode=mode) for mode in Mode}
    assert given(ask("alice", wanted), limits=limits[Mode.ENFORCE]) == enforced
    warn = decide(ask("alice", wanted), limits=limits[Mode.WARN])
    off = decide(ask("alice", wanted), limits=limits[Mode.OFF])
    assert isinstance(warn, Grant)
    assert isinstance(off, Grant)
    assert (warn.allocation.slots, off.allocation.slots, off.notes) == (slots, slots, ())
    assert warn.notes == (() if enforced == slots else ("above the quota: alice may not have a whole GPU",))


@pytest.mark.parametrize("mode", [Mode.WARN, Mode.OFF])
def test_no_rule_gives_what_is_not_there_or_what_the_site_does_not_give(mode: Mode) -> None:
    limits = replace(LIMITS, accounts={"alice": WHOLE_ONLY}, mode=mode)
    assert given(ask("alice"), devices=MIG_ONLY, limits=limits) == "no_such_gpu"
    assert given(ask("alice", "3"), limits=limits) == "no_such_gpu"
    assert given(ask("alice", "device=2:0"), limits=replace(limits, enable_mig=False)) == "not_allowed"
    taken = ledger(held("bob", "0", "1"))
    assert given(ask("alice"), taken, limits=limits) == "taken"


def test_a_lower_quota_of_its_own_holds() -> None:
    assert given(ask("alice", most_units=1), ledger(THREE[0])) == "quota"
    assert given(ask("alice", most_units=2), ledger(THREE[0])) == ("3:0",)
    assert given(ask("alice", most_units=0)) == "quota"


def test_by_size_the_unit_that_fits_is_found() -> None:
    assert given(ask("dan", "device=0,2:0")) == ("0", "2:0")
    assert given(ask("dan"), ledger(held("dan", "0"))) == ("2:0",), "0.3 of a GPU is left, a whole one does not fit"
    assert given(ask("dan", "device=1"), ledger(held("dan", "0"))) == "quota"
    assert given(ask("dan", "2")) == ("2:0", "3:0"), "two whole GPUs are too large"
    assert given(ask("dan", "device=0,1")) == "quota"


def test_by_size_several_of_any_sizes_are_found_when_they_fit_together() -> None:
    limits = replace(with_limits("dan", max_equivalents=Fraction(5, 7)), profile="3g.30gb")
    assert given(ask("dan", "2"), devices=MIXED, limits=limits) == ("0:0", "1:1")
    assert given(ask("dan", "3"), devices=MIXED, limits=limits) == ("0:0", "0:1", "0:2")
    assert given(ask("dan", "4"), devices=MIXED, limits=limits) == "quota"


def test_of_two_ways_the_one_that_time_opens_is_what_is_said() -> None:
    book = ledger(*(held("root", unit.slot) for unit in LAB.units if not unit.is_whole))
    answer = decide(ask("dan", "2"), book)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.waitable) == (Reason.TAKEN, True), "two whole GPUs are too large for ever"


def test_what_is_free_and_too_large_is_said_and_worth_waiting_for_smaller_ones() -> None:
    limits = with_limits("dan", max_equivalents=Fraction(5, 7))
    book = ledger(*(held("root", slot, devices=MIXED) for slot in ("0:1", "0:2", "1:1", "2")))
    answer = decide(ask("dan", "2"), book, MIXED, limits)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.text, answer.waitable) == (
        Reason.TAKEN,
        "0:0, 1:0 are free, and 2 of them too large for dan's quota",
        True,
    )
    assert [each.slot for each in answer.holdings] == ["0:1", "0:2", "1:1"]
    assert given(ask("dan", "2"), book.released(held("root", "1:1", devices=MIXED)), MIXED, limits) == ("1:1", "1:0")


def test_what_is_too_large_is_not_counted_as_free() -> None:
    mine = held("dan", "0")
    book = ledger(mine, *(held("root", unit.slot) for unit in LAB.units if not unit.is_whole))
    answer = decide(ask("dan"), book)
    assert isinstance(answer, Refusal)
    assert (answer.text, len(answer.holdings)) == ("0 of 6 GPU units are free, 1 is asked for", 6)


def test_all_whole_gpus_are_those_that_are_well_and_that_the_quota_by_size_has_room_for() -> None:
    sized = with_limits("carol", max_units=None, max_per_container=None, max_equivalents=Fraction("2.5"))
    assert given(ask("carol", "all"), devices=ONLY_WHOLE, limits=sized) == ("0", "1")
    one = ledger(held("carol", "1", devices=ONLY_WHOLE))
    assert given(ask("carol", "all"), one, ONLY_WHOLE, sized) == ("0",), "1.5 are left to it"
    lost = Devices((whole(0, problem="fell off the bus"), *ONLY_WHOLE.gpus[1:]))
    assert given(ask("root", "all"), devices=lost) == ("1", "2")
    dead = Devices((whole(0, problem="fell off the bus"),))
    assert given(ask("root", "all"), devices=dead) == "broken"


def test_all_is_only_what_the_quota_leaves() -> None:
    limits = with_limits("carol", max_units=3, max_per_container=2)
    one_left = ledger(
        held("carol", "0", name="a", devices=ONLY_WHOLE), held("carol", "1", name="b", devices=ONLY_WHOLE)
    )
    assert given(ask("carol", "all"), one_left, ONLY_WHOLE, limits) == ("2",)
    assert given(ask("carol", "all"), devices=ONLY_WHOLE, limits=limits) == ("0", "1")


def test_an_administrators_units_are_counted_and_never_refused_for_a_quota() -> None:
    mine = ledger(*(held("root", slot) for slot in ("0", "1", "2:0", "2:1", "2:2", "3:0", "3:1")))
    assert given(ask("root", "device=3:2"), mine) == ("3:2",)
    assert given(ask("root"), mine.granted(held("bob", "3:2"))) == "taken"


# --- What is in the way -----------------------------------------------------------------------------------------------


def test_a_named_unit_that_somebody_has_is_refused_by_name() -> None:
    answer = decide(ask("alice", "device=2:0"), ledger(held("bob", "2:0", name="train")))
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.text, answer.waitable) == (Reason.TAKEN, "GPU 2:0 is held by bob's train", True)


def test_a_gpu_in_use_outside_containers_is_avoided_and_named() -> None:
    busy = outside(outside(LAB, "GPU-0"), "GPU-1")
    answer = decide(ask("carol", "device=0"), devices=busy)
    assert isinstance(answer, Refusal)
    assert answer.text == "GPU 0 is used by alice's python (pid 4711) outside a container"
    assert (answer.reason, answer.waitable) == (Reason.BUSY_OUTSIDE, True)
    assert given(ask("carol"), devices=busy) == "busy_outside"
    assert given(ask("carol"), devices=outside(LAB, "GPU-0")) == ("1",)
    assert given(ask("carol", "device=0"), devices=busy, limits=replace(LIMITS, avoid_busy=False)) == ("0",)


def test_a_process_on_the_parent_keeps_all_its_instances() -> None:
    assert given(ask("alice", "device=2:1"), devices=outside(LAB, "GPU-2")) == "busy_outside"
    assert given(ask("alice"), devices=outside(LAB, "GPU-2")) == ("3:0",)


def test_who_computes_may_be_unknown_and_then_that_is_said() -> None:
    answer = decide(ask("alice"), devices=replace(LAB, unknown="the driver does not say"))
    assert isinstance(answer, Grant)
    assert answer.notes == ("whether somebody uses it outside a container cannot be told: the driver does not say",)
    careless = replace(LIMITS, avoid_busy=False)
    answer = decide(ask("alice"), devices=replace(LAB, unknown="the driver does not say"), limits=careless)
    assert isinstance(answer, Grant)
    assert answer.notes == ()


def test_a_broken_gpu_is_left_out_and_named_when_nothing_else_would_do() -> None:
    lost = Devices((whole(0, problem="fell off the bus"), whole(1), split(2, 2, 2, 2, problem="needs a reset")))
    assert given(ask("carol"), devices=lost) == ("1",)
    answer = decide(ask("alice"), devices=lost)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.text, answer.waitable) == (Reason.BROKEN, "GPU 2: needs a reset", False)


def test_more_than_the_well_ones_is_no_word_on_what_the_machine_has() -> None:
    lost = Devices((whole(0), whole(1, problem="fell off the bus"), split(2, problem="is lost")))
    answer = decide(ask("root", "4"), devices=lost)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.text) == (
        Reason.BROKEN,
        "4 asked for, and not so many can be given: GPU 1: fell off the bus; GPU 2: is lost",
    )


def test_a_container_that_has_a_whole_split_gpu_has_its_instances() -> None:
    stray = replace(held(None, "2", name="stray"), uuids=(GpuUuid("GPU-2"),))
    assert decide(ask("alice", "device=2:1"), ledger(stray)) == Refusal(
        Reason.TAKEN,
        "GPU 2:1 is held by container stray",
        None,
        (Holding("2:1", None, "stray", NOON),),
        waitable=True,
    )
    assert given(ask("alice"), ledger(stray)) == ("3:0",)


# --- The same once more -----------------------------------------------------------------------------------------------

MINE = held("alice", "2:0", name="train")


def test_the_same_request_gets_the_same_again() -> None:
    for request in (
        ask("alice", name="train"),
        ask("alice", "all", name="train"),
        ask("alice", "device=2:0", name="train"),
        ask("alice", "device=MIG-20", name="train"),
    ):
        assert decide(request, ledger(MINE)) == Grant(MINE, (LAB.units[2],), fresh=False)


def test_an_id_comes_before_a_name() -> None:
    other = held("alice", "2:1", name="other")
    answer = decide(replace(ask("alice", name=other.container), id=MINE.id), ledger(MINE, other))
    assert isinstance(answer, Refusal)
    assert answer.text == "train already holds GPU 2:0, which is not what is asked for now"


def test_a_container_that_holds_others_is_not_given_more() -> None:
    for wanted in ("2", "device=2:1", "device=2:0,2:1", "device=9", "device=2:0,9"):
        answer = decide(replace(ask("alice", wanted, name="train"), id="another"), ledger(MINE))
        assert isinstance(answer, Refusal)
        assert (answer.reason, answer.waitable) == (Reason.DIFFERENT, False)
        assert (answer.fix, answer.holdings) == (None, (Holding("2:0", "alice", "train", NOON),))


def test_an_id_is_of_one_request_alone() -> None:
    for request in (ask("alice", "2", name="train"), replace(ask("alice", name="other"), id=MINE.id)):
        answer = decide(replace(request, id=MINE.id), ledger(MINE))
        assert isinstance(answer, Refusal)
        assert answer.reason is Reason.DIFFERENT


def test_nobody_takes_a_place_in_the_line_by_its_id() -> None:
    book = ledger(*ALL_BUT["2:0"], queue=(waiting("bob", name="w"),))
    for thief in (ask("alice", name="w"), ask("bob", "device=2:0", name="w"), replace(ask("bob", name="x"), id="id-w")):
        answer = decide(thief, book)
        assert isinstance(answer, Refusal)
        assert (answer.reason, answer.waitable) == (Reason.NAME_TAKEN, False)
    assert given(ask("bob", name="w"), book) == ("2:0",)


def test_an_account_that_sends_many_to_wait_keeps_back_no_more_than_its_quota() -> None:
    slots = ("2:1", "2:2", "3:0", "3:1", "3:2")
    line = tuple(waiting("bob", f"device=2:0,{slot}", name=f"w{slot}") for slot in slots)
    book = ledger(held("root", "2:0"), queue=line)
    assert given(ask("alice"), book) == ("3:1",), "three pairs are six units, which is all that bob may have"


def test_a_name_of_somebody_elses_container_is_refused_and_so_is_an_id() -> None:
    for request in (ask("bob", name="train"), replace(ask("bob", name="mine"), id=MINE.id)):
        answer = decide(request, ledger(MINE))
        assert isinstance(answer, Refusal)
        assert (answer.reason, answer.text) == (
            Reason.NAME_TAKEN,
            "train is a container of alice and holds GPU 2:0",
        )


OF_NO_USE = {
    "the instance is gone": (Devices((whole(0), split(2))), Reason.NO_SUCH_GPU, "this machine has no GPU MIG-20 now"),
    "the GPU is gone": (Devices((whole(0),)), Reason.NO_SUCH_GPU, "this machine has no GPU MIG-20 now"),
    "the GPU is broken": (
        Devices((whole(0), split(2, 2, 2, 2, problem="it fell off the bus"))), Reason.BROKEN,
        "GPU 2: it fell off the bus",
    ),
    "what is on the GPU is not known": (
        Devices((whole(2, problem="it fell off the bus"),)), Reason.BROKEN,
        "GPU MIG-20 cannot be given: GPU 2: it fell off the bus",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("devices", "reason", "why"), OF_NO_USE.values(), ids=OF_NO_USE)
@pytest.mark.parametrize("wanted", ["1", "all", "device=2:0", "device=MIG-20"])
def test_what_was_granted_is_not_granted_again_once_it_is_gone_or_broken(
    devices: Devices, reason: Reason, why: str, wanted: str
) -> None:
    answer = decide(ask("alice", wanted, name="train"), ledger(MINE), devices)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.text, answer.waitable) == (reason, f"train has GPU 2:0: {why}", False)
    assert answer.fix.startswith(
        "re-create it to get another one (docker rm train, or sudo ds01 gpu release --container"
    )


# --- The line ---------------------------------------------------------------------------------------------------------

ALL_BUT = {slot: [held("root", each) for each in (u.slot for u in LAB.units) if each != slot] for slot in ("0", "2:0")}


def test_what_a_waiter_of_higher_priority_could_use_is_not_taken() -> None:
    book = ledger(*ALL_BUT["2:0"], queue=(waiting("bob"),))
    answer = decide(ask("alice"), book)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.text) == (Reason.IN_LINE, "2:0 would do, but others in the line come first")
    assert given(as_request(book.queue[0]), book) == ("2:0",)


def test_among_equals_who_came_first_is_served_first() -> None:
    book = ledger(*ALL_BUT["2:0"], queue=(waiting("alice", name="a"), waiting("student01", name="b")))
    assert given(as_request(book.queue[1]), book) == "in_line"
    assert given(as_request(book.queue[0]), book) == ("2:0",)
    assert given(ask("alice", name="later"), book) == "in_line"


def test_a_waiter_of_lower_priority_keeps_nothing_from_a_higher_one() -> None:
    assert given(ask("bob"), ledger(*ALL_BUT["2:0"], queue=(waiting("alice"),))) == ("2:0",)


def test_what_no_waiter_ahead_could_use_is_free_to_take() -> None:
    book = ledger(held("root", "0"), held("root", "1"), queue=(waiting("carol"),))
    assert given(ask("alice"), book) == ("2:0",)


def test_a_waiter_that_is_served_from_what_is_free_keeps_only_that() -> None:
    book = ledger(queue=(waiting("bob", "device=2:0"),))
    assert given(ask("alice"), book) == ("2:1",)
    book = ledger(held("root", "2:0"), queue=(waiting("bob", "device=2:0"),))
    assert given(ask("alice"), book) == ("3:0",)


def test_who_waits_for_two_keeps_back_the_one_that_is_free() -> None:
    book = ledger(*ALL_BUT["0"], queue=(waiting("carol", "2"),))
    assert given(ask("bob"), book) == "in_line"


def test_a_waiter_whose_own_quota_is_used_up_keeps_nothing_back() -> None:
    full = [held("bob", slot) for slot in ("2:0", "2:1", "2:2", "3:0", "3:1", "0")]
    assert given(ask("alice"), ledger(*full, queue=(waiting("bob"),))) == ("3:2",)


def test_two_waiters_of_one_account_are_counted_together() -> None:
    limits = with_limits("bob", max_units=1)
    book = ledger(queue=(waiting("bob", "device=2:0", name="a"), waiting("bob", "device=2:1", name="b")))
    assert given(ask("alice", "device=2:0"), book, limits=limits) == "in_line"
    assert given(ask("alice", "device=2:1"), book, limits=limits) == ("2:1",)


def test_a_waiter_keeps_back_only_what_its_quota_by_size_has_room_for() -> None:
    book = ledger(
        held("dan", "0"),
        *(held("root", unit.slot) for unit in LAB.units if not unit.is_whole),
        queue=(waiting("dan", priority=70),),
    )
    assert given(ask("carol"), book) == ("1",)


def test_a_waiter_whose_container_has_its_units_by_now_keeps_nothing_back() -> None:
    book = ledger(held("alice", "3:0", name="train"), queue=(waiting("alice", "device=2:0", name="train"),))
    assert given(ask("student01", "device=2:0"), replace(book, queue=(replace(book.queue[0], id="id-w"),))) == ("2:0",)


def test_a_waiter_keeps_back_what_it_would_be_given_and_the_next_one_from_the_rest() -> None:
    three = tuple(waiting("student01", name=name) for name in ("a", "b", "c"))
    taken = [held("root", slot) for slot in ("2:0", "2:1", "3:0")]
    for queue, answer in ((three[:2], ("3:2",)), (three, "in_line")):
        assert given(ask("alice"), ledger(*taken, queue=queue)) == answer


def test_two_who_wait_for_containers_of_one_name_are_both_counted() -> None:
    one = waiting("alice", "device=2:0", name="train")
    other = replace(waiting("student01", "device=2:1", name="train"), id="id-other")
    book = ledger(queue=(one, other))
    assert [given(ask("alice", f"device={slot}"), book) for slot in ("2:0", "2:1", "2:2")] == [
        "in_line",
        "in_line",
        ("2:2",),
    ]


def test_who_waits_asks_for_what_it_waits_for() -> None:
    waiter = waiting("bob", "device=2:0,2:1", name="train", priority=7, most_units=2)
    assert as_request(waiter) == ask("bob", "device=2:0,2:1", name="train", priority=7, most_units=2)


def test_the_line_holds_where_quotas_only_warn_or_are_off() -> None:
    book = ledger(*ALL_BUT["2:0"], queue=(waiting("bob"),))
    for mode in Mode:
        assert given(ask("alice"), book, limits=replace(LIMITS, mode=mode)) == "in_line"


def test_where_quotas_only_warn_who_is_above_its_own_waits_like_others() -> None:
    full = [held("bob", slot) for slot in ("2:0", "2:1", "2:2", "3:0", "3:1", "0")]
    book = ledger(*full, held("root", "1"), queue=(waiting("bob"),))
    assert given(ask("alice"), book, limits=replace(LIMITS, mode=Mode.WARN)) == "in_line"
    assert given(ask("alice"), book) == ("3:2",)


def test_a_waiter_of_a_group_that_may_have_either_keeps_the_one_it_would_be_given() -> None:
    book = ledger(*(held("root", slot) for slot in ("2:0", "2:1", "2:2", "3:0", "3:1")), queue=(waiting("bob"),))
    limits = replace(LIMITS, strategy=Strategy.PACK)
    assert given(ask("alice"), book, limits=limits) == "in_line"
    assert given(ask("alice"), book) == ("3:2",), "spread, bob is given GPU 0"


def test_who_has_lowered_its_priority_stands_behind_those_it_would_be_before() -> None:
    book = ledger(*ALL_BUT["2:0"], queue=(waiting("bob", priority=5),))
    assert given(ask("alice"), book) == ("2:0",)
    book = ledger(*ALL_BUT["2:0"], queue=(waiting("alice"),))
    assert given(ask("bob", priority=5), book) == "in_line"


def test_a_waiter_ahead_does_not_make_its_own_account_wait_for_its_quota() -> None:
    book = ledger(held("bob", "2:0"), held("alice", "2:1"), queue=(waiting("alice", "device=2:0", name="a"),))
    assert given(ask("alice"), book) == ("3:0",)


def test_a_waiter_for_a_unit_in_use_outside_keeps_nothing_that_is_free() -> None:
    book = ledger(queue=(waiting("bob", "device=2:0"),))
    assert given(ask("alice", "device=2:1"), book, outside(LAB, "MIG-20")) == ("2:1",)
    assert given(ask("alice", "device=2:0"), book, outside(LAB, "MIG-20")) == "busy_outside"


def test_a_waiter_for_what_is_not_there_or_broken_keeps_nothing_back() -> None:
    lost = Devices((*LAB.gpus[:3], split(3, 2, 2, 2, problem="fell off the bus")))
    for wanted in ("device=9", "device=3:0"):
        assert given(ask("alice"), ledger(queue=(waiting("bob", wanted),)), lost) == ("2:0",)


def test_a_higher_priority_takes_nothing_that_is_held() -> None:
    everything = ledger(*(held("alice", unit.slot) for unit in LAB.units))
    answer = decide(ask("root", "1"), everything)
    assert isinstance(answer, Refusal)
    assert [each.user for each in answer.holdings] == ["alice"] * 8


def test_every_refusal_is_one_line_with_a_way_out() -> None:
    books = (EMPTY, ledger(*THREE), ledger(*ALL_BUT["0"], queue=(waiting("carol", "2"),)))
    refusals = [
        answer
        for book in books
        for user in ACCOUNTS
        for wanted in ("1", "2", "9", "all", "device=0", "device=2", "device=2:0,2:1", "device=GPU-nope")
        for devices in (LAB, Devices(()), ONLY_WHOLE, Devices((whole(0, problem="lost"),)))
        if isinstance(answer := decide(ask(user, wanted), book, devices), Refusal)
    ]
    assert len(refusals) > 100
    for refusal in refusals:
        assert_plain(refusal)


def assert_plain(refusal: Refusal) -> None:
    """One line with a way out, in words for everybody or none; what is taken says by whom."""
    assert refusal.text
    assert refusal.fix or refusal.waitable or refusal.reason is Reason.DIFFERENT
    said = f"{refusal.text} {refusal.fix}"
    assert [word for word in ("\n", "--wait", "ds01 gpu release") if word in said] == []
    assert refusal.reason is not Reason.TAKEN or refusal.holdings


# --- All of it together -----------------------------------------------------------------------------------------------

WANTED = ("1", "1", "1", "2", "2", "3", "all", "all", "device=0", "device=2:1", "device=0:0,GPU-1", "device=MIG-30")
PLAYERS = {
    **ACCOUNTS,
    "erin": AccountLimits(GpuUnit.FULL, allow_full=True, max_equivalents=Fraction("1.5"), priority=50),
    "frank": AccountLimits(GpuUnit.ANY, 4, 3, allow_full=True, max_equivalents=Fraction("0.9"), priority=50),
    "grace": AccountLimits(GpuUnit.ANY, 3, 2, allow_full=False, max_equivalents=Fraction("0.6"), priority=10),
}
HOSTS = (LAB, MIXED, Devices((whole(0), whole(1), split(2, 2, 2))))
USERS = st.sampled_from(sorted(PLAYERS))
ANY_OF = st.randoms(use_true_random=False)


class AllocatorMachine(RuleBasedStateMachine):
    """Accounts come and go on a host whose GPUs break, heal and are split anew, in any order.

    Every answer is held against an oracle that tries all there is: too much given and too little are both a fault.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gpus: list[Gpu] = []
        self.busy: dict[str, str] = {}
        self.book = Ledger()
        self.granted: dict[str, Allocation] = {}
        self.asked: dict[str, Request] = {}
        self.limits = replace(LIMITS, accounts=PLAYERS)
        self.number = 0

    @initialize(host=st.sampled_from(HOSTS), held_already=st.integers(0, 8))
    def build(self, host: Devices, held_already: int) -> None:
        self.gpus = list(host.gpus)
        for number in range(held_already):
            self.answer(Request(f"id-r{number}", "root", parse_wanted("1"), 100, f"r{number}"))

    @property
    def devices(self) -> Devices:
        devices = Devices(tuple(self.gpus))
        for uuid, user in sorted(self.busy.items()):
            devices = outside(devices, uuid, user)
        return devices

    def answer(self, request: Request) -> Grant | Refusal:
        devices, book = self.devices, self.book
        before = repr((devices, book, request, self.limits))
        answer = allocate(devices, book, request, self.limits, NOON)
        assert answer == allocate(devices, book, request, self.limits, NOON)
        assert before == repr((devices, book, request, self.limits))
        oracle.check(devices, book, request, self.limits, answer)
        if isinstance(answer, Grant):
            assert answer.fresh
            assert answer.allocation.uuids == tuple(unit.uuid for unit in answer.units)
            self.book = book.granted(answer.allocation)
            self.granted[answer.allocation.id] = answer.allocation
            self.asked[answer.allocation.id] = request
        else:
            assert_plain(answer)
        return answer

    def one_of(self, names: Collection[str], luck: Random) -> str | None:
        return luck.choice(sorted(names)) if names else None

    def new(self, user: str, wanted: str, *, lower: bool) -> Request:
        self.number += 1
        priority, most = (1, 1) if lower else (PLAYERS[user].priority, None)
        return Request(f"id-{self.number}", user, parse_wanted(wanted), priority, f"c{self.number}", most)

    def stand_in_line(self, request: Request) -> None:
        waiter = Waiter(
            id=request.id,
            user=request.user,
            container=request.container,
            wanted=request.wanted,
            priority=request.priority,
            since=NOON,
            process=PROCESS,
            most_units=request.most_units,
        )
        assert as_request(waiter) == request
        self.book = self.book.waiting(waiter).waiting(waiter)

    @rule(user=USERS, wanted=st.sampled_from(WANTED), wait=st.booleans(), lower=st.booleans())
    def request(self, user: str, wanted: str, *, wait: bool, lower: bool) -> None:
        request = self.new(user, wanted, lower=lower)
        answer = self.answer(request)
        if wait and isinstance(answer, Refusal) and answer.waitable:
            self.stand_in_line(request)

    @rule(user=USERS, wanted=st.sampled_from(WANTED), lower=st.booleans())
    def wait(self, user: str, wanted: str, *, lower: bool) -> None:
        """Whatever is free: somebody has just given it back, and who waits has not noticed yet."""
        self.stand_in_line(self.new(user, wanted, lower=lower))

    @rule(luck=ANY_OF)
    def try_again(self, luck: Random) -> None:
        chosen = self.one_of([each.id for each in self.book.queue], luck)
        for waiter in [each for each in self.book.queue if each.id == chosen]:
            answer = self.answer(as_request(waiter))
            assert (waiter in self.book.queue) is isinstance(answer, Refusal)

    @rule(luck=ANY_OF)
    def leave(self, luck: Random) -> None:
        chosen = self.one_of([each.id for each in self.book.queue], luck)
        before = self.book
        self.book = self.book.left([chosen] if chosen else [])
        assert self.book.allocations == before.allocations
        assert self.book.queue == tuple(each for each in before.queue if each.id != chosen)

    @rule(luck=ANY_OF, user=USERS, name=st.none() | st.just("another-name"))
    def ask_twice(self, luck: Random, user: str, name: str | None) -> None:
        chosen = self.one_of(self.asked.keys() & self.granted.keys(), luck)
        if chosen is None:
            return
        there = self.book.by_id(chosen)
        assert there is not None
        request = replace(self.asked[chosen], user=user, container=name or there.container)
        answer = allocate(self.devices, self.book, request, self.limits, NOON)
        if user != there.user:
            assert isinstance(answer, Refusal)
            assert answer.reason is Reason.NAME_TAKEN
        elif name is not None:
            assert isinstance(answer, Refusal)
            assert answer.reason is Reason.DIFFERENT
        elif not isinstance(request.wanted, Named):
            units = [self.devices.find(uuid) for uuid in there.uuids]
            if all(unit is not None and unit.problem is None for unit in units):
                assert answer == Grant(there, tuple(unit for unit in units if unit is not None), fresh=False)
            else:
                assert isinstance(answer, Refusal)
                assert answer.reason in {Reason.NO_SUCH_GPU, Reason.BROKEN}

    @rule(luck=ANY_OF)
    def release(self, luck: Random) -> None:
        chosen = self.one_of(self.granted, luck)
        if chosen is None:
            return
        there = self.granted.pop(chosen)
        before = set(self.book.holders())
        self.book = self.book.released(there)
        assert before - set(self.book.holders()) == set(there.uuids), "exactly what was granted"
        assert self.book.released(there) == self.book

    @rule(luck=ANY_OF, stopped=st.booleans())
    def stop_or_resume(self, luck: Random, *, stopped: bool) -> None:
        chosen = self.one_of(self.granted, luck)
        there = None if chosen is None else self.book.by_id(chosen)
        if there is not None:
            before = set(self.book.holders())
            self.book = self.book.changed(replace(there, stopped_at=NOON if stopped else None))
            assert set(self.book.holders()) == before

    @rule(luck=ANY_OF, user=st.none() | USERS)
    def adopt(self, luck: Random, user: str | None) -> None:
        """A container that was made past the allocator has all of a GPU, split or not."""
        held = self.book.holders().keys()
        gpu = luck.choice(self.gpus)
        if held.isdisjoint({gpu.uuid, *(each.uuid for each in gpu.instances)}):
            self.number += 1
            name = f"stray{self.number}"
            stray = Allocation(name, f"id-{name}", user, (str(gpu.index),), (gpu.uuid,), NOON, 10)
            self.book = self.book.granted(stray)
            if user is not None:
                self.granted[stray.id] = stray

    @rule(index=st.integers(0, 2))
    def break_or_heal(self, index: int) -> None:
        gpu = self.gpus[index]
        self.gpus[index] = replace(gpu, problem=None if gpu.problem else "fell off the bus")

    @rule(index=st.integers(0, 2), parts=st.sampled_from(((), (2, 2, 2), (4, 2, 1))))
    def split_anew(self, index: int, parts: tuple[int, ...]) -> None:
        """An administrator does so only with a GPU that nobody has."""
        gpu = self.gpus[index]
        if self.book.holders().keys().isdisjoint({gpu.uuid, *(each.uuid for each in gpu.instances)}):
            self.gpus[index] = split(index, *parts) if parts else whole(index)

    @rule(
        busy=st.dictionaries(
            st.sampled_from(("GPU-0", "GPU-1", "GPU-2", "MIG-20", "MIG-21", "MIG-01")), USERS, max_size=2
        )
    )
    def work_outside(self, busy: dict[str, str]) -> None:
        self.busy = busy

    @rule(
        strategy=st.sampled_from(Strategy),
        profile=st.sampled_from((None, "3g.30gb")),
        avoid=st.booleans(),
        mig=st.sampled_from((True, True, False)),
        count=st.booleans(),
    )
    def another_policy(self, strategy: Strategy, profile: str | None, *, avoid: bool, mig: bool, count: bool) -> None:
        self.limits = replace(
            self.limits, strategy=strategy, profile=profile, avoid_busy=avoid, enable_mig=mig, count_outside=count
        )

    @invariant()
    def no_unit_is_held_twice(self) -> None:
        uuids = [uuid for each in self.book.allocations.values() for uuid in each.uuids]
        assert len(uuids) == len(set(uuids))
        for gpu in self.gpus:
            assert gpu.uuid not in uuids or not {each.uuid for each in gpu.instances} & set(uuids)

    @invariant()
    def no_quota_is_passed(self) -> None:
        for user, limits in PLAYERS.items():
            mine = [each for each in self.book.of_user(user) if not each.id.startswith("id-stray")]
            units = [unit for each in mine for uuid in each.uuids if (unit := self.devices.find(uuid)) is not None]
            if limits.exempt:
                continue
            assert limits.max_units is None or sum(len(each.uuids) for each in mine) <= limits.max_units
            assert limits.max_per_container is None or all(len(each.uuids) <= limits.max_per_container for each in mine)
            size = sum((unit.share for unit in units), Fraction(0))
            assert limits.max_equivalents is None or size <= limits.max_equivalents + Fraction(1, 200)
            assert limits.allow_full or not any(unit.is_whole for unit in units)


AllocatorMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAllocatorMachine = AllocatorMachine.TestCase


def test_a_full_house_is_given_out_to_the_last_unit_by_either_strategy() -> None:
    for strategy in Strategy:
        book, limits = Ledger(), replace(LIMITS, strategy=strategy)
        for number in range(14):
            answer = allocate(RACE, book, ask("root", name=f"c{number}"), limits, NOON)
            assert isinstance(answer, Grant)
            book = book.granted(answer.allocation)
        assert set(book.holders()) == {unit.uuid for unit in RACE.units}
        assert given(ask("root"), book, RACE, limits) == "taken"


def test_an_account_that_nobody_resolved_gets_nothing() -> None:
    for wanted in ("1", "all", "device=2:0"):
        stranger = Request("id-x", "ghost", parse_wanted(wanted), 10, "x")
        assert decide(stranger) == Refusal(
            Reason.TOO_MANY, "ghost asks for 1 GPU unit, one container may have 0", "run it without a GPU"
        )
