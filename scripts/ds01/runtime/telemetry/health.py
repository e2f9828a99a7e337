"""Whether DS01 is well, from what was seen of a host: services, jobs, files, disks, Docker. Pure; probes.py looks.

What the one who asks may not see is said, and is neither well nor ill.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum

from ds01.core.cron import Times, last_due
from ds01.core.services import Service
from ds01.core.typed import Final, Protocol
from ds01.core.units import GIB, MIB
from ds01.core.value import dataclass, field
from ds01.core.words import count

# How old what a service writes may be. CPU rates are written every few seconds, what is watched of GPUs every 30, of
# memory every minute, and of containers at every event and when eventsd compares all there is, at least every 15.
FRESH_RATES: Final = timedelta(minutes=2)
FRESH_PRESSURE: Final = timedelta(minutes=3)
FRESH_GPUS: Final = timedelta(minutes=3)
FRESH_CONTAINERS: Final = timedelta(minutes=20)
# A job may be at work that long before its stamp is there; the limit of cron's line is 25 minutes.
_AT_WORK: Final = timedelta(minutes=30)
_SHARE_WARN: Final = 0.10
_SHARE_FAIL: Final = 0.02
# Below so much no share matters: a log line and a state file still fit.
_BYTES_WARN: Final = 2 * GIB
_BYTES_FAIL: Final = 200 * MIB


class Status(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "FAILED"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of health.

    Attributes:
        fix: what to do; empty when all is well.
    """

    name: str
    status: Status
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class CannotSee:
    """What the one who asks may not see, or what did not answer in time.

    Attributes:
        late: whether it did not answer: that is a failure, not merely unknown.
    """

    why: str
    late: bool = False


# What to do about whatever a disk or the kernel answers with an error, or not at all.
LOOK_AT_DISKS: Final = "journalctl -k says which disk hangs or fails, findmnt where it is"


def unseen(name: str, seen: CannotSee, fix: str) -> Check:
    """Say what could not be looked at."""
    if seen.late:
        return Check(name, Status.FAILED, seen.why, fix)
    return Check(name, Status.UNKNOWN, seen.why)


