"""Jobs are run when they are due, and no job again and again. The programs are real."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.runtime.telemetry.played import until

from ds01.core.errors import Ds01Error
from ds01.core.process import run
from ds01.runtime.telemetry.timers import Timers

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WRITE = "import sys; from pathlib import Path; Path(sys.argv[1]).open('a').write(sys.argv[2] + ' ')"


class Clock:
    """What the test says what time it is."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 0.0
        self.dues: list[tuple[datetime, str]] = []
        self.ran = folder / "ran"
        self.ran.touch()
        self.timers = Timers(self.first, self.argv, run, self.now, lambda: self.seconds)
        assert self.timers.tick() is None, "what was due before is cron's"

    def first(self, after: datetime) -> tuple[datetime, str] | None:
        return min((each for each in self.dues if each[0] > after), default=None)

    def due(self, seconds: float, job: str) -> None:
        self.dues.append((NOON + timedelta(seconds=seconds), job))

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def argv(self, job: str) -> Sequence[str]:
        ends = {"fails": "print('out of order'); raise SystemExit(3)", "busy": "raise SystemExit(5)"}
        code = ends.get(job, WRITE)
        return [sys.executable, "-I", "-S", "-c", code, str(self.ran), job]


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def test_a_job_runs_once_when_its_time_has_come(clock: Clock) -> None:
    clock.due(-60, "idle")
    clock.due(30, "stale-gpu")
    assert clock.timers.tick() is None
    clock.seconds = 30
    assert clock.timers.tick() == "stale-gpu"
    clock.seconds = 300
    assert clock.timers.tick() is None
    assert clock.ran.read_text() == "stale-gpu "


def test_a_job_that_is_due_again_and_again_runs_once_a_minute(clock: Clock) -> None:
    for seconds in range(1, 150, 5):
        clock.due(seconds, "idle")
    ran = []
    for seconds in range(0, 150, 10):
        clock.seconds = seconds
        if clock.timers.tick():
            ran.append(seconds)
    assert ran == [10, 70, 130]


def test_what_was_due_while_another_ran_is_run_after_it(clock: Clock) -> None:
    for seconds, job in ((1, "idle"), (2, "stale-gpu"), (2.5, "max-runtime")):
        clock.due(seconds, job)
    clock.seconds = 10
    assert [clock.timers.tick() for _ in range(4)] == ["idle", "stale-gpu", "max-runtime", None]


def test_a_clock_that_was_set_back_runs_nothing_early(clock: Clock) -> None:
    clock.due(30, "idle")
    clock.seconds = -100
    assert clock.timers.tick() is None
    clock.seconds = 30
    assert clock.timers.tick() == "idle"


def test_what_fails_is_said_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for seconds in (1, 70, 140):
        clock.due(seconds, "fails")
        clock.seconds = seconds
        assert clock.timers.tick() == "fails"

    def broken(_: datetime) -> tuple[datetime, str] | None:
        raise Ds01Error("containers.json cannot be read")

    clock.timers.dues = broken
    assert clock.timers.tick() is None
    assert clock.timers.tick() is None
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (logging.WARNING, "job fails failed (3): out of order"),
        (logging.WARNING, "which job is due cannot be told: containers.json cannot be read"),
    ]


def test_a_job_that_somebody_else_runs_just_now_has_not_failed(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    clock.due(1, "busy")
    clock.seconds = 1
    assert clock.timers.tick() == "busy"
    assert caplog.records == []


def test_it_looks_again_and_again_until_it_is_ended(clock: Clock) -> None:
    clock.due(1, "idle")
    clock.seconds = 2
    thread = threading.Thread(target=clock.timers.run, args=(0.01,))
    thread.start()
    until(lambda: clock.ran.read_text() == "idle ")
    clock.timers.end()
    thread.join(10)
    assert not thread.is_alive()
