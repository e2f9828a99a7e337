"""The sampler's look at memory: over minutes, restarts and reboots, on files that say what a kernel would."""

from __future__ import annotations

import json
import logging
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cgroups import events_text, pressure_text
from tests.unit.runtime.telemetry.pressure_host import GIB, HIGH, MAX, OWN, SLICE, USER, Host

from ds01.core.events import Event

pytestmark = pytest.mark.root

ONE, TWO = "1" * 64, "2" * 64
KEY = f"pressure.{SLICE}"
LET_GO = (
    "your containers hardly move: together they need more memory than the 7.2G at which they are slowed down."
    " They are let go on now, and at 8G the kernel ends the largest process."
)
TOLD = (
    "your containers hardly move: together they need more memory than the 7.2G at which they are slowed down."
    " Stop one or let it use less; check-limits shows what each one takes."
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def written(host: Host) -> dict[str, Any]:
    return json.loads(host.paths.pressure.read_text())


# --- What is used -----------------------------------------------------------------------------------------------------


def test_each_minute_says_what_was_used_and_what_happened_since_the_one_before(host: Host) -> None:
    def shows(usec: int, high: int) -> None:
        path = host.put(GIB, memory_events=events_text(high=high), pids_max="12288")
        (path / "cpu.stat").write_text(f"usage_usec {usec}\nuser_usec 0\nsystem_usec 0\n")

    def used() -> tuple[object, ...]:
        found = written(host)
        row = found["slices"][SLICE]
        delta = row["events_delta"]
        return found["since_seconds"], row["pids"], row["cpu"], None if delta is None else delta["high"]

    pids = {"current": 3, "max": 12288}
    shows(7_000_000, 5)
    host.looks()
    assert used() == (None, pids, {"usage_usec": 7_000_000, "cpus": None}, None)
    shows(97_000_000, 25)
    host.looks()
    assert used() == (60.0, pids, {"usage_usec": 97_000_000, "cpus": 1.5}, 20)
    # Another sampler goes on from what was written.
    host.start()
    shows(127_000_000, 25)
    host.looks()
    assert used() == (60.0, pids, {"usage_usec": 127_000_000, "cpus": 0.5}, 0)


def test_waiting_for_cpu_is_in_the_log_once_and_its_owner_is_not_told(host: Host) -> None:
    host.put(GIB, cpu_pressure=pressure_text(90, 90))
    host.looks(10)
    host.put(GIB)
    host.looks()
    assert [(each.event_type, each.details["resource"], each.details["seconds"]) for each in host.events()] == [
        ("pressure.high", "cpu", 300),
        ("pressure.over", "cpu", 600),
    ]
    assert host.notices() == {}


# --- Out of memory ----------------------------------------------------------------------------------------------------


def test_a_container_at_its_own_limit_is_named_in_the_log_and_to_its_owner(host: Host) -> None:
    host.put(GIB)
    host.put_container(ONE)
    host.looks()
    host.put_kills(2 * GIB, 1)
    host.put_container(ONE, kills=1, oom=1)
    host.looks(3)
    assert host.events() == [
        Event(
            "pressure.oom",
            USER,
            "sampler",
            host.now - timedelta(minutes=3),
            {
                "slice": SLICE,
                "kills": 1,
                "limit": "container",
                "containers": [
                    {"name": "1" * 12, "id": "1" * 12, "ended": False, "limit": "container", "limit_bytes": OWN}
                ],
                "memory_current_bytes": 2 * GIB,
                "memory_used_bytes": 2 * GIB,
                "memory_high_bytes": HIGH,
                "memory_max_bytes": MAX,
            },
        )
    ]
    clock = f"{(host.now - timedelta(minutes=3)).astimezone():%H:%M}"
    assert host.notices() == {
        f"oom.{ONE}": f"a process in container {'1' * 12} was ended at {clock}: out of memory (its own limit of 4G)"
    }


def test_the_limit_of_all_containers_together_is_told_as_such(host: Host) -> None:
    host.put(GIB)
    host.put_container(ONE)
    host.looks()
    shutil.rmtree(host.put_container(ONE))
    host.put_kills(2 * GIB, 1, own=1)
    host.looks()
    assert host.notices()[f"oom.{ONE}"].endswith(": out of memory (all your containers together reached 8G)")


def test_one_that_nobody_can_name_is_told_all_the_same(host: Host) -> None:
    host.put(GIB)
    host.looks()
    host.put_kills(GIB, 1)
    host.looks()
    assert [*host.notices()] == [f"oom.{SLICE}"]
    assert host.events()[0].details["containers"] == []


def test_what_was_before_the_sampler_is_not_told(host: Host) -> None:
    host.put_kills(GIB, 7)
    host.put_container(ONE, kills=7, oom=7)
    host.looks(3)
    assert host.said() == []


def test_a_slice_that_comes_later_and_one_made_anew_begin_at_0(host: Host) -> None:
    host.looks()
    host.put_kills(GIB, 2)
    host.looks()
    old = host.group().rename(host.paths.root / "removed, and its number not given again")
    assert old.exists()
    host.put_kills(GIB, 2)
    host.looks()
    assert [each.details["kills"] for each in host.events()] == [2, 2]


def test_counters_outlive_the_sampler_but_no_boot(host: Host) -> None:
    host.put(GIB)
    host.looks()
    host.put_kills(GIB, 1)
    host.start()
    host.looks()
    assert host.said() == ["pressure.oom"]
    host.boot("second")
    host.put_kills(GIB, 5)
    host.start()
    host.looks(2)
    assert host.said() == ["pressure.oom"]


def test_a_slice_of_nobody_known_is_told_to_the_log_alone(host: Host) -> None:
    name = "ds01-student-nobody_has_this_name.slice"
    host.put(GIB, name=name)
    host.looks()
    host.put_kills(GIB, 1, name=name)
    host.looks()
    assert [(each.user, each.details["slice"]) for each in host.events()] == [(None, name)]
    assert [each.name for each in host.paths.notices_folder.iterdir()] == []


# --- Pressure ---------------------------------------------------------------------------------------------------------


def test_pressure_is_reported_once_and_so_is_its_end(host: Host) -> None:
    host.put(GIB, memory_pressure=pressure_text(60, 10))
    host.looks(9)
    host.put(GIB, full=5)
    host.looks(9)
    assert [(each.event_type, each.user) for each in host.events()] == [
        ("pressure.high", USER),
        ("pressure.over", USER),
    ]
    high, over = (each.details for each in host.events())
    assert (high["seconds"], high["some_avg60"], high["full_avg60"]) == (300, 60.0, 10.0)
    assert (over["what"], over["seconds"]) == ("high", 540)
    assert host.notices() == {}


def test_what_is_remembered_outlives_the_sampler(host: Host) -> None:
    host.put(GIB, full=60)
    host.looks(4)
    host.start()
    host.looks(2)
    host.start()
    host.looks(5)
    assert host.said() == ["pressure.high"]


def test_a_sampler_that_was_away_for_long_begins_to_count_anew(host: Host) -> None:
    host.put(GIB, full=60)
    host.looks(4)
    host.minute += 30
    host.start()
    host.looks(5)
    assert host.said() == []
    host.looks()
    assert host.said() == ["pressure.high"]


# --- Stalls -----------------------------------------------------------------------------------------------------------


def stalled(tmp_path: Path, stall: str = "release", mode: str = "enforce") -> Host:
    """Return a host whose account has just been found stalled."""
    host = Host(tmp_path, stall=stall, mode=mode)
    host.put(HIGH + 1, full=30)
    host.looks(3)
    return host


def test_a_stalled_account_is_let_go_on_until_a_process_was_ended(tmp_path: Path) -> None:
    host = stalled(tmp_path)
    assert (host.said(), host.high()) == (["pressure.stalled", "pressure.released"], "max")
    assert host.notices() == {KEY: LET_GO}
    host.put(MAX, full=0)
    host.looks(5)
    assert host.high() == "max"
    host.put_kills(6 * GIB, 1, own=1)
    host.looks()
    assert host.said() == ["pressure.stalled", "pressure.released", "pressure.oom", "pressure.restored"]
    assert (host.events()[-1].details["reason"], host.events()[-1].details["to_bytes"]) == ("oom_kill", HIGH)
    assert host.high() == f"{HIGH}"
    assert [*host.notices()] == [f"oom.{SLICE}"]


def test_usage_below_puts_it_back(tmp_path: Path) -> None:
    host = stalled(tmp_path)
    host.put(HIGH - 1)
    host.looks()
    assert (host.high(), host.events()[-1].details["reason"], host.notices()) == (f"{HIGH}", "below", {})


def test_a_policy_that_only_notifies_tells_and_lifts_nothing(tmp_path: Path) -> None:
    host = stalled(tmp_path, stall="notify")
    assert (host.said(), host.high(), host.notices()) == (["pressure.stalled"], f"{HIGH}", {KEY: TOLD})
    assert host.events()[0].details["stall"] == "notify"
    host.put(GIB)
    host.looks(3)
    assert (host.said(), host.notices()) == (["pressure.stalled", "pressure.over"], {})


def test_a_rule_that_warns_says_what_it_would_do(tmp_path: Path) -> None:
    host = stalled(tmp_path, mode="warn")
    assert (host.said(), host.high(), host.notices()) == (["pressure.stalled"], f"{HIGH}", {KEY: TOLD})
    assert host.events()[0].details["would"] == "release"


def test_a_rule_that_is_off_does_nothing_but_tell_of_kills(tmp_path: Path) -> None:
    host = stalled(tmp_path, mode="off")
    host.looks(20)
    assert (host.said(), host.high(), host.notices()) == ([], f"{HIGH}", {})
    host.put_kills(GIB, 1)
    host.looks()
    assert host.said() == ["pressure.oom"]


def test_a_limit_that_cannot_be_lifted_is_tried_again_and_the_account_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(tmp_path)
    host.put(HIGH + 1, full=30)
    # As on a kernel's file that is mounted for reading only: it cannot be opened for writing.
    target = host.group() / "memory.high"
    elsewhere = host.paths.root / "elsewhere"
    target.rename(elsewhere)
    target.symlink_to(elsewhere)
    host.looks(4)
    assert (host.said(), host.notices()) == (["pressure.stalled"], {KEY: TOLD})
    told = [each.getMessage() for each in caplog.records if "memory.high" in each.getMessage()]
    assert told == [f"memory.high of {SLICE}: {target}: Too many levels of symbolic links; trying again"]
    target.unlink()
    elsewhere.rename(target)
    host.looks()
    assert (host.said(), host.high()) == (["pressure.stalled", "pressure.released"], "max")
    assert host.notices() == {KEY: LET_GO}


def test_the_end_of_the_sampler_puts_it_back(tmp_path: Path) -> None:
    host = stalled(tmp_path)
    host.look.stop()
    assert (host.high(), host.events()[-1].details["reason"], host.notices()) == (f"{HIGH}", "stop", {})
    host.look.stop()
    host.start()
    host.looks()
    assert host.said() == ["pressure.stalled", "pressure.released", "pressure.restored"]


def test_so_does_the_next_start_of_one_that_was_killed(tmp_path: Path) -> None:
    host = stalled(tmp_path)
    host.start()
    host.looks()
    assert (host.high(), host.events()[-1].details["reason"], host.notices()) == (f"{HIGH}", "start", {})


def test_also_when_nothing_is_remembered(tmp_path: Path) -> None:
    host = stalled(tmp_path)
    host.paths.pressure.unlink()
    host.start()
    host.looks()
    assert (host.high(), host.events()[-1].details["reason"], host.notices()) == (f"{HIGH}", "start", {})


def test_one_that_cannot_be_put_back_at_the_start_is_put_back_later(tmp_path: Path) -> None:
    host = stalled(tmp_path)
    host.paths.pressure.unlink()
    host.start()
    target, elsewhere = host.group() / "memory.high", host.paths.root / "elsewhere"
    target.rename(elsewhere)
    target.symlink_to(elsewhere)
    host.looks()
    assert host.high() == "max"
    target.unlink()
    elsewhere.rename(target)
    host.put(HIGH - GIB)
    host.looks()
    assert (host.high(), host.events()[-1].details["reason"]) == (f"{HIGH}", "below")


def test_a_policy_without_quota_levels_makes_nobody_forget_what_is_lifted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(tmp_path)
    document = json.loads(host.paths.policy.read_text())
    del document["policies"]["quota_warnings"]
    host.paths.policy.write_text(json.dumps(document))
    host.put(HIGH + 1, full=30)
    host.looks(3)
    assert host.high() == "max"
    host.put(HIGH - GIB)
    host.looks()
    assert host.high() == f"{HIGH}"
    assert host.said() == ["pressure.stalled", "pressure.released", "pressure.restored"]
    assert [each.getMessage() for each in caplog.records] == [
        "quotas: the compiled policy says None for policies.quota_warnings; trying again"
    ]


def test_an_account_with_a_name_that_is_refused_stops_no_look_at_others(host: Host) -> None:
    document = json.loads(host.paths.policy.read_text())
    document["users"]["dom\\bob"] = {"group": "student"}
    host.paths.policy.write_text(json.dumps(document))
    host.put(GIB, name="ds01-student-dom_bob.slice")
    host.put(GIB)
    host.looks()
    host.put_kills(GIB, 1)
    host.looks()
    assert [(each.event_type, each.user) for each in host.events()] == [("pressure.oom", USER)]


@pytest.mark.parametrize(("stall", "mode"), [("notify", "enforce"), ("release", "warn"), ("release", "off")])
def test_where_nothing_is_lifted_a_missing_limit_is_somebody_elses_affair(
    tmp_path: Path, stall: str, mode: str
) -> None:
    host = Host(tmp_path, stall=stall, mode=mode)
    host.put(GIB, memory_high="max")
    host.looks()
    assert (host.high(), host.said()) == ("max", [])


@pytest.mark.parametrize("memory_max", ["max", f"{MAX // 2}"])
def test_a_slice_with_other_limits_than_the_policys_is_left_alone(host: Host, memory_max: str) -> None:
    host.put(GIB, memory_high="max")
    (host.group() / "memory.max").write_text(memory_max)
    host.looks()
    assert (host.high(), host.said()) == ("max", [])


def test_a_policy_that_changed_meanwhile_counts(tmp_path: Path) -> None:
    host = stalled(tmp_path)
    document = json.loads(host.paths.policy.read_text())
    document["defaults"] |= {"aggregate": {"memory_high_bytes": 5 * GIB}}
    host.paths.policy.write_text(json.dumps(document))
    host.put(GIB)
    host.looks()
    assert host.high() == f"{5 * GIB}"


def test_the_slice_of_a_former_group_gets_back_what_it_had(tmp_path: Path) -> None:
    host = Host(tmp_path)
    former = "ds01-phd_guests-games.slice"
    host.put(3 * GIB, full=30, name=former, memory_high=f"{2 * GIB}")
    host.looks(3)
    assert host.high(former) == "max"
    host.put(GIB, name=former)
    host.looks()
    assert host.high(former) == f"{2 * GIB}"


def test_a_slice_that_goes_takes_along_what_was_said(tmp_path: Path) -> None:
    host = stalled(tmp_path, stall="notify")
    host.looks(4)
    shutil.rmtree(host.group())
    host.looks(2)
    assert host.said() == ["pressure.stalled", "pressure.high", "pressure.over", "pressure.over"]
    assert [each.details["what"] for each in host.events()[2:]] == ["high", "stalled"]
    assert host.notices() == {}


def test_a_lifted_one_that_goes_is_nothing_to_put_back(tmp_path: Path) -> None:
    host = stalled(tmp_path)
    shutil.rmtree(host.group())
    host.looks(2)
    assert [each.details.get("reason") for each in host.events()[2:]] == ["gone"]
    assert host.notices() == {}


# --- Quotas -----------------------------------------------------------------------------------------------------------


def test_an_account_is_told_once_that_it_comes_near_a_limit(tmp_path: Path) -> None:
    host = Host(tmp_path, levels=[0.8, 0.95])
    host.put(7 * GIB)
    host.looks(3)
    assert host.events() == [
        Event(
            "quota.near",
            USER,
            "sampler",
            host.now - timedelta(minutes=3),
            {"limit": "memory", "percent": 87, "level": 0.8, "used": 7 * GIB, "allowed": MAX},
        )
    ]
    assert [*host.notices()] == ["quota.memory"]
    host.start()
    host.looks()
    host.put(GIB)
    host.looks()
    assert (host.said(), host.notices()) == (["quota.near"], {})


def test_a_reboot_takes_back_what_was_said_before(tmp_path: Path) -> None:
    host = Host(tmp_path, levels=[0.8])
    host.put(7 * GIB)
    host.looks()
    host.look._notifier.tell(USER, "another's", key="lifecycle.idle")
    shutil.rmtree(host.group())
    host.paths.pressure.unlink()
    host.boot("second")
    host.start()
    host.looks()
    assert host.notices() == {"lifecycle.idle": "another's"}


# --- The file, and what is in the way ---------------------------------------------------------------------------------


def test_everybody_can_read_how_each_slice_stands(tmp_path: Path) -> None:
    host = Host(tmp_path, levels=[0.8])
    host.put(7 * GIB, full=8)
    host.put_container(ONE)
    host.looks()
    document = written(host)
    assert host.paths.pressure.stat().st_mode & 0o777 == 0o644
    assert {key: document[key] for key in ("version", "updated_at", "boot", "seconds", "quota")} == {
        "version": 1,
        "updated_at": "2026-03-01T09:00:00Z",
        "boot": "first",
        "seconds": 1000.0,
        "quota": {USER: {"memory": 0.8}},
    }
    assert document["slices"][SLICE]["memory"] == {
        "current_bytes": 7 * GIB,
        "working_set_bytes": 7 * GIB,
        "high_bytes": HIGH,
        "max_bytes": MAX,
    }
    assert document["slices"][SLICE]["pressure"]["memory"]["full"]["avg60"] == 8.0
    assert [*document["slices"][SLICE]["containers"]] == [ONE]


def test_a_kernel_without_pressure_tells_of_kills_all_the_same(host: Host) -> None:
    host.put(GIB)
    host.put_container(ONE)
    for file in host.group().rglob("*.pressure"):
        file.unlink()
    host.looks()
    host.put_container(ONE, kills=1, oom=1)
    (host.group() / "memory.events").write_text("low 0\nhigh 0\nmax 0\noom 1\noom_kill 1\n")
    for file in host.group().rglob("*.pressure"):
        file.unlink()
    host.looks()
    assert host.said() == ["pressure.oom"]
    assert "psi=1" in written(host)["slices"][SLICE]["unknown"]["pressure.memory"]


def test_looks_are_a_minute_apart(host: Host) -> None:
    host.put(GIB)
    host.looks()
    before = host.paths.pressure.stat().st_ino
    host.minute -= 1
    host.look.look_when_due()
    assert host.paths.pressure.stat().st_ino == before


def test_without_control_groups_or_policy_nothing_is_forgotten(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.put(GIB)
    host.looks()
    host.put_kills(GIB, 1)
    policy = host.paths.policy.read_text()
    host.paths.policy.unlink()
    host.looks(2)
    host.paths.policy.write_text(policy)
    controllers = host.paths.cgroup / "cgroup.controllers"
    controllers.rename(host.paths.root / "away")
    host.looks(2)
    assert host.said() == []
    (host.paths.root / "away").rename(controllers)
    host.looks()
    assert host.said() == ["pressure.oom"]
    assert [each.getMessage() for each in caplog.records] == [
        f"memory pressure: there is no compiled policy at {host.paths.policy}; trying again",
        f"memory pressure: {host.paths.cgroup}: no control groups are mounted here; trying again",
        "memory pressure: all is well again",
    ]


def test_without_the_root_slice_nothing_runs(host: Host) -> None:
    shutil.rmtree(host.paths.cgroup / "ds01.slice")
    host.looks()
    assert written(host)["slices"] == {}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"version": 1, "boot": "first"}'])
def test_a_damaged_file_begins_anew(host: Host, text: str, caplog: pytest.LogCaptureFixture) -> None:
    host.put_kills(GIB, 3)
    host.paths.pressure.write_text(text)
    host.looks()
    assert "beginning anew" in caplog.text
    host.put_kills(GIB, 4)
    host.looks()
    assert [each.details["kills"] for each in host.events()] == [1]


def test_a_file_that_cannot_be_written_is_said_once(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.put(GIB)
    host.paths.pressure.mkdir()
    host.looks(3)
    said = [each.getMessage() for each in caplog.records]
    assert said[0].startswith(f"{host.paths.pressure} is not a file")
    assert said[1:] == [f"{host.paths.pressure}: Is a directory; trying again"]


def test_an_event_log_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host = Host(tmp_path)
    host.paths.events.mkdir()
    host.put(HIGH + 1, full=30)
    host.looks(3)
    assert (host.high(), host.notices()[KEY]) == ("max", LET_GO)
    assert "events: " in caplog.text


def test_what_nobody_foresaw_is_logged_and_looked_at_again(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.put(GIB)
    (host.paths.proc / "sys/kernel/random/boot_id").unlink()
    host.looks(2)
    assert [each.levelno for each in caplog.records] == [logging.ERROR] * 2
    host.boot("first")
    host.looks()
    assert written(host)["slices"][SLICE]["memory"]["current_bytes"] == GIB
