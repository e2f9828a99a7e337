"""What an account was promised and Docker does not show yet: one entry for each container that is about to run. Pure.

A promise is kept by the process that will start the container, whatever program it becomes: pulling an image takes its
time. It ends as soon as Docker shows what came of it, and a minute after its process otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.request import Verb
from ds01.runtime.identity import ProcessRef

LAPSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A container that may start, and does not run yet.

    Attributes:
        id: of a new container what its label `ds01.created_at` will say, of an old one its id.
        memory_bytes: what it counts for.
        process: that keeps the promise.
        gone_at: since when that is known to be gone, in seconds since boot; None while it runs.
    """

    id: str
    verb: Verb
    memory_bytes: int
    process: ProcessRef
    gone_at: float | None = None


class PendingError(ValueError):
    """A record of promises that is not of this version's form."""


def review(pending: Pending, found: Container | None, *, alive: bool, boot_seconds: float) -> Pending | None:
    """Return a promise as it stands now; None when it is over.

    Args:
        found: the container it is about, as Docker shows it.
        alive: whether its process runs.
        boot_seconds: now.
    """
    if found is not None and _is_settled(pending, found, alive=alive):
        return None
    if not alive and (found is None or _has_failed(pending, found)):
        # Nobody is left who could start it: what only exists without running counts for nothing.
        return None
    return lapse(pending, alive=alive, boot_seconds=boot_seconds)


def lapse(pending: Pending, *, alive: bool, boot_seconds: float) -> Pending | None:
    """Return a promise as it stands by its process alone; None when it is over."""
    if alive:
        return replace(pending, gone_at=None)
    if pending.gone_at is None:
        return replace(pending, gone_at=boot_seconds)
    return pending if boot_seconds < pending.gone_at + LAPSE_SECONDS else None


def _is_settled(pending: Pending, found: Container, *, alive: bool) -> bool:
    match pending.verb:
        case Verb.CREATE:
            return True
        case Verb.RUN:
            return found.is_live or found.started_at is not None
        case Verb.RESTART:
            # It runs before it ends, and in between it would count for nothing.
            return found.is_live and not alive
        case _:
            return found.is_live


def _has_failed(pending: Pending, found: Container) -> bool:
    """Whether a start was tried and did not succeed: the engine then leaves an exit code behind."""
    return pending.verb is Verb.RUN and found.started_at is None and found.exit_code != 0


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
    gone = row["gone_at"]
    return Pending(
        id=str(row["id"]),
        verb=Verb(row["verb"]),
        memory_bytes=int(str(row["memory_bytes"])),
        process=ProcessRef(int(str(row["pid"])), int(str(row["started"])), str(row["boot"])),
        gone_at=None if gone is None else float(str(gone)),
    )
