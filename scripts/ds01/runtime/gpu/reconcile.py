"""Hold the ledger against the containers that there are. Pure: what Docker has is the truth, the ledger a cache.

Nothing is ever freed by time alone: what is due is only freed when no container of Docker's holds it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum

from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation, nameless
from ds01.runtime.gpu.request import AccountLimits
from ds01.runtime.identity import ProcessRef

# How long a reservation outlives its process: Docker may still be at work on what that one asked for.
LAPSE_SECONDS: Final = 60
# Ids of what was adopted; a label that begins so is never believed, or it could be another container's.
_ADOPTED: Final = "docker-"
# Of those, what was adopted while Docker could not say what the container has.
_GUESSED: Final = f"{_ADOPTED}unseen-"


class Sight(Enum):
    """How it is known which units a container was given."""

    WHOLE = "whole"
    LIST = "list"  # Docker cannot describe it: by its labels alone
    NOTHING = "nothing"  # nor do they tell: it may have any


@dataclass(frozen=True, slots=True)
class Present:
    """A container that Docker has and that was given GPUs, or may have been.

    Attributes:
        id: Docker's, whole.
        user: whom its labels name, believed only together with an allocation.
        allocation_id: its label; None when DS01 did not make it.
        uuids: the units it really was given; empty when that cannot be told from its configuration. Of one that Docker
            cannot describe those that it may have.
        running: paused and restarting ones too.
        since: when it stopped, or was made if it never ran.
        ran: whether it ever did, as far as is known.
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
    ran: bool = False
    sight: Sight = Sight.WHOLE


@dataclass(frozen=True, slots=True)
class Moment:
    """When the ledger is looked at: by the clock, and in which boot of the machine, how long after it."""

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


def is_just_gone(allocation: Allocation, before: Moment) -> bool:
    """Whether the process of a reservation is gone and no change has noted it yet, by a ledger that was read since."""
    gone_at = None if allocation.reservation is None else allocation.reservation.gone_at
    return gone_at is not None and gone_at >= before.boot_seconds


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
        present: all containers with GPUs, stopped ones too, as they are while the ledger is locked; and all that Docker
            cannot describe. What the ledger says of those stays as it is.
    """
    corrections: list[Correction] = []
    whole = [each for each in present if each.sight is Sight.WHOLE]
    unseen = [each for each in present if each.sight is not Sight.WHOLE]
    guesses = _guesses(ledger, whole)
    matched = _match(ledger, [each for each in whole if each.id not in guesses])
    settled: dict[str, Allocation] = {}
    ids = {each.id for each in ledger.allocations.values()}
    for container in _by_claim(whole):
        before = matched.get(container.id)
        # What was guessed is found out now as it was not when the ledger was lost.
        lost = ledger.boot is None or container.id in guesses
        after = (
            _follow(before, container, moment)
            if before
            else _adopt(container, moment, account_of, (frozenset(ids), lost))
        )
        if after is None:
            continue
        if before is None and not container.running and (not lost or _is_held(after.uuids, settled.values())):
            # Of stopped containers only what was lost is found again: to one that gave its units back they stay lost.
            continue
        after = _filed(after, settled)
        ids.add(after.id)
        if is_due(after, moment, account_of):
            if before is not None:
                corrections.append(Correction("gpu.expired", after, "its container stopped and the hold is over"))
            continue
        corrections += _differences(before or guesses.pop(container.id, None), after)
        settled[after.container] = after
    followed = {each.id for each in (*matched.values(), *_guesses(ledger, whole).values())}
    corrections += (
        Correction("gpu.freed", each, "Docker describes it again: it holds none") for each in guesses.values()
    )
    unfollowed = [each for each in ledger.allocations.values() if each.id not in followed]
    corrections += _settle_rest(unfollowed, _left_alone(ledger, unseen), settled, moment, account_of)
    if ledger.boot is None:
        corrections += _guess(unseen, settled, moment, account_of)
    after_all = replace(ledger, allocations=settled, boot=moment.boot)
    return after_all, (*corrections, *_conflicts(ledger, after_all))


def _settle_rest(
    rest: Iterable[Allocation],
    stay: frozenset[str],
    settled: dict[str, Allocation],
    moment: Moment,
    account_of: AccountOf,
) -> Iterator[Correction]:
    """Settle the allocations that no container is known to have: they are freed, unless they wait, or are to stay."""
    for each in rest:
        words = None if each.id in stay else _why_gone(each, moment, account_of)
        if words is None:
            kept = _filed(each, settled)
            settled[kept.container] = kept
        else:
            yield Correction("gpu.expired" if each.reservation else "gpu.freed", each, words)


def _guesses(ledger: Ledger, whole: Sequence[Present]) -> dict[str, Allocation]:
    """Return what was guessed of containers that Docker describes again, by their ids."""
    described = {each.id for each in whole}
    guessed = (each for each in ledger.allocations.values() if each.id.startswith(_GUESSED))
    return {each.container_id: each for each in guessed if each.container_id in described}


def _left_alone(ledger: Ledger, unseen: Sequence[Present]) -> frozenset[str]:
    """Return the ids of what containers have, or may have, that Docker cannot describe."""
    there = {each.id for each in unseen}
    named = (_named_by(ledger, each) for each in unseen)
    held = {each.id for each in ledger.allocations.values() if each.container_id in there}
    return frozenset(held | {each.id for each in named if each is not None and _waits(each)})


def _guess(
    unseen: Sequence[Present], settled: dict[str, Allocation], moment: Moment, account_of: AccountOf
) -> Iterator[Correction]:
    """Put down what containers may have that Docker cannot describe, when the ledger was lost too.

    What their labels say; of one that runs and does not say, all that nobody else has: of that nothing may be given.
    """
    known = {each.container_id for each in settled.values()}
    for each in sorted(unseen, key=lambda each: each.sight is Sight.NOTHING):
        held = {uuid for there in settled.values() for uuid in there.uuids}
        if each.sight is Sight.NOTHING:
            free = [(slot, uuid) for slot, uuid in zip(each.slots, each.uuids, strict=True) if uuid not in held]
            slots, uuids = tuple(slot for slot, _ in free), tuple(uuid for _, uuid in free)
            taken = replace(each, user=None, allocation_id=None, slots=slots, uuids=uuids)
            words = "Docker could not describe it: it may have any GPU that nobody else has, so none of them is given"
        else:
            taken = replace(each, since=moment.now)
            words = f"Docker could not describe it: its labels say GPU {', '.join(each.slots)}"
        made = _adopt(taken, moment, account_of, (frozenset(), True))
        if made is None or each.id in known or (not each.running and not held.isdisjoint(made.uuids)):
            continue
        made = _filed(replace(made, id=f"{_GUESSED}{each.id}"), settled)
        settled[made.container] = made
        yield Correction("gpu.adopted", made, words)


def _by_claim(present: Sequence[Present]) -> list[Present]:
    """Return the containers by their claim on units: those that run as they were made, then those that ran last."""

    def claim(each: Present) -> tuple[bool, float]:
        return not each.running, each.created_at.timestamp() if each.running else -each.since.timestamp()

    return sorted(present, key=claim)


def _filed(allocation: Allocation, settled: Mapping[str, Allocation]) -> Allocation:
    """Return an allocation under a name that no other has: names change hands while containers are looked at."""
    if allocation.container not in settled:
        return allocation
    return replace(allocation, container=nameless(allocation.id))


def _match(ledger: Ledger, present: Sequence[Present]) -> dict[str, Allocation]:
    """Return the allocation of each container that has one, by the container's id."""
    by_container = {each.container_id: each for each in ledger.allocations.values() if each.container_id is not None}
    found = {each.id: by_container[each.id] for each in present if each.id in by_container}
    taken = {each.id for each in found.values()}
    for container in sorted(present, key=lambda each: (not each.running, each.created_at)):
        expected = _named_by(ledger, container)
        if container.id in found or expected is None or expected.id in taken:
            continue
        if _is_expected(container, expected):
            found[container.id] = expected
            taken.add(expected.id)
    return found


