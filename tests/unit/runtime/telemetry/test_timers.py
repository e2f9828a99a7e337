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
        self.due: tuple[datetime, str] | None = None
        self.ran = folder / "ran"
        self.ran.touch()
        self.timers = Timers(lambda: self.due, self.argv, run, self.now, lambda: self.seconds)

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def argv(self, job: str) -> Sequence[str]:
        code = "print('out of order'); raise SystemExit(3)" if job == "fails" else WRITE
        return [sys.executable, "-I", "-S", "-c", code, str(self.ran), job]


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def test_a_job_runs_when_its_time_has_come(clock: Clock) -> None:
    assert clock.timers.tick() is None
    clock.due = (NOON + timedelta(seconds=30), "stale-gpu")
    assert clock.timers.tick() is None
    clock.seconds = 30
    assert clock.timers.tick() == "stale-gpu"
    assert clock.ran.read_text() == "stale-gpu "


def test_a_job_that_stays_due_runs_once_a_minute(clock: Clock) -> None:
    clock.due = (NOON, "idle")
    ran = []
    for seconds in range(0, 150, 10):
        clock.seconds = seconds
        if clock.timers.tick():
            ran.append(seconds)
    assert ran == [0, 60, 120]


def test_one_job_does_not_hold_up_another(clock: Clock) -> None:
    for job in ("idle", "stale-gpu"):
        clock.due = (NOON, job)
        assert clock.timers.tick() == job


def test_what_fails_is_said_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    clock.due = (NOON, "fails")
    for seconds in (0, 60, 120):
        clock.seconds = seconds
        assert clock.timers.tick() == "fails"

    def broken() -> tuple[datetime, str] | None:
        raise Ds01Error("containers.json cannot be read")

    clock.timers.dues = broken
    assert clock.timers.tick() is None
    assert clock.timers.tick() is None
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (logging.WARNING, "job fails failed (3): out of order"),
        (logging.WARNING, "which job is due cannot be told: containers.json cannot be read"),
    ]


def test_it_looks_again_and_again_until_it_is_ended(clock: Clock) -> None:
    clock.due = (NOON, "idle")
    thread = threading.Thread(target=clock.timers.run, args=(0.01,))
    thread.start()
    until(lambda: clock.ran.read_text() == "idle ")
    clock.timers.end()
    thread.join(10)
    assert not thread.is_alive()
