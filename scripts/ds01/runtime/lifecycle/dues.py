"""Which job is due, for whoever asks again and again: each one once, and none for every little thing that comes due.

What is due is decided by due.py; this only remembers what was handed out. Runs no job.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.lifecycle.decision import Moment
from ds01.runtime.lifecycle.due import Timers, due_now, next_due

# One run settles all that came due before it; what comes due right afterwards waits for the next.
LEAST_SECONDS: Final = 65.0
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Dues:
    """What came due and was not handed out yet.

    Attributes:
        look: everything that timers depend on, and the present.
        least_seconds: between two times that a job is handed out.
    """

    look: Callable[[], tuple[Timers, Moment]]
    least_seconds: float = LEAST_SECONDS
    _after: datetime = _EVER
    _waiting: set[str] = field(default_factory=set)
    _ran: dict[str, float] = field(default_factory=dict)

    def __call__(self) -> tuple[datetime, str] | None:
        """Return which job is to run next, and when; one whose time has come counts as run.

        The first time everything is due that was missed before. None when there is nothing to wait for.
        """
        timers, moment = self.look()
        self._waiting |= due_now(timers, moment, after=self._after)
        self._after = moment.now
        found = [(moment.after(self._wait(job, moment)), job) for job in self._waiting]
        coming = next_due(timers, moment, after=moment.now)
        if coming is not None:
            wait = max((coming.at - moment.now).total_seconds(), self._wait(coming.job, moment))
            found.append((moment.after(wait), coming.job))
        if not found:
            return None
        first = min(found)
        if first[0] <= moment.now:
            self._waiting.discard(first[1])
            self._ran[first[1]] = moment.boot_seconds
        return first

    def _wait(self, job: str, moment: Moment) -> float:
        """Return for how many seconds a job has to wait because it ran just now; a clock of another boot says none."""
        ran = self._ran.get(job)
        return 0.0 if ran is None else min(self.least_seconds, max(0.0, ran + self.least_seconds - moment.boot_seconds))
