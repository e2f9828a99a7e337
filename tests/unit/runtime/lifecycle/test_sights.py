"""What the rules see of a host: limits, clocks, GPUs and their activity; what cannot be seen is a reason."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.fake_nvml.samples import gpu_uuid, instance_uuid, shipped_host
from tests.unit.runtime.gpu.hosts import held
from tests.unit.runtime.lifecycle.sites import ADMIN, ALICE, Site
from tests.unit.runtime.lifecycle.subjects import HOUR, MINUTE, seen, waiting

from ds01.core.clock import format_instant
from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.jsonstate import write_json
from ds01.core.labels import ALLOCATION, PROTECTED
from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.containers.look import look
from ds01.runtime.containers.seen import Kind, Seen
from ds01.runtime.containers.start import Start
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.lifecycle import memory
from ds01.runtime.lifecycle.decision import Times
from ds01.runtime.lifecycle.due import Memories, next_due
from ds01.runtime.lifecycle.idle import IdleSight
from ds01.runtime.lifecycle.idle_memory import GpuSign
from ds01.runtime.lifecycle.runtime_limit import Run, RuntimeMemory
from ds01.runtime.lifecycle.sights import Sights, awake_seconds
from ds01.runtime.lifecycle.stale_containers import Kept, KeptMemory
from ds01.runtime.machine import Machine

if TYPE_CHECKING:
    from tests.fake_nvml.fixture import FakeNvml

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
FIRST, SECOND = instance_uuid(2, 0), instance_uuid(3, 0)
STUDENT = Times(30 * MINUTE, 24 * HOUR, 15 * MINUTE, 30 * MINUTE, 60)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, machine=Machine(now=lambda: NOW))


@pytest.fixture
def lab(site: Site, loaded_nvml: FakeNvml) -> Site:
    """The site on the shipped hardware: two whole GPUs, and two split in three."""
    loaded_nvml.write(shipped_host())
    return site


def mine(**changes: Any) -> Seen:
    return seen(user=ALICE, **changes)


# --- Clocks -----------------------------------------------------------------------------------------------------------


def test_a_moment_is_shown_by_three_clocks(site: Site):
    before, found, after = awake_seconds(), site.sights.moment(), awake_seconds()
    assert found.now == NOW
    assert found.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert before <= found.awake_seconds <= after
    assert found.boot_seconds >= before


def test_a_folder_that_has_processes_is_looked_at_instead_of_the_machines(site: Site):
    site.paths.proc.mkdir()
    assert site.sights.machine.proc == site.paths.proc


# --- Containers -------------------------------------------------------------------------------------------------------


def test_a_container_has_the_stricter_of_its_accounts_and_its_types_times(site: Site):
    site.change(container_types={"docker": {"idle_timeout_seconds": 60, "max_runtime_seconds": 10**6}})
    assert site.sights.subject(mine(kind=Kind.DOCKER)).times == replace(STUDENT, idle_timeout=60)
    assert site.sights.subject(mine(labels={"ds01.container_type": "devcontainer"})).times == STUDENT


@pytest.mark.parametrize("changes", [{"user": None}, {"user": "root\n"}, {"user": "games", "asserted": True}])
def test_who_cannot_be_charged_has_no_times(site: Site, changes: dict[str, Any]):
    assert site.sights.subject(seen(**changes)).times is None


@pytest.mark.parametrize(
    ("changes", "protected"),
    [
        ({"admitted": True}, True),
        ({"admitted": False}, False),
        ({"admitted": False, "of_site": True}, True),
        ({"admitted": False, "user": ADMIN}, True),
        ({"admitted": False, "user": ADMIN, "asserted": True}, False),
        ({"admitted": False, "user": None}, False),
    ],
)
def test_protection_is_believed_of_those_who_may_ask_for_it(site: Site, changes: dict[str, Any], protected: bool):  # noqa: FBT001
    settings = {"user": ALICE} | changes
    assert site.sights.subject(seen(labels={PROTECTED: "true"}, **settings)).protected is protected
    assert site.sights.subject(seen(labels={PROTECTED: "false"}, **settings)).protected is False


def test_a_run_is_as_old_as_its_first_process_by_the_clock_that_nobody_sets(site: Site):
    started = site.machine.process(os.getpid())
    assert started is not None
    age = site.sights.subject(mine(pid=os.getpid(), started_at=NOW - timedelta(days=400))).age_seconds
    assert age is not None
    now = site.machine.boot_seconds()
    assert 0 <= now - started.started / os.sysconf("SC_CLK_TCK") - age < 10


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_of_one_without_a_process_nobody_knows_how_old_its_run_is(site: Site, pid: int | None):
    assert site.sights.subject(mine(pid=pid)).age_seconds is None


# --- Idle -------------------------------------------------------------------------------------------------------------


def test_of_one_that_has_no_timeout_nobody_looks_at_the_counters(site: Site):
    subject = replace(site.sights.subject(mine(pid=os.getpid())), times=replace(STUDENT, idle_timeout=None))
    nothing = IdleSight(subject, "it has no process", "it has no process", {})
    assert site.sights.idle_sight(subject) == nothing
    stopped = site.sights.subject(mine(state=State.EXITED))
    assert site.sights.idle_sight(stopped) == replace(nothing, subject=stopped)


def test_what_a_container_used_is_read_from_its_own_process(site: Site):
    found = site.sights.idle_sight(site.sights.subject(mine(pid=os.getpid())))
    # This process is in no container's group: nothing of it may pass for the container's own.
    assert found.cpu_usec == "its first process is in no group of its own"
    assert (found.gpus, found.has_gpu) == ({}, False)


# --- GPUs -------------------------------------------------------------------------------------------------------------


def watched(site: Site, units: dict[str, Any], updated_at: datetime = NOW) -> None:
    entries = {
        uuid: {"percent": 0.0, "busy_at": None, "since": "2026-03-01T09:00:00.000Z", "unknown": None, "known_at": None}
        | entry
        for uuid, entry in units.items()
    }
    document = {
        "version": 1, "updated_at": format_instant(updated_at), "boot": Machine().boot_id(), "threshold_percent": 5,
        "doubts": 0, "units": entries,
    }  # fmt: skip
    site.paths.gpu_activity.parent.mkdir(parents=True, exist_ok=True)
    write_json(site.paths.gpu_activity, document)


SINCE = datetime(2026, 3, 1, 9, 0, 0, tzinfo=UTC)


def signs(site: Site, **changes: Any) -> Any:
    return site.sights.idle_sight(site.sights.subject(mine(pid=os.getpid(), **changes))).gpus


def test_activity_is_that_of_the_units_in_the_ledger(site: Site):
    site.ledger(replace(held(ALICE, "2:0", name="web"), container_id=mine().container.id, uuids=(GpuUuid(FIRST),)))
    watched(site, {FIRST: {"busy_at": "2026-03-01T11:59:30.000Z"}, SECOND: {}})
    assert signs(site) == {FIRST: GpuSign(datetime(2026, 3, 1, 11, 59, 30, tzinfo=UTC), SINCE)}


def test_a_container_that_the_ledger_does_not_know_has_what_docker_gave_it(lab: Site):
    watched(lab, {FIRST: {}, SECOND: {"percent": None, "unknown": "no DCGM exporter"}})
    request = GpuRequest(Asked.NAMED, ("2:0", SECOND))
    assert signs(lab, gpu=request) == {
        FIRST: GpuSign(None, SINCE),
        SECOND: GpuSign(None, SINCE, "no DCGM exporter"),
    }


def test_a_label_alone_is_no_gpu(site: Site):
    assert signs(site, labels={ALLOCATION: "abcdefgh12345678", "ds01.gpu.uuids": FIRST}) == {}


def test_one_that_waits_to_come_back_has_its_gpus_and_nothing_else(lab: Site):
    watched(lab, {FIRST: {}})
    there = {key: each for key, each in waiting(3, 0).items() if key != "age"}
    subject = lab.sights.subject(mine(gpu=GpuRequest(Asked.NAMED, (FIRST,)), **there))
    signs, none = {FIRST: GpuSign(None, SINCE)}, "it has no process"
    assert lab.sights.idle_sight(subject) == IdleSight(subject, none, none, signs, keep_alive=None)


def test_a_unit_that_nobody_watches_cannot_be_told(lab: Site):
    watched(lab, {})
    assert signs(lab, gpu=GpuRequest(Asked.NAMED, (FIRST,))) == {FIRST: GpuSign(None, NOW, "nobody watches it")}


@pytest.mark.parametrize(
    ("updated_at", "why"),
    [(NOW - timedelta(hours=1), "it is from 2026-03-01T11:00:00Z"), (NOW + timedelta(hours=1), "it is from")],
)
def test_activity_of_another_time_tells_nothing(lab: Site, updated_at: datetime, why: str):
    watched(lab, {FIRST: {}}, updated_at)
    assert str(signs(lab, gpu=GpuRequest(Asked.NAMED, (FIRST,)))).startswith(why)


def test_without_a_watcher_activity_cannot_be_told(lab: Site):
    why = f"there is no {lab.paths.gpu_activity}; systemctl status ds01-gpuwatch says why"
    assert signs(lab, gpu=GpuRequest(Asked.NAMED, (FIRST,))) == why
    lab.paths.gpu_activity.parent.mkdir(parents=True, exist_ok=True)
    lab.paths.gpu_activity.write_text("[]")
    assert signs(lab, gpu=GpuRequest(Asked.NAMED, (FIRST,))) == f"{lab.paths.gpu_activity} is not a JSON object"


def test_units_that_cannot_be_told_are_a_reason(lab: Site, loaded_nvml: FakeNvml):
    watched(lab, {FIRST: {}})
    assert signs(lab, gpu=GpuRequest(Asked.NAMED, ("9",))) == "it cannot be told which GPUs it has"
    loaded_nvml.write(shipped_host().with_rules("fail nvmlInit 999"))
    assert str(signs(lab, gpu=GpuRequest(Asked.NAMED, (FIRST,)))).startswith("which GPUs it has cannot be told: ")


def test_demand_is_the_share_of_units_that_are_held(lab: Site):
    assert lab.sights.demand() == 0
    held_units = (GpuUuid(FIRST), GpuUuid(gpu_uuid(0)), GpuUuid("MIG-gone"))
    lab.ledger(replace(held(ALICE, "2:0", name="web"), uuids=held_units))
    assert lab.sights.demand() == 2 / 8


def test_demand_that_cannot_be_told_is_none(lab: Site, loaded_nvml: FakeNvml):
    lab.paths.gpu_state.write_text("torn")
    assert lab.sights.demand() is None
    lab.ledger()
    loaded_nvml.write("")
    assert lab.sights.demand() is None


# --- Timers -----------------------------------------------------------------------------------------------------------


def test_timers_are_all_that_due_goes_by(site: Site):
    site.ledger(replace(held(ALICE, "2:0", name="web"), stopped_at=NOW))
    moment = site.sights.moment()
    runtime = RuntimeMemory(moment.boot, {"a": Run(ALICE, Start(NOW, 0, NOW), 60, 0)})
    kept = KeptMemory(moment, {"b": Kept(ALICE, NOW)})
    memory.remember(site.paths, "max-runtime", runtime)
    memory.remember(site.paths, "stale-containers", kept)
    timers = site.sights.timers([mine()])
    assert timers.memories == Memories(runtime, kept)
    assert [each.name for each in timers.subjects] == ["web"]
    found = next_due(timers, moment, after=NOW - timedelta(seconds=1))
    assert found is not None
    assert (found.job, found.at) == ("stale-gpu", NOW + timedelta(minutes=15, seconds=1))


def test_what_is_damaged_gives_no_timers_and_no_failure(site: Site):
    site.paths.gpu_state.write_text("torn")
    for job in ("max-runtime", "stale-containers"):
        memory.remember(site.paths, job, RuntimeMemory())
        memory.path_of(site.paths, job).write_text("torn")
    timers = site.sights.timers([])
    assert timers.memories == Memories()
    assert next_due(timers, site.sights.moment(), after=NOW) is None


def test_all_of_it_from_what_docker_says(site: Site):
    site.has("train", pid=os.getpid())
    site.has("stranger", user=None)
    with site.engine():
        found = look(site.paths, site.policy)
    subjects = {each.name: each for each in Sights(site.paths, site.policy, site.machine).subjects(found.seen)}
    assert subjects["train"].user == ALICE
    assert subjects["train"].times == replace(STUDENT, max_runtime=24 * HOUR)
    assert subjects["train"].age_seconds is not None
    assert (subjects["stranger"].user, subjects["stranger"].times) == (None, None)
    assert json.loads(site.paths.claims.read_text())["version"] == 1