def _named_by(ledger: Ledger, container: Present) -> Allocation | None:
    """Return the allocation whose id a container has for a label, or whose name it has, when it has no label."""
    if container.allocation_id is not None:
        return ledger.by_id(container.allocation_id)
    named = ledger.allocations.get(container.name)
    return None if named is None or named.id == container.name else named


def _is_expected(container: Present, allocation: Allocation) -> bool:
    """Whether a container is the one that an allocation waits for.

    Labels and names are text that others can write too. They only lead to an allocation whose container is not there
    yet, and only a container that really was given just its units: nobody else's may take its place.
    """
    return (
        _waits(allocation)
        and set(container.uuids) == set(allocation.uuids)
        and container.user in {None, allocation.user}
    )


def _waits(allocation: Allocation) -> bool:
    """Whether an allocation waits for its container to come to be, or to be started."""
    return allocation.container_id is None or allocation.reservation is not None


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
    # One that was not there yet when they were reserved, and has been through its run by now, is started no more.
    through = container.ran and before.container_id != container.id and container.since > before.allocated_at
    if before.reservation is not None and not _has_lapsed(before.reservation, moment) and not through:
        # It is about to be started: whoever does that has reserved the units for it.
        return after
    return replace(after, stopped_at=_stopped_at(before.stopped_at, container.since, moment.now), reservation=None)


def _stopped_at(known: datetime | None, since: datetime, now: datetime) -> datetime:
    """Return when a hold began: by Docker's word where it ran and stopped again without a word to us.

    A clock that was set back must not make a hold longer than it is.
    """
    if known is None:
        return min(since, now)
    return since if known < since <= now else min(known, now)


def _adopt(
    container: Present, moment: Moment, account_of: AccountOf, known: tuple[frozenset[str], bool]
) -> Allocation | None:
    """Return an allocation for a container that the ledger does not know; None when it holds nothing.

    Args:
        known: ids that are taken, and whether the ledger was lost. Then labels are all there is, but for one that names
            a taken id. While it is whole, what it does not know was not granted, whatever a label says.
    """
    ids, lost = known
    label = container.allocation_id
    free = label is not None and label not in ids and not label.startswith(_ADOPTED)
    ours = lost and free and container.user is not None
    if not container.uuids or not (container.running or ours):
        return None
    user = container.user if ours else None
    short = f"{_ADOPTED}{container.id[:12]}"
    own_id = short if short not in ids else f"{_ADOPTED}{container.id}"
    return Allocation(
        container=container.name,
        id=label if ours and label is not None else own_id,
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
