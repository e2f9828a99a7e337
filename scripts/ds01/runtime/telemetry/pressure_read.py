"""Reads what the kernel tells of an account's slice: pressure, memory, and what was ended. Only reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ds01.core.names import SliceName, cgroup_path
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.cgroup.pressure import (
    MemoryEvents,
    Pressure,
    Resource,
    read_memory_events,
    read_pressure,
)
from ds01.runtime.cgroup.tree import CannotTell, LimitReading, Reading, group_id, is_folder, read_limit
from ds01.runtime.cgroup.usage import container_groups, read_counted
from ds01.runtime.telemetry.growth import Totals
from ds01.runtime.telemetry.oom import ContainerCounters, Counters, SliceCounters
from ds01.runtime.telemetry.pressure import Figures

_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What one slice shows.

    Attributes:
        figures: for what is decided.
        pressures: of everything, for those who want to see it.
        cpu_usec: CPU time since the slice was made.
    """

    name: SliceName
    figures: Figures
    pressures: Mapping[Resource, Pressure | CannotTell]
    events: MemoryEvents | CannotTell
    own_events: MemoryEvents | CannotTell
    counters: SliceCounters
    pids_current: Reading
    pids_max: LimitReading
    cpu_usec: Reading

    @property
    def totals(self) -> Totals:
        """What grows from look to look."""
        events = self.events
        names = () if isinstance(events, CannotTell) else MemoryEvents.__match_args__
        return Totals(
            self.counters.counters.group,
            _known(self.cpu_usec),
            {name: _known(getattr(events, name)) for name in names},
        )


def look_at(cgroup_root: Path, name: SliceName) -> Look | None:
    """Return what a slice shows; None when it is gone."""
    path = cgroup_root / cgroup_path(name)
    events, containers = _events(path, _TRIES)
    own_events, counted = read_memory_events(path, own=True), read_counted(path)
    if counted is None:
        return None
    pressures = {each: read_pressure(path, each) for each in Resource}
    return Look(
        name,
        Figures(
            memory=pressures[Resource.MEMORY],
            current_bytes=counted.memory_current_bytes,
            working_set_bytes=counted.working_set_bytes,
            high_bytes=read_limit(path / "memory.high"),
            max_bytes=read_limit(path / "memory.max"),
            others={each: pressures[each] for each in Resource if each is not Resource.MEMORY},
        ),
        pressures,
        events,
        own_events,
        SliceCounters(_counters(path, events, own_events), containers),
        pids_current=counted.pids_current,
        pids_max=read_limit(path / "pids.max"),
        cpu_usec=counted.cpu_usec,
    )


def _events(path: Path, tries: int) -> tuple[MemoryEvents | CannotTell, Mapping[str, ContainerCounters] | None]:
    """Return what happened at a slice's limits and in its containers, both as of one time.

    A process that is ended in between would be missed in its container and count as another's.
    """
    events, containers = read_memory_events(path), _containers(path)
    if tries <= 1 or events == read_memory_events(path):
        return events, containers
    return _events(path, tries - 1)


def _containers(path: Path) -> Mapping[str, ContainerCounters] | None:
    found: dict[str, ContainerCounters] = {}
    for group in container_groups(path):
        if isinstance(group, CannotTell):
            return None
        id_, folder = group
        events, own_events = read_memory_events(folder), read_memory_events(folder, own=True)
        limit, counters = read_limit(folder / "memory.max"), _counters(folder, events, own_events)
        if is_folder(folder):
            found[id_] = ContainerCounters(counters, limit if isinstance(limit, int) else None)
    return found


def _counters(path: Path, events: MemoryEvents | CannotTell, own: MemoryEvents | CannotTell) -> Counters:
    return Counters(
        group=_known(group_id(path)),
        oom_kill=None if isinstance(events, CannotTell) else _known(events.oom_kill),
        oom=None if isinstance(events, CannotTell) else _known(events.oom),
        own_oom=None if isinstance(own, CannotTell) else _known(own.oom),
    )


def _known(reading: Reading) -> int | None:
    return None if isinstance(reading, CannotTell) else reading
