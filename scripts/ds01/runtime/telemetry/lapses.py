"""Sees to it that a reserved GPU is free a minute after its process has gone, also when nobody asks for one.

Frees nothing by itself: it notes who is gone, and has the record held against Docker when a minute has passed since.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ds01.core.errors import Ds01Error
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.gpu.reconcile import is_due, is_just_gone
from ds01.runtime.gpu.state import GpuState, NoGpuStateError

logger = logging.getLogger(__name__)
# A look reads one small file and takes no lock.
LOOK_SECONDS: Final = 5.0
# What Docker does not let go, or cannot be asked about, is not asked about again and again.
AGAIN_SECONDS: Final = 60.0


@dataclass(slots=True)
class Lapses:
    """Looks at the reservations now and then.

    Attributes:
        state: the GPU record by the policy of the moment.
        seconds: a clock that nobody sets.
    """

    state: Callable[[], GpuState]
    seconds: Callable[[], float] = time.monotonic
    _not_before: float = 0.0
    _trouble: str | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self, look_seconds: float = LOOK_SECONDS) -> None:
        """Look until it is ended."""
        while not self._ended.wait(look_seconds):
            self.tick()

    def end(self) -> None:
        """Make run() return once the look at hand is done."""
        self._ended.set()

    def tick(self) -> None:
        """Look once; what cannot be done is said once, and tried again later."""
        try:
            self._look(self.state())
        except NoGpuStateError:
            pass
        except (Ds01Error, OSError) as error:
            words = error.brief if isinstance(error, Ds01Error) else str(error)
            if words != self._trouble:
                logger.warning("reserved GPUs are not looked after: %s", words)
            self._trouble = words
            return
        if self.seconds() >= self._not_before:
            self._trouble = None

    def _look(self, state: GpuState) -> None:
        before = state.moment()
        reserved = [each for each in state.read().allocations.values() if each.reservation is not None]
        if any(is_due(each, before, state.account_of) for each in reserved) and self.seconds() >= self._not_before:
            self._not_before = self.seconds() + AGAIN_SECONDS
            with state.change() as book:
                state.reconcile(book)
                held = book.ledger.allocations.values()
            if not any(each.reservation is not None and is_due(each, before, state.account_of) for each in held):
                self._not_before = 0.0
        elif any(is_just_gone(each, before) for each in reserved):
            with state.change():
                pass  # notes when they were seen to be gone, from which their minute counts
