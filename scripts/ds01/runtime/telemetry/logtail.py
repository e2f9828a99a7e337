"""Reads the end of the event log: what of the engine's messages is in it. Only reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ds01.core.events import Event, parse_line
from ds01.core.typed import Final

# Many times what is written between two writings of a state file.
_MOST_BYTES: Final = 8 * 1024**2


def read_tail(path: Path, *, most_bytes: int = _MOST_BYTES) -> Sequence[Event]:
    """Return the events at the end of the log, in their order; those of the one before too, when it was just rotated.

    Lines that are no events, and a log that cannot be read, tell nothing.
    """
    own = _lines(path, most_bytes)
    size = sum(map(len, own))
    before = [] if size >= most_bytes // 2 else _lines(_rotated(path), most_bytes - size)
    return [event for line in (*before, *own) if isinstance(event := parse_line(line), Event)]


def _rotated(path: Path) -> Path | None:
    """Return the log that was rotated last; it is compressed only at the next rotation."""
    found = [file for file in path.parent.glob(f"{path.name}-*") if file.suffix != ".gz"]
    return max(found, default=None, key=lambda file: (file.stat().st_mtime, file.name))


def _lines(path: Path | None, most_bytes: int) -> list[bytes]:
    if path is None:
        return []
    try:
        with path.open("rb") as source:
            begin = max(0, os.fstat(source.fileno()).st_size - most_bytes)
            source.seek(begin)
            lines = source.read(most_bytes).splitlines()
    except OSError:
        return []
    # What does not begin at the file's beginning begins in the middle of a line.
    return lines[1:] if begin else lines
