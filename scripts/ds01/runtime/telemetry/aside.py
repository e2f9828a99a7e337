"""Does what takes long at the side: some at once, the others after them, and none holds up the program's end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ds01.core.value import dataclass, field

Job = Callable[[], None]


@dataclass(slots=True)
class Aside:
    """The jobs.

    Attributes:
        most: how many are done at once.
    """

    most: int
    _waiting: deque[Job] = field(default_factory=deque)
    _running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, job: Job) -> None:
        """Have a job be done; returns at once."""
        with self._lock:
            self._waiting.append(job)
            if self._running >= self.most:
                return
            self._running += 1
        self._start()

    def _start(self) -> None:
        threading.Thread(target=self._do_next, daemon=True).start()

    def _do_next(self) -> None:
        with self._lock:
            if not self._waiting:
                self._running -= 1
                return
            job = self._waiting.popleft()
        try:
            job()
        finally:
            self._start()
