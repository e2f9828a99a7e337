"""The processes outside containers as the text of host-processes.json, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from ds01.core.clock import format_instant, parse_instant
from ds01.core.errors import BadInputError
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.gpu.announced import Announced
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.hostprocesses import HostProcess, Meant, Verdict

RECORD_VERSION: Final = 1
# Looks come every 30 s, and one may take most of that time.
_FRESH: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What was seen at one look.

    Attributes:
        boot: which boot of the machine it was; pids mean nothing in another.
        processes: by pid; those of the look before where this one failed.
        quiet: those that live and computed on no GPU at this look, so that what they were told is not forgotten.
        unknown: why `processes` may lack some or be old; None when it is complete.
        meant: by the numbers that the driver names, in containers too.
        announced: what accounts were told of all their processes.
    """

    updated_at: datetime
    boot: str
    processes: tuple[HostProcess, ...] = ()
    quiet: tuple[HostProcess, ...] = ()
    unknown: str | None = None
    meant: Meant = field(default_factory=dict)
    announced: Mapping[str, Announced] = field(default_factory=dict)


def to_document(record: HostRecord) -> dict[str, object]:
    """Return what the file is to say."""
    return {
        "version": RECORD_VERSION,
        "updated_at": format_instant(record.updated_at, milliseconds=True),
        "boot": record.boot,
        "processes": _rows(record.processes),
        "quiet": _rows(record.quiet),
        "unknown": record.unknown,
        "meant": {str(pid): started for pid, started in record.meant.items()},
        "announced": {
            user: {"ends_seconds": each.ends_seconds, "seen_seconds": each.seen_seconds}
            for user, each in record.announced.items()
        },
    }


def from_document(document: Mapping[str, object]) -> HostRecord | str:
    """Read what to_document() made, however old; or return why it cannot be read."""
    try:
        if document["version"] != RECORD_VERSION:
            return f"it has version {document['version']!r}, this DS01 reads version {RECORD_VERSION}"
        return HostRecord(
            updated_at=_known(document["updated_at"]),
            boot=_text(document["boot"]),
            processes=_processes(document["processes"]),
            quiet=_processes(document["quiet"]),
            unknown=None if document["unknown"] is None else _text(document["unknown"]),
            meant=_meant(document.get("meant", {})),
            announced=_announced(document.get("announced", {})),
        )
    except (KeyError, TypeError, ValueError, BadInputError) as error:
        return f"it is not complete: {type(error).__name__}: {error}"


def current(found: HostRecord | str, now: datetime) -> HostRecord | str:
    """Return the record, or why it says nothing about now."""
    if isinstance(found, str) or abs(now - found.updated_at) <= _FRESH:
        return found
    when = format_instant(found.updated_at)
    return f"it is from {when}; systemctl status ds01-gpuwatch says why nobody writes it"


def process_json(process: HostProcess) -> dict[str, object]:
    """Return one process as it stands in the file, and as commands print it."""
    return {
        "pid": process.pid,
        "started": process.started,
        "uid": process.uid,
        "user": process.user,
        "command": process.command,
        "gpu_uuids": list(process.gpu_uuids),
        "slots": list(process.slots),
        "memory_bytes": process.memory_bytes,
        "container_id": None,
        "since": format_instant(process.since),
        "sightings": process.sightings,
        "verdict": process.verdict.value,
        "warned_at": _when(process.warned_at),
        "ends_at": _when(process.ends_at),
        "ends_seconds": process.ends_seconds,
        "granted_until": _when(process.granted_until),
        "note": process.note,
    }


def _rows(processes: Iterable[HostProcess]) -> list[dict[str, object]]:
    return [process_json(each) for each in processes]


def _processes(rows: object) -> tuple[HostProcess, ...]:
    if not isinstance(rows, list):
        raise TypeError(f"expected a list, found {rows!r}")
    return tuple(_process(row) for row in rows)


def _meant(value: object) -> Meant:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {value!r}")
    return {int(pid): None if started is None else _whole(started) for pid, started in value.items()}


def _announced(value: object) -> Mapping[str, Announced]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {value!r}")
    return {user: Announced(_maybe(row["ends_seconds"]), _number(row["seen_seconds"])) for user, row in value.items()}


def _process(row: Mapping[str, object]) -> HostProcess:
    note, memory = row["note"], row["memory_bytes"]
    return HostProcess(
        pid=_whole(row["pid"]),
        started=_whole(row["started"]),
        uid=_whole(row["uid"]),
        user=_text(row["user"]),
        command=_text(row["command"]),
        gpu_uuids=tuple(GpuUuid(each) for each in _texts(row["gpu_uuids"])),
        slots=_texts(row["slots"]),
        memory_bytes=None if memory is None else _whole(memory),
        since=_known(row["since"]),
        sightings=_whole(row["sightings"]),
        verdict=Verdict(row["verdict"]),
        warned_at=_instant(row["warned_at"]),
        ends_seconds=_maybe(row["ends_seconds"]),
        ends_at=_instant(row["ends_at"]),
        granted_until=_instant(row["granted_until"]),
        note=None if note is None else _text(note),
    )


def _when(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant, milliseconds=instant.microsecond > 0)


def _instant(value: object) -> datetime | None:
    return None if value is None else _known(value)


def _known(value: object) -> datetime:
    return parse_instant(_text(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, found {value!r}")
    return tuple(map(_text, value))


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, found {value!r}")
    return value


def _maybe(value: object) -> float | None:
    return None if value is None else _number(value)


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number, found {value!r}")
    return float(value)
