"""Jobs: one at a time, to an end in time, and how they ended can be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ds01
from ds01.core.errors import BadInputError, BusyError, Ds01Error, ExitCode, RefusedError
from ds01.core.events import read_events
from ds01.core.jsonstate import StateError, exclusive
from ds01.core.paths import HostPaths
from ds01.runtime.lifecycle.jobs import Stamp, read_stamps, run_job

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SCRIPTS = Path(ds01.__file__).parents[1]


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    made.events.parent.mkdir(parents=True)
    return made


def ticking(*seconds: float) -> Callable[[], datetime]:
    """A clock that shows these seconds after noon, one a look."""
    left = iter(seconds)
    return lambda: NOON + timedelta(seconds=next(left))


def events(paths: HostPaths) -> list[tuple[str, Any]]:
    return [(each.event_type, each.details) for each in read_events(paths.events)]  # type: ignore[union-attr] # none is torn


def test_a_job_that_ends_well_leaves_a_stamp_and_an_event(paths: HostPaths, capsys: pytest.CaptureFixture[str]):
    summary = "2 warned, 1 stopped"
    code = run_job(paths, "idle", lambda: summary, limit_seconds=60, now=ticking(0, 1.25))
    assert code == ExitCode.DONE
    ended = NOON + timedelta(seconds=1.25)
    last = ended.replace(microsecond=0)
    assert read_stamps(paths) == {"idle": Stamp("idle", NOON, ended, ok=True, summary=summary, last_success_at=last)}
    assert events(paths) == [("job.done", {"job": "idle", "seconds": 1.2, "summary": "2 warned, 1 stopped"})]
    assert json.loads((paths.jobs / "idle.json").read_text()) == {
        "version": 1,
        "job": "idle",
        "started_at": "2026-03-01T12:00:00.000Z",
        "ended_at": "2026-03-01T12:00:01.250Z",
        "ok": True,
        "summary": "2 warned, 1 stopped",
        "last_success_at": "2026-03-01T12:00:01Z",
    }
    assert (paths.jobs / "idle.json").stat().st_mode & 0o777 == 0o644
    assert capsys.readouterr() == ("", "")


def failing(error: BaseException) -> Callable[[], str]:
    def act() -> str:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "summary"),
    [
        (Ds01Error("no engine", "no such socket", "start it"), ExitCode.FAILED, "no engine: no such socket"),
        (RefusedError("not now"), ExitCode.REFUSED, "not now"),
        (BadInputError("bad \x1b[31m policy"), ExitCode.BAD_INPUT, "bad \\x1b[31m policy"),
    ],
)
def test_one_that_fails_says_why_and_keeps_when_it_last_did_not(
    paths: HostPaths, capsys: pytest.CaptureFixture[str], error: Ds01Error, code: ExitCode, summary: str
):
    run_job(paths, "idle", lambda: "all well", limit_seconds=60, now=ticking(0, 1))
    assert run_job(paths, "idle", failing(error), limit_seconds=60, now=ticking(60, 62)) == code
    begun, ended = NOON + timedelta(seconds=60), NOON + timedelta(seconds=62)
    last = NOON + timedelta(seconds=1)
    assert read_stamps(paths)["idle"] == Stamp("idle", begun, ended, ok=False, summary=summary, last_success_at=last)
    assert events(paths)[1] == ("job.failed", {"job": "idle", "seconds": 2.0, "summary": summary})
    assert capsys.readouterr().err.startswith("error: ")


def test_one_that_never_ended_well_has_no_such_time(paths: HostPaths):
    run_job(paths, "idle", failing(Ds01Error("no")), limit_seconds=60)
    assert read_stamps(paths)["idle"].last_success_at is None


def test_a_fault_of_ours_is_in_the_stamp_and_goes_on(paths: HostPaths):
    with pytest.raises(ZeroDivisionError):
        run_job(paths, "idle", failing(ZeroDivisionError("by 0")), limit_seconds=60)
    assert read_stamps(paths)["idle"].summary == "ZeroDivisionError: by 0"
    assert events(paths)[0][0] == "job.failed"


def test_a_disk_that_fails_the_job_is_the_jobs_affair(paths: HostPaths):
    with pytest.raises(OSError, match="the job's own"):
        run_job(paths, "idle", failing(OSError("the job's own")), limit_seconds=60)
    assert read_stamps(paths)["idle"].summary == "OSError: the job's own"


def test_a_lock_that_others_hold_fails_the_job(paths: HostPaths):
    assert run_job(paths, "stale-gpu", failing(BusyError("the ledger is locked")), limit_seconds=60) == ExitCode.BUSY
    assert read_stamps(paths)["stale-gpu"].summary == "the ledger is locked"


def test_one_that_takes_too_long_is_broken_off_whatever_it_catches(
    paths: HostPaths, capsys: pytest.CaptureFixture[str]
):
    def stubborn() -> str:
        while True:
            with suppress(Exception):
                time.sleep(60)

    assert run_job(paths, "idle", stubborn, limit_seconds=1) == ExitCode.FAILED
    assert read_stamps(paths)["idle"].summary == "broken off: it took longer than 1s"
    assert capsys.readouterr().err == "error: idle was broken off: it took longer than 1s\n"


def test_one_that_is_told_to_end_does_and_says_so(paths: HostPaths):
    def act() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        return "never"

    before = signal.getsignal(signal.SIGTERM)
    assert run_job(paths, "idle", act, limit_seconds=60) == ExitCode.FAILED
    assert read_stamps(paths)["idle"].summary == "broken off: somebody told it to end (SIGTERM)"
    assert signal.getsignal(signal.SIGTERM) == before


def test_after_its_end_no_alarm_is_left(paths: HostPaths):
    run_job(paths, "idle", lambda: "well", limit_seconds=60)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_two_at_once_are_one(paths: HostPaths, capsys: pytest.CaptureFixture[str]):
    paths.jobs.mkdir(parents=True)
    with exclusive(paths.jobs / "idle.lock"):
        assert run_job(paths, "idle", failing(AssertionError("it ran")), limit_seconds=60) == ExitCode.DONE
    assert capsys.readouterr().err == (
        f"idle: another run of idle is at work (pid {os.getpid()}); nothing is to be done\n"
    )
    assert read_stamps(paths) == {}
    assert not paths.events.exists()


def test_another_job_is_another_matter(paths: HostPaths):
    paths.jobs.mkdir(parents=True)
    with exclusive(paths.jobs / "idle.lock"):
        assert run_job(paths, "max-runtime", lambda: "well", limit_seconds=60) == ExitCode.DONE
    assert list(read_stamps(paths)) == ["max-runtime"]


def test_a_killed_one_leaves_its_last_stamp_and_no_lock(paths: HostPaths):
    run_job(paths, "idle", lambda: "well", limit_seconds=60)
    code = (
        "import time, pathlib\nfrom ds01.core.paths import HostPaths\nfrom ds01.runtime.lifecycle.jobs import run_job\n"
        "def act():\n    print('at work', flush=True)\n    time.sleep(600)\n"
        f"run_job(HostPaths(pathlib.Path({os.fspath(paths.root)!r})), 'idle', act, limit_seconds=600)\n"
    )
    environment = {"PYTHONPATH": os.fspath(SCRIPTS)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "at work\n"
        assert run_job(paths, "idle", failing(AssertionError("it ran")), limit_seconds=60) == ExitCode.DONE
        child.kill()
    assert read_stamps(paths)["idle"].summary == "well"
    assert run_job(paths, "idle", lambda: "again", limit_seconds=60) == ExitCode.DONE
    assert read_stamps(paths)["idle"].summary == "again"


@pytest.mark.parametrize("name", ["", "Idle", "../idle", "idle/x", "idle.json", "-idle"])
def test_a_name_that_would_be_another_file_is_a_fault(paths: HostPaths, name: str):
    with pytest.raises(ValueError, match="no name for a job"):
        run_job(paths, name, lambda: "well", limit_seconds=60)


def test_a_folder_that_cannot_be_written_is_said(paths: HostPaths):
    paths.jobs.parent.mkdir(parents=True)
    paths.jobs.touch()
    with pytest.raises(StateError, match="cannot be written"):
        run_job(paths, "idle", lambda: "well", limit_seconds=60)


def test_a_stamp_that_cannot_be_written_is_a_warning(paths: HostPaths, capsys: pytest.CaptureFixture[str]):
    (paths.jobs / "idle.json").mkdir(parents=True)
    assert run_job(paths, "idle", lambda: "well", limit_seconds=60) == ExitCode.DONE
    assert "idle.json cannot be written" in capsys.readouterr().err
    assert events(paths)[0][0] == "job.done"


def test_a_log_that_cannot_be_written_is_a_warning(paths: HostPaths, capsys: pytest.CaptureFixture[str]):
    paths.events.mkdir()
    assert run_job(paths, "idle", lambda: "well", limit_seconds=60) == ExitCode.DONE
    assert "how idle ended is not in the event log" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"version": 2}', '{"version": 1, "job": "idle", "started_at": "noon"}'],
)
def test_a_stamp_that_cannot_be_believed_counts_as_none(paths: HostPaths, content: str):
    run_job(paths, "idle", lambda: "well", limit_seconds=60)
    (paths.jobs / "idle.json").write_text(content)
    (paths.jobs / "notes.txt").touch()
    (paths.jobs / ".idle.json.ds01-tmp").touch()
    assert read_stamps(paths) == {}
    run_job(paths, "idle", lambda: "well again", limit_seconds=60)
    assert read_stamps(paths)["idle"].summary == "well again"


def test_where_no_job_ever_ran_there_is_no_stamp(tmp_path: Path):
    assert read_stamps(HostPaths(tmp_path)) == {}


def test_outside_the_main_thread_a_limit_is_a_fault_of_ours(paths: HostPaths):
    failed: list[BaseException] = []

    def work() -> None:
        try:
            run_job(paths, "idle", lambda: "well", limit_seconds=60)
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(failed) == 1
