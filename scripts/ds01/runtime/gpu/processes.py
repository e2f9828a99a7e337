"""Who owns a process that computes on a GPU, what it is called, and which Docker container it runs in, from /proc.

Reads only; believes nothing that the owner of a process can write, save its name, which is made safe to print.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

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
# What others than Docker name the groups of containers that root runs: podman, cri-o, containerd, Kubernetes, LXC,
# systemd-nspawn; and any name with a whole id in it, as Docker itself has below a parent that is no slice.
_FOREIGN: Final = re.compile(
    r"[0-9a-f]{64}|(?:^|/)(?:libpod|crio|cri-containerd|nerdctl|kubepods|lxc|machine\.slice/|machine-[^/]*\.scope|systemd-nspawn@)",
    re.ASCII,
)
_DOUBT: Final = "it may run in a container of something else than Docker"
_NO_GROUP: Final = "the kernel does not say in which control group it is"
_LONGEST_NAME: Final = 32


@dataclass(frozen=True, slots=True)
class Identified:
    """Processes with their owners.

    Attributes:
        unknown: of which it cannot be told whose they are, and why; None when all are known.
        gone: numbers that no process has any more.
    """

    processes: tuple[GpuProcess, ...]
    unknown: str | None = None
    gone: frozenset[int] = frozenset()


def identify(running: Iterable[Running], machine: Machine, account: Callable[[int], str]) -> Identified:
    """Find out whose processes these are; one that has ended meanwhile is left out.

    Args:
        machine: whose procfs is of the PID and user namespaces that the driver's numbers are of: the host's.
        account: uid to the name of its account, or nameless().
    """
    hidden = not machine.shows_others()
    found, absent = [], set()
    for each in sorted(running, key=lambda one: (one.uuid, one.pid)):
        process = _identify(each, machine, account)
        if process is not None:
            found.append(process)
        else:
            absent.add(each.pid)
    if not absent or not hidden:
        return Identified(tuple(found), gone=frozenset(absent))
    pids = ", ".join(map(str, sorted(absent)))
    return Identified(
        tuple(found), f"whose process {pids} is may not be seen by this account; run the command as root (sudo)"
    )


def _identify(running: Running, machine: Machine, account: Callable[[int], str]) -> GpuProcess | None:
    pid = running.pid
    before, uid, command = machine.process(pid), machine.uid(pid), machine.command(pid)
    groups = machine.groups(pid)
    if before is None or uid is None or groups is None or machine.process(pid) != before:
        # It has ended, or another process got its number meanwhile.
        return None
    container = container_in(groups)
    return GpuProcess(
        pid=pid,
        uuid=running.uuid,
        user=account(uid),
        command=visible(command, _LONGEST_NAME) or "?",
        container_id=container,
        memory_bytes=running.memory_bytes,
        uid=uid,
        started=before.started,
        since=machine.started_at(before),
        doubt=None if container is not None else _doubt(groups),
    )


def is_on_host(machine: Machine, pid: int) -> bool:
    """Whether a process certainly runs outside any container, at this moment."""
    groups = machine.groups(pid)
    return groups is not None and container_in(groups) is None and _doubt(groups) is None


def _doubt(groups: str) -> str | None:
    if not groups.strip():
        return _NO_GROUP
    return _DOUBT if is_foreign(groups) else None


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


def is_foreign(groups: str) -> bool:
    """Whether a process's groups look like those of a container that is not Docker's and not of its owner's making.

    What an account runs below its own part of the tree, rootless podman and Docker too, runs on the host.
    """
    for line in groups.split("\n"):
        _, _, path = line.partition(":")[2].partition(":")
        own = _DELEGATED.search(path)
        if _FOREIGN.search(path if own is None else path[: own.start() + 1]):
            return True
    return False
