"""The processes of a machine on this one: starting them, finding them, ending them. Never touches any other."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.lab.machine.errors import LabError
from tests.lab.machine.settings import Folder

# In its own session and process group, so that exactly these processes can be ended. Descriptor 8 is the control
# line, opened for both so that neither end ever blocks. "tied" adds a watcher to the group: its standard input is a
# pipe that only our process holds open, and when that closes, however we end, the group goes.
_LAUNCH: Final = """
exec 9<&0 </dev/null 8<>"$1/ctl" >"$1/console.log" 2>&1
echo $$ >"$1/pid.new" && mv "$1/pid.new" "$1/pid"
if [ "$2" = tied ]; then (read -r _; kill -KILL 0) <&9 8>&- & fi
exec 9<&-
shift 2
exec "$@"
"""
_START_SECONDS: Final = 10
_GONE_SECONDS: Final = 10
_EXEC_TURNS: Final = 50
_DEAD_STATES: Final = frozenset("ZX")


def launch(folder: Folder, argv: Sequence[str], *, tied: bool, scratch: Path) -> int | None:
    """Start a machine's kernel.

    Args:
        scratch: where the kernel makes the file that is the guest's memory; it unlinks it at once.

    Returns:
        The pipe that keeps a tied machine alive, else None.
    """
    folder.pid.unlink(missing_ok=True)
    reading, writing = os.pipe()
    try:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", _LAUNCH, "sh", folder.path, "tied" if tied else "free", *argv],
            stdin=reading,
            env=os.environ | {"TMPDIR": os.fspath(scratch)},
            check=True,
        )
        _await_start(folder)
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    if tied:
        return writing
    os.close(writing)
    return None


def _await_start(folder: Folder) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not folder.pid.exists():
        if time.monotonic() > deadline:
            raise LabError(f"the launcher of {folder.path} did not start")
        time.sleep(0.002)


def is_alive(folder: Folder) -> bool:
    """Tell whether the machine of this folder runs: its number is not some other process's by now."""
    group = group_of(folder)
    return group is not None and _mark(folder) in _command_line(group)


def group_of(folder: Folder) -> int | None:
    """Return the number of the machine's process group; None when it was never started."""
    try:
        return int(folder.pid.read_text())
    except (FileNotFoundError, ValueError):
        return None


def kill(folder: Folder) -> None:
    """End all processes of the machine at once, in the middle of whatever they do, and wait until they are gone.

    Raises:
        LabError: they do not go.
    """
    group = group_of(folder)
    if group is None or not _is_ours(folder, group):
        return
    deadline = time.monotonic() + _GONE_SECONDS
    while any(members(group)):
        if time.monotonic() > deadline:
            raise LabError(f"the processes of {folder.path} do not end", f"process group {group}")
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            break
        time.sleep(0.01)


def wait_gone(folder: Folder, timeout_seconds: float) -> bool:
    """Wait until the machine's kernel has ended; tell whether it has."""
    deadline = time.monotonic() + timeout_seconds
    while is_alive(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _is_ours(folder: Folder, group: int) -> bool:
    """Tell whether the group is still this machine's; a watcher carries the mark too, being a fork of the launcher."""
    return any(_mark(folder) in _command_line(member) for member in members(group))


def _mark(folder: Folder) -> bytes:
    return f"uml_dir={folder.sockets}".encode()


def members(group: int) -> Iterator[int]:
    """Find the processes of a group that still do something."""
    for pid in [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]:
        try:
            state, member_of = _state_and_group(pid)
        except OSError:
            continue
        if member_of == group and state not in _DEAD_STATES:
            yield pid


def _state_and_group(pid: int) -> tuple[str, int]:
    """Read fields 3 and 5 of man 5 proc_pid_stat; the name before them may hold anything."""
    state, _, group = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
    return state, int(group)


def _command_line(pid: int) -> list[bytes]:
    """Return a process's words; none when it is dead.

    While a process is being replaced by another program (the kernel does so to itself at its start) its words are
    empty for a moment, as they are for ever when it is a zombie.
    """
    for _ in range(_EXEC_TURNS):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if words or _state_and_group(pid)[0] in _DEAD_STATES:
                return words.split(b"\0")
        except OSError:
            break
        time.sleep(0.01)
    return []


def pick_cpu(machines: Path) -> int:
    """Return the CPU to which the fewest machines are bound."""
    allowed = sorted(os.sched_getaffinity(0), reverse=True)
    taken = Counter(cpu for folder in map(Folder, machines.glob("*/")) for cpu in _bound_to(folder))
    return min(allowed, key=lambda cpu: taken[cpu])


def _bound_to(folder: Folder) -> set[int]:
    group = group_of(folder)
    try:
        cpus = os.sched_getaffinity(group) if group and is_alive(folder) else set()
    except ProcessLookupError:
        return set()
    return cpus if len(cpus) == 1 else set()
