"""Who owns a process that computes on a GPU, what it is called, and which Docker container it runs in, from /proc.

Reads only; believes nothing that the owner of a process can write, save its name, which is made safe to print.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.gpu.hardware import GpuProcess
from ds01.runtime.gpu.sighting import Running
from ds01.runtime.machine import Machine

# As Docker's two cgroup drivers name the group of a container, below any parent.
_CONTAINER: Final = re.compile(r"/(?:docker-([0-9a-f]{64})\.scope|docker/([0-9a-f]{64}))(?:/|$)", re.ASCII)
# What systemd hands over to an account: it can make groups of any name there, and rootless Docker is not the host's.
_DELEGATED: Final = re.compile(r"(?:^|/)(?:user\.slice|user@\d+\.service)/", re.ASCII)
_LONGEST_NAME: Final = 32


@dataclass(frozen=True, slots=True)
class Identified:
    """Processes with their owners.

    Attributes:
        unknown: of which it cannot be told whose they are, and why; None when all are known.
    """

    processes: tuple[GpuProcess, ...]
    unknown: str | None = None


def account_of(uid: int) -> str:
    """Return the name of an account, `uid 1234` when it has none."""
    try:
        return visible(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return f"uid {uid}"


def identify(running: Iterable[Running], proc: Path, account: Callable[[int], str] = account_of) -> Identified:
    """Find out whose processes these are; one that has ended meanwhile is left out.

    Args:
        proc: mount point of procfs, of the PID namespace that the driver's numbers are of: the host's.
        account: uid to name.
    """
    machine = Machine(proc)
    # With hidepid others' processes look as if they had ended; then process 1 does too. Source: proc(5).
    hidden = machine.process(1) is None
    found, dark = [], set()
    for each in sorted(running, key=lambda one: (one.uuid, one.pid)):
        process = _identify(each, machine, account)
        if process is not None:
            found.append(process)
        elif hidden:
            dark.add(each.pid)
    if not dark:
        return Identified(tuple(found))
    pids = ", ".join(map(str, sorted(dark)))
    return Identified(
        tuple(found), f"whose process {pids} is may not be seen by this account; run the command as root (sudo)"
    )


def _identify(running: Running, machine: Machine, account: Callable[[int], str]) -> GpuProcess | None:
    pid = running.pid
    before, uid, command = machine.process(pid), machine.uid(pid), machine.command(pid)
    try:
        groups = (machine.proc / str(pid) / "cgroup").read_text(errors="replace")
    except OSError:
        return None
    if before is None or uid is None or machine.process(pid) != before:
        # It has ended, or another process got its number meanwhile.
        return None
    return GpuProcess(
        pid=pid,
        uuid=running.uuid,
        user=account(uid),
        command=visible(command, _LONGEST_NAME) or "?",
        container_id=container_in(groups),
        memory_bytes=running.memory_bytes,
    )


def container_in(groups: str) -> str | None:
    """Return the id of the Docker container in a process's /proc/PID/cgroup; None when it runs on the host itself.

    The outermost counts: what runs in a container's own Docker is in that container. A name that an account could
    have given to a group of its own counts for nothing.

    Source: cgroups(7), "/proc/[pid]/cgroup": `id:controllers:path` a line, `0::path` for version 2.
    """
    for line in groups.split("\n"):
        _, _, path = line.partition(":")[2].partition(":")
        found = _CONTAINER.search(path)
        if found is not None and not _DELEGATED.search(path[: found.start() + 1]):
            return found[1] or found[2]
    return None
