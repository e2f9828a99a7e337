"""Who may use GPUs outside containers for a time: a value, and the text of bare-metal-grants.json. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from ds01.core.clock import format_instant, parse_instant
from ds01.core.errors import BadInputError
from ds01.core.typed import Final
from ds01.core.value import dataclass

GRANTS_VERSION: Final = 1
LONGEST_REASON: Final = 200
# One that is over is kept so long, for whoever asks why a process was allowed.
_KEPT: Final = timedelta(days=30)


class GrantsError(BadInputError):
    """What the grants are cannot be told."""


@dataclass(frozen=True, slots=True)
class Grant:
    """An account's permission.

    Attributes:
        by: the administrator who gave it.
        at: when.
        until: when it ends; only this counts, so that a clock that is set back takes no grant away.
        reason: why; empty when nobody said.
    """

    user: str
    by: str
    at: datetime
    until: datetime
    reason: str = ""

    def holds(self, now: datetime) -> bool:
        """Whether it is not over."""
        return now < self.until


def grant_of(grants: Iterable[Grant], user: str, now: datetime) -> Grant | None:
    """Return the grant that an account has now, the longest of several."""
    own = [each for each in grants if each.user == user and each.holds(now)]
    return max(own, key=lambda each: each.until, default=None)


def granted(grants: Iterable[Grant], grant: Grant) -> tuple[Grant, ...]:
    """Give an account a grant in the place of the one it has; those long over are forgotten."""
    kept = (each for each in revoked(grants, grant.user, grant.at) if each.until > grant.at - _KEPT)
    return (*kept, grant)


def revoked(grants: Iterable[Grant], user: str, now: datetime) -> tuple[Grant, ...]:
    """Take away the grant that an account has now."""
    return tuple(each for each in grants if each.user != user or not each.holds(now))


def to_document(grants: Iterable[Grant]) -> dict[str, object]:
    """Return what the file is to say."""
    return {"version": GRANTS_VERSION, "grants": [grant_json(each) for each in grants]}


def grant_json(grant: Grant) -> dict[str, object]:
    """Return a grant as it stands in the file, and as commands print it."""
    return {
        "user": grant.user,
        "by": grant.by,
        "from": format_instant(grant.at),
        "until": format_instant(grant.until),
        "reason": grant.reason,
    }


def from_document(document: Mapping[str, object]) -> tuple[Grant, ...]:
    """Read what to_document() made.

    Raises:
        GrantsError: it is something else; says what.
    """
    try:
        version, rows = document["version"], document["grants"]
        if version != GRANTS_VERSION or not isinstance(rows, list):
            raise _wrong(f"version {version!r}")
        return tuple(_grant(each) for each in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(f"{type(error).__name__}: {error}") from error


def _grant(row: Mapping[str, object]) -> Grant:
    user, by, reason = (_text(row[key]) for key in ("user", "by", "reason"))
    return Grant(user, by, parse_instant(_text(row["from"])), parse_instant(_text(row["until"])), reason)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value


def _wrong(why: str) -> GrantsError:
    return GrantsError("the list of bare-metal grants is not one this version can read", why, "restore it or remove it")
