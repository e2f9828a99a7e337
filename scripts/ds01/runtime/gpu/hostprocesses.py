"""What computes on GPUs outside containers, and what is to become of each such process. Pure; watch.py acts on it.

Never condemns a process of which anything is not known: whose it is, whether a container holds it, who has a grant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum

from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.gpu.baremetal import Access, BareMetal
from ds01.runtime.gpu.grants import Grant, grant_of
from ds01.runtime.gpu.hardware import Devices, GpuProcess, GpuUuid

# Of one process: seen twice, at looks apart, it is no passing thing and no mistake of one look.
FEWEST_SIGHTINGS: Final = 2
# Number and start: the process itself, as long as the machine is up.
Key = tuple[int, int]
# What the numbers that the driver names meant when it began to: the start of a process, None for one that was gone.
Meant = Mapping[int, int | None]
_ANOTHERS: Final = "the driver named its number already for one that has ended, of which a child may hold the GPU"


class Verdict(Enum):
    """What becomes of a process."""

    ALLOWED = "allowed"  # by the policy, as everybody's
    EXEMPT = "exempt"  # root, an administrator, or on the policy's list
    GRANTED = "granted"  # for a time
    WARNED = "warned"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class HostProcess:
    """One process on the host, with all units that it computes on.

    Attributes:
        started: clock ticks since boot.
        user: its account; `uid 1234` when that has no name.
        gpu_uuids: sorted, as slots is in the same order.
        memory_bytes: on all of them; None when the driver does not say of one.
        sightings: in how many looks it was seen.
        warned_at: since when its account counts as told of it; None when it does not, or need not any more.
        ends_seconds: when it is ended, in seconds since boot, as its account was told; None when it is not.
        ends_at: the same as a time, by the clock as it is now.
        granted_until: when its grant ends.
        note: why it is never ended, or anything else that is not plain from the rest.
    """

    pid: int
    started: int
    uid: int
    user: str
    command: str
    gpu_uuids: tuple[GpuUuid, ...]
    slots: tuple[str, ...]
    memory_bytes: int | None
    since: datetime
    sightings: int
    verdict: Verdict
    warned_at: datetime | None = None
    ends_seconds: float | None = None
    ends_at: datetime | None = None
    granted_until: datetime | None = None
    note: str | None = None

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.pid, self.started

    @property
    def is_told(self) -> bool:
        """Whether its account is told of it: it should not be there, and all of it is certain."""
        return self.warned_at is not None and self.note is None


@dataclass(frozen=True, slots=True)
class Rules:
    """What a process is held against.

    Attributes:
        grants: None when they cannot be read.
        is_admin: whether an account is an administrator.
    """

    access: BareMetal
    grants: Sequence[Grant] | None
    is_admin: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Moment:
    """When it is looked at: by the wall clock, and in seconds since boot, which nobody can set."""

    now: datetime
    boot_seconds: float


def meant_by(before: Meant, devices: Devices) -> Meant:
    """Return what the numbers mean that the driver names, after one more look.

    What forked from a process that has ended keeps its files of the driver open, and the driver goes on naming the
    number of the one that opened them, also when that is another's by now.
    """
    now = dict.fromkeys(devices.gone) | {each.pid: each.started for each in devices.processes}
    found = {pid: before.get(pid, started) for pid, started in now.items()}
    return found if devices.unknown is None else {**before, **found}


def doubted(devices: Devices, meant: Meant) -> Devices:
    """Return the hardware with a doubt about every process that the driver may not mean by its number."""
    return replace(
        devices,
        processes=tuple(
            replace(each, doubt=_ANOTHERS)
            if each.container_id is None and meant.get(each.pid, each.started) != each.started
            else each
            for each in devices.processes
        ),
    )


def judge(
    before: Mapping[Key, HostProcess],
    devices: Devices,
    rules: Rules,
    moment: Moment,
    told: Mapping[str, float] | None = None,
) -> tuple[HostProcess, ...]:
    """Return every process outside containers with what becomes of it, by pid.

    Args:
        before: as they were at an earlier look of this boot.
        told: by account, when all that it runs is ended, in seconds since boot; announced.py knows it.
    """
    judging = _Judging(rules, moment, told or {})
    together: dict[Key, list[GpuProcess]] = {}
    for each in devices.processes:
        if each.container_id is None and each.started is not None:
            together.setdefault((each.pid, each.started), []).append(each)
    return tuple(
        judging.judged(before.get(key), _joined(on, devices, moment), on[0]) for key, on in sorted(together.items())
    )


def forgiven(process: HostProcess) -> HostProcess:
    """Return a process as one of which its account was never told."""
    return replace(process, warned_at=None, ends_seconds=None, ends_at=None)


def newly_warned(before: Mapping[Key, HostProcess], after: Iterable[HostProcess]) -> tuple[HostProcess, ...]:
    """Return those whose accounts are to be told now."""
    return tuple(
        each
        for each in after
        if each.warned_at is not None and (each.key not in before or _is_news(before[each.key], each))
    )


def _is_news(before: HostProcess, after: HostProcess) -> bool:
    return before.warned_at != after.warned_at or (after.is_told and not before.is_told)


def _joined(on: Sequence[GpuProcess], devices: Devices, moment: Moment) -> HostProcess:
    """Return a process that was seen for the first time, on all of its units."""
    first = on[0]
    uuids = sorted({each.uuid for each in on})
    memory = [each.memory_bytes for each in on]
    known = [each for each in memory if each is not None]
    return HostProcess(
        pid=first.pid,
        started=first.started or 0,
        uid=-1 if first.uid is None else first.uid,
        user=first.user,
        command=first.command,
        gpu_uuids=tuple(uuids),
        slots=tuple(slot_of(devices, uuid) for uuid in uuids),
        memory_bytes=sum(known) if len(known) == len(memory) else None,
        since=first.since or moment.now,
        sightings=1,
        verdict=Verdict.ALLOWED,
    )


def slot_of(devices: Devices, uuid: GpuUuid) -> str:
    """Return what people call a unit, or the GPU that a driver names for a process on one of its instances."""
    unit = devices.find(uuid)
    if unit is not None:
        return unit.slot
    return next((str(gpu.index) for gpu in devices.gpus if gpu.uuid == uuid), uuid)


@dataclass(frozen=True, slots=True)
class _Judging:
    """One look's judgement; `told` is as judge() has it."""

    rules: Rules
    moment: Moment
    told: Mapping[str, float]

    def judged(self, before: HostProcess | None, one: HostProcess, seen: GpuProcess) -> HostProcess:
        if before is not None:
            # Since when it runs comes out a second earlier or later, as clocks go.
            one = replace(one, sightings=before.sightings + 1, since=before.since)
        if self.rules.access.access is Access.ALLOW:
            return one
        if _is_exempt(seen, self.rules):
            return replace(one, verdict=Verdict.EXEMPT)
        grant = grant_of(self.rules.grants or (), seen.user, self.moment.now) if seen.has_account else None
        if grant is not None:
            return replace(one, verdict=Verdict.GRANTED, granted_until=grant.until)
        return self._warned(before, one, _why_never(seen, self.rules))

    def _warned(self, before: HostProcess | None, one: HostProcess, never: str | None) -> HostProcess:
        """Return a process that should not be there, with the end that its account was told, or is told now.

        An end that was announced stands, also when the policy allows less time since; one that was not announced, as
        long as the policy only warned, begins with a notice of its own. What begins after its account was told of an
        end has that end.
        """
        warned = replace(one, verdict=Verdict.WARNED, note=never)
        # Of what was not certain its account was not told.
        told = before is not None and before.warned_at is not None and (before.note is None or never is not None)
        if self.rules.access.access is Access.WARN or never is not None:
            return replace(warned, warned_at=before.warned_at if before is not None and told else self.moment.now)
        if before is None or not told or before.ends_seconds is None:
            new = self.moment.boot_seconds + self.rules.access.grace_seconds
            ends = self.told.get(one.user, new)
            return replace(warned, warned_at=self.moment.now, ends_seconds=ends, ends_at=_as_time(ends, self.moment))
        ends = before.ends_seconds
        over = self.moment.boot_seconds >= ends and one.sightings >= FEWEST_SIGHTINGS
        return replace(
            warned,
            verdict=Verdict.TERMINATE if over else Verdict.WARNED,
            warned_at=before.warned_at,
            ends_seconds=ends,
            ends_at=_as_time(ends, self.moment),
        )


def _is_exempt(seen: GpuProcess, rules: Rules) -> bool:
    if seen.uid == 0:
        return True
    return seen.has_account and (seen.user in rules.access.exempt_users or rules.is_admin(seen.user))


def _why_never(seen: GpuProcess, rules: Rules) -> str | None:
    """Return why a process is not ended whatever the policy says."""
    if not seen.has_account:
        return "whose it is cannot be told"
    if seen.doubt is not None:
        return seen.doubt
    return "who has a grant cannot be told" if rules.grants is None else None


def _as_time(boot_seconds: float, moment: Moment) -> datetime:
    return (moment.now + timedelta(seconds=boot_seconds - moment.boot_seconds)).replace(microsecond=0)
