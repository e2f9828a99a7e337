"""Puts events into the log in their order, and keeps those that it does not take until it does."""

from __future__ import annotations

import logging
import threading
from collections import deque

from ds01.core.events import Event, EventLog
from ds01.core.typed import Final
from ds01.core.value import dataclass, field

logger = logging.getLogger(__name__)
# An hour of a busy machine; more than that would be memory that containers lack.
_MOST_KEPT: Final = 10_000


@dataclass(slots=True)
class Writer:
    """The log, and what it did not take yet.

    Attributes:
        lost: how many events were given up, because too many waited.
    """

    log: EventLog
    lost: int = 0
    _waiting: deque[Event] = field(default_factory=deque)
    _trouble: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __bool__(self) -> bool:
        """Whether everything is in the log."""
        return not self._waiting

    def write(self, event: Event) -> None:
        """Put an event into the log, behind all that wait; any thread may."""
        with self._lock:
            self._waiting.append(event)
            self._retry()
            if len(self._waiting) > _MOST_KEPT:
                self._waiting.popleft()
                self.lost += 1

    def retry(self) -> None:
        """Put into the log what waits, as far as it is taken."""
        with self._lock:
            self._retry()

    def _retry(self) -> None:
        while self._waiting:
            appended = self.log.append(self._waiting[0])
            if not appended:
                self._tell(appended.reason)
                return
            self._waiting.popleft()
        self._tell(None)

    def _tell(self, trouble: str | None) -> None:
        if (trouble is None) != (self._trouble is None):
            if trouble is None:
                logger.warning("the event log is written again")
            else:
                logger.warning("%s; what happens is kept until it can be written", trouble)
        self._trouble = trouble
