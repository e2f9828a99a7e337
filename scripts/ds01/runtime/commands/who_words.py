"""Who uses which unit of a GPU, as rows, as a table and as JSON. Pure; who.py reads and prints.

What holds a unit and what computes on it are two things: both are shown, and neither is guessed from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum

from ds01.core.clock import format_instant
from ds01.core.typed import Final
from ds01.core.units import GIB
from ds01.core.value import dataclass, replace
from ds01.core.words import printable, table
from ds01.runtime.gpu.activity import UnitActivity
from ds01.runtime.gpu.hardware import Devices, GpuProcess, GpuUuid, Unit, Usage
from ds01.runtime.gpu.hostrecord import HostRecord
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.request import Limits
from ds01.runtime.gpu.view import View

JSON_VERSION: Final = 1
_HEAD: Final = ("GPU", "SLOT", "PROFILE", "USER", "USED BY", "SINCE", "BUSY", "MEMORY", "HELD UNTIL")
_SHORT_ID: Final = 12
# Until when a stopped container keeps its units; None for as long as it is there.
HoldEnds = Callable[[Allocation], datetime | None]


class Kind(Enum):
    """By what a unit is used."""

    CONTAINER = "container"  # it was given the unit
    OTHER_CONTAINER = "other_container"  # it was not, and computes there
    HOST = "host"  # a process outside any container
    UNSURE = "unsure"  # outside Docker's containers; whether outside all others is not known


@dataclass(frozen=True, slots=True)
class Use:
    """One container or process on a unit.

    Attributes:
        user: None when nobody knows.
        processes: those that compute there; of a container that holds the unit there may be none.
        state: of a container that holds it: `running`, `held` (stopped) or `reserved` (about to start).
        held_until: None when that is not `held`, or lasts until the container is removed.
    """

    kind: Kind
    user: str | None
    container: str | None
    since: datetime | None
    processes: tuple[GpuProcess, ...] = ()
    state: str | None = None
    held_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One unit.

    Attributes:
        model: of its GPU.
        busy_percent: None when that is not known; busy_unknown says why.
        free: None when it is not known who holds it.
    """

    unit: Unit
    model: str
    uses: tuple[Use, ...]
    free: bool | None
    busy_percent: float | None
    busy_unknown: str | None
    memory_used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rows are made of.

    Attributes:
        ledger: None when it cannot be told who holds what.
        activity: None when nobody watches; then the driver's own figures are all there is.
    """

    devices: Devices
    ledger: Ledger | None
    usage: Mapping[GpuUuid, Usage]
    activity: Mapping[GpuUuid, UnitActivity] | None
    hold_ends: HoldEnds


def with_recorded(devices: Devices, record: HostRecord) -> Devices:
    """Add processes of which only the record says whose they are: others' may be hidden from who looks."""
    seen = {(each.pid, each.uuid) for each in devices.processes}
    more = tuple(
        GpuProcess(
            pid=each.pid,
            uuid=uuid,
            user=each.user,
            command=each.command,
            uid=each.uid,
            started=each.started,
            since=each.since,
        )
        for each in record.processes
        for uuid in each.gpu_uuids
        if (each.pid, uuid) not in seen
    )
    return replace(devices, processes=(*devices.processes, *more)) if more else devices


def rows_of(facts: Facts) -> tuple[Row, ...]:
    """Return every unit of the machine with who uses it."""
    view = View.of(facts.devices, Ledger() if facts.ledger is None else facts.ledger, Limits({}))
    models = {gpu.uuid: gpu.name.removeprefix("NVIDIA ") for gpu in view.gpus}
    return tuple(_row(facts, view, unit, models[unit.gpu_uuid]) for unit in view.units)


def _row(facts: Facts, view: View, unit: Unit, model: str) -> Row:
    uses = tuple(_uses(facts, view, unit))
    usage = facts.usage.get(unit.uuid, Usage(None, None))
    percent, unknown = _busy(unit, usage, facts.activity)
    return Row(
        unit=unit,
        model=model,
        uses=uses,
        free=None if facts.ledger is None else not uses and unit.problem is None,
        busy_percent=percent,
        busy_unknown=unknown,
        memory_used_bytes=usage.memory_used_bytes,
    )


def _busy(unit: Unit, usage: Usage, activity: Mapping[GpuUuid, UnitActivity] | None) -> tuple[float | None, str | None]:
    watched = None if activity is None else activity.get(unit.uuid)
    if watched is not None:
        return watched.percent, watched.unknown
    if usage.utilisation_percent is not None:
        return float(usage.utilisation_percent), None
    return None, "ds01-gpuwatch does not tell, and the driver has no figure for it"


