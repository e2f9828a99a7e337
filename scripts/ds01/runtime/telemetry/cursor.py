"""How far the engine's messages are in the event log, and that none gets there twice. Pure; logtail.py reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ds01.core.clock import format_instant
from ds01.core.events import Event
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.telemetry.happening import Action, Happening, Key, nano_of, time_of
from ds01.runtime.telemetry.telling import PREFIX

VERSION: Final = 1
# What the engine itself remembers, of everything that happens. Source: moby, daemon/events, eventsLimit.
ENGINE_REMEMBERS: Final = 256
# An engine tells again of no more than it remembers.
_MOST_KEPT: Final = 8 * ENGINE_REMEMBERS
_ACTIONS: Final = {f"{PREFIX}{each.value}": each for each in Action}


class CursorError(ValueError):
    """The text is not what to_document() made."""


@dataclass(slots=True)
class Recent:
    """The messages that were dealt with of late.

    Attributes:
        last: the one after which the engine has to go on; None when there was none.
    """

    last: Key | None = None
    _order: deque[Key] = field(default_factory=deque)
    _keys: set[Key] = field(default_factory=set)

    def add(self, key: Key) -> bool:
        """Note a message, and say whether it is new."""
        if key in self._keys:
            return False
        self._keys.add(key)
        self._order.append(key)
        if len(self._order) > _MOST_KEPT:
            self._keys.discard(self._order.popleft())
        self.last = key
        return True


def recall(written: Key | None, logged: Iterable[Key]) -> Recent:
    """Return what was dealt with before a start.

    Args:
        written: what the file says. It may be older than the log: it is not written for every message.
        logged: the end of the log, in its order.
    """
    recent = Recent()
    for key in logged:
        recent.add(key)
    if written is not None:
        newest = recent.last
        recent.add(written)
        # What the log has beyond it was dealt with too; a message that is passed by is in the file alone.
        recent.last = written if newest is None or newest.time_nano < written.time_nano else newest
    return recent


def begin_after(last: Key, remembered: Sequence[Key]) -> int:
    """Return since when to ask for all messages that came after a certain one, by the engine's clock.

    That clock may have been set back since: what came later may have an earlier time.

    Args:
        remembered: everything that the engine remembers, in its order.
    """
    later = remembered[remembered.index(last) :] if last in remembered else remembered
    return min([last.time_nano, *(each.time_nano for each in later)])


def what_is_lost(last: Key | None, remembered: Sequence[Key]) -> str | None:
    """Return why messages may be missing that came after a certain one; None when none can be.

    Args:
        last: the one that was dealt with last; None when there was none yet.
        remembered: everything that the engine remembers, of containers or not.
    """
    if last is None or last in remembered:
        return None
    if len(remembered) >= ENGINE_REMEMBERS:
        return f"more happened than the engine remembers ({ENGINE_REMEMBERS} messages)"
    return "the engine was started anew and remembers nothing from before"


def key_of(event: Event) -> Key | None:
    """Return which message a line of the log tells of; None when it tells of none."""
    told = told_of(event)
    return told.key if told is not None and isinstance(event.details.get("time_nano"), int) else None


def told_of(event: Event) -> Happening | None:
    """Return what a line of the log tells of a container, as far as it says; None when it tells of none."""
    details, action = event.details, _ACTIONS.get(event.event_type)
    identity, name, image = (details.get(key) for key in ("container_id", "container", "image"))
    if action is None or not isinstance(identity, str) or not isinstance(name, str) or not isinstance(image, str):
        return None
    time_nano = details.get("time_nano")
    nano = time_nano if isinstance(time_nano, int) else nano_of(event.timestamp)
    return Happening(action, identity, name, image, nano)


# --- As it is written -------------------------------------------------------------------------------------------------


def to_document(last: Key, now: datetime) -> Mapping[str, object]:
    """Return what the file says; its time is only for people."""
    return {
        "version": VERSION,
        "time_nano": last.time_nano,
        "id": last.id,
        "action": last.action,
        "at": format_instant(time_of(last.time_nano), milliseconds=True),
        "updated_at": format_instant(now, milliseconds=True),
    }


def from_document(document: Mapping[str, object]) -> Key:
    """Read what to_document() made.

    Raises:
        CursorError: another version or form.
    """
    time_nano, identity, action = (document.get(key) for key in ("time_nano", "id", "action"))
    if document.get("version") != VERSION or not isinstance(time_nano, int):
        raise CursorError("it has another version or no time")
    if not isinstance(identity, str) or not isinstance(action, str):
        raise CursorError("it has no id or no action")
    return Key(time_nano, identity, action)
