"""Since when each unit of a GPU is busy or idle: look by look, and as /run/ds01/gpu-activity.json. Pure.

What nobody saw was not idle: where a unit could not be read for longer than two looks may lie apart, watching it begins
anew. Whoever ends anything for being idle goes by this.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from ds01.core.clock import format_instant, parse_instant
from ds01.core.errors import BadInputError
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.gpu.dcgm import Place
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuUuid, MigInstance, Unit, Usage

ACTIVITY_VERSION: Final = 1
# Looks come every 30 s, and one may take most of that time.
_FRESH: Final = timedelta(minutes=2)
_LONGEST_GAP: Final = timedelta(minutes=2)
# The exporter may read 0 of everything for weeks (NVIDIA/dcgm-exporter, issue 662). Whole GPUs are read in two ways:
# where the driver says at least so much and the exporter 0, so many looks in a row, no figure of it is believed.
_CONTRADICTION_PERCENT: Final = 50
_MOST_DOUBTS: Final = 3


@dataclass(frozen=True, slots=True)
class UnitActivity:
    """One unit.

    Attributes:
        percent: how busy it was at the last look; None when that could not be told.
        busy_at: when it was last seen at the threshold or above it, since watching began; None when never.
        since: when watching began. A container that began later was idle at most since then.
        unknown: why it cannot be told now; None when it can.
        known_at: when it last could be told; None when it never could since watching began.
    """

    percent: float | None
    busy_at: datetime | None
    since: datetime
    unknown: str | None = None
    known_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """All units of the machine.

    Attributes:
        doubts: in how many looks in a row the exporter said 0 of a whole GPU that the driver calls busy.
    """

    units: Mapping[GpuUuid, UnitActivity] = field(default_factory=dict)
    doubts: int = 0


@dataclass(frozen=True, slots=True)
class Readings:
    """What one look gave.

    Attributes:
        usage: as the driver says; nothing of MIG instances.
        exporter: as the exporter says, 0 to 1; or why it says nothing.
    """

    devices: Devices
    usage: Mapping[GpuUuid, Usage]
    exporter: Mapping[Place, float] | str


def observe(before: Activity, seen: Readings | str, threshold_percent: float, now: datetime) -> Activity:
    """Return what is known after one more look. Units that are gone are left out, new ones begin.

    Args:
        before: in this boot; clocks that were set and pauses are noticed here.
        seen: text where the look failed, and why.
        threshold_percent: at which a unit is busy.
    """
    if isinstance(seen, str):
        return Activity({uuid: _next(each, seen, threshold_percent, now) for uuid, each in before.units.items()})
    doubts = before.doubts + 1 if _contradicts(seen) else 0
    if doubts >= _MOST_DOUBTS and not isinstance(seen.exporter, str):
        why = (
            "the DCGM exporter says 0 also of a GPU that the driver calls busy, so its figures are not believed:"
            " restart it (docker restart ds01-dcgm-exporter)"
        )
        seen = replace(seen, exporter=why)
    on = frozenset(each.uuid for each in seen.devices.processes)
    found = {
        uuid: _next(before.units.get(uuid), percent, threshold_percent, now)
        for gpu in seen.devices.gpus
        for uuid, percent in _of_gpu(gpu, seen, on).items()
    }
    return Activity(found, doubts)


def _next(before: UnitActivity | None, found: float | str, threshold_percent: float, now: datetime) -> UnitActivity:
    kept = before if before is not None and _goes_on(before, now) else None
    if isinstance(found, str):
        return UnitActivity(None, None, now, found) if kept is None else replace(kept, percent=None, unknown=found)
    idle_since = None if kept is None else kept.busy_at
    return UnitActivity(
        percent=round(found, 1),
        busy_at=now if found >= threshold_percent else idle_since,
        since=now if kept is None else kept.since,
        known_at=now,
    )


def _goes_on(before: UnitActivity, now: datetime) -> bool:
    """Whether nothing was missed since it could last be told, and the clock was not set back behind what is known."""
    known = before.known_at
    return (
        known is not None and known <= now <= known + _LONGEST_GAP and max(before.since, before.busy_at or known) <= now
    )


# --- One look ---------------------------------------------------------------------------------------------------------


def _of_gpu(gpu: Gpu, seen: Readings, on: Collection[GpuUuid]) -> Mapping[GpuUuid, float | str]:
    """Return how busy the units of a GPU are in percent, or why that cannot be told."""
    units = Devices((gpu,)).units
    if gpu.problem is not None:
        return dict.fromkeys((unit.uuid for unit in units), gpu.problem)
    if gpu.mig:
        return {each.uuid: _instance(gpu, each, seen, on) for each in gpu.instances}
    return {unit.uuid: _whole(unit, seen) for unit in units}


def _whole(unit: Unit, seen: Readings) -> float | str:
    """A driver's figure is that of its last second, the exporter's that of up to 30 s: the busier counts."""
    usage = seen.usage.get(unit.uuid)
    ratio = None if isinstance(seen.exporter, str) else seen.exporter.get((unit.uuid, None))
    figures = [None if usage is None else usage.utilisation_percent, None if ratio is None else ratio * 100]
    known = [float(each) for each in figures if each is not None]
    return max(known) if known else "the driver does not say how busy it is"


def _instance(gpu: Gpu, instance: MigInstance, seen: Readings, on: Collection[GpuUuid]) -> float | str:
    """Of an instance only the exporter can tell; but where nothing computes nothing is busy.

    Of a process on an instance some drivers name the whole GPU. The exporter's figure is that of the GPU instance; of
    several compute instances in it each counts as busy as the busiest.
    """
    if seen.devices.unknown is None and not {instance.uuid, gpu.uuid} & set(on):
        return 0.0
    if isinstance(seen.exporter, str):
        return f"how busy a MIG instance is only DCGM can tell, and {seen.exporter}"
    ratio = seen.exporter.get((gpu.uuid, instance.gpu_instance_id))
    if ratio is None:
        return "how busy a MIG instance is only DCGM can tell, and its exporter does not name this one: restart it"
    return ratio * 100


def _contradicts(seen: Readings) -> bool:
    if isinstance(seen.exporter, str):
        return False
    return any(
        usage.utilisation_percent is not None
        and usage.utilisation_percent >= _CONTRADICTION_PERCENT
        and seen.exporter.get((uuid, None)) == 0
        for uuid, usage in seen.usage.items()
    )


# --- The file ---------------------------------------------------------------------------------------------------------


def to_document(
    activity: Activity, now: datetime, boot: str, threshold_percent: float, trouble: Mapping[str, str]
) -> dict[str, object]:
    """Return what gpu-activity.json is to say.

    Args:
        trouble: of the watcher, by what it is about.
    """
    return {
        "version": ACTIVITY_VERSION,
        "updated_at": format_instant(now, milliseconds=True),
        "boot": boot,
        "threshold_percent": threshold_percent,
        "doubts": activity.doubts,
        "trouble": dict(trouble),
        "units": {uuid: _entry(each) for uuid, each in activity.units.items()},
    }


def from_document(
    document: Mapping[str, object], now: datetime, boot: str | None = None
) -> Mapping[GpuUuid, UnitActivity] | str:
    """Read what to_document() made, or return why it says nothing about now.

    Args:
        boot: the present one; None where that need not be asked, since the file is gone with a reboot.
    """
    found = recall(document, boot)
    if isinstance(found, str):
        return found
    age = now - parse_instant(str(document["updated_at"]))
    if abs(age) > _FRESH:
        return f"it is from {document['updated_at']}; systemctl status ds01-gpuwatch says why nobody writes it"
    return found.units


def recall(document: Mapping[str, object], boot: str | None) -> Activity | str:
    """Read what to_document() made, however old, to go on from; or return why it cannot be gone on from."""
    try:
        if document["version"] != ACTIVITY_VERSION:
            return f"it has version {document['version']!r}, this DS01 reads version {ACTIVITY_VERSION}"
        if boot is not None and document["boot"] != boot:
            return "it is from before the machine was started"
        parse_instant(str(document["updated_at"]))
        return _activity(document["units"], document["doubts"])
    except (KeyError, TypeError, ValueError, BadInputError) as error:
        return f"it is not complete: {type(error).__name__}: {error}"


def trouble_in(document: Mapping[str, object]) -> Mapping[str, str]:
    """Return the trouble that a watcher wrote down, by what it is about; one of an older release wrote none."""
    found = document.get("trouble")
    return {str(about): str(text) for about, text in found.items()} if isinstance(found, dict) else {}


def unknown_in(document: Mapping[str, object]) -> tuple[str, ...]:
    """Return for each unit of which it cannot be told how busy it is, why.

    Raises:
        KeyError, TypeError, ValueError, BadInputError: the file is not as to_document() makes it.
    """
    units = _activity(document["units"], document["doubts"]).units
    return tuple(each.unknown for each in units.values() if each.unknown is not None)


def _activity(units: object, doubts: object) -> Activity:
    if not isinstance(units, dict) or not isinstance(doubts, int):
        raise TypeError(f"expected units and a number, found {units!r}, {doubts!r}")
    return Activity({GpuUuid(uuid): _unit(entry) for uuid, entry in units.items()}, doubts)


def _entry(unit: UnitActivity) -> dict[str, object]:
    return {
        "percent": unit.percent,
        "busy_at": _text(unit.busy_at),
        "since": _text(unit.since),
        "unknown": unit.unknown,
        "known_at": _text(unit.known_at),
    }


def _unit(entry: Mapping[str, object]) -> UnitActivity:
    since = _instant(entry["since"])
    percent, unknown = entry["percent"], entry["unknown"]
    if since is None or not isinstance(unknown, str | None):
        raise TypeError(f"expected a time and a reason, found {since!r}, {unknown!r}")
    if (percent is None) is (unknown is None):
        raise TypeError("either it is known how busy a unit is, or why not")
    return UnitActivity(_percent(percent), _instant(entry["busy_at"]), since, unknown, _instant(entry["known_at"]))


def _percent(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise TypeError(f"expected a percentage, found {value!r}")
    return float(value)


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant, milliseconds=True)


def _instant(value: object) -> datetime | None:
    return None if value is None else parse_instant(str(value))
