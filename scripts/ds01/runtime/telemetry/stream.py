"""Follows the engine's messages, and connects anew whenever they end. Hands everything on at once, decides nothing.

An engine waits a tenth of a second for a listener that does not read, for each message, and then drops it without a
word. So this is a thread that does nothing else, and what it hands on to must take it at once.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from urllib.parse import quote

from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.containers.engine import Engine, EngineError, Lines
from ds01.runtime.telemetry.cursor import begin_after, what_is_lost
from ds01.runtime.telemetry.happening import Happening, Key, MessageError, Passed, read_message

logger = logging.getLogger(__name__)
_FILTERS: Final = quote(json.dumps({"type": ["container"]}))
_NANO: Final = 10**9
# An engine takes the time of a message before its place in the order, and looks back from the newest only as far as
# the first that is older than asked for. So more is asked for than is new.
# Source: moby, daemon/events/events.go, Log and loadBufferedEvents.
_BACK_NANO: Final = 5 * _NANO
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Connected:
    """Messages come from now on.

    Attributes:
        last: the message that they go on after; None at the very first.
        lost: why some may be missing in between; None when none is.
    """

    last: Key | None
    lost: str | None


@dataclass(frozen=True, slots=True)
class Broken:
    """No messages come any more.

    Attributes:
        why: None when the engine ended it in order.
    """

    why: str | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message came that cannot be read."""

    why: str


Item = Happening | Passed | Connected | Broken | Unreadable


@dataclass(slots=True)
class Stream:
    """The engine's messages about containers, without an end.

    Attributes:
        put: takes what comes, with its size in bytes, and never waits. After a connection some come again.
        begin_nano: when to begin, as long as there was no message.
        last: the message after which to go on; None as long as there was none.
    """

    engine: Engine
    put: Callable[[Item, int], None]
    begin_nano: int
    last: Key | None = None
    _lines: Lines | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Follow until it is closed."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._ended.is_set():
            try:
                self._follow()
            except EngineError as error:
                self.put(Broken(f"{error.brief}: {error.details}" if error.details else error.brief), 0)
            else:
                self.put(Broken(None), 0)
                pause = _FIRST_PAUSE_SECONDS
            self._ended.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Make run() return, from another thread."""
        self._ended.set()
        if self._lines is not None:
            self._lines.end()

    def _follow(self) -> None:
        """Connect, and hand on what comes until the engine ends it.

        Whether anything was lost is asked once more when the messages come: what the engine remembers then, it
        remembered when they began.
        """
        last = self.last
        begin = self.begin_nano if last is None else begin_after(last, self._remembered()) - _BACK_NANO
        since = _seconds(max(0, begin))
        with self.engine.lines(f"/events?filters={_FILTERS}&since={since}") as self._lines:
            if self._ended.is_set():
                return
            remembered = [] if self.last is None else self._remembered()
            self.put(Connected(self.last, what_is_lost(self.last, remembered)), 0)
            for line in self._lines:
                if self._ended.is_set():
                    return
                if line.strip():
                    self._hand_on(line)

    def _hand_on(self, line: bytes) -> None:
        try:
            item = read_message(line)
        except MessageError as error:
            self.put(Unreadable(str(error)), 0)
            return
        self.last = item.key
        self.put(item, len(line))

    def _remembered(self) -> list[Key]:
        """Return everything that the engine remembers, of containers or not."""
        until = _seconds(time.time_ns())
        found = []
        with self.engine.lines(f"/events?since=1&until={until}") as lines:
            for line in lines:
                try:
                    found.append(read_message(line).key)
                except MessageError:
                    logger.warning("the engine remembers a message that cannot be read: %d bytes", len(line))
        return found


def _seconds(time_nano: int) -> str:
    """Return a point in time as the engine takes it: with all nine digits behind the point."""
    return f"{time_nano // _NANO}.{time_nano % _NANO:09d}"
