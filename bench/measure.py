"""Run whole processes and time them: wall clock, CPU time, peak memory. Nothing here knows what is run."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class BenchError(Exception):
    """A benchmark cannot be run, or did not do what it is timed for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run.

    Attributes:
        cpu: seconds of user and system time, children included; other jobs on the machine disturb it least.
        peak: KiB resident in the largest process of the run. Never less than this program's own, since Linux hands
            the figure on from parent to child; so keep this program small.
    """

    wall: float
    cpu: float = 0.0
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """All runs of one command."""

    samples: tuple[Sample, ...]

    @property
    def wall(self) -> float:
        """Median seconds."""
        return statistics.median(sample.wall for sample in self.samples)

    @property
    def fastest(self) -> float:
        """Seconds of the run that was disturbed least: other jobs only ever add."""
        return min(sample.wall for sample in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Fastest and slowest, in seconds."""
        return self.fastest, max(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        """Median seconds of CPU time."""
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def peak(self) -> int:
        """The most KiB of any run."""
        return max(sample.peak for sample in self.samples)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and how to tell that it did its work.

    Attributes:
        check: gets what it printed; returns what is wrong with that, or None.
        repeat: runs in each round; short commands need more of them.
    """

    name: str
    argv: Sequence[str | os.PathLike[str]]
    check: Callable[[str], str | None] = lambda _: None
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1


def run_once(command: Command, output: Path) -> Sample:
    """Run a command to its end, its output going to a file.

    Raises:
        BenchError: it failed, or its output is not that of the work it is timed for.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **command.environment}
    with output.open("wb") as out:
        start = time.perf_counter()
        process = subprocess.Popen(
            command.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=command.cwd, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    said = output.read_text(encoding="utf-8", errors="replace")
    wrong = f"it ended with {process.returncode}" if process.returncode else command.check(said)
    if wrong:
        raise BenchError(f"{command.name} is not reported: {wrong}\n{said[-1500:]}")
    return Sample(wall, used.ru_utime + used.ru_stime, used.ru_maxrss)


def interleave(commands: Sequence[Command], rounds: int, folder: Path) -> dict[str, Timing]:
    """Run every command in each round, so that a busy moment of the machine hits them all alike.

    Args:
        commands: in the order of a round; one that comes several times there has one timing.
        folder: for what they print.
    """
    samples: dict[str, list[Sample]] = {command.name: [] for command in commands}
    for _ in range(rounds):
        for command in commands:
            samples[command.name] += [run_once(command, folder / "output") for _ in range(command.repeat)]
    return {name: Timing(tuple(of)) for name, of in samples.items()}