def _uses(facts: Facts, view: View, unit: Unit) -> Iterator[Use]:
    there = view.holder(unit)
    on = {*view.at_work.get(unit.uuid, ()), *view.at_work.get(unit.gpu_uuid, ())}
    if there is not None:
        state = "reserved" if there.reservation is not None else "running" if there.stopped_at is None else "held"
        yield Use(
            kind=Kind.CONTAINER,
            user=there.user,
            container=there.container,
            since=there.allocated_at,
            processes=tuple(sorted((each for each in on if each.container_id == there.container_id), key=_by_pid)),
            state=state,
            held_until=facts.hold_ends(there) if state == "held" else None,
        )
    for each in view.processes(unit):
        yield _of_process(each, known=facts.ledger is not None)


def _by_pid(process: GpuProcess) -> int:
    return process.pid


def _of_process(process: GpuProcess, *, known: bool) -> Use:
    """Return a process that its container was not given the unit for, or that is in none.

    Args:
        known: whether it is known at all which container was given what.
    """
    if process.container_id is not None:
        kind = Kind.OTHER_CONTAINER if known else Kind.CONTAINER
        return Use(kind, process.user, process.container_id[:_SHORT_ID], process.since, (process,))
    return Use(Kind.HOST if process.is_on_host else Kind.UNSURE, process.user, None, process.since, (process,))


# --- The table --------------------------------------------------------------------------------------------------------


def who_table(rows: Sequence[Row]) -> str:
    """Return all units, a line for each that uses one; none of it can drive a terminal."""
    if not rows:
        return "this machine has no GPU"
    lines = [line for row in rows for line in _lines(row)]
    return table([_HEAD, *([printable(cell) for cell in line] for line in lines)])


def _lines(row: Row) -> Iterator[tuple[str, ...]]:
    unit = row.unit
    busy = "?" if row.busy_percent is None else f"{row.busy_percent:.0f}%"
    total = f"{unit.memory_bytes / GIB:.0f}G"
    memory = total if row.memory_used_bytes is None else f"{row.memory_used_bytes / GIB:.1f}/{total}"
    first = (row.model, unit.slot, unit.profile or "whole")
    if not row.uses:
        yield (*first, "-", _nobody(row), "-", busy, memory, "-")
    for number, use in enumerate(row.uses):
        mine = (use.user or "?", _used_by(use), _when(use.since))
        until = _until(use)
        # Of the second on a unit only what is its own: it is no other unit.
        yield (*first, *mine, busy, memory, until) if not number else ("", "", "", *mine, "", "", until)


def _nobody(row: Row) -> str:
    if row.unit.problem is not None:
        return f"broken: {row.unit.problem}"
    return "not known" if row.free is None else "free"


def _used_by(use: Use) -> str:
    first = "" if not use.processes else _name(use.processes[0])
    more = f" and {len(use.processes) - 1} more" if len(use.processes) > 1 else ""
    match use.kind:
        case Kind.CONTAINER:
            computes = f": {first}{more}" if first else ""
            state = {"held": " (stopped)", "reserved": " (about to start)"}.get(use.state or "", "")
            return f"{use.container}{state}{computes}"
        case Kind.OTHER_CONTAINER:
            return f"container {use.container}, which was given no GPU: {first}"
        case Kind.HOST:
            return f"{first} on the host"
        case Kind.UNSURE:
            return f"{first} outside Docker"


def _name(process: GpuProcess) -> str:
    return f"{process.command} (pid {process.pid})"


def _until(use: Use) -> str:
    if use.state != "held":
        return "-"
    return "removed" if use.held_until is None else _when(use.held_until)


def _when(instant: datetime | None) -> str:
    """As people of this machine read times."""
    return "-" if instant is None else f"{instant.astimezone():%Y-%m-%d %H:%M}"


# --- JSON -------------------------------------------------------------------------------------------------------------


def rows_json(rows: Iterable[Row]) -> list[Mapping[str, object]]:
    """Return all units with the same facts as the table, and more."""
    return [
        {
            "gpu": row.model,
            "slot": row.unit.slot,
            "uuid": row.unit.uuid,
            "gpu_uuid": row.unit.gpu_uuid,
            "profile": row.unit.profile,
            "problem": row.unit.problem,
            "free": row.free,
            "busy_percent": row.busy_percent,
            "busy_unknown": row.busy_unknown,
            "memory_bytes": row.unit.memory_bytes,
            "memory_used_bytes": row.memory_used_bytes,
            "uses": [_use_json(each) for each in row.uses],
        }
        for row in rows
    ]


def _use_json(use: Use) -> Mapping[str, object]:
    return {
        "kind": use.kind.value,
        "user": use.user,
        "container": use.container,
        "state": use.state,
        "since": _text(use.since),
        "held_until": _text(use.held_until),
        "processes": [
            {
                "pid": each.pid,
                "user": each.user,
                "command": each.command,
                "since": _text(each.since),
                "memory_bytes": each.memory_bytes,
            }
            for each in use.processes
        ],
    }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)
