"""The ledger as the text of gpu-state.json, and back. Pure; believes only what format_ledger() itself wrote.

The file ends in a checksum of everything before it, so that a torn file and one edited by hand are both noticed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

from ds01.core.clock import format_instant, parse_instant
from ds01.core.errors import BadInputError, Ds01Error
from ds01.core.typed import Final
from ds01.runtime.gpu.checksum import is_sealed, sealed
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation, Waiter
from ds01.runtime.gpu.request import format_wanted, parse_wanted
from ds01.runtime.identity import ProcessRef

STATE_VERSION: Final = 1
# Made once: json.dumps() makes a new one for every value.
_READABLE: Final = json.JSONEncoder(ensure_ascii=False)
_ASCII: Final = json.JSONEncoder()


class DamagedError(Ds01Error):
    """The state cannot be believed; what it says is of no use."""


def format_ledger(ledger: Ledger, now: datetime) -> bytes:
    """Return the file's content: one allocation and one waiter a line."""
    try:
        body = _body(ledger, now, _READABLE.encode).encode()
    except UnicodeEncodeError:
        # A name from a command line that was no UTF-8.
        body = _body(ledger, now, _ASCII.encode).encode()
    return sealed(body)


def parse_ledger(content: bytes) -> Ledger:
    """Read what format_ledger() wrote.

    Raises:
        DamagedError: empty, torn, of another version, edited by hand, or not what it should be.
    """
    if not content.strip(b"\0 \n"):
        raise DamagedError("it is empty")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError("it is torn", str(error)) from error
    version = document.get("version") if isinstance(document, dict) else None
    # True and 1.0 are equal to 1, and this program writes neither.
    if type(version) is not int or version != STATE_VERSION:
        raise DamagedError(f"it has version {version!r}, this DS01 reads version {STATE_VERSION}")
    if not is_sealed(content):
        raise DamagedError("it was edited by hand, or by another program")
    try:
        return Ledger(
            allocations=MappingProxyType(
                {name: _read_allocation(name, entry) for name, entry in document["allocations"].items()}
            ),
            queue=tuple(_read_waiter(entry) for entry in document["queue"]),
            boot=_optional(document["boot_id"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, BadInputError) as error:
        raise DamagedError("it is not complete", f"{type(error).__name__}: {error}") from error


def _body(ledger: Ledger, now: datetime, dump: Callable[[object], str]) -> str:
    allocations = [f"{dump(name)}: {dump(_allocation(each))}" for name, each in ledger.allocations.items()]
    lines = [
        "{",
        f' "version": {STATE_VERSION},',
        f' "allocations": {{{_lines(allocations)}}},',
        f' "queue": [{_lines([dump(_waiter(each)) for each in ledger.queue])}],',
        f' "boot_id": {dump(ledger.boot)},',
        f' "last_updated": {dump(format_instant(now))},',
        "",
    ]
    return "\n".join(lines)


def _lines(rows: list[str]) -> str:
    return "\n  " + ",\n  ".join(rows) + "\n " if rows else ""


def _allocation(each: Allocation) -> dict[str, object]:
    return {
        "id": each.id,
        "user": each.user,
        "gpu_id": ",".join(each.slots),
        "gpu_uuids": list(each.uuids),
        "allocated_at": format_instant(each.allocated_at),
        "priority": each.priority,
        "stopped_at": None if each.stopped_at is None else format_instant(each.stopped_at),
        "container_id": each.container_id,
        "reserved_by": None if each.reservation is None else _reservation(each.reservation),
    }


def _reservation(reservation: Reservation) -> dict[str, object]:
    return {**_process(reservation.process), "gone_at": reservation.gone_at}


def _process(process: ProcessRef) -> dict[str, object]:
    return {"pid": process.pid, "started": process.started, "boot_id": process.boot}


def _waiter(each: Waiter) -> dict[str, object]:
    return {
        "id": each.id,
        "user": each.user,
        "container": each.container,
        "wanted": format_wanted(each.wanted),
        "priority": each.priority,
        "since": format_instant(each.since),
        "most_units": each.most_units,
        "process": _process(each.process),
    }


def _read_allocation(name: str, entry: Mapping[str, object]) -> Allocation:
    stopped = entry["stopped_at"]
    return Allocation(
        container=name,
        id=_text(entry["id"]),
        user=_optional(entry["user"]),
        slots=tuple(_text(entry["gpu_id"]).split(",")),
        uuids=tuple(GpuUuid(_text(each)) for each in _list(entry["gpu_uuids"])),
        allocated_at=parse_instant(_text(entry["allocated_at"])),
        priority=_number(entry["priority"]),
        stopped_at=None if stopped is None else parse_instant(_text(stopped)),
        container_id=_optional(entry["container_id"]),
        reservation=_read_reservation(entry["reserved_by"]),
    )


def _read_reservation(entry: object) -> Reservation | None:
    if entry is None:
        return None
    fields = _mapping(entry)
    gone = fields["gone_at"]
    return Reservation(_read_process(fields), None if gone is None else _seconds(gone))


def _read_process(entry: Mapping[str, object]) -> ProcessRef:
    return ProcessRef(_number(entry["pid"]), _number(entry["started"]), _text(entry["boot_id"]))


def _read_waiter(entry: Mapping[str, object]) -> Waiter:
    most = entry["most_units"]
    return Waiter(
        id=_text(entry["id"]),
        user=_text(entry["user"]),
        container=_optional(entry["container"]),
        wanted=parse_wanted(_text(entry["wanted"])),
        priority=_number(entry["priority"]),
        since=parse_instant(_text(entry["since"])),
        process=_read_process(_mapping(entry["process"])),
        most_units=None if most is None else _number(most),
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {value!r}")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, found {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError(f"expected seconds, found {value!r}")
    return float(value)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a number, found {value!r}")
    return value
