"""Docker is the truth: every difference is settled and told once, and nothing that a container uses is ever freed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.runtime.gpu.hosts import ACCOUNTS, LAB, LIMITS, NOON, PROCESS, ask, held, ledger, waiting

from ds01.core.value import replace
from ds01.runtime.gpu.allocate import allocate
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation
from ds01.runtime.gpu.reconcile import (
    LAPSE_SECONDS,
    Correction,
    Moment,
    Present,
    Sight,
    age,
    hold_ends,
    is_due,
    reconcile,
)
from ds01.runtime.gpu.request import AccountLimits
from ds01.runtime.identity import ProcessRef

MOMENT = Moment(NOON, "boot-1", 1000.0)
HOLD = timedelta(seconds=900)  # a student's


def account_of(user: str) -> AccountLimits:
    return ACCOUNTS.get(user, AccountLimits(hold_seconds=0))


def container(of: Allocation | None = None, **changes: object) -> Present:
    """A container as Docker has it, by default a running one with what an allocation says."""
    there = of or held("alice", "2:0")
    made = Present(
        name=there.container,
        id=there.container_id or "f" * 64,
        user=there.user,
        allocation_id=there.id,
        slots=there.slots,
        uuids=there.uuids,
        running=True,
        created_at=NOON,
        since=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields by name


def settle(book: Ledger, *present: Present, moment: Moment = MOMENT) -> tuple[Ledger, list[tuple[str, str, str]]]:
    """Reconcile, and check that a second time changes nothing; corrections as (event, container, words)."""
    after, corrections = reconcile(book, present, moment, account_of)
    again, nothing = reconcile(after, present, moment, account_of)
    assert (dict(again.allocations), nothing) == (dict(after.allocations), ())
    return after, [(each.event_type, each.allocation.container, each.words) for each in corrections]


MINE = held("alice", "2:0", name="train")
RESERVED = replace(MINE, container_id=None, reservation=Reservation(PROCESS))


# --- Following containers ---------------------------------------------------------------------------------------------


def test_what_agrees_is_left_alone() -> None:
    after, told = settle(ledger(MINE), container(MINE))
    assert (dict(after.allocations), told) == ({"train": MINE}, [])


@pytest.mark.parametrize(
    ("book", "present"),
    {
        "by the container's id": (ledger(MINE), container(MINE, allocation_id=None, name="train")),
        "by the label": (ledger(replace(RESERVED, container=RESERVED.id)), container(MINE)),
        "by the name": (ledger(RESERVED), container(MINE, allocation_id=None)),
    }.values(),
)
def test_a_container_is_known_by_id_by_label_or_by_name(book: Ledger, present: Present) -> None:
    after, told = settle(book, present)
    assert (dict(after.allocations), told) == ({"train": MINE}, [])


def test_a_renamed_container_is_followed() -> None:
    after, told = settle(ledger(MINE), container(MINE, name="renamed"))
    assert dict(after.allocations) == {"renamed": replace(MINE, container="renamed")}
    assert told == [("gpu.corrected", "renamed", "it was renamed from train")]


def test_two_containers_that_swapped_their_names_keep_their_own_units() -> None:
    one, two = held("alice", "2:0", name="a"), held("bob", "0", name="b")
    after, _ = settle(ledger(one, two), container(one, name="b"), container(two, name="a"))
    assert {name: each.slots for name, each in after.allocations.items()} == {"b": ("2:0",), "a": ("0",)}


def test_a_reservation_whose_name_another_container_took_stays_under_its_id() -> None:
    other = held("bob", "0", name="other")
    after, _ = settle(ledger(RESERVED, other), container(other, name="train"))
    assert {name: each.id for name, each in after.allocations.items()} == {"train": other.id, f"?{MINE.id}": MINE.id}


def test_what_a_container_really_has_counts() -> None:
    after, told = settle(ledger(MINE), container(MINE, slots=("2:1",), uuids=(GpuUuid("MIG-21"),)))
    assert after.allocations["train"].uuids == ("MIG-21",)
    assert told == [("gpu.corrected", "train", "it really has GPU 2:1, not 2:0")]


def test_a_container_that_does_not_say_what_it_has_keeps_what_is_written() -> None:
    after, told = settle(ledger(MINE), container(MINE, slots=(), uuids=()))
    assert (dict(after.allocations), told) == ({"train": MINE}, [])


# --- Stopping and holding ---------------------------------------------------------------------------------------------


def test_a_stopped_container_holds_its_units_from_when_it_stopped() -> None:
    stopped = NOON - timedelta(seconds=60)
    after, told = settle(ledger(MINE), container(MINE, running=False, since=stopped))
    assert dict(after.allocations) == {"train": replace(MINE, stopped_at=stopped)}
    assert told == [("gpu.corrected", "train", "it is stopped; its units are held")]


@pytest.mark.parametrize(("seconds", "kept"), [(899, True), (900, False), (901, False)])
def test_a_hold_ends_when_its_time_is_over_and_once(seconds: int, *, kept: bool) -> None:
    stopped = NOON - timedelta(seconds=seconds)
    book = ledger(replace(MINE, stopped_at=stopped))
    after, told = settle(book, container(MINE, running=False, since=stopped))
    assert (set(after.allocations), [each[0] for each in told]) == (
        ({"train"}, []) if kept else (set(), ["gpu.expired"])
    )


def test_a_container_that_runs_again_is_not_held_any_more_however_long_ago_it_stopped() -> None:
    after, told = settle(ledger(replace(MINE, stopped_at=NOON - 10 * HOLD)), container(MINE))
    assert dict(after.allocations) == {"train": MINE}
    assert told == [("gpu.corrected", "train", "it runs")]


def test_who_ran_and_stopped_again_without_a_word_is_held_from_the_last_stop() -> None:
    book = ledger(replace(MINE, stopped_at=NOON - timedelta(seconds=890)))
    last = NOON - timedelta(seconds=60)
    after, told = settle(book, container(MINE, running=False, since=last), moment=replace(MOMENT, now=NOON))
    assert (after.allocations["train"].stopped_at, told) == (last, [])
    assert settle(after, container(MINE, running=False, since=last), moment=replace(MOMENT, now=last + HOLD))[1] == [
        ("gpu.expired", "train", "its container stopped and the hold is over")
    ]


def test_a_hold_that_began_before_the_clock_was_set_back_ends_a_hold_after_that() -> None:
    later = container(MINE, running=False, since=NOON + timedelta(hours=1))
    book, _ = settle(ledger(MINE), later)
    for seconds in (1, 60, 899):
        book, _ = settle(book, later, moment=replace(MOMENT, now=NOON + timedelta(seconds=seconds)))
        assert book.allocations["train"].stopped_at == NOON
    assert dict(settle(book, later, moment=replace(MOMENT, now=NOON + HOLD))[0].allocations) == {}


def test_a_clock_that_was_set_back_makes_no_hold_longer() -> None:
    later = NOON + timedelta(days=3)
    after, _ = settle(ledger(replace(MINE, stopped_at=later)), container(MINE, running=False, since=later))
    assert after.allocations["train"].stopped_at == NOON


def test_a_hold_without_end_lasts_until_the_container_is_removed() -> None:
    forever = held("carol", "0", stopped_at=NOON - timedelta(days=300))
    assert hold_ends(forever, account_of) is None
    after, told = settle(ledger(forever), container(forever, running=False, since=NOON - timedelta(days=300)))
    assert (dict(after.allocations), told) == ({forever.container: forever}, [])
    assert settle(ledger(forever))[1] == [("gpu.freed", forever.container, "Docker has its container no more")]


def test_a_start_that_is_under_way_keeps_units_whose_old_hold_is_over() -> None:
    resumed = replace(MINE, reservation=Reservation(PROCESS))
    long_ago = container(MINE, running=False, since=NOON - 10 * HOLD)
    after, told = settle(ledger(resumed), long_ago)
    assert (dict(after.allocations), told) == ({"train": resumed}, [])
    lapsed = replace(MINE, reservation=Reservation(PROCESS, gone_at=MOMENT.boot_seconds - LAPSE_SECONDS))
    assert [each[0] for each in settle(ledger(lapsed), long_ago)[1]] == ["gpu.expired"]


def test_a_container_made_and_not_yet_started_keeps_its_reservation() -> None:
    after, told = settle(ledger(RESERVED), container(MINE, running=False))
    assert dict(after.allocations) == {"train": replace(RESERVED, container_id=MINE.container_id)}
    assert told == []


LONG_RESERVED = replace(RESERVED, allocated_at=NOON - timedelta(hours=1))


@pytest.mark.parametrize("book", [LONG_RESERVED, replace(LONG_RESERVED, container_id="a" * 64)])
def test_one_that_ran_and_ended_while_nobody_looked_is_held_though_who_asked_for_it_lives(book: Allocation) -> None:
    """As after `docker run` in a shell that goes on for days."""
    ended = container(MINE, running=False, ran=True, since=NOON - timedelta(seconds=30))
    after, told = settle(ledger(book), ended)
    there = after.allocations["train"]
    assert (there.container_id, there.reservation, there.stopped_at) == (ended.id, None, ended.since)
    assert [each[0] for each in told] == ([] if book.container_id is None else ["gpu.corrected"])


def test_one_that_ran_long_ago_and_has_units_anew_is_about_to_be_started() -> None:
    before = container(MINE, running=False, ran=True, since=NOON - timedelta(hours=2))
    after, told = settle(ledger(LONG_RESERVED), before)
    assert dict(after.allocations) == {"train": replace(LONG_RESERVED, container_id=before.id)}
    assert told == []


def test_a_container_that_is_gone_frees_its_units() -> None:
    assert settle(ledger(MINE)) == (
        replace(Ledger(boot="boot-1"), allocations={}),
        [("gpu.freed", "train", "Docker has its container no more")],
    )


# --- Reservations -----------------------------------------------------------------------------------------------------


def aged(reservation: Reservation, *, alive: bool, at: float = 1000.0) -> Reservation | None:
    book = age(ledger(replace(RESERVED, reservation=reservation)), lambda _: alive, replace(MOMENT, boot_seconds=at))
    return book.allocations["train"].reservation


def test_a_reservation_lives_as_long_as_its_process_and_lapses_a_minute_after_it() -> None:
    assert aged(Reservation(PROCESS), alive=True, at=999_999) == Reservation(PROCESS), "however long a pull takes"
    assert aged(Reservation(PROCESS), alive=False) == Reservation(PROCESS, gone_at=1000.0)
    assert aged(Reservation(PROCESS, gone_at=990.0), alive=False) == Reservation(PROCESS, gone_at=990.0)
    for seconds, due in ((0, False), (59.9, False), (60, True), (6000, True)):
        gone = replace(RESERVED, reservation=Reservation(PROCESS, gone_at=1000.0))
        moment = replace(MOMENT, boot_seconds=1000.0 + seconds)
        assert is_due(gone, moment, account_of) is due
        assert set(settle(ledger(gone), moment=moment)[0].allocations) == (set() if due else {"train"})


def test_a_minute_of_grace_is_no_matter_of_the_wall_clock() -> None:
    gone = replace(RESERVED, reservation=Reservation(PROCESS, gone_at=999.0))
    for now in (NOON - timedelta(days=9), NOON + timedelta(days=9)):
        assert not is_due(gone, replace(MOMENT, now=now), account_of)


def test_a_process_that_was_gone_at_the_very_start_of_a_boot_is_remembered_as_gone() -> None:
    assert aged(Reservation(PROCESS, gone_at=0.0), alive=False) == Reservation(PROCESS, gone_at=0.0)


def test_reservations_of_another_boot_are_over() -> None:
    assert settle(ledger(RESERVED), moment=replace(MOMENT, boot="boot-2", boot_seconds=1.0))[1] == [
        ("gpu.expired", "train", "no container came of it")
    ]


def test_the_dead_stand_in_no_line() -> None:
    book = ledger(queue=(waiting("alice", name="a"), waiting("bob", name="b")))
    book = replace(book, queue=(book.queue[0], replace(book.queue[1], process=ProcessRef(9, 9, "boot-1"))))
    assert age(book, lambda process: process == PROCESS, MOMENT).queue == book.queue[:1]
    assert age(book, lambda _: True, MOMENT) is book


# --- What the ledger did not know -------------------------------------------------------------------------------------

STRAY = container(name="stray", id="e" * 64, user="bob", allocation_id=None, slots=("0",), uuids=(GpuUuid("GPU-0"),))


def test_a_running_container_that_nobody_asked_for_is_adopted_and_charged_to_nobody() -> None:
    after, told = settle(ledger(MINE), container(MINE), STRAY)
    assert after.allocations["stray"] == Allocation(
        "stray", f"docker-{'e' * 12}", None, ("0",), (GpuUuid("GPU-0"),), NOON, 0, container_id="e" * 64
    )
    assert told == [("gpu.adopted", "stray", "a container with GPU 0 was not in the ledger")]
    stopped, told = settle(after, container(MINE), replace(STRAY, running=False))
    assert (set(stopped.allocations), [each[0] for each in told]) == ({"train"}, ["gpu.expired"])


@pytest.mark.parametrize("changes", [{"running": False}, {"uuids": (), "slots": ()}])
def test_a_stopped_one_and_one_without_a_gpu_hold_nothing(changes: dict[str, object]) -> None:
    assert settle(Ledger(), replace(STRAY, **changes))[1] == []  # type: ignore[arg-type] # fields by name


def test_a_lost_ledger_is_found_again_with_its_owners_and_holds() -> None:
    stopped = replace(MINE, stopped_at=NOON - HOLD / 2)
    running = held("bob", "0", name="nb")
    present = (container(running), container(stopped, running=False, since=NOON - HOLD / 2))
    after, told = settle(Ledger(), *present)
    assert {name: (each.id, each.user, each.stopped_at, each.priority) for name, each in after.allocations.items()} == {
        "nb": (running.id, "bob", None, 50),
        "train": (stopped.id, "alice", NOON - HOLD / 2, 10),
    }
    assert [each[0] for each in told] == ["gpu.adopted", "gpu.adopted"]


def test_of_a_lost_ledger_a_hold_that_is_over_or_given_to_others_stays_lost() -> None:
    over = container(MINE, running=False, since=NOON - HOLD)
    taken = (container(held("bob", "2:0", name="nb")), container(MINE, running=False))
    assert set(settle(Ledger(), over)[0].allocations) == set()
    assert set(settle(Ledger(), *taken)[0].allocations) == {"nb"}
    assert set(settle(Ledger(), *reversed(taken))[0].allocations) == {"nb"}
    earlier = container(MINE, running=False, since=NOON - HOLD / 2)
    later = container(held("bob", "2:0", name="later"), running=False, since=NOON - HOLD / 4)
    for order in ((earlier, later), (later, earlier)):
        assert set(settle(Ledger(), *order)[0].allocations) == {"later"}, "who had it last"


def test_a_stopped_container_that_gave_its_units_back_does_not_get_them_again() -> None:
    assert settle(ledger(), container(MINE, running=False)) == (replace(ledger(), allocations={}), [])


# --- What users write into labels -------------------------------------------------------------------------------------


def test_a_label_that_names_somebody_elses_allocation_takes_nothing_from_it() -> None:
    thief = container(
        name="thief", id="d" * 64, user="alice", allocation_id=MINE.id, slots=("0",), uuids=(GpuUuid("GPU-0"),)
    )
    for present in ((container(MINE), thief), (thief, container(MINE))):
        after, _ = settle(ledger(MINE), *present)
        assert after.allocations["train"] == MINE
        assert (after.allocations["thief"].user, after.allocations["thief"].uuids) == (None, ("GPU-0",))


@pytest.mark.parametrize("user", ["alice", "bob", None])
def test_who_copies_the_labels_of_a_container_that_is_gone_does_not_become_it(user: str | None) -> None:
    """Neither is its owner charged for the copy, nor does it keep units that it was never given."""
    copy = container(MINE, name="copy", id="d" * 64, user=user)
    after, told = settle(ledger(MINE), copy)
    assert [(each.user, each.id) for each in after.allocations.values()] == [(None, f"docker-{'d' * 12}")]
    assert [each[0] for each in told] == ["gpu.adopted", "gpu.freed"]
    for running in (True, False):
        empty = replace(copy, slots=(), uuids=(), running=running)
        assert settle(ledger(MINE), empty)[1] == [("gpu.freed", "train", "Docker has its container no more")]


def test_a_container_with_a_label_of_its_own_or_named_by_an_id_is_not_known_by_its_name() -> None:
    named_by_id = replace(RESERVED, container=RESERVED.id)
    for book, stranger in (
        (ledger(RESERVED), container(MINE, user=None, allocation_id="token-of-another")),
        (ledger(named_by_id), container(MINE, user=None, allocation_id=None, name=RESERVED.id)),
    ):
        after, _ = settle(book, replace(stranger, id="d" * 64, running=False))
        assert [each.container_id for each in after.allocations.values()] == [None]


def test_of_two_made_with_the_same_options_the_one_that_runs_has_the_units() -> None:
    one = container(MINE, id="a" * 64, name="one", running=False)
    two = container(MINE, id="b" * 64, name="two", created_at=NOON + timedelta(seconds=9))
    for order in ((one, two), (two, one)):
        after, _ = settle(ledger(RESERVED), *order)
        assert dict(after.allocations) == {"two": replace(MINE, container="two", container_id="b" * 64)}


STRANGERS = {
    "another account's": {"user": "bob"},
    "with another unit": {"slots": ("2:1",), "uuids": (GpuUuid("MIG-21"),)},
    "with one unit more": {"slots": ("2:0", "2:1"), "uuids": (GpuUuid("MIG-20"), GpuUuid("MIG-21"))},
    "without a GPU": {"slots": (), "uuids": ()},
}


@pytest.mark.parametrize("changes", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("label", [MINE.id, None])
def test_nobody_else_takes_the_place_of_a_container_that_is_still_to_come(
    changes: dict[str, object], label: str | None
) -> None:
    thief = container(MINE, id="d" * 64, allocation_id=label, **changes)
    after, _ = settle(ledger(RESERVED), thief)
    assert after.by_id(MINE.id) in {RESERVED, replace(RESERVED, container=f"?{MINE.id}")}
    both, _ = settle(after, thief, container(MINE, name="late"))
    assert both.by_id(MINE.id) == replace(MINE, container="late")


def test_a_container_that_is_made_anew_under_its_name_is_known_by_its_label() -> None:
    """As after docker rm and docker run, when allocate has given the name the same units again."""
    again = replace(MINE, reservation=Reservation(PROCESS))
    assert settle(ledger(again)) == (ledger(again), [])
    after, _ = settle(ledger(again), container(MINE, id="d" * 64))
    assert dict(after.allocations) == {"train": replace(MINE, container_id="d" * 64)}


def test_names_made_of_others_ids_hide_nobody() -> None:
    """Somebody takes the name of a reservation, and calls a second container by its id: all three stay."""
    name = container(held("bob", "0", name="one"), name="train")
    named_so = container(held("bob", "1", name="two"), name=MINE.id)
    after, _ = settle(ledger(RESERVED), name, named_so)
    assert {key: each.uuids for key, each in after.allocations.items()} == {
        "train": ("GPU-0",),
        MINE.id: ("GPU-1",),
        f"?{MINE.id}": ("MIG-20",),
    }
    late, _ = settle(after, name, named_so, container(MINE, name="late"))
    assert late.allocations["late"] == replace(MINE, container="late")


def test_a_name_that_changes_hands_while_containers_are_looked_at_hides_nobody() -> None:
    one, two = held("alice", "2:0", name="a"), held("bob", "0", name="b")
    after, _ = reconcile(ledger(one, two), (container(one), container(two, name="a")), MOMENT, account_of)
    assert {each.uuids for each in after.allocations.values()} == {one.uuids, two.uuids}


def test_an_id_that_somebody_has_already_is_no_adopted_containers() -> None:
    clash = replace(held("alice", "1", name="mine"), id=f"docker-{'e' * 12}")
    after, _ = settle(ledger(clash), container(clash), STRAY)
    assert {each.id: each.container for each in after.allocations.values()} == {
        clash.id: "mine",
        f"docker-{'e' * 64}": "stray",
    }


def test_a_label_made_like_the_id_of_an_adopted_container_is_not_believed() -> None:
    other = replace(STRAY, name="other", id="c" * 64, allocation_id=f"docker-{'e' * 12}", slots=("1",),
                    uuids=(GpuUuid("GPU-1"),))  # fmt: skip
    after, _ = settle(ledger(), other, STRAY)
    assert {each.id: each.container for each in after.allocations.values()} == {
        f"docker-{'e' * 12}": "stray",
        f"docker-{'c' * 12}": "other",
    }


def test_a_gone_containers_units_are_not_anothers_by_a_label() -> None:
    heir = container(MINE, name="heir", id="d" * 64, user="bob")
    after, _ = settle(ledger(MINE), heir)
    assert set(after.allocations) == {"heir"}
    assert (after.allocations["heir"].user, after.allocations["heir"].container_id) == (None, "d" * 64)


@pytest.mark.parametrize("changes", [{"user": "bob"}, {"slots": ("3:0",), "uuids": (GpuUuid("MIG-30"),)}])
@pytest.mark.parametrize("known_by", [{"name": "thief"}, {"allocation_id": None}])
def test_a_reservation_is_met_by_its_accounts_container_with_its_units_alone(
    changes: dict[str, object], known_by: dict[str, object]
) -> None:
    thief = container(RESERVED, id="d" * 64, **known_by, **changes)
    after, _ = settle(ledger(RESERVED), thief)
    mine = after.by_id(RESERVED.id)
    assert mine is not None
    assert (mine.user, mine.uuids, mine.reservation) == ("alice", MINE.uuids, RESERVED.reservation)
    assert after.allocations[thief.name].user is None


def test_a_label_charges_nobody_while_the_ledger_is_whole() -> None:
    forged = container(held("bob", "0", name="forged"), allocation_id="token-of-nobody")
    after, _ = settle(ledger(), forged)
    assert after.allocations["forged"].user is None


def test_two_containers_with_one_label_are_two_allocations() -> None:
    one, two = container(MINE), container(MINE, name="copy", id="d" * 64, slots=("3:0",), uuids=(GpuUuid("MIG-30"),))
    after, _ = settle(Ledger(), one, two)
    assert {each.id for each in after.allocations.values()} == {MINE.id, f"docker-{'d' * 12}"}
    assert after.allocations["copy"].user is None


# --- Conflicts --------------------------------------------------------------------------------------------------------


def test_two_containers_with_one_unit_are_told_once_and_both_keep_it() -> None:
    stray = replace(STRAY, slots=("2:0",), uuids=MINE.uuids)
    after, told = settle(ledger(MINE), container(MINE), stray)
    assert [each for each in told if each[0] == "gpu.conflict"] == [
        ("gpu.conflict", "stray", "stray and train both have MIG-20")
    ]
    assert set(after.allocations) == {"train", "stray"}
    assert settle(after, container(MINE), stray)[1] == []


def test_a_correction_names_the_allocation_as_it_is_afterwards() -> None:
    (correction,) = reconcile(ledger(MINE), (container(MINE, name="new"),), MOMENT, account_of)[1]
    assert correction == Correction("gpu.corrected", replace(MINE, container="new"), "it was renamed from train")


# --- All of it together -----------------------------------------------------------------------------------------------


@dataclass
class Box:
    """A container in a model of Docker.

    Attributes:
        user: who made it; None for one that came about without us, whatever its labels say.
        label: the allocation that it claims.
        since: when it was made, or stopped.
        held: whether it stopped after the ledger had seen it run, and nothing since then made its hold another one.
        expired: how often that hold was told to be over.
    """

    name: str
    user: str | None
    label: str
    uuids: tuple[GpuUuid, ...]
    slots: tuple[str, ...]
    made: datetime
    since: datetime
    running: bool = False
    ran: bool = False
    held: bool = False
    expired: int = 0

    @property
    def ends(self) -> datetime | None:
        """When its hold is over; None for one that lasts as long as the container."""
        seconds = account_of(self.user or "").hold_seconds
        return None if seconds is None else self.since + timedelta(seconds=seconds)


class DockerMachine(RuleBasedStateMachine):
    """Containers come and go, with and without a word to the ledger, which is lost now and then.

    Some of them claim by label, name and id to be another's. Boots, clocks and processes go as they please.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now, self.boot, self.uptime = NOON, 1, 1000.0
        self.boxes: dict[str, Box] = {}
        self.book = Ledger()
        self.alive: set[ProcessRef] = set()
        self.number = 0
        self.settle()

    # --- The world ---

    @property
    def moment(self) -> Moment:
        return Moment(self.now, f"boot-{self.boot}", self.uptime)

    def present(self) -> tuple[Present, ...]:
        return tuple(
            Present(
                name=box.name,
                id=key,
                user=box.user,
                allocation_id=box.label,
                slots=box.slots,
                uuids=box.uuids,
                running=box.running,
                created_at=box.made,
                since=box.since,
                ran=box.ran,
            )
            for key, box in self.boxes.items()
        )

    def looked_at(self) -> Ledger:
        """Return the ledger as it would be after a reconcile now."""
        return self.reconciled()[0]

    def reconciled(self) -> tuple[Ledger, tuple[Correction, ...]]:
        aged = age(self.book, self.alive.__contains__, self.moment)
        after, told = reconcile(aged, self.present(), self.moment, account_of)
        assert reconcile(after, self.present(), self.moment, account_of) == (after, ()), "twice is once"
        return after, told

    def settle(self) -> None:
        self.book, told = self.reconciled()
        expired = [each.allocation.container_id for each in told if each.event_type == "gpu.expired"]
        for key, box in self.boxes.items():
            if box.held:
                box.expired += expired.count(key)
                assert box.expired == int(box.ends is not None and box.ends <= self.now), "once, and when it is over"

    def new_process(self) -> ProcessRef:
        self.number += 1
        process = ProcessRef(self.number, 1, self.moment.boot)
        self.alive.add(process)
        return process

    def pick(self, data: st.DataObject, *, running: bool | None = None, ours: bool | None = None) -> list[Box]:
        found = [
            key
            for key, box in self.boxes.items()
            if running in {None, box.running} and ours in {None, box.user is not None}
        ]
        return [self.boxes[data.draw(st.sampled_from(found))]] if found else []

    def start_box(self, box: Box) -> None:
        box.running, box.ran, box.held = True, True, False

    def stop_box(self, box: Box) -> None:
        known = [each for each in self.book.allocations.values() if self.boxes.get(each.container_id or "") is box]
        box.held = [(each.stopped_at, each.reservation) for each in known] == [(None, None)] and box.user is not None
        box.running, box.since, box.expired = False, self.now, 0

    def no_hold_is_certain(self) -> None:
        """Forget when holds end: clocks or the record are not what they were when these began."""
        for box in self.boxes.values():
            box.held = False

    # --- What people do ---

    @rule(user=st.sampled_from(["alice", "bob", "carol"]), steps=st.integers(0, 3), data=st.data())
    def ask_and_run(self, user: str, steps: int, data: st.DataObject) -> None:
        """Ask, make, start and stop, as far as it comes; also again under the name of one that is gone."""
        labels = {box.label for box in self.boxes.values() if box.user is not None}
        names = {box.name for box in self.boxes.values()}
        gone = [
            each.container
            for each in self.book.allocations.values()
            if each.id not in labels and each.container not in names
        ]
        name = data.draw(st.sampled_from([*gone, f"c{self.number + 1}"]))
        answer = allocate(LAB, self.book, ask(user, name=name, container=name), LIMITS, self.now)
        process = self.new_process()
        if not isinstance(answer, Grant):
            return
        there = replace(answer.allocation, stopped_at=None, reservation=Reservation(process))
        running = {uuid for box in self.boxes.values() if box.running for uuid in box.uuids}
        assert not answer.fresh or running.isdisjoint(there.uuids)
        self.book = self.book.changed(there)
        if steps == 0 or there.container.startswith("?"):
            return
        box = Box(there.container, user, there.id, there.uuids, there.slots, self.now, self.now)
        self.boxes[f"{self.number:064}"] = box
        if steps > 1:
            self.start_box(box)
        if steps > 2:
            self.stop_box(box)

    @rule(data=st.data(), told=st.booleans())
    def stop(self, data: st.DataObject, *, told: bool) -> None:
        for box in self.pick(data, running=True):
            self.stop_box(box)
            there = self.book.by_id(box.label)
            if told and there is not None and box.user is not None:
                self.book = self.book.changed(replace(there, stopped_at=self.now, reservation=None))

    @rule(data=st.data(), told=st.booleans(), really=st.booleans())
    def start_within_its_hold(self, data: st.DataObject, *, told: bool, really: bool) -> None:
        self.settle()
        for box in self.pick(data, running=False, ours=True):
            there = self.book.by_id(box.label)
            if there is None or self.boxes.get(there.container_id or "") is not box:
                continue
            if told:
                box.held = False
                kept = replace(there, stopped_at=None, reservation=Reservation(self.new_process()))
                self.book = self.book.changed(kept)
            if really:
                self.start_box(box)

    @rule(data=st.data(), told=st.booleans())
    def remove(self, data: st.DataObject, *, told: bool) -> None:
        for box in self.pick(data):
            self.boxes = {key: each for key, each in self.boxes.items() if each is not box}
            there = self.book.by_id(box.label)
            if told and there is not None and box.user is not None:
                self.book = self.book.released(there)

    @rule(data=st.data())
    def rename(self, data: st.DataObject) -> None:
        for box in self.pick(data):
            self.number += 1
            box.name = self.a_name(data, f"renamed{self.number}")

    @rule(data=st.data(), running=st.booleans(), given=st.booleans())
    def somebody_pretends(self, data: st.DataObject, *, running: bool, given: bool) -> None:
        """Make a container by hand, with another's label and under another's name or id, where Docker has none so."""
        self.number += 1
        name = self.a_name(data, f"stray{self.number}")
        label = data.draw(st.sampled_from([*(each.id for each in self.book.allocations.values()), "token-of-nobody"]))
        taken = set(self.book.holders()) | {uuid for box in self.boxes.values() for uuid in box.uuids}
        free = [unit for unit in LAB.units if unit.uuid not in taken][: int(given)]
        uuids, slots = tuple(unit.uuid for unit in free), tuple(unit.slot for unit in free)
        box = Box(name, None, label, uuids, slots, self.now, self.now, running, running)
        self.boxes[f"{self.number:064}"] = box
        self.settle()

    def a_name(self, data: st.DataObject, new: str) -> str:
        """Return a name that no container has, maybe one that the ledger has for something else."""
        known = {name for each in self.book.allocations.values() for name in (each.container, each.id)}
        names = {box.name for box in self.boxes.values()}
        return data.draw(st.sampled_from([*sorted(each for each in known - names if "?" not in each), new]))

    # --- What just happens ---

    @rule()
    def processes_end(self) -> None:
        self.alive.clear()

    @rule(seconds=st.sampled_from([1, 30, 61, 1000, 4000]), back=st.sampled_from([0, 0, 0, 5000]))
    def time_goes_on(self, seconds: int, back: int) -> None:
        if back:
            self.no_hold_is_certain()
        self.now += timedelta(seconds=seconds - back)
        self.uptime += seconds

    @rule(restart=st.booleans())
    def the_power_goes(self, *, restart: bool) -> None:
        self.alive.clear()
        self.boot, self.uptime = self.boot + 1, 5.0
        for box in self.boxes.values():
            if box.running and not restart:
                self.stop_box(box)
        self.settle()

    @rule()
    def the_ledger_is_lost(self) -> None:
        """With the reservations in it: what they were for is taken for what it is, or comes to nothing."""
        self.book = Ledger()
        self.no_hold_is_certain()
        self.alive.clear()
        self.settle()

    @rule()
    def look(self) -> None:
        self.settle()

    # --- What holds ---

    @invariant()
    def what_runs_has_its_units_and_is_charged_to_who_made_it(self) -> None:
        book = self.looked_at()
        for key, box in self.boxes.items():
            holding = [each for each in book.allocations.values() if each.container_id == key]
            if box.running and box.uuids:
                (there,) = holding
                assert (there.uuids, there.user, there.stopped_at) == (box.uuids, box.user, None)
            else:
                assert len(holding) <= 1

    @invariant()
    def a_hold_lasts_as_long_as_it_should_and_no_longer(self) -> None:
        book = self.looked_at()
        for key, box in self.boxes.items():
            if not box.held:
                continue
            holding = [each for each in book.allocations.values() if each.container_id == key]
            if box.ends is not None and box.ends <= self.now:
                assert holding == []
            else:
                assert [(each.uuids, each.user, each.stopped_at) for each in holding] == [
                    (box.uuids, box.user, box.since)
                ]

    @invariant()
    def nobody_is_charged_for_anothers(self) -> None:
        for each in self.looked_at().allocations.values():
            box = self.boxes.get(each.container_id or "")
            if box is not None:
                assert (each.user, each.uuids) == (box.user, box.uuids)

    @invariant()
    def no_unit_is_held_twice_and_no_id_or_name_is(self) -> None:
        book = self.looked_at()
        uuids = [uuid for each in book.allocations.values() for uuid in each.uuids]
        assert len(uuids) == len(set(uuids))
        assert len({each.id for each in book.allocations.values()}) == len(book.allocations)
        assert all(name == each.container for name, each in book.allocations.items())

    @invariant()
    def what_nobody_has_is_free(self) -> None:
        for each in self.looked_at().allocations.values():
            waits = each.reservation is not None and not is_due(each, self.moment, account_of)
            assert waits or each.container_id in self.boxes

    @invariant()
    def what_somebody_alive_reserved_stays(self) -> None:
        book = self.looked_at()
        for each in self.book.allocations.values():
            if each.reservation is not None and each.reservation.process in self.alive:
                ended = any(box.label == each.id and box.ran and not box.running for box in self.boxes.values())
                assert ended or book.by_id(each.id) is not None


DockerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestDockerMachine = DockerMachine.TestCase


# --- What Docker cannot describe --------------------------------------------------------------------------------------


def unseen(of: Allocation | None = None, **changes: object) -> Present:
    """One that runs, of which there are its labels alone."""
    return container(of, **{"sight": Sight.LIST, **changes})


ALL = {"slots": tuple(unit.slot for unit in LAB.units), "uuids": tuple(unit.uuid for unit in LAB.units)}
DEAD = replace(RESERVED, reservation=Reservation(replace(PROCESS, boot="boot-0")))


@pytest.mark.parametrize(
    ("there", "present"),
    {
        "it runs": (MINE, unseen(MINE)),
        "nothing tells what it has": (MINE, unseen(MINE, sight=Sight.NOTHING, **ALL)),
        "it has no label": (MINE, unseen(MINE, allocation_id=None, user=None, slots=(), uuids=())),
        "its hold is over": (
            replace(MINE, stopped_at=NOON - 2 * HOLD),
            unseen(MINE, running=False, since=NOON - 2 * HOLD),
        ),
        "its labels say something else": (MINE, unseen(MINE, slots=("0",), uuids=(GpuUuid("GPU-0"),))),
        "who reserved it is gone, and its label names it": (DEAD, unseen(MINE, id="e" * 64)),
        "who reserved it is gone, and it has its name": (DEAD, unseen(MINE, allocation_id=None, user=None)),
    }.values(),
)
def test_what_a_container_has_that_docker_cannot_describe_stays_as_it_is(there: Allocation, present: Present) -> None:
    after, told = settle(ledger(there), present)
    assert (dict(after.allocations), told) == ({"train": there}, [])


