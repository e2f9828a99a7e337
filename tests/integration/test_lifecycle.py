"""The lifecycle jobs on a real engine: warned, then stopped; told, then removed; and nothing else is touched."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.engine.fixture import own_engine
from tests.engine.image import IMAGE
from tests.fake_nvml.samples import instance_uuid, shipped_host
from tests.integration.lifecycle_host import DEAF, HEEDS, SLEEP, LifecycleHost, make_lifecycle_host
from tests.integration.wrapper_host import ADMIN, ALICE, until

from ds01.core.clock import format_instant
from ds01.runtime.lifecycle.jobs import read_stamps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.daemon import Daemon
    from tests.fake_nvml.fixture import FakeNvml


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    """An engine that has no containers but ours: a job looks at all there are."""
    with own_engine() as daemon:
        yield daemon


@pytest.fixture
def site(engine: Daemon, tmp_path: Path) -> Iterator[LifecycleHost]:
    yield make_lifecycle_host(tmp_path, engine)
    if left := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", "--volumes", *left)


def pause(seconds: float = 1.1) -> None:
    """Let time go on; each check needs a second, and none of these tests more than it says."""
    time.sleep(seconds)


def was_asked_to_stop(site: LifecycleHost, name: str) -> bool:
    """Whether a container got its signal by now."""
    return "kill" in site.engine.docker(
        "events", "--since=10m", "--until=0s", f"--filter=container={name}", "--format={{.Action}}"
    )


# --- Idle -------------------------------------------------------------------------------------------------------------


def test_an_idle_container_is_warned_then_stopped(site: LifecycleHost):
    made = site.run("web")
    assert site.must("idle") == "idle: 1 looked at: nothing to do\n"
    pause()
    assert site.decided("idle") == [("web", "warn", "done")]
    assert site.state("web") == "running"
    (told,) = site.notices()
    assert told.startswith("container web is idle and is stopped after ")
    pause()
    assert site.decided("idle") == [("web", "stop", "done")]
    assert site.state("web") == "exited"
    assert site.inspected("web")["Id"] == made
    (told,) = site.notices()
    assert told.startswith("container web was stopped ")
    assert site.events() == [("lifecycle.warned", ALICE, "web"), ("lifecycle.stopped", ALICE, "web")]


@pytest.mark.parametrize(("job", "idle_timeout", "max_runtime"), [("idle", 1, None), ("max-runtime", None, 2)])
def test_one_whose_command_is_broken_does_not_come_back_for_ever(
    site: LifecycleHost, job: str, idle_timeout: int | None, max_runtime: int | None
):
    """Its restart policy brings it back again and again; each time it is another process, for some milliseconds."""
    times = {"idle_timeout_seconds": idle_timeout, "max_runtime_seconds": max_runtime, "sigterm_grace_seconds": 0}
    site.wrapped.override(ALICE, **times)
    site.run("web", "--restart=always", command=(IMAGE, "false"))
    until(lambda: site.inspected("web")["RestartCount"] >= 2)
    site.must(job)
    # Not before the next restart: the policy waits up to a minute for it, and each time twice as long.
    restarts = site.inspected("web")["RestartCount"]
    until(lambda: site.inspected("web")["RestartCount"] > restarts)
    found: list[tuple[str, str, str | None]] = []

    def is_stopped() -> bool:
        pause()
        found.extend(site.decided(job))
        return found[-1:] == [("web", "stop", "done")]

    until(is_stopped)
    assert ("web", "warn", "done") in found
    assert site.state("web") == "exited"
    assert {each[0] for each in site.events()} == {"lifecycle.warned", "lifecycle.stopped"}


def test_one_that_is_used_after_the_warning_is_left_alone_and_told_so(site: LifecycleHost):
    made = site.run("web")
    site.must("idle")
    pause()
    assert site.decided("idle") == [("web", "warn", "done")]
    site.use(made, 10**9)
    pause()
    found = site.document("idle")
    assert found["decisions"] == []
    assert "it used" in found["left_alone"][0]["why"]
    assert site.notices() == []
    assert site.state("web") == "running"


def test_who_is_stopped_was_idle_up_to_the_last_moment(site: LifecycleHost):
    """The first stop takes its grace; meanwhile the second is used again."""
    site.wrapped.override(ALICE, idle_timeout_seconds=1, max_runtime_seconds=None, sigterm_grace_seconds=4)
    site.run("a-deaf", command=DEAF)
    second = site.run("b-used")
    site.must("idle")
    pause()
    site.must("idle")
    pause()
    with subprocess.Popen(site.argv("idle", "--json"), env=site.env, stdout=subprocess.PIPE, text=True) as job:
        until(lambda: was_asked_to_stop(site, "a-deaf"))
        site.use(second, 10**9)
        out, _ = job.communicate(timeout=60)
    ended = {each["container"]: (each["outcome"], each["words"]) for each in json.loads(out)["decisions"]}
    assert ended["a-deaf"] == ("done", None)
    assert ended["b-used"][0] == "not needed"
    assert "it used" in ended["b-used"][1]
    assert (site.state("a-deaf"), site.state("b-used")) == ("exited", "running")


def test_a_keep_alive_file_in_a_mounted_folder_holds_it_off(site: LifecycleHost, tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    site.run("web", "-v", f"{work}:/some where/work")
    (work / ".keep-alive").touch()
    site.must("idle")
    pause()
    (left,) = site.document("idle")["left_alone"]
    assert left["why"].startswith("its .keep-alive file holds until ")
    (work / ".keep-alive").unlink()
    pause()
    assert site.decided("idle") == [("web", "warn", "done")]


def test_a_container_that_was_started_anew_is_watched_anew(site: LifecycleHost):
    site.run("web")
    site.must("idle")
    pause()
    site.must("idle")
    site.wrapped.must("restart", "--time=0", "web")
    site.show("web")
    pause()
    assert site.decided("idle") == []
    assert site.state("web") == "running"


def test_what_cannot_be_told_stops_nobody(site: LifecycleHost):
    made = site.run("web")
    (site.paths.cgroup / site.group(made) / "cpu.stat").unlink()
    for _ in range(3):
        (left,) = site.document("idle")["left_alone"]
        pause()
    assert left["why"].startswith("its CPU time cannot be told: ")
    assert site.state("web") == "running"


# --- Who is left alone ------------------------------------------------------------------------------------------------


def test_protected_containers_and_those_of_nobody_are_left_alone_by_every_job(site: LifecycleHost):
    site.wrapped.override(ADMIN, idle_timeout_seconds=0, max_runtime_seconds=0, container_hold_after_stop_seconds=0)
    site.run("kept", "--label", "ds01.protected=true", account=ADMIN)
    site.wrapped.must("create", "--name", "old", "--label", "ds01.protected=true", *SLEEP, account=ADMIN)
    site.engine.docker("run", "-d", "--name", "ds01-grafana", "--network=none", *SLEEP)
    for _ in range(3):
        for job in ("idle", "max-runtime", "stale-containers", "unmanaged"):
            assert site.decided(job) == []
        pause()
    states = {name: site.state(name) for name in ("kept", "old", "ds01-grafana")}
    assert states == {"kept": "running", "old": "created", "ds01-grafana": "running"}
    assert site.events() == []


def test_a_label_alone_protects_nobody(site: LifecycleHost):
    site.run("web", "--label", "ds01.protected=true")
    site.must("idle")
    pause()
    assert site.decided("idle") == [("web", "warn", "done")]


# --- max_runtime ------------------------------------------------------------------------------------------------------


def test_a_run_is_warned_of_its_end_and_ended(site: LifecycleHost):
    site.wrapped.override(ALICE, idle_timeout_seconds=None, max_runtime_seconds=2, sigterm_grace_seconds=0)
    site.run("train")
    pause(1.6)
    assert site.decided("max-runtime") == [("train", "warn", "done")]
    pause(0.5)
    assert site.decided("max-runtime") == [("train", "stop", "done")]
    assert site.state("train") == "exited"
    (told,) = site.notices()
    assert told.startswith("container train was stopped ")


def test_who_is_found_over_the_limit_is_warned_first(site: LifecycleHost):
    site.wrapped.override(ALICE, idle_timeout_seconds=None, max_runtime_seconds=None, sigterm_grace_seconds=0)
    site.run("train", "--restart=always")
    pause()
    site.must("max-runtime")
    site.wrapped.override(ALICE, idle_timeout_seconds=None, max_runtime_seconds=1, sigterm_grace_seconds=0)
    assert site.decided("max-runtime") == [("train", "warn", "done")]
    pause(0.2)
    assert site.decided("max-runtime") == [("train", "stop", "done")]
    pause()
    assert site.state("train") == "exited"


# --- Stopped containers -----------------------------------------------------------------------------------------------


def test_a_stopped_container_is_told_of_then_removed_and_its_volumes_stay(site: LifecycleHost, tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    command = (IMAGE, "sh", "-c", "echo kept > /work/file; echo kept > /volume/file")
    site.run("job", "-v", f"{work}:/work", "-v", "results:/volume", command=command)
    site.engine.docker("wait", "job")
    assert site.decided("stale-containers") == [("job", "warn", "done")]
    (told,) = site.notices()
    assert told.startswith("container job is removed after ")
    assert site.decided("stale-containers") == []
    pause()
    assert site.decided("stale-containers") == [("job", "remove", "done")]
    assert site.state("job") is None
    assert (work / "file").read_text() == "kept\n"
    assert "results" in site.engine.docker("volume", "ls", "--quiet").split()
    assert site.events() == [("lifecycle.warned", ALICE, "job"), ("lifecycle.removed", ALICE, "job")]


def test_one_that_was_never_started_goes_too(site: LifecycleHost):
    site.wrapped.must("create", "--name", "forgotten", *SLEEP)
    assert site.decided("stale-containers") == [("forgotten", "warn", "done")]
    pause()
    assert site.decided("stale-containers") == [("forgotten", "remove", "done")]
    assert site.state("forgotten") is None


def test_one_that_is_started_again_stays(site: LifecycleHost):
    site.run("job", command=(IMAGE, "true"))
    site.engine.docker("wait", "job")
    site.must("stale-containers")
    site.engine.docker("rename", "job", "work")
    site.wrapped.must("run", "-d", "--name", "keeper", "--network=none", *SLEEP)
    pause()
    site.engine.docker("start", "work")
    site.engine.docker("wait", "work")
    assert site.decided("stale-containers") == [("work", "warn", "done")]
    assert site.state("work") == "exited"


# --- Containers that DS01 did not make --------------------------------------------------------------------------------


def test_a_container_that_came_past_ds01_is_told_of_twice_and_stopped(site: LifecycleHost):
    site.engine.docker("run", "-d", "--name", "stranger", "--network=none", *HEEDS)
    site.engine.docker("run", "-d", "--name", "legacy-db", "--network=none", *SLEEP)
    site.wrapped.change_policy(policies={"unmanaged_whitelist": ["legacy-db"]})
    assert site.decided("unmanaged") == [("stranger", "warn", "done")]
    assert site.decided("unmanaged") == []
    pause(0.6)
    assert site.decided("unmanaged") == [("stranger", "warn", "done")]
    pause(0.6)
    assert site.decided("unmanaged") == [("stranger", "stop", "done")]
    assert (site.state("stranger"), site.state("legacy-db")) == ("exited", "running")
    assert [each for each, _, _ in site.events()] == ["lifecycle.warned", "lifecycle.warned", "lifecycle.stopped"]


def test_where_the_rule_only_warns_it_runs_on(site: LifecycleHost):
    site.wrapped.rule("unmanaged", "warn")
    site.engine.docker("run", "-d", "--name", "stranger", "--network=none", *SLEEP)
    assert site.decided("unmanaged") == [("stranger", "warn", "done")]
    pause()
    assert site.decided("unmanaged") == []
    assert site.state("stranger") == "running"
    assert site.events() == [("lifecycle.overruled", None, "stranger")]


# --- Dry run, two at once, trouble ------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(site: LifecycleHost):
    nothing = {"idle_timeout_seconds": 0, "max_runtime_seconds": 0, "container_hold_after_stop_seconds": 0}
    site.wrapped.override(ALICE, sigterm_grace_seconds=0, **nothing)
    site.run("web")
    site.run("job", command=(IMAGE, "true"))
    site.engine.docker("wait", "job")
    site.engine.docker("run", "-d", "--name", "stranger", "--network=none", *SLEEP)
    expected = {
        "idle": "would warn  games's web: ",
        "max-runtime": "would stop  games's web: ",
        "stale-containers": "would remove  games's job: ",
        "unmanaged": "would warn  nobody's stranger: ",
    }
    for job in expected:
        site.must(job)
    pause()
    before = site.remembered()
    for job, words in expected.items():
        said = site.must(job, "--dry-run")
        assert words in said
        assert said.splitlines()[-1].startswith(f"{job}: 3 looked at: 1 would be ")
        document = site.document(job, "--dry-run")
        assert document["dry_run"] is True
        assert [each["outcome"] for each in document["decisions"]] == [None]
    assert site.remembered() == before
    states = {name: site.state(name) for name in ("web", "job", "stranger")}
    assert states == {"web": "running", "job": "exited", "stranger": "running"}


def test_two_at_once_are_one(site: LifecycleHost):
    site.wrapped.override(ALICE, idle_timeout_seconds=1, max_runtime_seconds=None, sigterm_grace_seconds=3)
    site.run("deaf", command=DEAF)
    site.must("idle")
    pause()
    site.must("idle")
    pause()
    with subprocess.Popen(site.argv("idle"), env=site.env, stdout=subprocess.PIPE, text=True) as first:
        until(lambda: (site.paths.jobs / "idle.lock").read_text().strip() == str(first.pid))
        second = site.job("idle")
        assert (second.code, second.out) == (0, "")
        assert second.err == f"idle: another run of idle is at work (pid {first.pid}); nothing is to be done\n"
        out, _ = first.communicate(timeout=60)
    assert out == "idle: 1 looked at: 1 stopped\n"
    assert site.state("deaf") == "exited"


def test_one_that_is_told_to_end_keeps_whom_it_warned(site: LifecycleHost):
    site.wrapped.override(ALICE, idle_timeout_seconds=1, max_runtime_seconds=None, sigterm_grace_seconds=30)
    site.run("deaf-until-the-end", command=DEAF)
    site.must("idle")
    pause()
    site.must("idle")
    pause()
    with subprocess.Popen(site.argv("idle"), env=site.env, stderr=subprocess.PIPE, text=True) as job:
        until(lambda: was_asked_to_stop(site, "deaf-until-the-end"))
        job.send_signal(signal.SIGTERM)
        _, err = job.communicate(timeout=60)
    assert job.returncode == 1
    assert err == "error: idle was broken off: somebody told it to end (SIGTERM)\n"
    assert read_stamps(site.paths)["idle"].ok is False
    memory = json.loads((site.paths.lifecycle / "idle.json").read_text())["memory"]
    (spell,) = memory["spells"].values()
    assert spell["warned_at"] is not None


def test_without_docker_nothing_is_concluded(site: LifecycleHost):
    site.run("web")
    site.must("idle")
    before = (site.paths.lifecycle / "idle.json").read_text()
    site.wrapped.paths.engine.unlink()
    said = site.job("idle")
    assert said.code == 1
    assert said.err.startswith(f"error: there is no Docker engine at {site.paths.engine}")
    assert (site.paths.lifecycle / "idle.json").read_text() == before
    stamp = read_stamps(site.paths)["idle"]
    assert not stamp.ok
    assert stamp.last_success_at is not None
    assert [each.event_type for each in site.wrapped.events()] == ["job.done", "job.failed"]


def test_a_damaged_record_is_kept_aside_and_stops_nobody(site: LifecycleHost, caplog: pytest.LogCaptureFixture):
    site.run("web")
    site.must("idle")
    pause()
    assert site.decided("idle") == [("web", "warn", "done")]
    path = site.paths.lifecycle / "idle.json"
    path.write_text(path.read_text()[:-30])
    pause()
    assert site.must("idle") == "idle: 1 looked at: nothing to do\n"
    assert "could not be believed" in caplog.text
    assert [each.name for each in site.paths.lifecycle.glob("idle.json.damaged-*")] != []
    assert site.state("web") == "running"


def test_who_cannot_be_told_is_not_stopped_and_the_job_says_so(site: LifecycleHost):
    site.run("web")
    site.must("idle")
    # In the place of the folder lies what nobody can write a notice into.
    notices = site.paths.notices_folder
    notices.parent.mkdir(parents=True, exist_ok=True)
    notices.write_text("")
    for _ in range(3):
        pause()
        said = site.job("idle")
        assert said.code == 1
        assert "web: games could not be told: " in said.err
    assert site.state("web") == "running"
    assert [each for each, _, _ in site.events()] == ["lifecycle.failed"] * 3


def test_only_root_runs_jobs(site: LifecycleHost):
    code = (
        "import os, shutil, sys; sys.path.insert(0, sys.argv[1])\n"
        "import ds01.runtime.commands.lifecycle as command\n"
        "os.setgid(5); os.setuid(5); sys.exit(command.main(sys.argv[2:]))"
    )
    argv = [site.argv("idle")[0], "-P", "-c", code, site.env["PYTHONPATH"], "idle", "--dry-run"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert done.stderr.startswith("error: the lifecycle jobs are root's\n")


# --- GPUs -------------------------------------------------------------------------------------------------------------

FIRST = instance_uuid(2, 0)


@pytest.fixture
def lab(site: LifecycleHost, loaded_nvml: FakeNvml) -> LifecycleHost:
    """The site on the shipped hardware: two whole GPUs, and two split in three."""
    loaded_nvml.write(shipped_host())
    return replace(site, wrapped=replace(site.wrapped, environment=loaded_nvml.environment))


def activity(lab: LifecycleHost, **changes: str | None) -> None:
    """Say of the first unit what who watches GPUs says: since an hour ago it was idle, but for the changes."""
    now = datetime.now(UTC)
    entry = {
        "percent": 0.0, "busy_at": None, "since": format_instant(now.replace(microsecond=0) - timedelta(hours=1)),
        "unknown": None, "known_at": None,
    } | changes  # fmt: skip
    if changes.get("unknown"):
        entry["percent"] = None
    lab.activity({FIRST: entry}, format_instant(now))


def test_a_container_that_computes_on_its_gpu_is_not_idle(lab: LifecycleHost):
    since = format_instant(datetime.now(UTC) - timedelta(hours=1))
    lab.run("train", "--gpus", "1")
    activity(lab, since=since)
    lab.must("idle")
    pause()
    activity(lab, since=since, busy_at=format_instant(datetime.now(UTC)))
    (left,) = lab.document("idle")["left_alone"]
    assert left["why"].startswith(f"GPU {FIRST} was at 5 % or more at ")
    pause()
    activity(lab, since=since, unknown="no DCGM exporter")
    (left,) = lab.document("idle")["left_alone"]
    assert left["why"] == f"activity of {FIRST} cannot be told: no DCGM exporter"
    pause()
    lab.paths.gpu_activity.unlink()
    (left,) = lab.document("idle")["left_alone"]
    assert left["why"].startswith("GPU activity cannot be told: there is no ")


def test_one_whose_gpu_is_idle_too_is_stopped_and_keeps_it_for_its_hold(lab: LifecycleHost):
    since = format_instant(datetime.now(UTC) - timedelta(hours=1))
    limits = {"idle_timeout_seconds": 1, "max_runtime_seconds": None, "sigterm_grace_seconds": 0}
    lab.wrapped.override(ALICE, gpu_hold_after_stop_seconds=1, **limits)
    lab.run("train", "--gpus", "1")
    for expected in ([], [("train", "warn", "done")], [("train", "stop", "done")]):
        activity(lab, since=since)
        assert lab.decided("idle") == expected
        pause()
    # Nobody follows Docker's messages here: the first look finds it stopped, the next one its hold over.
    assert lab.decided("stale-gpu", "--dry-run") == [("train", "release", None)]
    before = lab.paths.gpu_state.read_text()
    assert '"train"' in before
    assert lab.decided("stale-gpu") == [("train", "release", "done")]
    assert '"train"' not in lab.paths.gpu_state.read_text()
    assert lab.events()[-1] == ("lifecycle.released", ALICE, "train")
    assert lab.decided("stale-gpu") == []


def test_what_runs_keeps_its_gpu(lab: LifecycleHost):
    lab.wrapped.override(ALICE, gpu_hold_after_stop_seconds=0)
    lab.run("train", "--gpus", "1")
    pause()
    assert lab.decided("stale-gpu") == []
    assert '"train"' in lab.paths.gpu_state.read_text()
    lab.engine.docker("rm", "--force", "train")
    assert lab.decided("stale-gpu") == [("train", "release", "done")]
