"""How long the processes of a group waited for want of memory, CPU or disk, and how often its limits were hit.

Only reads. What the kernel does not tell (no PSI, no such counter in its version) is a value with its reason, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.cgroup.tree import CannotTell, Cause, Reading, read_entries, read_lines

_STALL: Final = pattern(
    r"(some|full) avg10=(\d{1,3}\.\d\d) avg60=(\d{1,3}\.\d\d) avg300=(\d{1,3}\.\d\d) total=(\d{1,20})", re.ASCII
)


class Resource(Enum):
    """What processes may have to wait for."""

    MEMORY = "memory"
    CPU = "cpu"
    IO = "io"


@dataclass(frozen=True, slots=True)
class Stall:
    """How long processes stood still.

    Attributes:
        avg10: percent of the last 10 s, and so on; a decaying average.
        total_usec: since the group was made.
    """

    avg10: float
    avg60: float
    avg300: float
    total_usec: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """What one pressure file says.

    Attributes:
        some: time in which at least one process waited.
        full: time in which all that had something to do waited at once.

    Source: Documentation/accounting/psi.rst; `full` of cpu.pressure is there from Linux 5.13 on.
    """

    some: Stall
    full: Stall | CannotTell


@dataclass(frozen=True, slots=True)
class MemoryEvents:
    """How often something happened at a group's memory limits since it was made.

    Attributes:
        low: memory was taken although the group was below its protection.
        high: a process was made to wait, since the group was above memory.high.
        max: the group was about to pass memory.max.
        oom: it was at a limit, and an allocation was about to fail.
        oom_kill: processes of it that any OOM killer ended.
        oom_group_kill: whole groups; the kernel counts them from 5.17 on.

    Source: cgroup v2, "Memory Interface Files", memory.events.
    """

    low: Reading
    high: Reading
    max: Reading
    oom: Reading
    oom_kill: Reading
    oom_group_kill: Reading


def read_pressure(path: Path, resource: Resource) -> Pressure | CannotTell:
    """Return how long the processes of a group waited for something.

    Source: cgroup v2, "memory.pressure"; without PSI (CONFIG_PSI, psi=0, or CONFIG_PSI_DEFAULT_DISABLED without psi=1)
    the file is absent, or cannot be read.
    """
    file = path / f"{resource.value}.pressure"
    lines = read_lines(file)
    if isinstance(lines, CannotTell):
        if lines.cause is Cause.GARBAGE or not path.is_dir():
            return lines
        return CannotTell(lines.cause, file, f"{lines.reason}; the kernel tells of pressure when booted with psi=1")
    stalls = _stalls(lines)
    some = stalls.get("some")
    if some is None:
        return CannotTell(Cause.GARBAGE, file, f"expected pressure, found {' '.join(lines)[:40]!r}")
    return Pressure(some, stalls.get("full") or CannotTell(Cause.GARBAGE, file, "has no line `full`"))


def read_memory_events(path: Path, *, own: bool = False) -> MemoryEvents | CannotTell:
    """Return how often the memory limits of a group were hit.

    Args:
        own: at the group's own limits, by memory.events.local; else also at those of groups below it. Where a process
            was ended is another matter: `oom_kill` counts at the group of the process, `oom` at that of the limit.
    """
    file = path / ("memory.events.local" if own else "memory.events")
    found = read_entries(file)
    if isinstance(found, CannotTell):
        return found
    return MemoryEvents(**{name: _entry(file, found, name) for name in MemoryEvents.__match_args__})


def _stalls(lines: tuple[str, ...]) -> dict[str, Stall]:
    matches = [match for match in map(_STALL.fullmatch, lines) if match is not None]
    return {each[1]: Stall(float(each[2]), float(each[3]), float(each[4]), int(each[5])) for each in matches}


def _entry(file: Path, found: Mapping[str, int], name: str) -> Reading:
    return found[name] if name in found else CannotTell(Cause.GARBAGE, file, f"has no {name}")
