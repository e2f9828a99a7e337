"""Which free unit is given: spread or packed, the wanted profile first, the same answer every time."""

from __future__ import annotations

from fractions import Fraction

import pytest
from tests.unit.runtime.gpu.hosts import LAB, MIXED, RACE, split, whole

from ds01.runtime.gpu.choose import choose, within
from ds01.runtime.gpu.hardware import Devices, Unit
from ds01.runtime.gpu.request import Strategy


def sequence(devices: Devices, strategy: Strategy, number: int, profile: str | None = None) -> list[str]:
    """The slots that are given when units are asked for one by one."""
    free, used = list(devices.units), []
    for _ in range(number):
        (unit,) = choose(free, 1, used, strategy=strategy, profile=profile)
        free.remove(unit)
        used.append(unit)
    return [unit.slot for unit in used]


MIG_ONLY = Devices((split(0, 2, 2, 2), split(1, 2, 2, 2)))
MIG_OF_ALL_SIZES = Devices(MIXED.gpus[:2])


def test_least_allocated_goes_round_the_gpus() -> None:
    assert sequence(MIG_ONLY, Strategy.LEAST_ALLOCATED, 6) == ["0:0", "1:0", "0:1", "1:1", "0:2", "1:2"]
    assert sequence(LAB, Strategy.LEAST_ALLOCATED, 8) == ["2:0", "3:0", "0", "1", "2:1", "3:1", "2:2", "3:2"]


def test_pack_fills_one_gpu_after_the_other_and_keeps_whole_ones_for_last() -> None:
    assert sequence(MIG_ONLY, Strategy.PACK, 6) == ["0:0", "0:1", "0:2", "1:0", "1:1", "1:2"]
    assert sequence(LAB, Strategy.PACK, 8) == ["2:0", "2:1", "2:2", "3:0", "3:1", "3:2", "0", "1"]


def test_several_at_once_are_chosen_as_one_after_the_other() -> None:
    for strategy in Strategy:
        at_once = choose(RACE.units, 6, (), strategy=strategy, profile=None)
        assert [unit.slot for unit in at_once] == sequence(RACE, strategy, 6)


@pytest.mark.parametrize(
    ("profile", "slots"),
    [
        (None, ["0:1", "1:1", "0:2", "1:0", "0:0"]),  # the smaller one of equals
        ("3g.30gb", ["0:0", "1:0", "0:1", "1:1", "0:2"]),
        ("7g.80gb", ["0:1", "1:1", "0:2", "1:0", "0:0"]),
    ],
)
def test_between_equals_the_wanted_profile_comes_first_then_the_smaller(profile: str | None, slots: list[str]) -> None:
    assert sequence(MIG_OF_ALL_SIZES, Strategy.LEAST_ALLOCATED, 5, profile) == slots


def test_slots_are_compared_as_numbers() -> None:
    many = Devices((split(0, *[1] * 12),))
    assert sequence(many, Strategy.PACK, 12) == [f"0:{number}" for number in range(12)]
    gpus = Devices(tuple(whole(index) for index in range(12)))
    assert sequence(gpus, Strategy.LEAST_ALLOCATED, 12) == [str(number) for number in range(12)]


def test_the_order_in_which_units_are_given_in_changes_nothing() -> None:
    backwards: tuple[Unit, ...] = tuple(reversed(LAB.units))
    for strategy in Strategy:
        picked = [choose(units, 3, (), strategy=strategy, profile=None) for units in (LAB.units, backwards)]
        assert picked[0] == picked[1]


def test_a_long_spread_never_has_one_gpu_two_units_ahead_of_another_that_has_some_left() -> None:
    order = sequence(RACE, Strategy.LEAST_ALLOCATED, 14)
    left = {gpu: [unit.slot for unit in RACE.units if unit.gpu_index == gpu] for gpu in range(6)}
    sizes = {gpu: len(slots) for gpu, slots in left.items()}
    for slot in order:
        gpu = int(slot.partition(":")[0])
        left[gpu].remove(slot)
        given = {each: sizes[each] - len(left[each]) for each in left}
        assert given[gpu] <= min(given[each] for each in left if left[each] or each == gpu) + 1
    assert left == {gpu: [] for gpu in range(6)}


def test_a_long_pack_begins_a_gpu_only_when_those_it_has_begun_are_full() -> None:
    order = sequence(RACE, Strategy.PACK, 14)
    assert order == [f"{gpu}:{number}" for gpu in range(2, 6) for number in range(3)] + ["0", "1"]


def test_pack_keeps_a_whole_gpu_longer_than_an_instance_of_the_same_size() -> None:
    devices = Devices((whole(0), split(1, 7)))
    assert sequence(devices, Strategy.PACK, 2) == ["1:0", "0"]
    assert sequence(devices, Strategy.LEAST_ALLOCATED, 2) == ["0", "1:0"]


def test_pack_goes_on_where_others_have_begun() -> None:
    used = [unit for unit in LAB.units if unit.slot == "3:1"]
    free = [unit for unit in LAB.units if unit.slot != "3:1"]
    picked = choose(free, 3, used, strategy=Strategy.PACK, profile=None)
    assert [unit.slot for unit in picked] == ["3:0", "3:2", "2:0"]


@pytest.mark.parametrize(
    ("number", "sevenths", "slots"),
    [
        (1, None, ("0:0", "0:1", "0:2", "1:0", "1:1")),
        (1, 3, ("0:0", "0:1", "0:2", "1:0", "1:1")),
        (1, 2, ("0:1", "0:2", "1:1")),
        (1, 0, ()),
        (1, -1, ()),
        (2, 6, ("0:0", "0:1", "0:2", "1:0", "1:1")),
        (2, 3, ("0:1", "0:2", "1:1")),
        (2, 2, ("0:1", "0:2")),
        (2, 1, ()),
        (3, 5, ("0:0", "0:1", "0:2", "1:0", "1:1")),
        (3, 4, ("0:1", "0:2", "1:1")),
        (3, 3, ()),
    ],
)
def test_what_can_be_a_part_of_so_many_that_fit_in_the_room(
    number: int, sevenths: int | None, slots: tuple[str, ...]
) -> None:
    room = None if sevenths is None else Fraction(sevenths, 7)
    assert tuple(unit.slot for unit in within(MIG_OF_ALL_SIZES.units, number, room)) == slots


@pytest.mark.parametrize(
    ("room", "slots"),
    [(None, ["0:0", "1:0"]), (6, ["0:0", "1:0"]), (5, ["0:0", "1:1"]), (4, ["0:0", "0:1"]), (3, ["0:1", "1:1"])],
)
def test_several_are_together_no_larger_than_the_room(room: int | None, slots: list[str]) -> None:
    size = None if room is None else Fraction(room, 7)
    picked = choose(MIG_OF_ALL_SIZES.units, 2, (), strategy=Strategy.LEAST_ALLOCATED, profile="3g.30gb", room=size)
    assert [unit.slot for unit in picked] == slots
