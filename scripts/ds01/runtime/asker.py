"""Which process a program's answer is for, so that what it was granted can stand as long as that one lives.

Only reads /proc. The parent alone would be wrong: in `options=$(ds01 … 2>/dev/null)` that is often a shell made for the
moment, gone before the answer is used.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from ds01.core.typed import Final
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

# Between the caller and us: they live no longer than we do.
_IN_BETWEEN: Final = frozenset({"doas", "runuser", "su", "sudo", "time", "timeout"})


def asker(machine: Machine, pid: int) -> ProcessRef | None:
    """Return the process that a program's answer is for; None when everybody above it has ended.

    That is who reads the pipe that the program writes to, if it is one of those above it; else its parent. Where that
    is a copy of a shell that is there for a pipeline in `$(… | …)`, it is the shell that reads what comes of it.
    """
    above = [each for each in _above(machine, pid) if machine.command(each) not in _IN_BETWEEN]
    if not above:
        return None
    reader = _reader(machine, pid, above)
    return _original(machine, above) if reader is None else machine.process(reader)


def _original(machine: Machine, above: list[int]) -> ProcessRef | None:
    """Return the first process above that is not just its parent's copy, at work on what that one reads."""
    for copy, parent in itertools.pairwise(above):
        if _line(machine, copy) != _line(machine, parent) or _reader(machine, copy, [parent]) is None:
            return machine.process(copy)
    return machine.process(above[-1])


def _above(machine: Machine, pid: int) -> Iterator[int]:
    """Yield the processes above one, nearest first; never the first of all, which outlives everything."""
    while (parent := machine.parent(pid)) is not None and parent > 1:
        yield parent
        pid = parent


def _reader(machine: Machine, pid: int, above: list[int]) -> int | None:
    """Return the nearest of those above that reads what a process writes; None when its output is no pipe of theirs."""
    pipe = _target(machine.proc / str(pid) / "fd/1")
    if pipe is None or not pipe.startswith("pipe:"):
        return None
    return next((each for each in above if _has_read_end(machine.proc / str(each), pipe)), None)


def _has_read_end(process: Path, pipe: str) -> bool:
    try:
        held = [each for each in (process / "fd").iterdir() if _target(each) == pipe]
    except OSError:
        return False
    return any(_is_read(process / "fdinfo" / each.name) for each in held)


def _is_read(info: Path) -> bool:
    """Source: proc_pid_fdinfo(5): `flags:` in octal, with the access mode in the last two bits."""
    try:
        lines = info.read_text().split("\n")
    except OSError:
        return False
    flags = next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), os.O_WRONLY)
    return flags & os.O_ACCMODE == os.O_RDONLY


def _target(link: Path) -> str | None:
    try:
        return os.fspath(link.readlink())
    except OSError:
        return None


def _line(machine: Machine, pid: int) -> bytes | None:
    try:
        return (machine.proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
