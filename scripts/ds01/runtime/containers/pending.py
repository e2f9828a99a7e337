"""What an account was promised and Docker does not show yet: one entry for each container that is about to run. Pure.

A promise is kept by the process that will start the container, whatever program it becomes: pulling an image takes its
time. It ends as soon as Docker shows what came of it, and with its process; a minute later where Docker cannot be
asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.request import Verb
from ds01.runtime.identity import ProcessRef

LAPSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A container that may start and does not run yet, or one that runs and gets more memory.

    Attributes:
        id: of a new container what its label `ds01.created_at` will say, of an old one its id.
        memory_bytes: what it counts for; of one that runs and is updated, what it may come to use.
        process: that keeps the promise.
        gone_at: since when that is known to be gone, in seconds since boot; None while it runs.
        started_at: when an old container had last begun to run as this was promised; None when it never had.
    """

    id: str
    verb: Verb
    memory_bytes: int
    process: ProcessRef
    gone_at: float | None = None
    started_at: datetime | None = None


class PendingError(ValueError):
    """A record of promises that is not of this version's form."""


def review(pending: Pending, found: Container | None, *, alive: bool) -> Pending | None:
    """Return a promise as it stands now; None when it is over.

    Args:
        found: the container it is about, as an inspection shows it that was asked for after `alive` was looked at; a
            list would not do. The engine answers it before a start or after, never in between: who is gone can start
            nothing any more, and what their last word started shows here.
        alive: whether its process runs.

    Source: moby, daemon/start.go, containerStart, and daemon/inspect.go, ContainerInspect: both hold the container's
    lock.
    """
    if not alive or (found is not None and _is_settled(pending, found)):
        return None
    return replace(pending, gone_at=None)


def lapse(pending: Pending, *, alive: bool, boot_seconds: float) -> Pending | None:
    """Return a promise as it stands by its process alone, where Docker cannot be asked; None when it is over.

    Args:
        boot_seconds: now.
    """
    if alive:
        return replace(pending, gone_at=None)
    if pending.gone_at is None:
        return replace(pending, gone_at=boot_seconds)
    return pending if boot_seconds < pending.gone_at + LAPSE_SECONDS else None


def _is_settled(pending: Pending, found: Container) -> bool:
    match pending.verb:
        case Verb.CREATE:
            return True
        case Verb.UPDATE:
            # Docker says the new limit a moment before the kernel has it.
            return not found.is_live
        case Verb.RESTART:
            # It runs before it ends, and in between it would count for nothing.
            return found.started_at != pending.started_at
        case _:
            return found.is_live or found.started_at != pending.started_at


# --- As it is written -------------------------------------------------------------------------------------------------


def to_rows(promises: Iterable[Pending]) -> list[Mapping[str, object]]:
    """Return what the account's page says of them."""
    return [
        {
            "id": each.id,
            "verb": each.verb.value,
            "memory_bytes": each.memory_bytes,
            "pid": each.process.pid,
            "started": each.process.started,
            "boot": each.process.boot,
            "gone_at": each.gone_at,
            "started_at": None if each.started_at is None else each.started_at.isoformat(),
        }
        for each in promises
    ]


def from_rows(rows: object) -> tuple[Pending, ...]:
    """Read what the page says.

    Raises:
        PendingError: it has another form.
    """
    if not isinstance(rows, list):
        raise PendingError("it has no list of promises")
    try:
        return tuple(map(_from_row, rows))
    except (KeyError, TypeError, ValueError) as error:
        raise PendingError(f"a promise is not whole: {type(error).__name__} {error}") from error


def _from_row(row: Mapping[str, object]) -> Pending:
    # Pages of before have no `started_at`.
    gone, began = row["gone_at"], row.get("started_at")
    return Pending(
        id=str(row["id"]),
        verb=Verb(row["verb"]),
        memory_bytes=int(str(row["memory_bytes"])),
        process=ProcessRef(int(str(row["pid"])), int(str(row["started"])), str(row["boot"])),
        gone_at=None if gone is None else float(str(gone)),
        started_at=None if began is None else datetime.fromisoformat(str(began)),
    )
