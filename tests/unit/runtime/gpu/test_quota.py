"""Quotas: each alone, all together, stopped containers too, and none for administrators."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from tests.unit.runtime.gpu.hosts import A30, ADMIN, BY_SIZE, LAB, NOON, STUDENT, ask, held, ledger

from ds01.core.value import replace
from ds01.runtime.gpu.answer import Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import GpuProcess, GpuUuid, Unit
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.quota import FREE_SOME, most_allowed, over_quota, room_by_size, units_allowed
from ds01.runtime.gpu.request import AccountLimits

UNITS = LAB.units


def units(*slots: str) -> tuple[Unit, ...]:
    return tuple(unit for unit in UNITS if unit.slot in slots)


THREE = ledger(*(held("alice", slot) for slot in ("2:0", "2:1", "3:0")))


def test_units_are_counted_over_all_containers_and_said_with_who_has_them() -> None:
    assert over_quota(ask("alice"), units("3:1"), STUDENT, THREE, UNITS) == Refusal(
        Reason.QUOTA,
        "alice holds 3 of 3 GPU units and asks for 1 more",
        FREE_SOME,
        tuple(Holding(slot, "alice", f"alice-{slot}", NOON) for slot in ("2:0", "2:1", "3:0")),
    )
    two = ledger(held("alice", "2:0"), held("alice", "2:1"), held("bob", "3:0", "3:1"))
    assert over_quota(ask("alice"), units("3:2"), STUDENT, two, UNITS) is None


def test_what_a_stopped_container_holds_counts() -> None:
    stopped = ledger(*(held("alice", slot, stopped_at=NOON) for slot in ("2:0", "2:1", "3:0")))
    refusal = over_quota(ask("alice"), units("3:1"), STUDENT, stopped, UNITS)
    assert refusal is not None
    assert {each.stopped_at for each in refusal.holdings} == {NOON}


@pytest.mark.parametrize(
    ("most", "text", "fix"),
    [
        (1, "alice asks for 2 GPU units, one container may have 1", "ask for 1 GPU unit or fewer"),
        (0, "alice asks for 2 GPU units, one container may have 0", "run it without a GPU"),
    ],
)
def test_one_container_has_a_limit_of_its_own(most: int, text: str, fix: str) -> None:
    limits = replace(STUDENT, max_per_container=most)
    assert over_quota(ask("alice"), units("2:0", "2:1"), limits, Ledger(), UNITS) == Refusal(Reason.TOO_MANY, text, fix)


@pytest.mark.parametrize(
    ("allowed", "holding", "more", "fits"),
    [
        ("1.3", (), ("0",), True),
        ("1.3", ("0",), ("2:0",), True),  # 1 + 2/7 = 1.29
        ("1.3", ("0", "2:0"), ("2:1",), False),
        ("1.3", (), ("0", "1"), False),
        ("0.57", ("2:0",), ("2:1",), True),  # 4/7 = 0.571 is what 0.57 means
        ("0.56", ("2:0",), ("2:1",), False),
        ("0.28", (), ("2:0",), False),  # 2/7 = 0.286 is 0.29
        ("0.29", (), ("2:0",), True),
        ("0", (), ("2:0",), False),
    ],
)
def test_a_quota_by_size_counts_shares_of_a_gpu(
    allowed: str, holding: tuple[str, ...], more: tuple[str, ...], *, fits: bool
) -> None:
    limits = replace(BY_SIZE, max_equivalents=Fraction(allowed))
    book = ledger(*(held("dan", slot) for slot in holding))
    refusal = over_quota(ask("dan"), units(*more), limits, book, UNITS)
    assert (refusal is None) is fits
    assert refusal is None or refusal.reason is Reason.QUOTA


def test_a_refusal_by_size_says_both_figures() -> None:
    book = ledger(held("dan", "0"), held("dan", "2:0"))
    refusal = over_quota(ask("dan"), units("2:1"), BY_SIZE, book, UNITS)
    assert refusal is not None
    assert refusal.text == "dan holds 1.29 of 1.3 whole GPUs and asks for 0.29 more"
    assert [each.slot for each in refusal.holdings] == ["0", "2:0"]


def test_a_unit_that_the_machine_has_no_more_counts_as_a_unit_and_takes_no_room_by_size() -> None:
    gone = replace(held("dan", "9:0"), uuids=held("dan", "2:0").uuids[:0] or ("MIG-gone",))  # type: ignore[arg-type]
    book = ledger(gone)
    assert over_quota(ask("dan"), units("0"), BY_SIZE, book, UNITS) is None
    assert over_quota(ask("dan"), units("0"), replace(BY_SIZE, max_units=1), book, UNITS) is not None


def test_who_holds_nothing_is_told_to_ask_for_less() -> None:
    refusal = over_quota(ask("dan"), units("0", "1"), BY_SIZE, Ledger(), UNITS)
    text = "dan holds 0 of 1.3 whole GPUs and asks for 2 more"
    assert refusal == Refusal(Reason.QUOTA, text, "ask for a smaller unit")


def test_the_whole_of_a_split_gpu_counts_as_one_gpu() -> None:
    stray = replace(held("dan", "2:0"), uuids=(GpuUuid("GPU-2"),))
    assert room_by_size(ask("dan"), BY_SIZE, ledger(stray), UNITS) == Fraction("0.305")
    assert room_by_size(ask("dan"), BY_SIZE, ledger(stray, held("dan", "3:0")), UNITS) == Fraction("0.305") - Fraction(
        2, 7
    )


def test_administrators_have_no_quota() -> None:
    mine = ledger(*(held("root", slot) for slot in ("0", "1", "2:0", "2:1", "2:2")))
    limits = replace(ADMIN, max_units=1, max_per_container=1, max_equivalents=Fraction(0))
    assert over_quota(ask("root"), units("3:0", "3:1"), limits, mine, UNITS) is None
    assert room_by_size(ask("root"), limits, mine, UNITS) is None
    assert most_allowed(ask("root"), limits, mine) is None


def test_what_an_administrator_states_for_itself_holds() -> None:
    mine = ledger(held("root", "0"))
    refusal = over_quota(ask("root", most_units=2), units("3:0", "3:1"), ADMIN, mine, UNITS)
    assert refusal is not None
    assert refusal.text == "root holds 1 of 2 GPU units and asks for 2 more"
    assert most_allowed(ask("root", most_units=2), ADMIN, mine) == 1


@pytest.mark.parametrize(
    ("changes", "slots", "reason"),
    [
        ({}, ("3:0",), None),
        ({"max_units": 2}, ("3:0",), Reason.QUOTA),
        ({"max_per_container": 1}, ("3:0", "3:1"), Reason.TOO_MANY),
        ({"max_equivalents": Fraction("0.5")}, ("3:0",), Reason.QUOTA),
        ({"max_units": 3, "max_per_container": 1, "max_equivalents": Fraction("0.86")}, ("3:0",), None),
        ({"max_units": 3, "max_per_container": 1, "max_equivalents": Fraction("0.85")}, ("3:0",), Reason.QUOTA),
        ({"max_units": 2, "max_per_container": 0}, ("3:0",), Reason.TOO_MANY),
    ],
)
def test_of_several_quotas_each_holds(changes: dict[str, Any], slots: tuple[str, ...], reason: Reason | None) -> None:
    two = ledger(held("alice", "2:0"), held("alice", "2:1", stopped_at=NOON))
    refusal = over_quota(ask("alice"), units(*slots), AccountLimits(**changes), two, UNITS)
    assert (refusal and refusal.reason) is reason


def test_a_quota_that_is_smaller_than_what_is_held_takes_nothing_away_and_gives_nothing_more() -> None:
    limits = replace(STUDENT, max_units=1)
    refusal = over_quota(ask("alice"), units("3:1"), limits, THREE, UNITS)
    assert refusal is not None
    assert refusal.text == "alice holds 3 of 1 GPU unit and asks for 1 more"
    assert most_allowed(ask("alice"), limits, THREE) == 0


def test_a_share_is_of_this_models_slices() -> None:
    book = ledger(held("dan", "0:0", devices=A30))
    limits = replace(BY_SIZE, max_equivalents=Fraction("0.75"))
    assert [
        over_quota(ask("dan"), [unit for unit in A30.units if unit.slot in slots], limits, book, A30.units) is None
        for slots in (("0:1",), ("0:1", "0:2"))
    ] == [True, False]


def test_nothing_stated_is_unlimited() -> None:
    assert over_quota(ask("alice"), UNITS, AccountLimits(), THREE, UNITS) is None
    assert (
        most_allowed(ask("alice"), AccountLimits(), THREE),
        room_by_size(ask("alice"), AccountLimits(), THREE, UNITS),
    ) == (
        None,
        None,
    )


def test_a_request_can_state_a_quota_of_its_own() -> None:
    assert units_allowed(ask("alice", most_units=1), STUDENT) == 1
    one = ledger(held("alice", "2:0"))
    refusal = over_quota(ask("alice", most_units=1), units("3:1"), STUDENT, one, UNITS)
    assert refusal is not None
    assert refusal.text == "alice holds 1 of 1 GPU unit and asks for 1 more"
    assert over_quota(ask("alice", most_units=4), units("3:1"), STUDENT, THREE, UNITS) is None


def test_what_one_more_container_may_have_is_the_smaller_of_both() -> None:
    limits = replace(STUDENT, max_per_container=2)
    assert [most_allowed(ask("alice"), limits, ledger(*THREE.allocations.values()).released(each) if each else THREE)
            for each in (None, held("alice", "2:0"))] == [0, 1]  # fmt: skip
    assert most_allowed(ask("alice"), limits, Ledger()) == 2


def test_room_by_size_is_what_is_left() -> None:
    book = ledger(held("dan", "0"))
    assert room_by_size(ask("dan"), BY_SIZE, book, UNITS) == Fraction("0.305")


# --- Outside containers -----------------------------------------------------------------------------------------------


def on(uuid: str, user: str = "alice", pid: int = 4711, command: str = "python") -> GpuProcess:
    return GpuProcess(pid, GpuUuid(uuid), user, command, since=NOON)


def test_what_an_accounts_processes_use_outside_containers_counts_and_is_named() -> None:
    two = ledger(held("alice", "2:0"), held("alice", "2:1"))
    outside = (on("MIG-30"), on("MIG-31", "bob"))
    assert over_quota(ask("alice"), units("3:2"), STUDENT, two, UNITS, outside) == Refusal(
        Reason.QUOTA,
        "alice holds 3 of 3 GPU units, 1 of them in use by your python (pid 4711) outside a container, and asks for"
        " 1 more",
        f"end what you need no more (kill 4711); or {FREE_SOME}",
        (
            *(Holding(slot, "alice", f"alice-{slot}", NOON) for slot in ("2:0", "2:1")),
            Holding("3:0", "alice", None, NOON, process="alice's python (pid 4711) outside a container"),
        ),
    )
    assert over_quota(ask("alice"), units("3:2"), STUDENT, two, UNITS, outside[1:]) is None
    assert over_quota(ask("alice"), units("3:2"), STUDENT, two, UNITS) is None


def test_a_unit_counts_once_however_many_processes_and_also_where_a_container_holds_it() -> None:
    two = ledger(held("alice", "2:0"), held("alice", "2:1"))
    outside = (on("MIG-20"), on("MIG-20", pid=4712), on("MIG-21"))
    assert over_quota(ask("alice"), units("3:2"), STUDENT, two, UNITS, outside) is None
    assert most_allowed(ask("alice"), replace(STUDENT, max_per_container=None), two, outside) == 1
    twice = (on("MIG-30"), on("MIG-30", pid=4712))
    assert most_allowed(ask("alice"), replace(STUDENT, max_per_container=None), two, twice) == 0


def test_whose_only_units_are_outside_is_told_to_end_them_and_of_many_some_are_named() -> None:
    outside = tuple(on(f"MIG-{gpu}{part}", pid=10 * gpu + part) for gpu in (2, 3) for part in range(3))
    refusal = over_quota(ask("alice"), units("0"), STUDENT, Ledger(), UNITS, outside)
    assert refusal is not None
    assert refusal.text == (
        "alice holds 6 of 3 GPU units, 6 of them in use by your python (pid 20), python (pid 21), python (pid 22) and"
        " others outside a container, and asks for 1 more"
    )
    assert refusal.fix == "end what you need no more (kill 20 21 22 30 31 32)"


def test_one_process_on_several_units_is_named_once() -> None:
    refusal = over_quota(
        ask("alice"), units("0"), STUDENT, Ledger(), UNITS, tuple(map(on, ("MIG-20", "MIG-21", "MIG-22")))
    )
    assert refusal is not None
    assert "3 of them in use by your python (pid 4711) outside" in refusal.text
    assert refusal.fix == "end what you need no more (kill 4711)"


def test_administrators_are_not_charged_for_it() -> None:
    outside = tuple(on(unit.uuid, "root") for unit in UNITS)
    assert over_quota(ask("root"), units("0", "1"), ADMIN, Ledger(), UNITS, outside) is None
    assert over_quota(ask("root", most_units=2), units("0", "1"), ADMIN, Ledger(), UNITS, outside) is None
    assert most_allowed(ask("root", most_units=2), ADMIN, Ledger(), outside) == 2


@pytest.mark.parametrize(
    ("uuids", "room"),
    [
        (("GPU-0",), Fraction("1.305") - 1),
        (("MIG-20", "MIG-21"), Fraction("1.305") - Fraction(4, 7)),
        # Of a process on one instance a driver may name the GPU alone.
        (("GPU-2",), Fraction("1.305") - Fraction(2, 7)),
        (("GPU-9",), Fraction("1.305")),
    ],
)
def test_by_size_it_counts_with_what_it_is_on(uuids: tuple[str, ...], room: Fraction) -> None:
    outside = tuple(on(uuid, "dan") for uuid in uuids)
    assert room_by_size(ask("dan"), BY_SIZE, Ledger(), UNITS, outside) == room


def test_a_refusal_by_size_names_it_too() -> None:
    outside = (on("GPU-0", "dan"), on("GPU-2", "dan", 4712, "jupyter"))
    refusal = over_quota(ask("dan"), units("1"), BY_SIZE, Ledger(), UNITS, outside)
    assert refusal is not None
    assert refusal.text == (
        "dan holds 1.29 of 1.3 whole GPUs, 2 of them in use by your python (pid 4711), jupyter (pid 4712) outside a"
        " container, and asks for 1 more"
    )
    assert [each.slot for each in refusal.holdings] == ["0", "2"]