def test_what_another_had_is_freed_beside_one_that_cannot_be_described() -> None:
    other = held("bob", "0", name="gone")
    after, told = settle(ledger(MINE, other), unseen(MINE))
    assert (set(after.allocations), told) == ({"train"}, [("gpu.freed", "gone", "Docker has its container no more")])


def test_a_label_keeps_nothing_that_another_container_had() -> None:
    """It is text that others can write too."""
    after, _ = settle(ledger(MINE), unseen(MINE, id="e" * 64, name="other"))
    assert dict(after.allocations) == {}


def test_what_a_whole_ledger_does_not_know_was_not_given() -> None:
    after, told = settle(ledger(MINE), container(MINE), unseen(id="e" * 64, name="x", sight=Sight.NOTHING, **ALL))
    assert (set(after.allocations), told) == ({"train"}, [])


LOST = replace(ledger(), boot=None)


@pytest.mark.parametrize("running", [True, False])
def test_where_the_ledger_is_lost_its_labels_say_what_it_has(*, running: bool) -> None:
    after, told = settle(LOST, unseen(MINE, running=running, since=NOON - 2 * HOLD))
    (found,) = after.allocations.values()
    assert (found.user, found.uuids, found.stopped_at) == ("alice", MINE.uuids, None if running else NOON)
    assert told == [("gpu.adopted", "train", "Docker could not describe it: its labels say GPU 2:0")]


