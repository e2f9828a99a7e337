"""Whether an account may have so many units more. Pure: limits, ledger and processes in, a refusal or nothing out.

What an account has is what its containers hold, and what its processes use outside containers where the policy counts
that; a unit that is both is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from ds01.core.typed import Final
from ds01.core.units import format_number
from ds01.core.value import dataclass
from ds01.runtime.gpu.answer import Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import GpuProcess, Unit
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.request import AccountLimits, Request

# Quotas by size are written with two decimals: 0.57 is meant to hold two 2g.20gb instances, which are 4/7.
_ROUNDING: Final = Fraction(5, 1000)
FREE_SOME: Final = "remove a container that you need no more (docker rm -f NAME), see ds01 gpu status"
_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class _Uses:
    """What an account has.

    Attributes:
        held: by its containers, stopped ones too.
        outside: one of its processes on the host for each unit that none of its containers holds.
        units: all of the machine's.
    """

    held: tuple[Allocation, ...]
    outside: tuple[GpuProcess, ...]
    units: Sequence[Unit]

    @property
    def count(self) -> int:
        """How many units that is."""
        return sum(len(each.uuids) for each in self.held) + len(self.outside)

    @property
    def size(self) -> Fraction:
        """How much that is in whole GPUs.

        A unit that the machine has no more takes nothing from anybody by its size; all of a split GPU is one GPU. Of
        a process on one of a GPU's instances a driver may name the GPU alone: then it is on the smallest.
        """
        mine = {uuid for each in self.held for uuid in each.uuids} | {each.uuid for each in self.outside}
        named = {each.uuid for each in self.outside}
        split: dict[str, Fraction] = {}
        for unit in self.units:
            if not unit.is_whole:
                split[unit.gpu_uuid] = min(unit.share, split.get(unit.gpu_uuid, unit.share))
        parts = (split[uuid] if uuid in named else Fraction(1) for uuid in mine & split.keys())
        return sum((unit.share for unit in self.units if unit.uuid in mine), sum(parts, Fraction(0)))


def _uses(user: str, ledger: Ledger, units: Sequence[Unit], outside: Iterable[GpuProcess]) -> _Uses:
    held = ledger.of_user(user)
    mine = {uuid for each in held for uuid in each.uuids}
    others = {each.uuid: each for each in outside if each.user == user and each.uuid not in mine}
    return _Uses(held, tuple(others.values()), units)


def over_quota(
    request: Request,
    picked: Sequence[Unit],
    limits: AccountLimits,
    ledger: Ledger,
    units: Sequence[Unit],
    outside: Sequence[GpuProcess] = (),
) -> Refusal | None:
    """Return what stands against giving the picked units to the account; None when nothing does.

    Stopped containers count as long as they hold their units.

    Args:
        units: all of the machine's, for what the account already holds.
        outside: processes on the host, of whomever; none where they do not count.
    """
    if limits.exempt:
        # What an administrator states for one request holds all the same, for what is held.
        uses = _uses(request.user, ledger, units, ())
        return None if request.most_units is None else _over_count(request, len(picked), limits, uses)
    uses = _uses(request.user, ledger, units, outside)
    most_each = limits.max_per_container
    if most_each is not None and len(picked) > most_each:
        return Refusal(
            Reason.TOO_MANY,
            f"{request.user} asks for {_count(len(picked))}, one container may have {most_each}",
            f"ask for {_count(most_each)} or fewer" if most_each else "run it without a GPU",
        )
    return _over_count(request, len(picked), limits, uses) or _over_size(request, picked, limits, uses)


def most_allowed(
    request: Request, limits: AccountLimits, ledger: Ledger, outside: Sequence[GpuProcess] = ()
) -> int | None:
    """Return how many units one more container of the account may have; None is unlimited."""
    held = _uses(request.user, ledger, (), () if limits.exempt else outside).count
    total = request.most_units if limits.exempt else units_allowed(request, limits)
    each = None if limits.exempt else limits.max_per_container
    bounds = [each, None if total is None else max(0, total - held)]
    return min((bound for bound in bounds if bound is not None), default=None)


def units_allowed(request: Request, limits: AccountLimits) -> int | None:
    """Return how many units the account may hold in all; a request may state its own number."""
    return limits.max_units if request.most_units is None else request.most_units


def _over_count(request: Request, more: int, limits: AccountLimits, uses: _Uses) -> Refusal | None:
    most = units_allowed(request, limits)
    if most is None or uses.count + more <= most:
        return None
    return Refusal(
        Reason.QUOTA,
        f"{request.user} holds {uses.count} of {_count(most)}{_by_outside(uses)} and asks for {more} more",
        _way_out(uses, f"ask for {_count(most)} or fewer" if most else "run it without a GPU"),
        tuple(_all_holdings(uses)),
    )


def _over_size(request: Request, picked: Sequence[Unit], limits: AccountLimits, uses: _Uses) -> Refusal | None:
    most = limits.max_equivalents
    if most is None:
        return None
    more = sum((unit.share for unit in picked), Fraction(0))
    if uses.size + more <= most + _ROUNDING:
        return None
    return Refusal(
        Reason.QUOTA,
        f"{request.user} holds {_share_words(uses.size)} of {_share_words(most)} whole GPUs{_by_outside(uses)}"
        f" and asks for {_share_words(more)} more",
        _way_out(uses, "ask for a smaller unit") if uses.size else "ask for a smaller unit",
        tuple(_all_holdings(uses)),
    )


def room_by_size(
    request: Request,
    limits: AccountLimits,
    ledger: Ledger,
    units: Sequence[Unit],
    outside: Sequence[GpuProcess] = (),
) -> Fraction | None:
    """Return the largest share of a GPU that the account may still have; None is unlimited."""
    if limits.exempt or limits.max_equivalents is None:
        return None
    return limits.max_equivalents + _ROUNDING - _uses(request.user, ledger, units, outside).size


# --- Words ------------------------------------------------------------------------------------------------------------


def _by_outside(uses: _Uses) -> str:
    """Name what counts and is no container, so that nobody looks for one."""
    number = len(uses.outside)
    if not number:
        return ""
    names = list(dict.fromkeys(f"{each.command} (pid {each.pid})" for each in uses.outside))
    named = ", ".join(names[:_MOST_NAMED]) + (" and others" if len(names) > _MOST_NAMED else "")
    return f", {number} of them in use by your {named} outside a container,"


def _way_out(uses: _Uses, otherwise: str) -> str:
    if not uses.count:
        return otherwise
    pids = " ".join(dict.fromkeys(str(each.pid) for each in uses.outside))
    return "; or ".join(
        filter(None, (f"end what you need no more (kill {pids})" if pids else "", FREE_SOME if uses.held else ""))
    )


def _all_holdings(uses: _Uses) -> Iterable[Holding]:
    yield from holdings(uses.held)
    for each in uses.outside:
        process = f"{each.user}'s {each.command} (pid {each.pid}) outside a container"
        yield Holding(_slot(uses.units, each), each.user, None, each.since, process=process)


def _slot(units: Sequence[Unit], process: GpuProcess) -> str:
    """Return what people call the unit that a process is on, or the GPU of which it is a part."""
    for unit in units:
        if unit.uuid == process.uuid:
            return unit.slot
    return next((str(unit.gpu_index) for unit in units if unit.gpu_uuid == process.uuid), process.uuid)


def holdings(allocations: Iterable[Allocation]) -> Iterable[Holding]:
    """Yield what allocations hold, a row a unit."""
    for each in allocations:
        for slot in each.slots:
            yield Holding(slot, each.user, each.container, each.allocated_at, each.stopped_at)


def _count(number: int) -> str:
    return f"{number} GPU unit{'' if number == 1 else 's'}"


def _share_words(share: Fraction) -> str:
    return format_number(round(float(share), 2))
