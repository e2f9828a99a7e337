"""The event log: one JSON object a line, appended in one write, by any number of processes at once.

Never blocks its caller and never raises at it: what an event tells of has happened, whether or not it can be logged.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from ds01.core.clock import format_instant
from ds01.core.pattern import pattern
from ds01.core.typed import IO, Final, cast
from ds01.core.value import dataclass, field
from ds01.core.visible import visible

SCHEMA_VERSION: Final = "1"
# With its newline. Readers need not keep more, and details are never a place for whole documents.
LARGEST_LINE_BYTES: Final = 64 * 1024
_TYPE: Final = pattern(r"[a-z][a-z0-9_]{0,31}(?:\.[a-z][a-z0-9_]{0,31}){1,3}", re.ASCII)
_LONGEST_NAME: Final = 256
# When details are too large: so many of them stay, each with so many characters; the second always fits, since JSON
# writes no character with more than 12 bytes.
_MOST_KEPT: Final = 32
_LONGEST_KEY: Final = 64
_LONGEST_KEPT: Final = (1024, 64)
_CUT: Final = "cut"
_MODE: Final = 0o640


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        event_type: dotted lower-case name of a thing and what became of it, such as `gpu.allocated`.
        user: account it is about, as it is written; None when it is about none, or nobody knows.
        source: program that tells of it.
        timestamp: with a time zone; kept to the millisecond.
        details: what belongs to this type of event, as JSON values; others are written as their text.

    Raises:
        ValueError: event_type is no such name, or the time has no zone.
    """

    event_type: str
    user: str | None
    source: str
    timestamp: datetime
    details: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _TYPE.fullmatch(self.event_type):
            raise ValueError(f"{self.event_type!r} is not a dotted lower-case name such as gpu.allocated")
        if self.timestamp.tzinfo is None:
            raise ValueError("the time of an event needs a time zone")


@dataclass(frozen=True, slots=True)
class Torn:
    """A line that is no event.

    Attributes:
        text: its beginning, safe to show.
    """

    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Appended:
    """Whether an event is in the log; true when it is.

    Attributes:
        reason: why it is not, for the one who says so to a person; None when it is.
    """

    reason: str | None = None

    def __bool__(self) -> bool:
        return self.reason is None


def to_line(event: Event) -> bytes:
    """Return an event as it stands in the log: one line of ASCII, never longer than LARGEST_LINE_BYTES."""
    for longest in (None, *_LONGEST_KEPT):
        line = _line(event, event.details if longest is None else _shortened(event.details, longest))
        if line is not None and len(line) <= LARGEST_LINE_BYTES:
            return line
    raise AssertionError("shortened details fit in a line")


def _line(event: Event, details: Mapping[str, object]) -> bytes | None:
    """Return the line, or None when the details have no form in JSON (not a number, endless)."""
    whole = {
        "timestamp": format_instant(event.timestamp, milliseconds=True),
        "event_type": event.event_type,
        "user": None if event.user is None else _cut(event.user, _LONGEST_NAME),
        "source": _cut(event.source, _LONGEST_NAME),
        "details": dict(details),
        "schema_version": SCHEMA_VERSION,
    }
    try:
        return json.dumps(whole, allow_nan=False, default=str, separators=(",", ":")).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError):
        return None


def _shortened(details: Mapping[str, object], longest: int) -> Mapping[str, object]:
    kept: dict[str, object] = {}
    for key, value in list(details.items())[:_MOST_KEPT]:
        plain = value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63)
        kept[_cut(str(key), _LONGEST_KEY)] = value if plain else _cut(_text(value), longest)
    return kept | {_CUT: True}


def _text(value: object) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):
        return "…"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


class EventLog:
    """The log at a path. It is opened anew for each event, so a log that was rotated meanwhile is left alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event) -> Appended:
        """Add an event. What keeps it out of the log is in the answer, and for the caller to tell a person once."""
        line = to_line(event)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags, _MODE)
        except OSError as error:
            return Appended(f"{self.path} cannot be opened: {error.strerror}")
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return Appended(f"{self.path} is not a file")
            return self._write(fd, line)
        except OSError as error:
            return Appended(f"{self.path} cannot be written: {error.strerror}")
        finally:
            os.close(fd)

    def _write(self, fd: int, line: bytes) -> Appended:
        """Write the line in one piece behind a whole one.

        Whoever was killed or found the disk full leaves a line without its end. The newline that it lacks comes first
        then. Should another leave one just between the look and the write, the line is written once more: with
        O_APPEND the position afterwards is where our own write ended. Source: open(2), write(2).
        """
        end = os.fstat(fd).st_size
        data = line if _is_whole(fd, end) else b"\n" + line
        for _ in range(2):
            if os.write(fd, data) < len(data):
                return Appended(f"{self.path} took a part of it only: the disk is full")
            if data[:1] == b"\n" or _is_whole(fd, os.lseek(fd, 0, os.SEEK_CUR) - len(data)):
                break
            data = b"\n" + line
        return Appended()


def _is_whole(fd: int, end: int) -> bool:
    """Whether what stands before an offset is whole lines."""
    return end <= 0 or os.pread(fd, 1, end - 1) == b"\n"


def read_events(path: Path) -> Iterator[Event | Torn]:
    """Return what a log holds, in its order; of a rotated one too, compressed or not.

    Of an archive that is damaged what stands before the damage, and one Torn more.

    Raises:
        OSError: it cannot be read.
    """
    if path.suffix == ".gz":
        yield from _read_archive(path)
        return
    with path.open("rb") as source:
        yield from _read(source)


def _read_archive(path: Path) -> Iterator[Event | Torn]:
    import gzip  # noqa: PLC0415 - who only appends does not wait for it
    import zlib  # noqa: PLC0415

    try:
        with gzip.open(path, "rb") as source:
            yield from _read(cast("IO[bytes]", source))
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield Torn(visible(path.name), "the archive is damaged from here on")


def _read(source: IO[bytes]) -> Iterator[Event | Torn]:
    while line := source.readline(LARGEST_LINE_BYTES + 1):
        if len(line) > LARGEST_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := source.readline(LARGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield Torn(_beginning(line), f"it is longer than {LARGEST_LINE_BYTES} bytes")
        elif line.strip():
            yield parse_line(line)


def parse_line(line: bytes) -> Event | Torn:
    """Read one line of the log."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return Torn(_beginning(line), "it is no JSON")
    if not isinstance(said, dict):
        return Torn(_beginning(line), "it is no object")
    if said.get("schema_version") != SCHEMA_VERSION:
        return Torn(_beginning(line), f"its schema_version is not {SCHEMA_VERSION}")
    user, details = said.get("user"), said.get("details")
    if not isinstance(user, str | None) or not isinstance(details, dict):
        return Torn(_beginning(line), "its user or details have another form")
    try:
        timestamp = datetime.fromisoformat(str(said.get("timestamp")))
        return Event(str(said.get("event_type")), user, str(said.get("source")), timestamp, details)
    except ValueError as error:
        return Torn(_beginning(line), str(error))


def _beginning(line: bytes) -> str:
    return visible(line[:200].decode(errors="replace").rstrip("\n"), 80)
