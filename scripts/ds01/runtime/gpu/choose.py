"""Which of the free units are given. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from ds01.core.typed import assert_never
from ds01.runtime.gpu.hardware import GpuUuid, Unit
from ds01.runtime.gpu.request import Strategy


def choose(
    free: Iterable[Unit],
    number: int,
    in_use: Iterable[Unit],
    *,
    strategy: Strategy,
    profile: str | None,
    room: Fraction | None = None,
) -> tuple[Unit, ...]:
    """Pick units one by one, each as if the ones before it were in use already.

    Least allocated spreads: the GPU with the fewest units in use comes first. Pack fills: the GPU with the most, so
    that whole GPUs stay free for those who need one. Between equals the wanted MIG profile comes first, then the
    smaller unit, then the order of slots.

    Args:
        number: the caller has seen that there are so many, and within() the room.
        profile: the MIG profile that is given first; None for no preference.
        room: what they may be together, in whole GPUs; None is unlimited.
    """
    left = list(free)
    load: dict[GpuUuid, int] = {}
    for unit in in_use:
        load[unit.gpu_uuid] = load.get(unit.gpu_uuid, 0) + 1
    picked: list[Unit] = []
    for more in range(number, 0, -1):
        best = min(
            within(left, more, room),
            key=lambda unit: (_rank(unit, load.get(unit.gpu_uuid, 0), strategy), _taste(unit, profile)),
        )
        left.remove(best)
        picked.append(best)
        room = None if room is None else room - best.share
        load[best.gpu_uuid] = load.get(best.gpu_uuid, 0) + 1
    return tuple(picked)


def within(units: Sequence[Unit], number: int, room: Fraction | None) -> Sequence[Unit]:
    """Return each unit that is one of some `number` of them that are together no larger than the room."""
    if room is None:
        return units
    shares = [unit.share for unit in smallest(units, number)]
    if sum(shares, Fraction(0)) > room:
        return ()
    largest = room - sum(shares[: number - 1], Fraction(0))
    return tuple(unit for unit in units if unit.share <= largest)


def smallest(units: Iterable[Unit], number: int) -> tuple[Unit, ...]:
    """Return so many of the smallest units; between equals those that come first."""
    return tuple(sorted(units, key=lambda unit: float(unit.share))[:number])


def _rank(unit: Unit, in_use: int, strategy: Strategy) -> tuple[bool, int]:  # noqa: RET503 - assert_never() does not return
    match strategy:
        case Strategy.LEAST_ALLOCATED:
            return False, in_use
        case Strategy.PACK:
            return unit.is_whole, -in_use
        case _:
            assert_never(strategy)


def _taste(unit: Unit, profile: str | None) -> tuple[bool, float, int, Sequence[int]]:
    """Slots are compared as numbers: 0:10 comes after 0:2."""
    fits = profile is None or unit.profile == profile
    return not fits, float(unit.share), unit.gpu_index, [int(part) for part in unit.slot.split(":")]
