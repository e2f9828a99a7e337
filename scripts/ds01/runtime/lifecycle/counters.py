"""What one container has used up to now, as the kernel counts it, and whether it wants to be kept. Only reads.

Every answer is a value or a text that says why there is none.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.cgroup.tree import CannotTell, read_entry
from ds01.runtime.gpu.processes import container_in

KEEP_ALIVE: Final = ".keep-alive"
_LOOPBACK: Final = "lo"
# Fields behind the interface's name: bytes received are the first, bytes sent the ninth. Source: proc_pid_net(5), dev.
_RECEIVED: Final = 0
_SENT: Final = 8
_HEAD_LINES: Final = 2
# What is mounted for a container's own working, and is nobody's workspace.
_MACHINERY: Final = frozenset(
    {"proc", "sysfs", "tmpfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2", "overlay", "securityfs", "nsfs"}
)
_MOST_MOUNTS: Final = 64
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Counters:
    """A running container's counters.

    Attributes:
        proc: mount point of procfs.
        cgroup: mount point of the control groups.
        pid: of its first process.
        look_seconds: how long its file systems may take to answer.
    """

    proc: Path
    cgroup: Path
    pid: int
    container_id: str
    look_seconds: float = 5.0

    def cpu_usec(self) -> int | str:
        """Return the CPU time that all its processes used, in microseconds. Source: cgroup v2, cpu.stat."""
        groups = self._text("cgroup")
        if groups is None:
            return "its first process is gone"
        if container_in(groups) != self.container_id:
            return "its first process is in no group of its own"
        path = next((line[3:] for line in groups.split("\n") if line.startswith("0::/")), None)
        folder = None if path is None else _own(path, self.container_id)
        if folder is None:
            return "it is in no control group of version 2"
        found = read_entry(self.cgroup / folder / "cpu.stat", "usage_usec")
        return found.words if isinstance(found, CannotTell) else found

    def network_bytes(self) -> int | str | None:
        """Return what went in and out, without its loopback; None when it shares the host's network.

        Source: namespaces(7), /proc/PID/ns/net; proc_pid_net(5), /proc/PID/net/dev.
        """
        own, host = self._namespace(self.pid), self._namespace(1)
        if own is None or host is None:
            return "whose network it uses cannot be told"
        if own == host:
            return None
        text = self._text("net/dev")
        if text is None:
            return "its first process is gone"
        try:
            rows = (line.partition(":") for line in text.splitlines()[_HEAD_LINES:])
            counts = [counts.split() for name, _, counts in rows if name.strip() != _LOOPBACK]
            return sum(int(each[_RECEIVED]) + int(each[_SENT]) for each in counts)
        except (ValueError, IndexError):
            return "what /proc/PID/net/dev says is not understood"

    def keep_alive(self) -> bool | str:
        """Whether a file .keep-alive lies in the folder that it works in, or at the top of one mounted into it.

        Only looked at by name, and never through a link in its place: whoever is in the container made it. A file
        system that does not answer, such as one of its owner's own, holds nobody up for long.
        """
        found: list[bool | str] = []
        thread = threading.Thread(target=lambda: found.append(self._kept_alive()), daemon=True)
        thread.start()
        thread.join(self.look_seconds)
        return found[0] if found else f"its file systems did not answer within {self.look_seconds:g} s"

    def _kept_alive(self) -> bool | str:
        unknown = None
        for folder in self._workspaces():
            try:
                os.lstat(folder / KEEP_ALIVE)
            except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
                continue
            except OSError as error:
                unknown = f"{error.strerror or error} in {visible(str(folder))}"
            else:
                return True
        return False if unknown is None else unknown

    def _workspaces(self) -> Iterator[Path]:
        """Source: proc_pid_cwd(5); proc_pid_root(5); proc_pid_mountinfo(5)."""
        process = self.proc / str(self.pid)
        yield process / "cwd"
        mounts = (line.partition(" - ") for line in (self._text("mountinfo") or "").splitlines())
        points = (before.split(" ")[4:5] for before, _, after in mounts if after.split(" ")[0] not in _MACHINERY)
        for point in itertools.islice((each[0] for each in points if each), _MOST_MOUNTS):
            yield process / "root" / _plain(point).lstrip("/")

    def _namespace(self, pid: int) -> tuple[int, int] | None:
        try:
            found = (self.proc / str(pid) / "ns/net").stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _text(self, name: str) -> str | None:
        try:
            return (self.proc / str(self.pid) / name).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None


def _own(path: str, container_id: str) -> str | None:
    """Return the group of the whole container: its first process may be in one further down that it made itself."""
    end = path.find(container_id)
    if end < 0:
        return None
    rest = path[end:].partition("/")[0]
    return path[:end].lstrip("/") + rest


def _plain(escaped: str) -> str:
    r"""Return a path of mountinfo, in which a space is `\040`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), escaped)
