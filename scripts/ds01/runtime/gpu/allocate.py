"""Decide who gets which GPU. Pure: devices, ledger, request, limits and the time in, a grant or a refusal out.

Must never give a unit that anybody holds, nor one that a waiter ahead could use, whatever the request says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from fractions import Fraction

from ds01.core.rules import Mode
from ds01.core.typed import Final, assert_never
from ds01.core.value import dataclass, replace
from ds01.runtime.gpu.answer import Grant, Reason, Refusal
from ds01.runtime.gpu.choose import choose, smallest, within
from ds01.runtime.gpu.hardware import Devices, GpuUuid, Unit
from ds01.runtime.gpu.ledger import Allocation, Ledger, Waiter, nameless
from ds01.runtime.gpu.quota import holdings, most_allowed, over_quota, room_by_size
from ds01.runtime.gpu.request import AccountLimits, All, Count, GpuUnit, Limits, Named, Request
from ds01.runtime.gpu.view import View, problems

# Source: CUDA C++ programming guide, "MIG": enumeration is limited to one compute instance.
ONE_OF_SEVERAL: Final = "CUDA uses only the first of several MIG instances: ask for one, or for a whole GPU"
MIXED: Final = "CUDA does not use whole GPUs and MIG instances together: ask for one kind"
_ASK_FOR_MORE: Final = "ask an administrator for another group or quota, see ds01 gpu status for what there is"


@dataclass(frozen=True, slots=True)
class Option:
    """One way to meet a request.

    Attributes:
        pool: the units that would do, whether free or not.
        number: how many of them.
        named: whether exactly these are wanted.
        room: how large they may be together, in whole GPUs; None is unlimited.
    """

    pool: tuple[Unit, ...]
    number: int
    named: bool = False
    room: Fraction | None = None


def allocate(devices: Devices, ledger: Ledger, request: Request, limits: Limits, now: datetime) -> Grant | Refusal:
    """Decide one request; the caller writes a grant down, in the same transaction in which it read the ledger.

    A request that was granted before, by its id or by its container's name, is granted the same again. Quotas come
    before availability, so that nobody waits for what would be refused. Nobody is ever made to give a unit back.
    """
    view = View.of(devices, ledger, limits, now)
    before = _before(view, ledger, request)
    if before is not None:
        return before
    options = _options(view, ledger, request, limits)
    if isinstance(options, Refusal):
        return options
    kept = _kept_back(view, ledger, ledger.ahead_of(request.id, request.priority), limits)
    refusals: list[Refusal] = []
    for option in options:
        able = _within_reach(view, ledger, request, limits, option)
        if isinstance(able, Refusal):
            refusals.append(able)
            continue
        picked = _pick(view, able, kept, limits)
        if picked is not None:
            notes = (*_above(view, ledger, request, limits, picked), *_notes(devices, picked, limits))
            return Grant(_allocation(request, picked, now), picked, notes)
        refusals.append(_not_now(view, able, request.user))
    return next((each for each in refusals if each.waitable), refusals[0])


def _allocation(request: Request, units: tuple[Unit, ...], now: datetime) -> Allocation:
    return Allocation(
        container=request.container or request.id,
        id=request.id,
        user=request.user,
        slots=tuple(unit.slot for unit in units),
        uuids=tuple(unit.uuid for unit in units),
        allocated_at=now,
        priority=request.priority,
    )


def _notes(devices: Devices, units: Sequence[Unit], limits: Limits) -> Iterator[str]:
    if devices.unknown is not None and limits.avoid_busy:
        yield f"whether somebody uses it outside a container cannot be told: {devices.unknown}"
    whole = sum(unit.is_whole for unit in units)
    if len(units) > 1 and whole < len(units):
        yield MIXED if whole else ONE_OF_SEVERAL


# --- The same request once more --------------------------------------------------------------------------------------


def _before(view: View, ledger: Ledger, request: Request) -> Grant | Refusal | None:
    by_name = ledger.allocations.get(request.container) if request.container is not None else None
    there = ledger.by_id(request.id) or by_name
    if there is None:
        return _not_in_line_as(ledger, request)
    if there.user != request.user:
        whose = there.user or "an unknown account"
        text = f"{there.container} is a container of {whose} and holds GPU {', '.join(there.slots)}"
        return Refusal(Reason.NAME_TAKEN, text, "choose another name for the container")
    if not _is_same(view, there, request) or (request.container or there.container) != there.container:
        text = f"{there.container} already holds GPU {', '.join(there.slots)}, which is not what is asked for now"
        return Refusal(Reason.DIFFERENT, text, None, tuple(holdings([there])))
    way = f"docker rm {there.container}, or sudo ds01 gpu release --container {there.container}"
    return again(view, there, f"re-create it to get another one ({way}, then ask again)")


def again(view: View, there: Allocation, fix: str) -> Grant | Refusal:
    """Give a container what it holds, or say which of that is gone or broken; it holds it all the same.

    Args:
        fix: how to get something else.
    """
    units: list[Unit] = []
    for uuid in there.uuids:
        unit = view.find(uuid)
        wrong = view.missing(uuid) if unit is None else view.broken((unit,)) if unit.problem is not None else None
        if wrong is not None:
            held = f"{there.container} has GPU {', '.join(there.slots)}"
            return replace(wrong, text=f"{held}: {wrong.text}", fix=fix)
        units += [] if unit is None else [unit]
    return Grant(there, tuple(units), fresh=False)


def _not_in_line_as(ledger: Ledger, request: Request) -> Refusal | None:
    """Refuse a request that bears the id of somebody in the line, or of another request there: ids can be read."""
    waiter = next((each for each in ledger.queue if each.id == request.id), None)
    if waiter is None or as_request(waiter) == request:
        return None
    text = f"{request.id} is the id of another request in the line"
    return Refusal(Reason.NAME_TAKEN, text, "leave the id out, or use the one of your own earlier try")


def _is_same(view: View, there: Allocation, request: Request) -> bool:  # noqa: RET503 - assert_never() does not return
    match request.wanted:
        case All():
            return True
        case Count(number):
            return number == len(there.uuids)
        case Named(names):
            # What it holds may be gone: that is said by its name then.
            known = dict(zip(there.slots, there.uuids, strict=False))
            uuids = {known.get(name, name) if (unit := view.find(name)) is None else unit.uuid for name in names}
            return uuids == set(there.uuids)
        case _:
            assert_never(request.wanted)


# --- What would do ---------------------------------------------------------------------------------------------------


def _options(view: View, ledger: Ledger, request: Request, limits: Limits) -> tuple[Option, ...] | Refusal:
    """Return the ways to meet a request that hardware and policy have, best first."""
    whole = tuple(unit for unit in view.units if unit.is_whole)
    mig = tuple(unit for unit in view.units if not unit.is_whole) if limits.enable_mig else ()
    if limits.of(request.user).may_have_whole:
        return _ways(view, ledger, request, limits, (whole, mig))
    found = _ways(view, ledger, request, limits, ((), mig))
    if isinstance(found, Refusal) and limits.mode is not Mode.ENFORCE:
        # Only then: who can be served as the policy has it is served so, whatever becomes of those who cannot.
        return _ways(view, ledger, request, limits, (whole, mig))
    return found


def _ways(
    view: View, ledger: Ledger, request: Request, limits: Limits, allowed: tuple[tuple[Unit, ...], tuple[Unit, ...]]
) -> tuple[Option, ...] | Refusal:
    """Return the ways to meet a request with these whole GPUs and MIG instances, or why there is none."""
    own, (whole, mig) = limits.of(request.user), allowed
    match request.wanted:
        case Named(names):
            return _named(view, names, request.user, (*whole, *mig))
        case Count(number):
            found = _of_kind(own.unit, number, whole, mig)
        case All():
            split = own.unit is GpuUnit.MIG or (own.unit is GpuUnit.ANY and mig)
            number = 1 if split else _every_whole(view, ledger, request, own, whole)
            found = _of_kind(own.unit, number, whole, mig)
        case _:
            assert_never(request.wanted)
    able = [option for option in found if len(option.pool) >= option.number]
    return tuple(able) or _too_few(view, request.user, own.unit, found, allowed)


def _every_whole(view: View, ledger: Ledger, request: Request, own: AccountLimits, whole: Sequence[Unit]) -> int:
    """Return how many whole GPUs `all` is: those that are well, as far as the quotas go; 1 when that is none."""
    room = room_by_size(request, own, ledger, view.units, view.outside)
    bounds = [most_allowed(request, own, ledger, view.outside), None if room is None else int(room)]
    well = sum(unit.problem is None for unit in whole)
    return max(1, min([well, *(bound for bound in bounds if bound is not None)]))


def _of_kind(unit: GpuUnit, number: int, whole: tuple[Unit, ...], mig: tuple[Unit, ...]) -> tuple[Option, ...]:  # noqa: RET503 - assert_never() does not return
    match unit:
        case GpuUnit.MIG:
            return (Option(mig, number),)
        case GpuUnit.FULL:
            return (Option(whole, number),)
        case GpuUnit.ANY if number == 1:
            return (Option((*whole, *mig), 1),)
        case GpuUnit.ANY:
            # Never some of either: CUDA would see only one of them.
            return Option(whole, number), Option(mig, number)
        case _:
            assert_never(unit)


def _too_few(
    view: View, user: str, unit: GpuUnit, found: Sequence[Option], allowed: tuple[tuple[Unit, ...], tuple[Unit, ...]]
) -> Refusal:
    whole, mig = allowed
    number = found[0].number
    if view.ill:
        text = f"{number} asked for, and not so many can be given: {problems(view.ill)}"
        return Refusal(Reason.BROKEN, text, "ask for fewer, or tell an administrator")
    if not view.units:
        return Refusal(Reason.NO_SUCH_GPU, "this machine has no GPU that can be given", "tell an administrator")
    if not whole and not mig:
        why = " and ".join(dict.fromkeys(_why_not(each, user) for each in view.units))
        return Refusal(Reason.NOT_ALLOWED, f"{why}; this machine has nothing else", _ASK_FOR_MORE)
    most = max(len(option.pool) for option in found)
    text = f"{user} asks for {number} {_kind(unit, number)}; this machine has {most} that {user} may have"
    fix = "ask for fewer, or see ds01 gpu status for what there is" if most else _ASK_FOR_MORE
    return Refusal(Reason.NO_SUCH_GPU, text, fix)


def _kind(unit: GpuUnit, number: int) -> str:  # noqa: RET503 - assert_never() does not return
    several = "" if number == 1 else "s"
    match unit:
        case GpuUnit.MIG:
            return f"MIG instance{several}"
        case GpuUnit.FULL:
            return f"whole GPU{several}"
        case GpuUnit.ANY:
            return f"GPU unit{several} of one kind"
        case _:
            assert_never(unit)


def _why_not(unit: Unit, user: str) -> str:
    if unit.is_whole:
        return f"{user} may not have a whole GPU"
    return "MIG instances are not given out here (gpu_allocation.enable_mig)"


def _named(view: View, names: Sequence[str], user: str, allowed: Sequence[Unit]) -> tuple[Option, ...] | Refusal:
    pool: list[Unit] = []
    for name in names:
        unit = view.find(name)
        if unit is None:
            return view.missing(name)
        if unit not in allowed:
            fix = "ask for one without naming it, such as --gpus 1" if allowed else _ASK_FOR_MORE
            return Refusal(Reason.NOT_ALLOWED, f"GPU {unit.slot} cannot be given: {_why_not(unit, user)}", fix)
        if unit not in pool:
            pool.append(unit)
    return (Option(tuple(pool), len(pool), named=True),)


# --- Whether it can be had now ---------------------------------------------------------------------------------------


def _within_reach(view: View, ledger: Ledger, request: Request, limits: Limits, option: Option) -> Option | Refusal:
    """Return an option with those units that are well and that the quota has room for; or why no time will help.

    Quotas are held against the smallest units: what is refused here can be had in no way.
    """
    well = tuple(unit for unit in option.pool if unit.problem is None)
    if len(well) < option.number:
        return view.broken(option.pool)
    if limits.mode is not Mode.ENFORCE:
        return replace(option, pool=well)
    own = limits.of(request.user)
    over = over_quota(request, smallest(well, option.number), own, ledger, view.units, view.outside)
    if over is not None:
        return over
    room = room_by_size(request, own, ledger, view.units, view.outside)
    return replace(option, pool=tuple(within(well, option.number, room)), room=room)


def _pick(view: View, option: Option, kept: Collection[GpuUuid], limits: Limits) -> tuple[Unit, ...] | None:
    """Return what can be given now; None when too few of those within reach are free and kept for nobody."""
    free = tuple(unit for unit in option.pool if view.is_free(unit) and unit.uuid not in kept)
    if len(free) < option.number or not within(free, option.number, option.room):
        return None
    if option.named:
        return free
    return choose(
        free,
        option.number,
        view.held_units,
        strategy=limits.strategy,
        profile=limits.profile,
        room=option.room,
    )


def _not_now(view: View, option: Option, user: str) -> Refusal:
    free = tuple(unit for unit in option.pool if view.is_free(unit))
    refusal = view.in_use(option.pool, free, named=option.named, number=option.number)
    if len(free) < option.number or within(free, option.number, option.room):
        return refusal
    text = f"{', '.join(unit.slot for unit in free)} are free, and {option.number} of them too large for {user}'s quota"
    return replace(
        refusal, reason=Reason.TAKEN, text=text, fix="ask for fewer, or once more when smaller ones are free"
    )


def _above(view: View, ledger: Ledger, request: Request, limits: Limits, picked: Sequence[Unit]) -> tuple[str, ...]:
    """Return what is said where the rule only warns."""
    if limits.mode is not Mode.WARN:
        return ()
    own = limits.of(request.user)
    denied = [_why_not(unit, request.user) for unit in picked if unit.is_whole and not own.may_have_whole]
    over = over_quota(request, picked, own, ledger, view.units, view.outside)
    texts = (*denied[:1], *(() if over is None else (over.text,)))
    return tuple(f"above the quota: {text}" for text in texts)


# --- Who comes first -------------------------------------------------------------------------------------------------


def _kept_back(view: View, ledger: Ledger, ahead: Sequence[Waiter], limits: Limits) -> Collection[GpuUuid]:
    """Return the free units that are for those ahead in the line.

    Each of them is given its units first, in thought. One who cannot be served yet keeps back everything that it
    could use, or it would wait for ever beside a stream of smaller requests. One whose own quota is used up keeps
    nothing back, nor does one whose container has its units by now.
    """
    kept: set[GpuUuid] = set()
    for waiter in ahead:
        request = as_request(waiter)
        options = () if _before(view, ledger, request) else _options(view, ledger, request, limits)
        if isinstance(options, Refusal):
            continue
        reachable = [
            able
            for option in options
            if isinstance(able := _within_reach(view, ledger, request, limits, option), Option)
        ]
        picks = (_pick(view, option, kept, limits) for option in reachable)
        picked = next((pick for pick in picks if pick is not None), None)
        if picked is not None:
            kept.update(unit.uuid for unit in picked)
        elif reachable:
            kept.update(unit.uuid for option in reachable for unit in option.pool if view.is_free(unit))
            # Counted as if it had them: an account that sends many to wait keeps back no more than its quota.
            picked = smallest(reachable[0].pool, reachable[0].number)
        else:
            continue
        allocation = _in_thought(request, picked, waiter.since)
        ledger, view = ledger.granted(allocation), view.taken(allocation)
    return kept


def _in_thought(request: Request, units: tuple[Unit, ...], now: datetime) -> Allocation:
    """The same account's next waiter must find its quota used up. Under a name that no container can have."""
    return replace(_allocation(request, units, now), container=nameless(request.id))


def as_request(waiter: Waiter) -> Request:
    """Return what a waiter asks for."""
    return Request(waiter.id, waiter.user, waiter.wanted, waiter.priority, waiter.container, waiter.most_units)