def test_where_nothing_tells_what_it_has_nothing_is_given_that_it_may_have() -> None:
    stuck = unseen(id="e" * 64, name="stuck", sight=Sight.NOTHING, **ALL)
    after, told = settle(LOST, stuck, container(MINE))
    assert after.allocations["train"].uuids == MINE.uuids
    taken = after.allocations["stuck"]
    assert (taken.user, set(taken.uuids)) == (None, set(ALL["uuids"]) - set(MINE.uuids))
    assert [each[:2] for each in told] == [("gpu.adopted", "train"), ("gpu.adopted", "stuck")]
    assert not isinstance(allocate(LAB, after, ask("bob"), LIMITS, NOON), Grant)


def test_one_that_was_given_nothing_takes_nothing() -> None:
    after, told = settle(LOST, unseen(MINE, allocation_id=None, slots=(), uuids=()))
    assert (dict(after.allocations), told) == ({}, [])


def guessed(**changes: object) -> Ledger:
    return settle(LOST, unseen(MINE, **changes))[0]


def test_what_was_guessed_stays_while_it_cannot_be_described() -> None:
    book = guessed(sight=Sight.NOTHING, **ALL)
    after, told = settle(book, unseen(MINE, sight=Sight.NOTHING, **ALL))
    assert (dict(after.allocations), told) == (dict(book.allocations), [])


