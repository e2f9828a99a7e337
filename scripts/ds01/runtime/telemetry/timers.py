"""Runs the jobs of the lifecycle rules when their time has come, as programs of their own, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from ds01.core.errors import Ds01Error
from ds01.core.process import Run
from ds01.core.typed import Final
from ds01.core.value import dataclass, field

logger = logging.getLogger(__name__)
# What is due is asked again that often; whatever changes it (a container that stops) is then not far behind.
LOOK_SECONDS: Final = 10.0
# A job that is due at once, again and again, is not run again and again.
LEAST_SECONDS: Final = 60.0
_JOB_SECONDS: Final = 900.0
_LONGEST_WORDS: Final = 500


@dataclass(slots=True)
class Timers:
    """The jobs and when they ran last.

    Attributes:
        dues: returns which job is due next, and when; None when none is.
        argv: returns a job's command.
        now: the wall clock.
        seconds: a clock that nobody sets.
    """

    dues: Callable[[], tuple[datetime, str] | None]
    argv: Callable[[str], Sequence[str]]
    execute: Run
    now: Callable[[], datetime]
    seconds: Callable[[], float] = time.monotonic
    _last: dict[str, float] = field(default_factory=dict)
    _trouble: str | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self, look_seconds: float = LOOK_SECONDS) -> None:
        """Run what is due until it is ended."""
        while not self._ended.wait(look_seconds):
            self.tick()

    def end(self) -> None:
        """Make run() return once the job at hand is done."""
        self._ended.set()

    def tick(self) -> str | None:
        """Run the job that is due, if one is; returns its name."""
        try:
            due = self.dues()
        except (Ds01Error, OSError) as error:
            self._tell(f"which job is due cannot be told: {error}")
            return None
        if due is None or due[0] > self.now():
            return None
        job, seconds = due[1], self.seconds()
        if seconds - self._last.get(job, -LEAST_SECONDS) < LEAST_SECONDS:
            return None
        self._last[job] = seconds
        done = self.execute(self.argv(job), timeout_seconds=_JOB_SECONDS)
        self._tell(None if done.ok else f"job {job} failed ({done.code}): {done.words[-_LONGEST_WORDS:]}")
        return job

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble:
            logger.warning("%s", trouble)
        self._trouble = trouble
