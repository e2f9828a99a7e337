"""Quotas of accounts: the same figures that check-limits shows, and who is told of them."""

from __future__ import annotations

import json
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cgroups import GIB, make_group
from tests.unit.runtime.overview.hosts import NOW, allocation, make_host, overview_of, policy_of, put_gpus

from ds01.core.events import Event, EventLog, read_events
from ds01.core.names import SliceName, cgroup_path
from ds01.core.paths import HostPaths
from ds01.core.policy import PolicyError
from ds01.core.value import replace
from ds01.runtime.lifecycle.notify import Notifier
from ds01.runtime.telemetry.quota import Quota, Said
from ds01.runtime.telemetry.quota_look import QuotaLook
from ds01.runtime.telemetry.tell import Teller

STUDENT = SliceName("ds01-student-alice.slice")
LAB = SliceName("ds01-research_lab-alice.slice")
GAMES = SliceName("ds01-student-games.slice")
GAMES_UID = pwd.getpwnam("games").pw_uid


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    paths = make_host(tmp_path)
    put_gpus(paths)
    return paths


def look(
    host: HostPaths, slices: Mapping[str, tuple[SliceName, ...]], said: Mapping[str, Said] | None = None
) -> dict[str, Said]:
    teller = Teller(EventLog(host.root / "events.jsonl"), Notifier(host, lambda: NOW))
    return QuotaLook(host, teller).look(policy_of(host), slices, said or {}, NOW)


def told(host: HostPaths) -> list[tuple[str | None, object, object, object]]:
    """Return whom events are about, and of what."""
    path = host.root / "events.jsonl"
    events = [each for each in read_events(path) if isinstance(each, Event)] if path.exists() else []
    assert {each.event_type for each in events} <= {"quota.near"}
    return [(each.user, each.details["limit"], each.details["used"], each.details["allowed"]) for each in events]


def test_the_figures_are_those_of_check_limits(host: HostPaths) -> None:
    put_gpus(host, allocation("train", "0:1", "0:2", "0:3"))
    make_group(
        host.cgroup / cgroup_path(STUDENT), 80 * GIB, GIB, pids=12000, memory_max=f"{96 * GIB}", memory_high="max"
    )
    said = look(host, {"alice": (STUDENT, LAB)})
    overview = overview_of(host)
    assert told(host) == [
        ("alice", "memory", overview.memory.used, overview.memory.limit),
        ("alice", "tasks", overview.tasks.used, overview.tasks.limit),
        ("alice", "gpus", 3, 3),
        ("alice", "containers", overview.containers.used, overview.containers.limit),
    ]
    assert said == {"alice": {Quota.MEMORY: 0.8, Quota.TASKS: 0.95, Quota.GPUS: 0.95, Quota.CONTAINERS: 0.95}}


def test_who_holds_gpus_and_runs_nothing_is_told_too(host: HostPaths) -> None:
    put_gpus(host, allocation("train", "0:1", "0:2", "0:3", stopped=5))
    assert look(host, {}) == {"alice": {Quota.GPUS: 0.95}}
    assert told(host) == [("alice", "gpus", 3, 3)]


def test_a_record_of_gpus_that_cannot_be_believed_leaves_all_as_it_was(host: HostPaths) -> None:
    host.gpu_state.write_text("{")
    said = {"alice": {Quota.GPUS: 0.95}}
    assert look(host, {}, said) == said
    host.gpu_state.unlink()
    assert look(host, {}, said) == {}
    assert told(host) == []


def test_control_groups_that_cannot_be_read_leave_all_as_it_was(host: HostPaths) -> None:
    said = {"alice": {Quota.MEMORY: 0.8, Quota.CONTAINERS: 0.8}}
    (host.cgroup / "cgroup.controllers").unlink()
    assert look(host, {"alice": (STUDENT,)}, said) == said


def test_without_the_root_slice_nobody_uses_anything(host: HostPaths) -> None:
    shutil.rmtree(host.cgroup / "ds01.slice")
    assert look(host, {}, {"alice": {Quota.MEMORY: 0.8}}) == {}


def test_a_name_in_the_record_that_no_account_has_is_left_out(host: HostPaths) -> None:
    put_gpus(host, allocation("odd", "0:1", "0:2", "0:3", user="\x1b[31m"), allocation("free", "1:1", user=None))
    assert look(host, {}) == {}


@pytest.mark.root
def test_a_notice_goes_when_usage_is_well_below(host: HostPaths) -> None:
    path = host.notices(GAMES_UID)
    put_gpus(host, allocation("train", "0:1", "0:2", "0:3", user="games"))
    said = look(host, {})
    assert [each["key"] for each in json.loads(path.read_text())] == ["quota.gpus"]
    put_gpus(host)
    assert look(host, {}, said) == {}
    assert not path.exists()


def test_a_policy_without_levels_is_named(host: HostPaths) -> None:
    policy = replace(policy_of(host), document={})
    with pytest.raises(PolicyError, match="quota_warnings"):
        QuotaLook(host, Teller(EventLog(host.root / "x"), Notifier(host, lambda: NOW))).look(policy, {}, {}, NOW)
