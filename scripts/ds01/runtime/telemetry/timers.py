"""Runs the jobs of the lifecycle rules when their time has come, as programs of their own, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ds01.core.errors import Ds01Error, ExitCode
from ds01.core.process import Run
from ds01.core.typed import Final
from ds01.core.value import dataclass, field

logger = logging.getLogger(__name__)
# What is due is asked again that often, and when it is due; what changes it (a container that stops) is not far behind.
LOOK_SECONDS: Final = 30.0
# A job that is due at once, again and again, is not run again and again.
LEAST_SECONDS: Final = 60.0
# A job has a limit of its own, and says so.
_JOB_SECONDS: Final = 1500.0
_LONGEST_WORDS: Final = 500
_LEAST_PAUSE_SECONDS: Final = 1.0


@dataclass(slots=True)
class Timers:
    """The jobs and when they ran last.

    Attributes:
        dues: returns which job comes due first after a point in time, and when; None when none does.
        argv: returns a job's command.
        now: the wall clock.
        seconds: a clock that nobody sets.
    """

    dues: Callable[[datetime], tuple[datetime, str] | None]
    argv: Callable[[str], Sequence[str]]
    execute: Run
    now: Callable[[], datetime]
    seconds: Callable[[], float] = time.monotonic
    _after: datetime | None = None
    _next: datetime | None = None
    _last: dict[str, float] = field(default_factory=dict)
    _trouble: str | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self, look_seconds: float = LOOK_SECONDS) -> None:
        """Run what is due until it is ended."""
        pause = look_seconds
        while not self._ended.wait(pause):
            self.tick()
            left = look_seconds if self._next is None else (self._next - self.now()).total_seconds()
            pause = min(look_seconds, max(left, _LEAST_PAUSE_SECONDS))

    def end(self) -> None:
        """Make run() return once the job at hand is done."""
        self._ended.set()

    def tick(self) -> str | None:
        """Run the job that is due, if one is; returns its name.

        What came due before the first look is cron's.
        """
        now = self.now()
        after = now if self._after is None else self._after
        self._after, self._next = after, None
        try:
            due = self.dues(after)
        except (Ds01Error, OSError) as error:
            self._tell(f"which job is due cannot be told: {error}")
            return None
        if due is None:
            return None
        job, seconds = due[1], self.seconds()
        early = self._last.get(job, seconds - LEAST_SECONDS) + LEAST_SECONDS - seconds
        self._next = max(due[0], now + timedelta(seconds=early))
        if self._next > now:
            return None
        self._last[job] = seconds
        done = self.execute(self.argv(job), timeout_seconds=_JOB_SECONDS)
        # Whoever runs the same job just now does what there is to do.
        well = done.ok or done.code == ExitCode.BUSY
        self._tell(None if well else f"job {job} failed ({done.code}): {done.words[-_LONGEST_WORDS:]}")
        self._after = max(after, due[0])
        return job

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble:
            logger.warning("%s", trouble)
        self._trouble = trouble
