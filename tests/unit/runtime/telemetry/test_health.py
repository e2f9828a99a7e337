"""What is seen of a host is well, in doubt or ill: tables of cases, each with its words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ds01.core.cron import parse_times
from ds01.core.services import SAMPLER
from ds01.core.units import GIB, MIB
from ds01.runtime.lifecycle.jobs import Stamp
from ds01.runtime.telemetry.health import (
    FRESH_PRESSURE,
    FRESH_RATES,
    CannotSee,
    Check,
    DiskSeen,
    FileSeen,
    GpusSeen,
    Health,
    Schedule,
    ServiceSeen,
    StateFile,
    Status,
    Written,
    all_of,
    judge_disk,
    judge_file,
    judge_gpus,
    judge_job,
    judge_service,
)

NOW = datetime(2026, 3, 1, 12, 10, tzinfo=UTC)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def said(check: Check) -> tuple[Status, str]:
    assert bool(check.fix) == (check.status in {Status.WARNING, Status.FAILED})
    return check.status, check.text


# --- Services ---------------------------------------------------------------------------------------------------------

DOES = "measures CPU rates and watches memory"


def wrote(rates: datetime | CannotSee | str | None, pressure: datetime | CannotSee | str | None) -> ServiceSeen:
    return ServiceSeen("active", (Written("/run/r", FRESH_RATES, rates), Written("/run/p", FRESH_PRESSURE, pressure)))


@pytest.mark.parametrize(
    ("seen", "status", "text"),
    [
        (ServiceSeen(None), Status.WARNING, f"it is not deployed: {SAMPLER.without}"),
        (ServiceSeen("failed"), Status.FAILED, f"it is failed: {SAMPLER.without}"),
        (ServiceSeen("activating"), Status.FAILED, f"it is activating: {SAMPLER.without}"),
        (ServiceSeen(""), Status.FAILED, f"it is unknown to systemd: {SAMPLER.without}"),
        (wrote(None, ago(seconds=5)), Status.FAILED, "it runs and has not written /run/r yet"),
        (wrote("ValueError: x", ago(seconds=5)), Status.FAILED, "/run/r cannot be read: ValueError: x"),
        (wrote(ago(seconds=5), ago(seconds=5)), Status.OK, DOES),
        (wrote(ago(minutes=2), ago(minutes=3)), Status.OK, DOES),
        (wrote(ago(minutes=10), ago(seconds=5)), Status.FAILED, "it runs, and /run/r is 10 min old"),
        (wrote(ago(minutes=-10), ago(seconds=5)), Status.FAILED,
         "it runs, and /run/r is of a time that is 10 min ahead"),
        # One half of the work is done, the other is not.
        (wrote(ago(seconds=5), ago(seconds=181)), Status.FAILED, "it runs, and /run/p is 3 min old"),
        (wrote(ago(seconds=5), None), Status.FAILED, "it runs and has not written /run/p yet"),
        (wrote(None, "x"), Status.FAILED, "it runs and has not written /run/r yet; /run/p cannot be read: x"),
        (wrote(CannotSee("no"), ago(seconds=5)), Status.OK, f"{DOES}; no"),
        (wrote(CannotSee("no"), ago(hours=2)), Status.FAILED, "it runs, and /run/p is 2 h old"),
    ],
)  # fmt: skip
def test_a_service_does_its_work_or_what_is_missing_is_said(seen: ServiceSeen, status: Status, text: str):
    assert said(judge_service(SAMPLER, seen, NOW)) == (status, text)


# --- GPUs -------------------------------------------------------------------------------------------------------------

HANGS = "the driver has not answered for 7200 s; see dmesg"
SILENT = "no DCGM exporter answers at 127.0.0.1:9400"
MIG = f"how busy a MIG instance is only DCGM can tell, and {SILENT}"


def gpus(trouble: dict[str, str] | None = None, unknown: tuple[str, ...] = (), *, stated: bool = True) -> GpusSeen:
    return GpusSeen(stated, trouble or {}, unknown)


@pytest.mark.parametrize(
    ("seen", "status", "text"),
    [
        (gpus(), Status.OK, "the driver answers, and it is known how busy each unit is"),
        (gpus({"driver": HANGS}, (HANGS,) * 8), Status.FAILED, HANGS),
        (gpus({"driver": "pynvml is not installed"}, stated=False), Status.OK, "the host file lists none"),
        # Nothing computes there now, so all is known.
        (gpus({"exporter": SILENT}), Status.WARNING, SILENT),
        (gpus({"exporter": SILENT}, (MIG, MIG)), Status.WARNING,
         f"whether 2 units are busy nobody can tell: {MIG}"),
        (gpus({}, ("GPU is lost",)), Status.WARNING, "whether 1 unit is busy nobody can tell: GPU is lost"),
        (gpus({"exporter": SILENT, "policy": "it is\nno JSON"}, ("GPU is lost", MIG)), Status.WARNING,
         f"whether 2 units are busy nobody can tell: GPU is lost; {MIG}; it is no JSON"),
        (gpus({"exporter": SILENT}, (MIG,), stated=False), Status.WARNING,
         f"whether 1 unit is busy nobody can tell: {MIG}"),
    ],
)  # fmt: skip
def test_gpus_are_known_or_what_is_not_is_said(seen: GpusSeen, status: Status, text: str):
    assert said(judge_gpus(seen)) == (status, text)


# --- Jobs -------------------------------------------------------------------------------------------------------------

HOURLY = Schedule(parse_times("15 * * * *"), ago(days=30))


def ended(*, last: datetime | None, ok: bool = True, summary: str = "2 stopped") -> Stamp:
    return Stamp("idle", NOW, NOW, ok, summary, last)


@pytest.mark.parametrize(
    ("stamp", "status", "text"),
    [
        (ended(last=ago(minutes=55)), Status.OK, "55 min ago: 2 stopped"),
        # 11:15 may be under way still, so it was due at 11:15 and 10:15.
        (ended(last=ago(minutes=115)), Status.OK, "115 min ago: 2 stopped"),
        (ended(last=ago(minutes=116)), Status.FAILED, "it last ended well 116 min ago, and was due twice since"),
        (ended(last=ago(days=3)), Status.FAILED, "it last ended well 3 d ago, and was due twice since"),
        (ended(last=ago(minutes=55), ok=False, summary="no Docker"), Status.WARNING,
         "it failed the last time: no Docker"),
        (ended(last=ago(hours=5), ok=False, summary="no Docker"), Status.FAILED,
         "it last ended well 5 h ago, and was due twice since: no Docker"),
        (ended(last=None, ok=False, summary="no Docker"), Status.FAILED,
         "it never ended well, and was due twice since: no Docker"),
        (None, Status.FAILED, "it never ended well, and was due twice since"),
    ],
)  # fmt: skip
def test_a_job_may_miss_its_time_once(stamp: Stamp | None, status: Status, text: str):
    assert said(judge_job("idle", stamp, HOURLY, NOW)) == (status, text)


@pytest.mark.parametrize(
    ("since", "status"),
    [(ago(minutes=10), Status.OK), (ago(minutes=114), Status.OK), (ago(minutes=116), Status.FAILED)],
)
def test_what_could_not_run_yet_is_not_late(since: datetime, status: Status):
    """The machine was off, or the job is new."""
    schedule = Schedule(HOURLY.times, since)
    assert judge_job("idle", None, schedule, NOW).status is status
    assert judge_job("idle", ended(last=ago(days=3)), schedule, NOW).status is status


def test_a_rare_job_is_late_only_after_its_own_time():
    weekly = Schedule(parse_times("0 6 * * mon"), ago(days=365))
    assert judge_job("idle", ended(last=ago(days=12)), weekly, NOW).status is Status.OK
    assert judge_job("idle", ended(last=ago(days=14)), weekly, NOW).status is Status.FAILED


def test_cron_goes_by_the_machines_own_clock():
    zone = timezone(timedelta(hours=5, minutes=30))
    daily = Schedule(parse_times("0 17 * * *"), ago(days=30))
    local = NOW.astimezone(zone)  # 17:40
    # 17:00 there is 11:30 here; the time before was yesterday's.
    assert judge_job("idle", ended(last=ago(hours=23)), daily, local).status is Status.OK
    assert judge_job("idle", ended(last=ago(hours=25)), daily, local).status is Status.FAILED


# --- Files ------------------------------------------------------------------------------------------------------------

FILE = StateFile("/f", 0o640, "mend it")


@pytest.mark.parametrize(
    ("seen", "status", "text"),
    [
        (FileSeen(0, 0o640), Status.OK, "as it should be"),
        (FileSeen(1001, 0o640), Status.FAILED, "it belongs to uid 1001, not to root"),
        (FileSeen(0, 0o660), Status.FAILED, "others than root can write it (mode 0660)"),
        (FileSeen(0, 0o642, "torn"), Status.FAILED, "others than root can write it (mode 0642)"),
        (FileSeen(0, 0o640, "it is torn"), Status.FAILED, "it is torn"),
        (FileSeen(0, 0o644, "it is torn"), Status.FAILED, "it is torn"),
        (FileSeen(0, 0o644), Status.WARNING, "its mode is 0644, not 0640"),
        (FileSeen(0, 0o644, CannotSee("no")), Status.WARNING, "its mode is 0644, not 0640"),
        (FileSeen(0, 0o640, CannotSee("no")), Status.UNKNOWN, "no"),
        (CannotSee("no"), Status.UNKNOWN, "no"),
        (CannotSee("it hangs", late=True), Status.FAILED, "it hangs"),
    ],
)
def test_a_file_is_roots_and_whole_or_what_is_wrong_is_said(seen: FileSeen | CannotSee, status: Status, text: str):
    found = judge_file(FILE, seen)
    assert found is not None
    assert said(found) == (status, text)


def test_a_file_that_is_not_there_is_missed_only_where_it_is_needed():
    assert judge_file(FILE, None) is None
    needed = StateFile("/f", 0o640, "make it", needed=True)
    assert judge_file(needed, None) == Check("/f", Status.FAILED, "it is missing", "make it")


# --- Disks ------------------------------------------------------------------------------------------------------------


def disk(free: float, size: float = 1000 * GIB, inodes: tuple[int, int] = (1000, 900)) -> DiskSeen:
    return DiskSeen(int(size), int(free), *inodes)


@pytest.mark.parametrize(
    ("seen", "status", "text"),
    [
        (disk(500 * GIB), Status.OK, "50% free (500.0 GiB), 90% of the inodes free"),
        (disk(100 * GIB), Status.OK, "10% free (100.0 GiB), 90% of the inodes free"),
        (disk(99 * GIB), Status.WARNING, "10% free (99.0 GiB), 90% of the inodes free"),
        # So much of a large disk is enough for all that DS01 writes.
        (disk(10 * GIB), Status.WARNING, "1% free (10.0 GiB), 90% of the inodes free"),
        (disk(1 * GIB), Status.FAILED, "0% free (1.0 GiB), 90% of the inodes free"),
        (disk(1 * GIB, 2 * GIB), Status.WARNING, "50% free (1.0 GiB), 90% of the inodes free"),
        (disk(100 * MIB, 200 * MIB), Status.FAILED, "50% free (0.1 GiB), 90% of the inodes free"),
        (disk(0, 0), Status.FAILED, "0% free (0.0 GiB), 90% of the inodes free"),
        (disk(500 * GIB, inodes=(1000, 99)), Status.WARNING, "50% free (500.0 GiB), 10% of the inodes free"),
        (disk(500 * GIB, inodes=(1000, 19)), Status.FAILED, "50% free (500.0 GiB), 2% of the inodes free"),
        (disk(500 * GIB, inodes=(0, 0)), Status.OK, "50% free (500.0 GiB), as many files as there is room for"),
        (CannotSee("no"), Status.UNKNOWN, "no"),
        (None, Status.WARNING, "there is no such folder"),
    ],
)
def test_a_disk_has_room_for_bytes_and_for_files(seen: DiskSeen | CannotSee | None, status: Status, text: str):
    assert said(judge_disk("/f", seen)) == (status, text)


# --- All of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "well", "strictly"),
    [
        ((), True, True),
        ((Status.OK, Status.UNKNOWN), True, True),
        ((Status.OK, Status.WARNING), True, False),
        ((Status.WARNING, Status.FAILED), False, False),
    ],
)
def test_what_failed_counts_and_warnings_where_that_is_asked_for(
    statuses: tuple[Status, ...], well: object, strictly: object
):
    health = all_of([None, *(Check("a", each, "b", "c") for each in statuses)])
    assert len(health.checks) == len(statuses)
    assert (health.is_well(strict=False), health.is_well(strict=True)) == (well, strictly)
    assert sum(health.count(each) for each in Status) == len(statuses)
    assert Health() == all_of([])
