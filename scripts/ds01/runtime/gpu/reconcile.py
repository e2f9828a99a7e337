"""Hold the ledger against the containers that there are. Pure: what Docker has is the truth, the ledger a cache.

Nothing is ever freed by time alone: what is due is only freed when no container of Docker's holds it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation, nameless
from ds01.runtime.gpu.request import AccountLimits
from ds01.runtime.identity import ProcessRef

# How long a reservation outlives its process: Docker may still be at work on what that one asked for.
LAPSE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Present:
    """A container that Docker has and that was given GPUs.

    Attributes:
        id: Docker's, whole.
        user: whom its labels name, believed only together with an allocation.
        allocation_id: its label; None when DS01 did not make it.
        uuids: the units it really was given; empty when that cannot be told from its configuration.
        running: paused and restarting ones too.
        since: when it stopped, or was made if it never ran.
    """

    name: str
    id: str
    user: str | None
    allocation_id: str | None
    slots: tuple[str, ...]
    uuids: tuple[GpuUuid, ...]
    running: bool
    created_at: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """When the ledger is looked at.

    Attributes:
        boot: which boot of the machine it is.
        boot_seconds: since that boot.
    """

    now: datetime
    boot: str
    boot_seconds: float


@dataclass(frozen=True, slots=True)
class Correction:
    """One difference between ledger and Docker, settled.

    Attributes:
        event_type: such as `gpu.adopted`.
        words: what was found, for people.
    """

    event_type: str
    allocation: Allocation
    words: str


AccountOf = Callable[[str], AccountLimits]


def age(ledger: Ledger, is_alive: Callable[[ProcessRef], bool], moment: Moment) -> Ledger:
    """Forget waiters that are dead, and note which reservations have lost their process."""
    ledger = ledger.left([each.id for each in ledger.queue if not is_alive(each.process)])
    for each in ledger.allocations.values():
        if each.reservation is not None and each.reservation.process.boot == moment.boot:
            alive = is_alive(each.reservation.process)
            # A clock that went on is never set back here, and a process that is gone never comes back.
            noticed = each.reservation.gone_at
            gone_at = None if alive else moment.boot_seconds if noticed is None else noticed
            if gone_at != each.reservation.gone_at:
                ledger = ledger.changed(replace(each, reservation=Reservation(each.reservation.process, gone_at)))
    return ledger


def is_due(allocation: Allocation, moment: Moment, account_of: AccountOf) -> bool:
    """Whether time has come to free an allocation, if Docker does not say otherwise."""
    if allocation.reservation is not None:
        return _has_lapsed(allocation.reservation, moment)
    ends = hold_ends(allocation, account_of)
    return ends is not None and ends <= moment.now


def hold_ends(allocation: Allocation, account_of: AccountOf) -> datetime | None:
    """Return until when a stopped container keeps its units; None when it runs, or keeps them until it is removed."""
    if allocation.stopped_at is None:
        return None
    if allocation.user is None:
        return allocation.stopped_at
    seconds = account_of(allocation.user).hold_seconds
    return None if seconds is None else allocation.stopped_at + timedelta(seconds=seconds)


def reconcile(
    ledger: Ledger, present: Sequence[Present], moment: Moment, account_of: AccountOf
) -> tuple[Ledger, tuple[Correction, ...]]:
    """Make the ledger what Docker's containers say, and tell each difference.

    Args:
        present: all containers with GPUs, stopped ones too, as they are while the ledger is locked.
    """
    corrections: list[Correction] = []
    matched = _match(ledger, present)
    settled: dict[str, Allocation] = {}
    ids = {each.id for each in ledger.allocations.values()}
    for container in sorted(present, key=lambda each: not each.running):
        before = matched.get(container.id)
        after = (
            _follow(before, container, moment)
            if before
            else _adopt(container, moment, account_of, None if ledger.boot else frozenset(ids))
        )
        if after is None:
            continue
        if before is None and not container.running and (ledger.boot or _is_held(after.uuids, settled.values())):
            # Of stopped containers only what was lost is found again: to one that gave its units back they stay lost.
            continue
        ids.add(after.id)
        if is_due(after, moment, account_of):
            if before is not None:
                corrections.append(Correction("gpu.expired", after, "its container stopped and the hold is over"))
            continue
        corrections += _differences(before, after)
        settled[after.container] = after
    followed = {each.id for each in matched.values()}
    for each in ledger.allocations.values():
        if each.id not in followed:
            words = _why_gone(each, moment, account_of)
            if words is None:
                kept = each if each.container not in settled else replace(each, container=nameless(each.id))
                settled[kept.container] = kept
            else:
                corrections.append(Correction("gpu.expired" if each.reservation else "gpu.freed", each, words))
    after_all = replace(ledger, allocations=settled, boot=moment.boot)
    return after_all, (*corrections, *_conflicts(ledger, after_all))


def _match(ledger: Ledger, present: Sequence[Present]) -> dict[str, Allocation]:
    """Return the allocation of each container that has one, by the container's id.

    A label is text that others can write too, so it only leads to an allocation that no other container has.
    """
    by_container = {each.container_id: each for each in ledger.allocations.values() if each.container_id is not None}
    found = {each.id: by_container[each.id] for each in present if each.id in by_container}
    taken = {each.id for each in found.values()}
    for container in present:
        if container.id in found:
            continue
        labelled = None if container.allocation_id is None else ledger.by_id(container.allocation_id)
        named = ledger.allocations.get(container.name)
        if labelled is None and named is not None and named.container_id is None:
            labelled = named
        if labelled is not None and labelled.id not in taken and _fits(container, labelled):
            found[container.id] = labelled
            taken.add(labelled.id)
    return found


def _fits(container: Present, allocation: Allocation) -> bool:
    """Whether a container can be the one an allocation was made for: with its units and of its account."""
    if container.user not in {None, allocation.user}:
        return False
    return set(container.uuids) <= set(allocation.uuids)


def _follow(before: Allocation, container: Present, moment: Moment) -> Allocation:
    """Return an allocation as its container is now."""
    after = replace(
        before,
        container=container.name,
        container_id=container.id,
        slots=container.slots if container.uuids else before.slots,
        uuids=container.uuids or before.uuids,
    )
    if container.running:
        return replace(after, stopped_at=None, reservation=None)
    if before.reservation is not None and not _has_lapsed(before.reservation, moment):
        # It is about to be started: whoever does that has reserved the units for it.
        return after
    # A clock that was set back must not make a hold longer than it is.
    return replace(after, stopped_at=min(before.stopped_at or container.since, moment.now), reservation=None)


def _adopt(container: Present, moment: Moment, account_of: AccountOf, ids: frozenset[str] | None) -> Allocation | None:
    """Return an allocation for a container that the ledger does not know; None when it holds nothing.

    Args:
        ids: those that are taken, when the ledger was lost: then labels are all there is, but for one that names a
            taken id. None while the ledger is whole: what it does not know was not granted, whatever a label says.
    """
    label = container.allocation_id
    ours = ids is not None and label is not None and label not in ids and container.user is not None
    if not container.uuids or not (container.running or ours):
        return None
    user = container.user if ours else None
    return Allocation(
        container=container.name,
        id=label if ours and label is not None else f"docker-{container.id[:12]}",
        user=user,
        slots=container.slots,
        uuids=container.uuids,
        allocated_at=container.created_at,
        priority=0 if user is None else account_of(user).priority,
        stopped_at=None if container.running else min(container.since, moment.now),
        container_id=container.id,
    )


def _is_held(uuids: Iterable[GpuUuid], settled: Iterable[Allocation]) -> bool:
    return not {uuid for each in settled for uuid in each.uuids}.isdisjoint(uuids)


def _why_gone(allocation: Allocation, moment: Moment, account_of: AccountOf) -> str | None:
    """Return why an allocation that no container has is freed; None when it stays."""
    if allocation.reservation is None:
        return "Docker has its container no more"
    return "no container came of it" if is_due(allocation, moment, account_of) else None


def _has_lapsed(reservation: Reservation, moment: Moment) -> bool:
    if reservation.process.boot != moment.boot:
        return True
    return reservation.gone_at is not None and moment.boot_seconds - reservation.gone_at >= LAPSE_SECONDS


def _differences(before: Allocation | None, after: Allocation) -> Iterator[Correction]:
    if before is None:
        whose = "a container" if after.user is None else f"{after.user}'s container"
        yield Correction("gpu.adopted", after, f"{whose} with GPU {', '.join(after.slots)} was not in the ledger")
        return
    if set(before.uuids) != set(after.uuids):
        words = f"it really has GPU {', '.join(after.slots)}, not {', '.join(before.slots)}"
        yield Correction("gpu.corrected", after, words)
    if before.container_id is not None and before.container != after.container:
        yield Correction("gpu.corrected", after, f"it was renamed from {before.container}")
    if (before.stopped_at is None) != (after.stopped_at is None) and before.container_id is not None:
        words = "it runs" if after.stopped_at is None else "it is stopped; its units are held"
        yield Correction("gpu.corrected", after, words)


def _conflicts(before: Ledger, after: Ledger) -> Iterator[Correction]:
    """Yield who shares units with somebody, unless that was known before."""
    known = set(_shared(before))
    for uuid, one, other in _shared(after):
        if (uuid, one, other) not in known:
            first = after.allocations[one]
            yield Correction("gpu.conflict", first, f"{one} and {other} both have {uuid}")


def _shared(ledger: Ledger) -> Iterator[tuple[GpuUuid, str, str]]:
    seen: dict[GpuUuid, str] = {}
    for name in sorted(ledger.allocations):
        for uuid in ledger.allocations[name].uuids:
            if uuid in seen:
                yield uuid, seen[uuid], name
            seen[uuid] = name
