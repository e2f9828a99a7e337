"""How an account stands, as a value and as JSON. Pure; reader.py reads it, commands print it.

What cannot be told is Unknown with its reason, in every place where a number could be: nobody can take it for 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import Enum

from ds01.core.clock import format_instant
from ds01.core.limits import ResolvedLimits
from ds01.core.names import SliceName
from ds01.core.typed import Final, TypeVar
from ds01.core.value import dataclass
from ds01.runtime.lifecycle.notices import Notice

JSON_VERSION: Final = 1
_One = TypeVar("_One")


@dataclass(frozen=True, slots=True)
class Unknown:
    """What cannot be told, and why."""

    reason: str


Used = int | float | Unknown


@dataclass(frozen=True, slots=True)
class Measure:
    """What is used of one thing, and how much of it may be.

    Attributes:
        limit: None is unlimited.
        origin: where the limit comes from, in words.
    """

    used: Used
    limit: int | float | None
    origin: str


class GpuState(Enum):
    """What becomes of units that are held."""

    RUNNING = "running"
    RESERVED = "reserved"  # for a container that is not there yet
    HELD = "held"  # for a stopped container


@dataclass(frozen=True, slots=True)
class GpuHolding:
    """The units of one container.

    Attributes:
        held_until: when a stopped container's units go back; None while it runs, and when they stay until it is
            removed.
    """

    container: str
    slots: tuple[str, ...]
    uuids: tuple[str, ...]
    state: GpuState
    allocated_at: datetime
    held_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ContainerShare:
    """What one container that runs or is paused takes of it all.

    Attributes:
        id: all 64 hex digits.
        memory_limit_bytes: its own; None is none.
        cpu_usec: CPU time since it was started.
        cpu_percent: of one CPU, in the last minute.
    """

    id: str
    memory_used_bytes: Used
    memory_limit_bytes: int | Unknown | None
    tasks: Used
    cpu_usec: Used
    cpu_percent: Used


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that greeting, check-limits and ds01-resource-query show.

    Attributes:
        slices: those of the account that exist; more than one after it changed its group.
        memory: without the page cache that the kernel would drop first.
        memory_cache_bytes: that page cache.
        waited_some, waited_full: percent of the last minute in which at least one process, or all at once, waited for
            memory; of several slices the one in which most did.
        cpu: percent of one CPU, in the last minute.
        gpus: units, held ones too.
        differing: limits for which the kernel has another value than the policy, in words.
    """

    limits: ResolvedLimits
    account: str
    slices: tuple[SliceName, ...]
    memory: Measure
    memory_cache_bytes: Used
    waited_some: Used
    waited_full: Used
    tasks: Measure
    cpu: Measure
    gpus: Measure
    containers: Measure
    holdings: tuple[GpuHolding, ...] | Unknown
    shares: tuple[ContainerShare, ...] | Unknown
    notices: tuple[Notice, ...] | Unknown
    differing: tuple[str, ...]


def unknowns(overview: Overview) -> dict[str, str]:
    """Return the reason for everything that cannot be told, by its name in the JSON object."""
    return dict(_unknowns(overview))


def _unknowns(overview: Overview) -> Iterator[tuple[str, str]]:
    named: dict[str, object] = {
        "memory.used_bytes": overview.memory.used,
        "memory.cache_bytes": overview.memory_cache_bytes,
        "pressure.memory_some_percent": overview.waited_some,
        "pressure.memory_full_percent": overview.waited_full,
        "tasks.used": overview.tasks.used,
        "cpu.used_percent": overview.cpu.used,
        "gpus.used": overview.gpus.used,
        "gpus.holdings": overview.holdings,
        "containers.used": overview.containers.used,
        "containers.running": overview.shares,
        "notices": overview.notices,
    }
    if isinstance(overview.shares, tuple):
        for share in overview.shares:
            for name in _SHARE_FIELDS:
                named[f"containers.running.{share.id}.{name}"] = getattr(share, name)
    for name, value in named.items():
        if isinstance(value, Unknown):
            yield name, value.reason


_SHARE_FIELDS: Final = ("memory_used_bytes", "memory_limit_bytes", "tasks", "cpu_usec", "cpu_percent")


def to_json(overview: Overview, names: Mapping[str, str] | None = None) -> dict[str, object]:
    """Return the whole as one JSON object; null is unlimited for a limit, and else unknown, for a reason in `unknown`.

    Args:
        names: of containers, by id; None when nobody was asked.
    """
    limits, called = overview.limits, names or {}
    return {
        "version": JSON_VERSION,
        "account": overview.account,
        "group": limits.group,
        "listed": limits.listed,
        "slice": limits.slice_name,
        "slices": list(overview.slices),
        "memory": {
            **_measure(overview.memory, "_bytes"),
            "cache_bytes": _known(overview.memory_cache_bytes),
            "high_bytes": limits["aggregate.memory_high"].value,
        },
        "pressure": {
            "memory_some_percent": _known(overview.waited_some),
            "memory_full_percent": _known(overview.waited_full),
        },
        "tasks": _measure(overview.tasks),
        "cpu": _measure(overview.cpu, "_percent"),
        "gpus": {**_measure(overview.gpus), "holdings": _each(overview.holdings, _holding)},
        "containers": {
            **_measure(overview.containers),
            "running": _each(overview.shares, lambda share: _share(share, called)),
        },
        "limits": {name: {"value": each.value, "origin": each.origin} for name, each in limits.values.items()},
        "notices": _each(overview.notices, lambda each: {"at": format_instant(each.at), "text": each.text}),
        "differing": list(overview.differing),
        "unknown": unknowns(overview),
    }


def _measure(measure: Measure, unit: str = "") -> dict[str, object]:
    return {f"used{unit}": _known(measure.used), f"limit{unit}": measure.limit, "origin": measure.origin}


def _holding(holding: GpuHolding) -> dict[str, object]:
    return {
        "container": holding.container,
        "slots": list(holding.slots),
        "uuids": list(holding.uuids),
        "state": holding.state.value,
        "allocated_at": format_instant(holding.allocated_at),
        "held_until": None if holding.held_until is None else format_instant(holding.held_until),
    }


def _share(share: ContainerShare, names: Mapping[str, str]) -> dict[str, object]:
    fields = {name: _known(getattr(share, name)) for name in _SHARE_FIELDS}
    return {"id": share.id, "name": names.get(share.id), **fields}


def _each(found: tuple[_One, ...] | Unknown, form: Callable[[_One], dict[str, object]]) -> list[object] | None:
    return None if isinstance(found, Unknown) else [form(each) for each in found]


def _known(value: int | float | Unknown | None) -> int | float | None:
    return None if isinstance(value, Unknown) else value
