"""Runs the jobs of the lifecycle rules when their time has come, as programs of their own, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from ds01.core.errors import Ds01Error, ExitCode
from ds01.core.process import Run
from ds01.core.typed import Final
from ds01.core.value import dataclass, field

logger = logging.getLogger(__name__)
# What is due is asked again that often, and when it is due; what changes it (a container that stops) is not far behind.
LOOK_SECONDS: Final = 30.0
# A job has a limit of its own, and says so.
_JOB_SECONDS: Final = 1500.0
_LONGEST_WORDS: Final = 500
_LEAST_PAUSE_SECONDS: Final = 1.0


@dataclass(slots=True)
class Timers:
    """What runs the jobs.

    Attributes:
        dues: returns which job is due next, and when; None when none is. One whose time has come it returns once.
        argv: returns a job's command.
        now: the wall clock.
    """

    dues: Callable[[], tuple[datetime, str] | None]
    argv: Callable[[str], Sequence[str]]
    execute: Run
    now: Callable[[], datetime]
    _next: datetime | None = None
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
        """Run the job that is due, if one is; returns its name."""
        self._next = None
        try:
            due = self.dues()
        except (Ds01Error, OSError) as error:
            self._tell(f"which job is due cannot be told: {error}")
            return None
        if due is None:
            return None
        self._next, job = due
        if self._next > self.now():
            return None
        done = self.execute(self.argv(job), timeout_seconds=_JOB_SECONDS)
        # Whoever runs the same job just now does what there is to do.
        well = done.ok or done.code == ExitCode.BUSY
        self._tell(None if well else f"job {job} failed ({done.code}): {done.words[-_LONGEST_WORDS:]}")
        return job

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble:
            logger.warning("%s", trouble)
        self._trouble = trouble
