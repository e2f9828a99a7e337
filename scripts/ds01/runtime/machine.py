"""The machine's clocks and processes. Only reads; the folder of procfs and the clock are given."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.identity import ProcessRef

# Fields of /proc/PID/stat behind the program's name. Source: proc_pid_stat(5), fields 3, 4, 20 and 22.
_STATE: Final = 0
_PARENT: Final = 1
_THREADS: Final = 17
_STARTED: Final = 19
_ZOMBIE: Final = "Z"
_DEAD: Final = frozenset({_ZOMBIE, "X", "x"})


def _now() -> datetime:
    return datetime.now(UTC)


def _boot_seconds() -> float:
    """Source: clock_gettime(2), CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a decision needs to know of the machine besides its hardware.

    Attributes:
        proc: mount point of procfs.
        now: the wall clock, in UTC; it may jump.
        boot_seconds: since boot, sleep included; nobody can set them back.
    """

    proc: Path = Path("/proc")
    now: Callable[[], datetime] = field(default=_now)
    boot_seconds: Callable[[], float] = field(default=_boot_seconds)

    def boot_id(self) -> str:
        """Return which boot this is. Source: random(4), /proc/sys/kernel/random/boot_id."""
        return (self.proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def process(self, pid: int) -> ProcessRef | None:
        """Return a running process so that it can be known again; None when there is none, or only its remains.

        One whose first thread has ended runs as long as another does, and looks like remains otherwise.
        Source: pthread_exit(3), "NOTES".
        """
        fields = self._stat(pid)
        if fields is None or (_is_dead(fields) and not _has_threads(fields)):
            return None
        return ProcessRef(pid, int(fields[_STARTED]), self.boot_id())

    def shows_others(self) -> bool:
        """Whether processes of others can be seen: with hidepid they look as if they had ended, and process 1 too.

        Source: proc(5), hidepid.
        """
        return self.process(1) is not None

    def parent(self, pid: int) -> int | None:
        """Return the pid of a process's parent; None when the process is gone."""
        fields = self._stat(pid)
        return None if fields is None else int(fields[_PARENT])

    def command(self, pid: int) -> str:
        """Return the short name of a process's program, empty when it is gone. Source: proc_pid_comm(5)."""
        return (self._read(pid, "comm") or b"").decode(errors="replace").removesuffix("\n")

    def uid(self, pid: int) -> int | None:
        """Return the real uid of a process; None when it is gone. Source: proc_pid_status(5), Uid."""
        status = self._read(pid, "status")
        if status is None:
            return None
        # Bytes, and lines end in nothing but \n: a program's name may hold whatever else text takes for a line's end.
        line = next(line for line in status.split(b"\n") if line.startswith(b"Uid:"))
        return int(line.split()[1])

    def groups(self, pid: int) -> str | None:
        """Return the control groups of a process, a line for each hierarchy; None when it is gone.

        A thread that has ended is in none any more, so another one of the process is asked then.
        Source: cgroups(7), "/proc/[pid]/cgroup".
        """
        fields, source = self._stat(pid), str(pid)
        if fields is not None and _is_dead(fields):
            source = next(filter(self._runs, self._threads(pid)), "")
        said = self._read(source, "cgroup") if source else None
        return None if said is None else said.decode(errors="replace")

    def started_at(self, process: ProcessRef) -> datetime:
        """Return when a process of this boot was started, to the second. Source: proc_pid_stat(5), field 22."""
        age = self.boot_seconds() - process.started / os.sysconf("SC_CLK_TCK")
        return (self.now() - timedelta(seconds=age)).replace(microsecond=0)

    def is_alive(self, process: ProcessRef) -> bool:
        """Whether a process still runs, and is no other with its number."""
        return self.process(process.pid) == process

    def _threads(self, pid: int) -> list[str]:
        """Return the names below procfs of a process's threads. Source: proc_pid_task(5)."""
        try:
            return [f"{pid}/task/{each.name}" for each in (self.proc / str(pid) / "task").iterdir()]
        except OSError:
            return []

    def _runs(self, thread: str) -> bool:
        fields = self._stat(thread)
        return fields is not None and not _is_dead(fields)

    def _stat(self, pid: int | str) -> list[str] | None:
        # The name stands in brackets and may have any character in it, brackets too.
        text = (self._read(pid, "stat") or b"").rpartition(b")")[2]
        return text.decode("ascii").split() or None

    def _read(self, pid: int | str, name: str) -> bytes | None:
        try:
            return (self.proc / str(pid) / name).read_bytes()
        except OSError:
            return None


def _is_dead(fields: list[str]) -> bool:
    return fields[_STATE] in _DEAD


def _has_threads(fields: list[str]) -> bool:
    """Whether there are threads besides the one that has ended, which counts as one until all are gone."""
    return fields[_STATE] == _ZOMBIE and int(fields[_THREADS]) > 1