# --- Services ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """A file that a service writes again and again.

    Attributes:
        fresh: how old it may be.
        updated_at: None when there is no such file; text where it cannot be read.
    """

    file: str
    fresh: timedelta
    updated_at: datetime | CannotSee | str | None


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """One service.

    Attributes:
        state: as systemd says, such as `active`; None when there is no unit of it.
        written: all that it writes; looked at where it runs.
    """

    state: str | None
    written: tuple[Written, ...] = ()


def judge_service(service: Service, seen: ServiceSeen, now: datetime) -> Check:
    """Decide whether a service does its work, all of it."""
    name, fix = service.name, f"journalctl -u {service.unit} says why; sudo systemctl restart {service.unit}"
    if seen.state is None:
        return Check(name, Status.WARNING, f"it is not deployed: {service.without}", "sudo ./inv deploy")
    # One that starts again and again is not active.
    if seen.state != "active":
        return Check(name, Status.FAILED, f"it is {seen.state or 'unknown to systemd'}: {service.without}", fix)
    faults = [fault for fault in (_fault(each, now) for each in seen.written) if fault is not None]
    if faults:
        return Check(name, Status.FAILED, "; ".join(faults), fix)
    hidden = [each.updated_at.why for each in seen.written if isinstance(each.updated_at, CannotSee)]
    return Check(name, Status.OK, "; ".join([service.does, *hidden]))


def _fault(written: Written, now: datetime) -> str | None:
    """Return why nobody can go by a file of a service that runs; None when one can, or may not look."""
    file = written.file
    match written.updated_at:
        case None:
            return f"it runs and has not written {file} yet"
        case str():
            return f"{file} cannot be read: {written.updated_at}"
        case CannotSee():
            return None
        case at:
            age = now - at
    if abs(age) <= written.fresh:
        return None
    when = f"{_words(age)} old" if age > timedelta(0) else f"of a time that is {_words(-age)} ahead"
    return f"it runs, and {file} is {when}"


# --- GPUs -------------------------------------------------------------------------------------------------------------

_DRIVER: Final = "driver"
_WHO: Final = "ds01 who shows which; nothing is ended for being idle while that is not known"


@dataclass(frozen=True, slots=True)
class GpusSeen:
    """What the one who watches GPUs wrote down.

    Attributes:
        stated: whether the host file lists any.
        trouble: of the watcher, by what it is about, such as `driver` and `exporter`.
        unknown: for each unit of which it cannot be told how busy it is, why.
    """

    stated: bool
    trouble: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def judge_gpus(seen: GpusSeen) -> Check:
    """Decide whether what is to be known of GPUs is known.

    A driver that tells nothing is ill on a host that has GPUs. Anything else leaves something unknown, which ends
    nothing, and is a warning.
    """
    trouble = {about: " ".join(text.split()) for about, text in seen.trouble.items()}
    driver = trouble.pop(_DRIVER, None)
    if driver is not None:
        if not seen.stated:
            return Check("gpus", Status.OK, "the host file lists none")
        return Check("gpus", Status.FAILED, driver, "nvidia-smi, and journalctl -k for NVRM and Xid, say more")
    reasons = "; ".join(dict.fromkeys(seen.unknown))
    units = f"{count(len(seen.unknown), 'unit')} {'is' if len(seen.unknown) == 1 else 'are'}"
    found = [f"whether {units} busy nobody can tell: {reasons}"] if reasons else []
    found += [text for text in trouble.values() if text not in reasons]
    if found:
        return Check("gpus", Status.WARNING, "; ".join(found), _WHO)
    return Check("gpus", Status.OK, "the driver answers, and it is known how busy each unit is")


# --- Jobs -------------------------------------------------------------------------------------------------------------


class Ended(Protocol):
    """How a job ended last; jobs.Stamp is one."""

    @property
    def ok(self) -> bool:
        """Whether it ended well."""

    @property
    def summary(self) -> str:
        """What it did, or why it failed."""

    @property
    def last_success_at(self) -> datetime | None:
        """When it last ended well."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a job is held against.

    Attributes:
        since: from when on cron could start it: the machine runs, and the job stands in cron's file.
    """

    times: Times
    since: datetime


def judge_job(name: str, stamp: Ended | None, schedule: Schedule, now: datetime) -> Check:
    """Decide whether a job runs as it should: it may miss its time once, not twice.

    Args:
        now: local, with its zone: cron goes by the machine's own clock.
    """
    label = f"job {name}"
    fix = f"sudo ds01 lifecycle {name} shows what is wrong; journalctl -t ds01-{name}, journalctl -u cron"
    last = None if stamp is None else stamp.last_success_at
    due = _second_last(schedule.times, now)
    if due is not None and due >= schedule.since and (last is None or last < due):
        when = "it never ended well" if last is None else f"it last ended well {_words(now - last)} ago"
        why = f": {stamp.summary}" if stamp is not None and not stamp.ok else ""
        return Check(label, Status.FAILED, f"{when}, and was due twice since{why}", fix)
    if stamp is not None and not stamp.ok:
        return Check(label, Status.WARNING, f"it failed the last time: {stamp.summary}", fix)
    if last is None:
        return Check(label, Status.OK, "it need not have run yet")
    return Check(label, Status.OK, f"{_words(now - last)} ago: {stamp.summary if stamp is not None else ''}")


def _second_last(times: Times, now: datetime) -> datetime | None:
    """Return when it was last due but one, before it could be at work still."""
    zone = now.tzinfo
    last = last_due(times, (now - _AT_WORK).replace(tzinfo=None))
    before = None if last is None else last_due(times, last - timedelta(minutes=1))
    return None if before is None else before.replace(tzinfo=zone)


# --- Files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateFile:
    """A file of DS01's own, and what it must be.

    Attributes:
        mode: permission bits.
        needed: whether there must be one.
        fix: what to do about one that cannot be used.
    """

    path: str
    mode: int
    fix: str
    needed: bool = False


@dataclass(frozen=True, slots=True)
class FileSeen:
    """What is there.

    Attributes:
        uid: of the owner.
        why: what is wrong with what stands in it; None when it can be used; or why it may not be read.
    """

    uid: int
    mode: int
    why: str | CannotSee | None = None


def judge_file(file: StateFile, seen: FileSeen | CannotSee | None) -> Check | None:
    """Decide about one file; None when there is nothing to say of it: it is not there, and need not be."""
    match seen:
        case None:
            return Check(file.path, Status.FAILED, "it is missing", file.fix) if file.needed else None
        case CannotSee():
            return unseen(file.path, seen, file.fix)
        case found:
            return _judge_found(file, found)


def _judge_found(file: StateFile, found: FileSeen) -> Check:
    again = f"sudo chown root {file.path}; sudo chmod {file.mode:04o} {file.path}; look at what it says first"
    if found.uid != 0:
        return Check(file.path, Status.FAILED, f"it belongs to uid {found.uid}, not to root", again)
    if found.mode & 0o022:
        return Check(file.path, Status.FAILED, f"others than root can write it (mode {found.mode:04o})", again)
    if isinstance(found.why, str):
        return Check(file.path, Status.FAILED, found.why, file.fix)
    if found.mode != file.mode:
        return Check(file.path, Status.WARNING, f"its mode is {found.mode:04o}, not {file.mode:04o}", again)
    if found.why is not None:
        return unseen(file.path, found.why, file.fix)
    return Check(file.path, Status.OK, "as it should be")


# --- Disks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """The file system below a folder.

    Attributes:
        inodes: 0 where there is no such limit.
    """

    bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int


def judge_disk(folder: str, seen: DiskSeen | CannotSee | str | None) -> Check:
    """Decide whether there is room for what DS01, or Docker, has to write.

    Args:
        seen: text where the disk answers with an error.
    """
    name, fix = f"disk {folder}", f"df -h {folder}; df -i {folder}; docker system df says what Docker could give back"
    match seen:
        case None:
            return Check(name, Status.WARNING, "there is no such folder", "sudo ./inv deploy")
        case CannotSee():
            return unseen(name, seen, fix)
        case str():
            return Check(name, Status.FAILED, seen, LOOK_AT_DISKS)
        case disk:
            found = (_space(disk), _inodes(disk))
    worst = max(found, key=lambda each: _ORDER.index(each[0]))
    return Check(name, worst[0], ", ".join(text for _, text in found), "" if worst[0] is Status.OK else fix)


_ORDER: Final = (Status.OK, Status.WARNING, Status.FAILED)


def _space(disk: DiskSeen) -> tuple[Status, str]:
    share = disk.free_bytes / disk.bytes if disk.bytes else 0.0
    status = Status.OK
    if disk.free_bytes < _BYTES_FAIL or (share < _SHARE_FAIL and disk.free_bytes < _BYTES_WARN):
        status = Status.FAILED
    elif share < _SHARE_WARN or disk.free_bytes < _BYTES_WARN:
        status = Status.WARNING
    return status, f"{share:.0%} free ({disk.free_bytes / GIB:.1f} GiB)"


def _inodes(disk: DiskSeen) -> tuple[Status, str]:
    if not disk.inodes:
        return Status.OK, "as many files as there is room for"
    share = disk.free_inodes / disk.inodes
    status = Status.FAILED if share < _SHARE_FAIL else Status.WARNING if share < _SHARE_WARN else Status.OK
    return status, f"{share:.0%} of the inodes free"


# --- All of it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """Every check, in the order in which people read them."""

    checks: tuple[Check, ...] = field(default=())

    def count(self, status: Status) -> int:
        """Return how many checks ended so."""
        return sum(each.status is status for each in self.checks)

    def is_well(self, *, strict: bool) -> bool:
        """Whether nothing failed; where strict, whether there was no warning either."""
        return not self.count(Status.FAILED) and not (strict and self.count(Status.WARNING))


def all_of(checks: Iterable[Check | None]) -> Health:
    """Put checks together; None is nothing to say."""
    return Health(tuple(each for each in checks if each is not None))


def _words(span: timedelta) -> str:
    """Return a length of time as people say it, in its largest unit of which there are two."""
    seconds = max(int(span.total_seconds()), 0)
    for unit, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {word}"
    return f"{seconds} s"