def test_once_docker_describes_it_again_it_has_what_it_really_has_and_is_its_users() -> None:
    after, told = settle(guessed(sight=Sight.NOTHING, **ALL), container(MINE))
    assert dict(after.allocations) == {"train": replace(MINE, allocated_at=NOON)}
    assert [each[:2] for each in told] == [("gpu.corrected", "train")]


def test_once_docker_describes_it_again_and_it_has_none_all_is_free() -> None:
    after, told = settle(guessed(), container(MINE, slots=(), uuids=()))
    assert (dict(after.allocations), told) == ({}, [("gpu.freed", "train", "Docker describes it again: it holds none")])


def test_a_guess_goes_with_its_container() -> None:
    after, told = settle(guessed())
    assert (dict(after.allocations), told) == ({}, [("gpu.freed", "train", "Docker has its container no more")])


def test_of_two_that_cannot_be_described_each_may_have_what_nobody_else_has() -> None:
    other = unseen(id="e" * 64, name="stuck", sight=Sight.NOTHING, **ALL)
    after, _ = settle(LOST, other, unseen(MINE), unseen(id="d" * 64, name="third", sight=Sight.NOTHING, **ALL))
    assert {name: len(each.uuids) for name, each in after.allocations.items()} == {
        "train": 1,
        "stuck": len(LAB.units) - 1,
    }
