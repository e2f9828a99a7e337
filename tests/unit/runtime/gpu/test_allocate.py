"""Who gets which GPU: every rule of the policy alone, the line, and a machine of states that never breaks one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.runtime.gpu.hosts import (
    ACCOUNTS,
    LAB,
    LIMITS,
    NOON,
    RACE,
    ask,
    held,
    ledger,
    outside,
    split,
    waiting,
    whole,
)

from ds01.runtime.gpu.allocate import MIXED, ONE_OF_SEVERAL, allocate, as_request
from ds01.runtime.gpu.answer import Grant, Reason, Refusal
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.request import Limits, Mode, Request, Strategy

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
        ("device=0,2:0", (MIXED,)),
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
    stray = replace(held(None, "2:0", name="stray"), uuids=(GpuUuid("GPU-2"),))
    assert given(ask("alice", "device=2:1"), ledger(stray)) == "taken"


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


def test_a_container_that_holds_others_is_not_given_more() -> None:
    for wanted in ("2", "device=2:1", "device=2:0,2:1", "device=9"):
        answer = decide(replace(ask("alice", wanted, name="train"), id="another"), ledger(MINE))
        assert isinstance(answer, Refusal)
        assert (answer.reason, answer.waitable) == (Reason.DIFFERENT, False)
        assert "release" in answer.fix


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


def test_what_was_granted_is_granted_again_when_its_unit_is_gone() -> None:
    assert decide(ask("alice", name="train"), ledger(MINE), Devices((whole(0),))) == Grant(MINE, (), fresh=False)


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
        assert refusal.text
        assert refusal.fix
        assert "\n" not in refusal.text + refusal.fix


# --- All of it together -----------------------------------------------------------------------------------------------

WANTED = ("1", "1", "1", "2", "all", "3", "device=0", "device=2:1", "device=1,2:0", "device=MIG-30", "device=3")
USERS = st.sampled_from(sorted(ACCOUNTS))


class AllocatorMachine(RuleBasedStateMachine):
    """Accounts come and go on a host whose GPUs break and heal, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.gpus = list(LAB.gpus)
        self.busy: tuple[str, ...] = ()
        self.book = Ledger()
        self.granted: dict[str, Allocation] = {}
        self.limits = LIMITS
        self.number = 0

    @property
    def devices(self) -> Devices:
        devices = Devices(tuple(self.gpus))
        for uuid in self.busy:
            devices = outside(devices, uuid)
        return devices

    def answer(self, request: Request) -> Grant | Refusal:
        before = (self.book, self.devices)
        answer = allocate(self.devices, self.book, request, self.limits, NOON)
        assert answer == allocate(self.devices, self.book, request, self.limits, NOON)
        assert before == (self.book, self.devices)
        if isinstance(answer, Grant):
            self.check(request, answer)
            self.book = self.book.granted(answer.allocation)
            self.granted[answer.allocation.id] = answer.allocation
        return answer

    def check(self, request: Request, answer: Grant) -> None:
        """A grant takes nothing that anybody has, that is broken or in use, or that somebody ahead could have had."""
        assert self.book.holders().keys().isdisjoint(answer.allocation.uuids)
        assert not {unit.uuid for unit in answer.units} & set(self.busy)
        assert all(unit.problem is None for unit in answer.units)
        first = next(iter(self.book.ahead_of(request.id, request.priority)), None)
        if first is not None and first.user != request.user:
            after = self.book.granted(answer.allocation)
            could = allocate(self.devices, self.book, as_request(first), self.limits, NOON)
            can = allocate(self.devices, after, as_request(first), self.limits, NOON)
            assert isinstance(can, type(could))

    @rule(user=USERS, wanted=st.sampled_from(WANTED), wait=st.booleans(), lower=st.booleans())
    def request(self, user: str, wanted: str, *, wait: bool, lower: bool) -> None:
        self.number += 1
        request = ask(user, wanted, name=f"c{self.number}")
        if lower:
            request = replace(request, priority=1, most_units=1)
        answer = self.answer(request)
        if isinstance(answer, Refusal) and answer.waitable and wait:
            waiter = waiting(
                user, wanted, name=f"c{self.number}", priority=request.priority, most_units=request.most_units
            )
            self.book = self.book.waiting(waiter)

    @rule(data=st.data())
    def try_again(self, data: st.DataObject) -> None:
        if self.book.queue:
            waiter = data.draw(st.sampled_from(self.book.queue))
            answer = self.answer(as_request(waiter))
            assert (waiter in self.book.queue) is isinstance(answer, Refusal)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.book.queue:
            self.book = self.book.left([data.draw(st.sampled_from(self.book.queue)).id])

    @rule(data=st.data(), again=st.booleans())
    def release(self, data: st.DataObject, *, again: bool) -> None:
        if self.granted:
            there = self.granted.pop(data.draw(st.sampled_from(sorted(self.granted))))
            free = set(self.book.holders())
            self.book = self.book.released(there)
            assert free - set(self.book.holders()) == set(there.uuids), "exactly what was granted"
            if again:
                assert self.book.released(there) == self.book

    @rule(data=st.data(), stopped=st.booleans())
    def stop_or_start(self, data: st.DataObject, *, stopped: bool) -> None:
        if self.granted:
            there = self.book.by_id(data.draw(st.sampled_from(sorted(self.granted))))
            assert there is not None
            self.book = self.book.changed(replace(there, stopped_at=NOON if stopped else None))

    @rule(index=st.integers(0, 3))
    def break_or_heal(self, index: int) -> None:
        gpu: Gpu = self.gpus[index]
        self.gpus[index] = replace(gpu, problem=None if gpu.problem else "fell off the bus")

    @rule(uuids=st.sets(st.sampled_from(("GPU-0", "GPU-1", "MIG-20", "MIG-31")), max_size=2))
    def work_outside(self, uuids: set[str]) -> None:
        self.busy = tuple(sorted(uuids))

    @rule(strategy=st.sampled_from(Strategy))
    def another_strategy(self, strategy: Strategy) -> None:
        self.limits = replace(LIMITS, strategy=strategy)

    @invariant()
    def no_unit_is_held_twice(self) -> None:
        uuids = [uuid for each in self.book.allocations.values() for uuid in each.uuids]
        assert len(uuids) == len(set(uuids))

    @invariant()
    def no_quota_is_passed(self) -> None:
        shares = {unit.uuid: unit.share for unit in LAB.units}
        for user, limits in ACCOUNTS.items():
            if limits.exempt:
                continue
            mine = [each.uuids for each in self.book.of_user(user)]
            count = sum(map(len, mine))
            size = sum((shares[uuid] for each in mine for uuid in each), Fraction(0))
            assert limits.max_units is None or count <= limits.max_units
            assert limits.max_per_container is None or all(len(each) <= limits.max_per_container for each in mine)
            assert limits.max_equivalents is None or size <= limits.max_equivalents + Fraction(1, 200)
            assert limits.allow_full or all(shares[uuid] < 1 for each in mine for uuid in each)


AllocatorMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
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


def test_an_account_that_nobody_resolved_gets_the_least() -> None:
    stranger = Request("id-x", "ghost", ask("alice").wanted, 10, "x")
    assert (given(stranger), given(stranger, devices=ONLY_WHOLE)) == (("2:0",), "not_allowed")
