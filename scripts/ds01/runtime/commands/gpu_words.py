"""Answers about GPUs as text and as JSON. Pure; gpu_show.py and gpu_change.py print them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from ds01.core.clock import format_instant
from ds01.core.typed import Final
from ds01.core.words import printable
from ds01.runtime.gpu.answer import Grant, Holding, Reason, Refusal
from ds01.runtime.gpu.launch import docker_args, environment, gpu_labels
from ds01.runtime.gpu.ledger import Allocation

JSON_VERSION: Final = 1
_WHEN_FREE: Final = "wait for one (--wait), or see ds01 gpu status for who holds them"


def since(instant: datetime | None) -> str:
    """Return a time as people of this machine read it."""
    return "-" if instant is None else f"{instant.astimezone():%Y-%m-%d %H:%M}"


def refusal_words(refusal: Refusal) -> str:
    """Return why, and below it who has what."""
    return "\n".join([refusal.text, *holding_lines(refusal.holdings)])


def way_out(refusal: Refusal) -> str:
    """Return what can be done, in the words of `ds01 gpu`."""
    if refusal.fix is not None:
        return refusal.fix
    if refusal.reason is Reason.DIFFERENT:
        names = dict.fromkeys(each.container for each in refusal.holdings if each.container is not None)
        return (
            "release it first ("
            + "; ".join(f"sudo ds01 gpu release --container {printable(name)}" for name in names)
            + ")"
        )
    return "wait in the line (--wait)" if refusal.reason is Reason.IN_LINE else _WHEN_FREE


def holding_lines(holdings: Iterable[Holding]) -> Iterable[str]:
    """Yield a line for each unit that somebody has."""
    rows = [(each.slot, holder(each), _when(each)) for each in holdings]
    widths = [max((len(row[index]) for row in rows), default=0) for index in range(3)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def holder(holding: Holding) -> str:
    """Return who has a unit, in words."""
    if holding.process is not None:
        return printable(holding.process)
    whose = "" if holding.user is None else f"{holding.user}'s "
    command = "" if holding.command is None else f" ({holding.command})"
    return printable(f"{whose}{holding.container}{command}")


def _when(holding: Holding) -> str:
    if holding.stopped_at is not None:
        return f"stopped {since(holding.stopped_at)}, held"
    return "" if holding.since is None else f"since {since(holding.since)}"


# --- JSON -------------------------------------------------------------------------------------------------------------


def allocation_json(allocation: Allocation) -> Mapping[str, object]:
    """Return an allocation as every command prints it."""
    return {
        "container": allocation.container,
        "allocation": allocation.id,
        "user": allocation.user,
        "gpu_id": ",".join(allocation.slots),
        "gpu_uuids": list(allocation.uuids),
        "allocated_at": format_instant(allocation.allocated_at),
        "priority": allocation.priority,
        "stopped_at": None if allocation.stopped_at is None else format_instant(allocation.stopped_at),
        "container_id": allocation.container_id,
        "reserved_by": None if allocation.reservation is None else allocation.reservation.process.pid,
    }


def grant_json(grant: Grant) -> Mapping[str, object]:
    """Return a grant, with what its container must be started with."""
    return {
        "version": JSON_VERSION,
        "granted": True,
        **allocation_json(grant.allocation),
        "profiles": [unit.profile for unit in grant.units],
        "docker_args": list(docker_args(grant)),
        "environment": dict(environment(grant)),
        "labels": dict(gpu_labels(grant.allocation)),
        "notes": list(grant.notes),
    }


def refusal_json(refusal: Refusal) -> Mapping[str, object]:
    """Return a refusal."""
    return {
        "version": JSON_VERSION,
        "granted": False,
        "reason": refusal.reason.value,
        "text": refusal.text,
        "fix": way_out(refusal),
        "waitable": refusal.waitable,
        "holdings": [holding_json(each) for each in refusal.holdings],
    }


def holding_json(holding: Holding) -> Mapping[str, object]:
    """Return who has one unit."""
    return {
        "slot": holding.slot,
        "user": holding.user,
        "container": holding.container,
        "since": None if holding.since is None else format_instant(holding.since),
        "stopped_at": None if holding.stopped_at is None else format_instant(holding.stopped_at),
        "process": holding.process,
        "command": holding.command,
        "command_since": None if holding.command_since is None else format_instant(holding.command_since),
    }
