"""Whether an account may have so many units more. Pure: limits and ledger in, a refusal or nothing out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from ds01.core.typed import Final
from ds01.core.units import format_number
from ds01.runtime.gpu.answer import Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import Unit
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.request import AccountLimits, Request

# Quotas by size are written with two decimals: 0.57 is meant to hold two 2g.20gb instances, which are 4/7.
_ROUNDING: Final = Fraction(5, 1000)
FREE_SOME: Final = "remove a container that you need no more (docker rm -f NAME), see ds01 gpu status"


def over_quota(
    request: Request, picked: Sequence[Unit], limits: AccountLimits, ledger: Ledger, units: Sequence[Unit]
) -> Refusal | None:
    """Return what stands against giving the picked units to the account; None when nothing does.

    Stopped containers count as long as they hold their units.

    Args:
        units: all of the machine's, for what the account already holds.
    """
    held = ledger.of_user(request.user)
    if limits.exempt:
        # What an administrator states for one request holds all the same.
        return None if request.most_units is None else _over_count(request, len(picked), limits, held)
    most_each = limits.max_per_container
    if most_each is not None and len(picked) > most_each:
        return Refusal(
            Reason.TOO_MANY,
            f"{request.user} asks for {_count(len(picked))}, one container may have {most_each}",
            f"ask for {_count(most_each)} or fewer" if most_each else "run it without a GPU",
        )
    return _over_count(request, len(picked), limits, held) or _over_size(request, picked, limits, (held, units))


def most_allowed(request: Request, limits: AccountLimits, ledger: Ledger) -> int | None:
    """Return how many units one more container of the account may have; None is unlimited."""
    held = sum(len(each.uuids) for each in ledger.of_user(request.user))
    total = request.most_units if limits.exempt else units_allowed(request, limits)
    each = None if limits.exempt else limits.max_per_container
    bounds = [each, None if total is None else max(0, total - held)]
    return min((bound for bound in bounds if bound is not None), default=None)


def units_allowed(request: Request, limits: AccountLimits) -> int | None:
    """Return how many units the account may hold in all; a request may state its own number."""
    return limits.max_units if request.most_units is None else request.most_units


def _over_count(request: Request, more: int, limits: AccountLimits, held: tuple[Allocation, ...]) -> Refusal | None:
    most = units_allowed(request, limits)
    used = sum(len(each.uuids) for each in held)
    if most is None or used + more <= most:
        return None
    return Refusal(
        Reason.QUOTA,
        f"{request.user} holds {used} of {_count(most)} and asks for {more} more",
        FREE_SOME if used else f"ask for {_count(most)} or fewer" if most else "run it without a GPU",
        tuple(holdings(held)),
    )


def _over_size(
    request: Request,
    picked: Sequence[Unit],
    limits: AccountLimits,
    of_account: tuple[tuple[Allocation, ...], Sequence[Unit]],
) -> Refusal | None:
    held, units = of_account
    most = limits.max_equivalents
    if most is None:
        return None
    used = _size(held, units)
    more = sum((unit.share for unit in picked), Fraction(0))
    if used + more <= most + _ROUNDING:
        return None
    return Refusal(
        Reason.QUOTA,
        f"{request.user} holds {_share_words(used)} of {_share_words(most)} whole GPUs"
        f" and asks for {_share_words(more)} more",
        FREE_SOME if used else "ask for a smaller unit",
        tuple(holdings(held)),
    )


def room_by_size(request: Request, limits: AccountLimits, ledger: Ledger, units: Sequence[Unit]) -> Fraction | None:
    """Return the largest share of a GPU that the account may still have; None is unlimited."""
    if limits.exempt or limits.max_equivalents is None:
        return None
    return limits.max_equivalents + _ROUNDING - _size(ledger.of_user(request.user), units)


def _size(held: Iterable[Allocation], units: Sequence[Unit]) -> Fraction:
    """A unit that the machine has no more takes nothing from anybody by its size; all of a split GPU is one GPU."""
    mine = {uuid for each in held for uuid in each.uuids}
    split = {unit.gpu_uuid for unit in units if not unit.is_whole}
    return sum((unit.share for unit in units if unit.uuid in mine), Fraction(len(mine & split)))


def holdings(allocations: Iterable[Allocation]) -> Iterable[Holding]:
    """Yield what allocations hold, a row a unit."""
    for each in allocations:
        for slot in each.slots:
            yield Holding(slot, each.user, each.container, each.allocated_at, each.stopped_at)


def _count(number: int) -> str:
    return f"{number} GPU unit{'' if number == 1 else 's'}"


def _share_words(share: Fraction) -> str:
    return format_number(round(float(share), 2))
