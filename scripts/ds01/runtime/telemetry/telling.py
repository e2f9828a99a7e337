"""What the event log says of what happens to containers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ds01.core.clock import format_instant
from ds01.core.events import Event
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.runtime.containers.record import Row
from ds01.runtime.containers.seen import Seen
from ds01.runtime.telemetry.happening import Action, Happening

SOURCE: Final = "eventsd"
PREFIX: Final = "container."
BYPASS: Final = "container.bypass"


def tell_happening(happening: Happening, row: Row, extra: Mapping[str, object]) -> Event:
    """Return what the log says of something that happened.

    Args:
        row: the container as it is now; of one that was destroyed, as it was.
        extra: what belongs to this action alone.
    """
    details: dict[str, object] = {**_which(row), **extra}
    if happening.reconstructed:
        details["reconstructed"] = True
    else:
        details["time_nano"] = happening.time_nano
    event_type = f"{PREFIX}{happening.action.value}"
    return Event(event_type, row.charged, SOURCE, happening.at, details)


def tell_bypass(seen: Seen, row: Row, now: datetime) -> Event:
    """Return that a container came to be without DS01."""
    owner = row.owner
    details = {
        **_which(row),
        "evidence": None if owner is None else owner.evidence.value,
        "cgroup_parent": visible(seen.container.cgroup_parent) or None,
        "gpu": row.gpu,
        "created_at": None if row.created_at is None else format_instant(row.created_at),
    }
    return Event("container.bypass", row.charged, SOURCE, now, details)


def tell_gap(since: datetime | None, now: datetime, why: str) -> Event:
    """Return that what happened between two points in time may not be known.

    Args:
        since: up to when everything is known; None when nothing ever was.
    """
    begin = None if since is None else format_instant(since, milliseconds=True)
    details = {"from": begin, "to": format_instant(now, milliseconds=True), "why": why}
    return Event("events.gap", None, SOURCE, now, details)


def _which(row: Row) -> dict[str, object]:
    """Return which container it is; whom only its maker named is no more than that."""
    which: dict[str, object] = {
        "container": row.name,
        "container_id": row.id,
        "type": row.type.value,
        "kind": row.kind.value,
        "image": row.image,
    }
    if row.owner is not None and row.owner.asserted:
        which["asserted"] = row.owner.user
    return which


def end_of(happening: Happening, *, exit_code: int | None, oom_killed: bool) -> dict[str, object]:
    """Return how a run ended, for the actions that say it."""
    match happening.action:
        case Action.DIE:
            return {"exit_code": exit_code, "oom_killed": oom_killed}
        case Action.OOM:
            return {"oom_killed": True}
        case _:
            return {}
