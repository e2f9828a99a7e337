"""What the stream's thread hands to the daemon's, in order. Who puts something in never waits; memory has a bound."""

from __future__ import annotations

import threading
from collections import deque

from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.telemetry.happening import Happening, Passed
from ds01.runtime.telemetry.stream import Item

# Some ten thousand messages; labels may make them long.
_MOST_BYTES: Final = 32 * 1024**2
_MOST_ITEMS: Final = 50_000


@dataclass(slots=True)
class Inbox:
    """Items in their order."""

    most_bytes: int = _MOST_BYTES
    most_items: int = _MOST_ITEMS
    _items: deque[tuple[Item, int]] = field(default_factory=deque)
    _bytes: int = 0
    _dropped: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._items)

    def put(self, item: Item, size: int) -> None:
        """Put an item in; a message is dropped, and counted, when too many wait."""
        with self._changed:
            full = self._bytes + size > self.most_bytes or len(self._items) >= self.most_items
            if full and isinstance(item, (Happening, Passed)):
                self._dropped += 1
                return
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify()

    def take(self, most: int, seconds: float) -> list[Item]:
        """Return the oldest items, and take them out; none when none came in time."""
        with self._changed:
            if not self._items:
                self._changed.wait(seconds)
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._bytes -= sum(size for _, size in taken)
            return [item for item, _ in taken]

    def wake(self) -> None:
        """End the wait of whoever takes; also in a signal's handler, for a thread's own lock never holds it up."""
        with self._changed:
            self._changed.notify_all()

    def dropped(self) -> int:
        """Return how many messages were dropped since this was asked last."""
        with self._changed:
            number, self._dropped = self._dropped, 0
            return number
