"""What the kernel shows of a container's processes: their control group, and as whom they run. Only reads."""

from __future__ import annotations

from pathlib import Path

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.gpu.processes import container_in
from ds01.runtime.machine import Machine

# Whose a container is shows in its first processes; one with thousands is not read to its end.
_MOST_PROCESSES: Final = 64


@dataclass(frozen=True, slots=True)
class Traces:
    """What is seen of one container.

    Attributes:
        groups: /proc/PID/cgroup of its first process.
        uids: of its processes, as the host counts them, also from inside a user namespace.
    """

    groups: str
    uids: frozenset[int]


def read_traces(machine: Machine, cgroup_root: Path, pid: int, container_id: str) -> Traces | None:
    """Return what there is to see; None when the process is gone, or is not this container's.

    Args:
        pid: of its first process, as Docker says.
    """
    groups = _read(machine.proc / str(pid) / "cgroup")
    if container_in(groups) != container_id:
        return None
    path = next((line[3:] for line in groups.split("\n") if line.startswith("0::/")), None)
    listed = "" if path is None else _read(cgroup_root / path.lstrip("/") / "cgroup.procs")
    pids = {pid, *(int(each) for each in listed.split()[:_MOST_PROCESSES] if each.isdigit())}
    uids = frozenset(uid for each in pids if (uid := machine.uid(each)) is not None)
    # Its number may be another's by now, and then all that was read is that one's.
    return Traces(groups, uids) if _read(machine.proc / str(pid) / "cgroup") == groups else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
