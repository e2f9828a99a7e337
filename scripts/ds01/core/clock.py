"""Points in time as DS01 writes them: ISO 8601, UTC, with Z. Pure; reads no clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ds01.core.errors import BadInputError
from ds01.core.pattern import pattern
from ds01.core.typed import Final

_INSTANT: Final = pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z", re.ASCII)


class InstantError(BadInputError, ValueError):
    """Text that is no point in time."""


def format_instant(instant: datetime, *, milliseconds: bool = False) -> str:
    """Return a point in time as text, such as `2026-03-01T09:12:00Z`.

    Args:
        instant: of any zone, but of one.
    """
    text = instant.astimezone(UTC).isoformat(timespec="milliseconds" if milliseconds else "seconds")
    return text.removesuffix("+00:00") + "Z"


def parse_instant(text: str) -> datetime:
    """Read what format_instant() writes.

    Raises:
        InstantError: anything else, another zone too.
    """
    if not _INSTANT.fullmatch(text):
        raise InstantError(f"{text[:60]!r} is no point in time", None, "write it as 2026-03-01T09:12:00Z")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InstantError(f"{text!r} is no point in time", str(error), "write it as 2026-03-01T09:12:00Z") from error
