"""Values that a rule remembers, as JSON and back. Pure; memory.py keeps the files.

Every field is read by a reader of its own: what it does not expect is an error, never a default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from ds01.core.typed import Final
from ds01.runtime.containers.start import Start
from ds01.runtime.lifecycle.decision import Moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RecordError(ValueError):
    """What was remembered has another form than what DS01 writes."""


def plain(value: object) -> object:
    """Return a value of values as JSON has it: fields by name, points in time as text with their zone."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    names = getattr(value, "__match_args__", None)
    return value if names is None else {name: plain(getattr(value, name)) for name in names}


def fields(said: object, readers: Mapping[str, Callable[[object], object]]) -> dict[str, Any]:
    """Return the fields of a value, each as its reader has it.

    Raises:
        RecordError: it is no object, or lacks one.
    """
    if not isinstance(said, dict):
        raise RecordError(f"expected an object, found {type(said).__name__}")
    missing = readers.keys() - said.keys()
    if missing:
        raise RecordError(f"{', '.join(sorted(missing))} missing")
    return {name: read(said[name]) for name, read in readers.items()}


def rows(said: object) -> Mapping[str, object]:
    """Read an object whose names are not fields, such as ids of containers."""
    if not isinstance(said, dict):
        raise RecordError(f"expected an object, found {type(said).__name__}")
    return said


def text(said: object) -> str:
    """Read text."""
    if not isinstance(said, str):
        raise RecordError(f"{said!r} is no text")
    return said


def number(said: object) -> float:
    """Read a number."""
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        raise RecordError(f"{said!r} is no number")
    return said


def count(said: object) -> int:
    """Read a whole number."""
    if isinstance(said, bool) or not isinstance(said, int):
        raise RecordError(f"{said!r} is no whole number")
    return said


def flag(said: object) -> bool:
    """Read true or false."""
    if not isinstance(said, bool):
        raise RecordError(f"{said!r} is neither true nor false")
    return said


def instant(said: object) -> datetime:
    """Read a point in time, with its zone."""
    try:
        read = datetime.fromisoformat(text(said))
    except ValueError as error:
        raise RecordError(f"{said!r} is no point in time") from error
    if read.tzinfo is None:
        raise RecordError(f"{said!r} has no time zone")
    return read


def start(said: object) -> Start:
    """Read how a container came to run."""
    return Start(**fields(said, {"asked_at": optional(instant), "restarts": count, "started_at": instant}))


def optional(read: Callable[[object], object]) -> Callable[[object], object]:
    """Return a reader that takes null too."""
    return lambda said: None if said is None else read(said)


_MOMENT: Final = {"now": instant, "boot": text, "boot_seconds": number, "awake_seconds": number}


def moment(said: object) -> Moment:
    """Read when something was looked at."""
    return Moment(**fields(said, _MOMENT))
