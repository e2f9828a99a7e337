"""The notices of an account as a value: what it is to be told, by key, and until when. Pure; notify.py keeps the file.

[{"at": "2026-03-01T09:12:00Z", "text": "container train was ended: out of memory", "key": "oom.4f2a", "until": …}]
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta

from ds01.core.clock import format_instant, parse_instant
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible

# More than anybody reads at a login.
MOST_KEPT: Final = 20
# How long a login shows one of which nothing else is said.
KEEP_SECONDS: Final = 3 * 86400.0
_LONGEST_TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an account is to be told.

    Attributes:
        text: one line; not safe to print as it is, since it is read from a file.
        key: what it is about; one on the same replaces it. None for one that was written without.
        until: when it is of no use any more; None is never.
    """

    at: datetime
    text: str
    key: str | None = None
    until: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether nobody needs to be told any more."""
        return self.until is not None and self.until <= now


def new_notice(text: str, key: str, now: datetime, keep_seconds: float) -> Notice:
    """Return a notice of now, its text in one bounded line.

    Args:
        keep_seconds: how long it is shown; longer than there are dates is for ever.
    """
    try:
        until = now + timedelta(seconds=keep_seconds)
    except OverflowError:
        until = None
    return Notice(now, visible(text, _LONGEST_TEXT), key, until)


def added(notices: Iterable[Notice], notice: Notice) -> tuple[Notice, ...]:
    """Put a notice behind the others, in place of one with its key; of too many the oldest go."""
    return (*without(notices, notice.key), notice)[-MOST_KEPT:]


def without(notices: Iterable[Notice], key: str | None) -> tuple[Notice, ...]:
    """Leave out what has a key; what has none always stays."""
    return tuple(each for each in notices if each.key is None or each.key != key)


def current(notices: Iterable[Notice], now: datetime) -> tuple[Notice, ...]:
    """Leave out what is over."""
    return tuple(each for each in notices if not each.is_over(now))


def format_notices(notices: Iterable[Notice]) -> bytes:
    """Return what the file is to say."""
    rows = [
        {
            "at": format_instant(each.at),
            "text": each.text,
            "key": each.key,
            "until": None if each.until is None else format_instant(each.until),
        }
        for each in notices
    ]
    return f"{json.dumps(rows, indent=1, ensure_ascii=False)}\n".encode(errors="backslashreplace")


def parse_notices(content: bytes) -> tuple[Notice, ...]:
    """Read what format_notices() made; key and until may be absent.

    Raises:
        ValueError: it is something else; also with InstantError and RecursionError as the cause.
    """
    try:
        return tuple(map(_notice, _list(json.loads(content))))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _list(found: object) -> list[dict[str, object]]:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise TypeError("expected a list of objects")
    return found


def _notice(row: dict[str, object]) -> Notice:
    key, until = row.get("key"), row.get("until")
    return Notice(
        at=parse_instant(_text(row["at"])),
        text=_text(row["text"]),
        key=None if key is None else _text(key),
        until=None if until is None else parse_instant(_text(until)),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value
