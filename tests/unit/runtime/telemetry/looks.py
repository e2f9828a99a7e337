"""Looks at a slice as values, with something of everything in them."""

from __future__ import annotations

from pathlib import Path

from ds01.core.names import SliceName
from ds01.runtime.cgroup.pressure import MemoryEvents, Pressure, Resource, Stall
from ds01.runtime.cgroup.tree import CannotTell, Cause
from ds01.runtime.telemetry.oom import ContainerCounters, Counters, SliceCounters
from ds01.runtime.telemetry.pressure import Figures
from ds01.runtime.telemetry.pressure_read import Look

GIB = 2**30
STUDENT = SliceName("ds01-student-alice.slice")
CONTAINER = "a" * 64
UNKNOWN = CannotTell(Cause.NO_FILE, Path("/x/memory.pressure"), "there is no such file")
SOME = Stall(14.21, 12.5, 4.07, 81733240)
FULL = Stall(9.8, 8.25, 2.91, 60192803)
OTHERS = {Resource.CPU: Pressure(SOME, UNKNOWN), Resource.IO: UNKNOWN}
FIGURES = Figures(Pressure(SOME, FULL), 90 * GIB, 88 * GIB, 86 * GIB, 96 * GIB, OTHERS)
LOOK = Look(
    STUDENT,
    FIGURES,
    {Resource.MEMORY: Pressure(SOME, FULL), **OTHERS},
    MemoryEvents(0, 1289, 34, 2, 2, UNKNOWN),
    MemoryEvents(0, 1289, 0, 0, 0, 0),
    SliceCounters(Counters(7, 2, 2, 0), {CONTAINER: ContainerCounters(Counters(8, 2, 2, None), 32 * GIB)}),
    pids_current=120,
    pids_max=12288,
    cpu_usec=500_000_000,
)
BLIND = Look(
    SliceName("ds01-student-bob.slice"),
    Figures(UNKNOWN, UNKNOWN, UNKNOWN, None, UNKNOWN),
    dict.fromkeys(Resource, UNKNOWN),
    UNKNOWN,
    UNKNOWN,
    SliceCounters(Counters(9, None, None, None), None),
    pids_current=UNKNOWN,
    pids_max=None,
    cpu_usec=UNKNOWN,
)
