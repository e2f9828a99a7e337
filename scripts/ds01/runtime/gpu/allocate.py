"""Decide who gets which GPU. Pure: devices, ledger, request, limits and the time in, a grant or a refusal out.

Must never give a unit that anybody holds, nor one that a waiter ahead could use, whatever the request says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, assert_never

from ds01.runtime.gpu.answer import Grant, Reason, Refusal
from ds01.runtime.gpu.choose import choose
from ds01.runtime.gpu.hardware import Devices, GpuUuid, Unit
from ds01.runtime.gpu.ledger import Allocation, Ledger, Waiter
from ds01.runtime.gpu.quota import most_allowed, over_quota, room_by_size
from ds01.runtime.gpu.request import All, Count, GpuUnit, Limits, Mode, Named, Request
from ds01.runtime.gpu.view import View, problems

# Source: CUDA C++ programming guide, "MIG": enumeration is limited to one compute instance.
ONE_OF_SEVERAL: Final = "CUDA uses only the first of several MIG instances: ask for one, or for a whole GPU"
MIXED: Final = "CUDA does not use whole GPUs and MIG instances together: ask for one kind"


@dataclass(frozen=True, slots=True)
class Option:
    """One way to meet a request.

    Attributes:
        pool: the units that would do, whether free or not.
        number: how many of them.
        named: whether exactly these are wanted.
    """

    pool: tuple[Unit, ...]
    number: int
    named: bool = False


def allocate(devices: Devices, ledger: Ledger, request: Request, limits: Limits, now: datetime) -> Grant | Refusal:
    """Decide one request; the caller writes a grant down, in the same transaction in which it read the ledger.

    A request that was granted before, by its id or by its container's name, is granted the same again. Quotas come
    before availability, so that nobody waits for what would be refused. Nobody is ever made to give a unit back.
    """
    before = _before(devices, ledger, request)
    if before is not None:
        return before
    view = View.of(devices, ledger, limits)
    options = _options(view, ledger, request, limits)
    if isinstance(options, Refusal):
        return options
    ahead = _kept_back(devices, ledger, ledger.ahead_of(request.id, request.priority), limits)
    refusals: list[Refusal] = []
    for option in options:
        answer = _meet(view, ledger, request, limits, (option, ahead))
        if not isinstance(answer, Refusal):
            return _grant(request, answer, now, devices.unknown if limits.avoid_busy else None)
        refusals.append(answer)
    return next((each for each in refusals if each.waitable), refusals[0])


def _grant(
    request: Request, answer: tuple[tuple[Unit, ...], tuple[str, ...]], now: datetime, unknown: str | None = None
) -> Grant:
    units, notes = answer
    allocation = Allocation(
        container=request.container or request.id,
        id=request.id,
        user=request.user,
        slots=tuple(unit.slot for unit in units),
        uuids=tuple(unit.uuid for unit in units),
        allocated_at=now,
        priority=request.priority,
    )
    if unknown is not None:
        notes = (*notes, f"whether somebody uses it outside a container cannot be told: {unknown}")
    whole = sum(unit.is_whole for unit in units)
    if len(units) > 1 and whole < len(units):
        notes = (*notes, MIXED if whole else ONE_OF_SEVERAL)
    return Grant(allocation, units, notes)


# --- The same request once more --------------------------------------------------------------------------------------


def _before(devices: Devices, ledger: Ledger, request: Request) -> Grant | Refusal | None:
    by_name = ledger.allocations.get(request.container) if request.container is not None else None
    there = ledger.by_id(request.id) or by_name
    if there is None:
        return _not_in_line_as(ledger, request)
    if there.user != request.user:
        whose = there.user or "an unknown account"
        text = f"{there.container} is a container of {whose} and holds GPU {', '.join(there.slots)}"
        return Refusal(Reason.NAME_TAKEN, text, "choose another name for the container")
    if not _is_same(devices, there, request) or (request.container or there.container) != there.container:
        text = f"{there.container} already holds GPU {', '.join(there.slots)}, which is not what is asked for now"
        return Refusal(Reason.DIFFERENT, text, f"release it first (ds01 gpu release --container {there.container})")
    units = tuple(unit for uuid in there.uuids if (unit := devices.find(uuid)) is not None)
    return Grant(there, units, fresh=False)


def _not_in_line_as(ledger: Ledger, request: Request) -> Refusal | None:
    """Refuse a request that bears the id of somebody in the line, or of another request there: ids can be read."""
    waiter = next((each for each in ledger.queue if each.id == request.id), None)
    if waiter is None or as_request(waiter) == request:
        return None
    text = f"{request.id} is the id of another request in the line"
    return Refusal(Reason.NAME_TAKEN, text, "leave the id out, or use the one of your own earlier try")


def _is_same(devices: Devices, there: Allocation, request: Request) -> bool:
    match request.wanted:
        case All():
            return True
        case Count(number):
            return number == len(there.uuids)
        case Named(names):
            units = [devices.find(name) for name in names]
            return {unit.uuid for unit in units if unit is not None} == set(there.uuids) and None not in units
        case _:
            assert_never(request.wanted)


# --- What would do ---------------------------------------------------------------------------------------------------


def _options(view: View, ledger: Ledger, request: Request, limits: Limits) -> tuple[Option, ...] | Refusal:
    """Return the ways to meet a request that hardware and policy have, best first."""
    own = limits.of(request.user)
    whole = tuple(unit for unit in view.units if unit.is_whole) if own.allow_full or own.exempt else ()
    mig = tuple(unit for unit in view.units if not unit.is_whole) if limits.enable_mig else ()
    match request.wanted:
        case Named(names):
            return _named(view, names, request.user, (*whole, *mig))
        case Count(number):
            found = _of_kind(own.unit, number, whole, mig)
        case All():
            split = own.unit is GpuUnit.MIG or (own.unit is GpuUnit.ANY and mig)
            most = most_allowed(request, own, ledger)
            number = 1 if split else max(1, len(whole) if most is None else min(most, len(whole)))
            found = _of_kind(own.unit, number, whole, mig)
        case _:
            assert_never(request.wanted)
    able = [option for option in found if len(option.pool) >= option.number]
    return tuple(able) or _too_few(view, request.user, found, (whole, mig))


def _of_kind(unit: GpuUnit, number: int, whole: tuple[Unit, ...], mig: tuple[Unit, ...]) -> tuple[Option, ...]:
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
    view: View, user: str, found: Sequence[Option], allowed: tuple[tuple[Unit, ...], tuple[Unit, ...]]
) -> Refusal:
    whole, mig = allowed
    if view.ill:
        text = f"{found[0].number} asked for, and not so many can be given: {problems(view.ill)}"
        return Refusal(Reason.BROKEN, text, "ask for fewer, or tell an administrator")
    if not view.units:
        return Refusal(Reason.NO_SUCH_GPU, "this machine has no GPU that can be given", "tell an administrator")
    if not whole and not mig:
        kind = "a whole GPU" if all(unit.is_whole for unit in view.units) else "a MIG instance"
        text = f"{user} may not have {kind}, and this machine has nothing else"
        return Refusal(Reason.NOT_ALLOWED, text, "ask an administrator for another group or quota")
    most = max(len(option.pool) for option in found)
    text = f"{found[0].number} are asked for, and of that kind this machine has {most} for {user}"
    return Refusal(Reason.NO_SUCH_GPU, text, "ask for fewer, or see ds01 gpu status for what there is")


def _named(view: View, names: Sequence[str], user: str, allowed: Sequence[Unit]) -> tuple[Option, ...] | Refusal:
    pool: list[Unit] = []
    for name in names:
        unit = view.find(name)
        if unit is None:
            return view.missing(name)
        if unit not in allowed:
            kind = "a whole GPU" if unit.is_whole else "a MIG instance"
            text = f"GPU {unit.slot} is {kind}, which {user} may not have"
            return Refusal(Reason.NOT_ALLOWED, text, "ask for one without naming it, such as --gpus 1")
        if unit not in pool:
            pool.append(unit)
    return (Option(tuple(pool), len(pool), named=True),)


# --- Whether it can be had now ---------------------------------------------------------------------------------------


def _meet(
    view: View, ledger: Ledger, request: Request, limits: Limits, how: tuple[Option, frozenset[GpuUuid]]
) -> tuple[tuple[Unit, ...], tuple[str, ...]] | Refusal:
    """Return the units, and what the user should know; or why it cannot be."""
    option, kept = how
    well = tuple(unit for unit in option.pool if unit.problem is None)
    if len(well) < option.number:
        return view.broken(option.pool)
    own = limits.of(request.user)
    room = room_by_size(request, own, ledger, view.units) if limits.mode is Mode.ENFORCE else None
    affordable = tuple(unit for unit in well if room is None or unit.share <= room)
    if len(affordable) < option.number:
        # The quota by size is in the way, and says so below.
        affordable = well
    free = tuple(unit for unit in affordable if view.is_free(unit))
    open_ = tuple(unit for unit in free if unit.uuid not in kept)
    enough = len(open_) >= option.number
    if enough:
        picked = open_ if option.named else _pick(view, open_, option.number, limits)
    else:
        picked = affordable[: option.number]
    over = None if limits.mode is Mode.OFF else over_quota(request, picked, own, ledger, view.units)
    if over is not None and limits.mode is Mode.ENFORCE:
        return over
    if enough:
        return picked, () if over is None else (f"above the quota: {over.text}",)
    return view.in_use(option.pool, free, named=option.named, number=option.number)


def _pick(view: View, units: Sequence[Unit], number: int, limits: Limits) -> tuple[Unit, ...]:
    return choose(units, number, view.held_units, strategy=limits.strategy, profile=limits.profile)


# --- Who comes first -------------------------------------------------------------------------------------------------


def _kept_back(devices: Devices, ledger: Ledger, ahead: Sequence[Waiter], limits: Limits) -> frozenset[GpuUuid]:
    """Return the free units that are for those ahead in the line.

    Each of them is given its units first, in thought. One who cannot be served yet keeps back everything that it
    could use, or it would wait for ever beside a stream of smaller requests. One whose own quota is used up keeps
    nothing back.
    """
    kept: set[GpuUuid] = set()
    for waiter in ahead:
        request = as_request(waiter)
        view = View.of(devices, ledger, limits)
        options = _options(view, ledger, request, limits)
        if isinstance(options, Refusal):
            continue
        answers = [(option, _meet(view, ledger, request, limits, (option, frozenset(kept)))) for option in options]
        served = next((answer for _, answer in answers if not isinstance(answer, Refusal)), None)
        if served is not None:
            kept.update(unit.uuid for unit in served[0])
            ledger = _in_thought(ledger, request, served[0], waiter.since)
            continue
        unserved = [option for option, answer in answers if isinstance(answer, Refusal) and answer.waitable]
        kept.update(unit.uuid for option in unserved for unit in option.pool if view.is_free(unit))
        if unserved:
            # Counted as if it had them: an account that sends many to wait keeps back no more than its quota.
            ledger = _in_thought(ledger, request, unserved[0].pool[: unserved[0].number], waiter.since)
    return frozenset(kept)


def _in_thought(ledger: Ledger, request: Request, units: tuple[Unit, ...], now: datetime) -> Ledger:
    """The same account's next waiter must find its quota used up. Under a name that no container can have."""
    allocation = _grant(request, (units, ()), now).allocation
    return ledger.granted(replace(allocation, container=f"?{request.id}"))


def as_request(waiter: Waiter) -> Request:
    """Return what a waiter asks for."""
    return Request(waiter.id, waiter.user, waiter.wanted, waiter.priority, waiter.container, waiter.most_units)
