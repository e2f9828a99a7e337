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
    """What the test says what time it is, and what is due."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 0.0
        self.waiting: list[tuple[datetime, str]] = []
        self.ran = folder / "ran"
        self.ran.touch()
        self.timers = Timers(self.first, self.argv, run, self.now)

    def first(self) -> tuple[datetime, str] | None:
        """What is due next; it is returned once when its time has come."""
        found = min(self.waiting, default=None)
        if found is not None and found[0] <= self.now():
            self.waiting.remove(found)
        return found

    def due(self, seconds: float, job: str) -> None:
        self.waiting.append((NOON + timedelta(seconds=seconds), job))

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def argv(self, job: str) -> Sequence[str]:
        ends = {"fails": "print('out of order'); raise SystemExit(3)", "busy": "raise SystemExit(5)"}
        code = ends.get(job, WRITE)
        return [sys.executable, "-I", "-S", "-c", code, str(self.ran), job]


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def test_a_job_runs_when_its_time_has_come(clock: Clock) -> None:
    assert clock.timers.tick() is None
    clock.due(30, "stale-gpu")
    assert clock.timers.tick() is None
    clock.seconds = 30
    assert clock.timers.tick() == "stale-gpu"
    clock.seconds = 300
    assert clock.timers.tick() is None
    assert clock.ran.read_text() == "stale-gpu "


def test_what_fails_is_said_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for seconds in (1, 70, 140):
        clock.due(seconds, "fails")
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
