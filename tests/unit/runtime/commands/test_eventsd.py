"""`ds01-eventsd` as a process: how it begins, how it ends, and that it runs the jobs of the lifecycle rules."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.gpu.hosts import LAB, held
from tests.unit.runtime.telemetry.played import PlayedEngine, until

import ds01
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.value import replace
from ds01.runtime.commands import eventsd
from ds01.runtime.containers.page import locked_page
from ds01.runtime.gpu.host import open_gpus
from ds01.runtime.gpu.ledger import Reservation
from ds01.runtime.gpu.record import parse_ledger
from ds01.runtime.machine import Machine

SCRIPTS = Path(ds01.__file__).parents[1]
PROGRAM = "import sys; from ds01.runtime.commands.eventsd import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    for path in (made.policy, made.events, made.containers, made.engine):
        path.parent.mkdir(parents=True)
    made.policy.write_bytes(SHIPPED.read_bytes())
    return made


@contextmanager
def running(paths: HostPaths, *words: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-P", "-c", PROGRAM, "--root", os.fspath(paths.root), *words]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.fspath(SCRIPTS)}
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def told(paths: HostPaths) -> list[str]:
    if not paths.events.exists():
        return []
    return [json.loads(line)["event_type"] for line in paths.events.read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(paths: HostPaths, number: int) -> None:
    with PlayedEngine(paths.engine) as played, running(paths) as process:
        until(paths.containers.exists)
        played.run("train")
        until(lambda: told(paths) == ["container.create", "container.start", "container.bypass"])
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert json.loads(paths.event_cursor.read_text())["action"] == "start"
    rows = json.loads(paths.containers.read_text())["containers"].values()
    assert [(row["name"], row["state"]) for row in rows] == [("train", "running")]


def test_without_a_policy_it_does_not_begin(paths: HostPaths) -> None:
    paths.policy.unlink()
    with running(paths) as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "there is no compiled policy" in said


def test_without_an_engine_it_waits(paths: HostPaths) -> None:
    with running(paths) as process:
        until(paths.containers.exists)
        with PlayedEngine(paths.engine) as played:
            played.run("train")
            until(lambda: "container.start" in told(paths))
            process.terminate()
            _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "there is no Docker engine" in said


def test_the_minute_of_a_reservation_begins_though_nobody_asks_for_a_gpu(paths: HostPaths) -> None:
    state = open_gpus(paths, read_policy(paths.policy), look=lambda: LAB).state
    with PlayedEngine(paths.engine), subprocess.Popen(["sleep", "600"]) as keeper:
        process = Machine().process(keeper.pid)
        assert process is not None
        with state.change() as book:
            there = replace(held("alice", "2:0", name="train"), container_id=None, reservation=Reservation(process))
            book.ledger = book.ledger.granted(there)
        with running(paths) as daemon:
            until(paths.containers.exists)
            keeper.kill()
            keeper.wait()

            def gone_at() -> float | None:
                there = parse_ledger(paths.gpu_state.read_bytes()).allocations["train"].reservation
                return None if there is None else there.gone_at

            until(lambda: gone_at() is not None)
            daemon.terminate()
            assert daemon.wait(30) == 0


@pytest.mark.parametrize("pause", ["0", "nan", "inf", "1e9", "soon"])
def test_a_pause_that_is_none_is_refused(pause: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        eventsd.main(["--look", pause])
    assert ended.value.code == 2
    assert "is no pause" in capsys.readouterr().err


def test_jobs_are_run_as_cron_runs_them(tmp_path: Path) -> None:
    assert eventsd._job(HostPaths(), "stale-gpu") == ("/opt/ds01/current/bin/ds01", "lifecycle", "stale-gpu")
    program = os.fspath(tmp_path / "opt/ds01/current/bin/ds01")
    assert eventsd._job(HostPaths(tmp_path), "idle") == (program, "lifecycle", "idle", "--root", os.fspath(tmp_path))


def test_what_is_due_next_is_told_by_the_rules(paths: HostPaths) -> None:
    policy = Policy.from_document(json.loads(paths.policy.read_text()) | {"users": {"games": {"group": "student"}}})
    with locked_page(paths.pages, pwd.getpwnam("games").pw_uid) as page:
        page.admitted = ("token",)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    with PlayedEngine(paths.engine) as played:
        assert eventsd._due(paths, policy, begin) is None
        played.put("train", labels={"ds01.user": "games", "ds01.created_at": "token"}, status="exited")
        due = eventsd._due(paths, policy, begin)
    assert due is not None
    assert (due[1], due[0] > datetime(2026, 3, 1, 11, tzinfo=UTC)) == ("stale-containers", True)
