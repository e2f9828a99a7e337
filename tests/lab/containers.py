"""Containers that press on a limit, and the slices they press in, as the kernel shows them.

Where a slice lies is written down here a second time, from design alone: the tests hold the product against it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine.machine import Machine

CGROUP: Final = "/sys/fs/cgroup"
# Past DS01's wrapper: what a test sets up or looks at is no question of who may do it.
CLIENT: Final = "/usr/bin/docker"
# Something that is bound to come soon; the test fails when it has not come by then.
PATIENCE_SECONDS: Final = 60

# Commands for a container's shell.
SPIN: Final = "while :; do :; done"
BOMB: Final = "bomb() { bomb | bomb & }; bomb; exec sleep 6000"
# A line for every new process that touched some memory: how fast work goes on. It leaves time to others.
WORK: Final = "while :; do dd if=/dev/zero of=/dev/null bs=256K count=1 2>/dev/null; echo; sleep 0.05; done"
SIGNAL: Final = "/run/lab-signal"


def hold(mebibytes: int) -> str:
    """Take memory in one process and keep it: dd fills its buffer and nobody ever empties the pipe."""
    return f"mkfifo /full; sleep 6000 <>/full & exec dd if=/dev/zero of=/full bs={mebibytes}M count=1"


def at_signal(command: str, signal: str = "go") -> str:
    """Wait for `give_signal` first, so that many containers begin at once."""
    return f"until [ -e /signal/{signal} ]; do sleep 0.1; done; {command}"


def give_signal(machine: Machine, signal: str = "go") -> None:
    machine.must(["touch", f"{SIGNAL}/{signal}"])


@dataclass(frozen=True)
class Slice:
    """The slice of an account, or another one by its name."""

    machine: Machine
    unit: str

    @classmethod
    def of(cls, machine: Machine, group: str, account: str) -> Slice:
        return cls(machine, f"ds01-{group}-{re.sub('[^A-Za-z0-9_]', '_', account)}.slice")

    @property
    def path(self) -> str:
        """Below the root of the control groups: one folder for each `-` in the name."""
        parts = self.unit.removesuffix(".slice").split("-")
        return "".join(f"/{'-'.join(parts[: count + 1])}.slice" for count in range(len(parts)))

    def read(self, name: str) -> str:
        return self.machine.must(["cat", f"{CGROUP}{self.path}/{name}"]).strip()

    def number(self, name: str) -> int:
        return int(self.read(name))

    def counters(self, name: str) -> dict[str, int]:
        """Read a flat keyed file, such as memory.events."""
        return {key: int(value) for key, value in map(str.split, self.read(name).splitlines())}

    def stall_usec(self, name: str) -> int:
        """For how long everything in it stood still at once: `full` of a pressure file."""
        found = re.search(r"^full .*total=(\d+)", self.read(name), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def run(self, *words: str) -> list[str]:
        """Return `docker run` with it as the parent."""
        return [CLIENT, "run", f"--cgroup-parent={self.unit}", "--network=none", *words]

    def start(self, name: str, command: str) -> None:
        """Start a container in it."""
        options = ["--detach", f"--name={name}", f"--volume={SIGNAL}:/signal:ro"]
        self.machine.must(self.run(*options, "busybox", "sh", "-c", command))


@dataclass(frozen=True)
class State:
    """What Docker says of a container.

    Attributes:
        oom_killed: worth a line of evidence and no more: Docker misses some of the kernel's kills.
    """

    running: bool
    oom_killed: bool
    exit_code: int
    pid: int

    def __str__(self) -> str:
        return "running" if self.running else f"exit {self.exit_code}, OOMKilled {self.oom_killed}"


def states(machine: Machine) -> dict[str, State]:
    """Return every container's state by its name."""
    form = "{{.Name}} {{.State.Running}} {{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Pid}}"
    # One that is removed between the two commands is in no list.
    inspect = f"xargs --no-run-if-empty {CLIENT} inspect --format '{form}' || true"
    listed = machine.script(f"{CLIENT} ps --all --quiet | ({inspect})")
    rows = (line.split() for line in listed.splitlines())
    return {
        name.removeprefix("/"): State(running == "true", oom == "true", int(code), int(pid))
        for name, running, oom, code, pid in rows
    }


def remove_all(machine: Machine) -> None:
    machine.script(f"{CLIENT} ps --all --quiet | xargs --no-run-if-empty {CLIENT} rm --force; rm -f {SIGNAL}/*")


def wait_for(what: str, come: Callable[[], bool]) -> None:
    """Look until something is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not come():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.1)


def mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
