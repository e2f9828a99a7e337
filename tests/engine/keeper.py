"""Keeps an engine apart from the machine, and ends it: nothing of it outlives the process that asked for it.

A program of its own, with the standard library alone: `python -I keeper.py OWNER STATE COMMAND...`. It starts COMMAND
at once, and again for each byte that it reads; it tells of each `started PID` and `ended PID`. On SIGTERM, at the end
of its standard input and when its OWNER dies, however that happens, it kills every process below itself, removes the
folder STATE and ends.

What the engine does stays in namespaces of its own. In that of mounts, the control groups are read-only, /run is
empty, and what is written to /etc and /opt comes to lie in STATE; its network has no way out. Its processes are the
machine's, so that their numbers mean the same to it and to the tests.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

# Source: linux/prctl.h, linux/sched.h, linux/sockios.h and linux/if.h.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWNS, _CLONE_NEWNET = 0x0002_0000, 0x4000_0000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_ENDS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_AGAIN_SECONDS: Final = 0.005

_libc: Final = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> int:
    owner, state, command = int(argv[1]), Path(argv[2]), argv[3:]
    woken = wake_on_signals()
    machine = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        # Orphans come to us. Our owner's death is a SIGTERM; it may have died before we asked for that.
        _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() == owner:
            go_apart(state)
            serve(state, command, woken)
    finally:
        end_all_below()
        # Back among the machine's mounts; with its last process the other namespace is gone, and all in it unmounted.
        _call("setns", machine, _CLONE_NEWNS)
        shutil.rmtree(state, ignore_errors=True)
    return 0


def wake_on_signals() -> int:
    """Return a descriptor from which the numbers of signals can be read, as they come."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGCHLD, *_ENDS):
        signal.signal(number, lambda *_: None)
    return reading


# --- Apart from the machine ---------------------------------------------------------------------------------


def go_apart(state: Path) -> None:
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWNET)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    protect_control_groups()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    for place in ("etc", "opt"):
        divert_writes(Path("/", place), state / "written" / place)
    bring_up_loopback()


def protect_control_groups() -> None:
    """Make each hierarchy read-only; where there are two kinds the newer is hidden, for crun refuses the mixture."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    found = [(line.split()[1], line.split()[2]) for line in lines if line.split()[2] in ("cgroup", "cgroup2")]
    mixed = len({kind for _, kind in found}) > 1
    for place, kind in reversed(found):
        if mixed and kind == "cgroup2":
            subprocess.run(["umount", place], check=True)
        else:
            subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)


def divert_writes(place: Path, state: Path) -> None:
    """Let what is written below a folder come to lie elsewhere.

    The engine and containerd each make a folder there; nothing worse comes of a file system that cannot do this.
    """
    over, work = state / "over", state / "work"
    over.mkdir(parents=True)
    work.mkdir()
    options = f"lowerdir={place},upperdir={over},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", place], check=False)


def bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))


# --- The engine's life --------------------------------------------------------------------------------------


def serve(state: Path, command: list[str], woken: int) -> None:
    """Start the engine, and again when told, until it is time to end."""
    child = start(state, command)
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            signals = os.read(woken, 4096)
            for pid in reaped():
                if pid == child:
                    say(f"ended {pid}")
            if any(number in signals for number in _ENDS):
                return
        if 0 in ready:
            if not os.read(0, 1):
                return
            child = start(state, command)


def start(state: Path, command: list[str]) -> int:
    """Start the engine; should we be killed, so is it."""
    log = os.fspath(state / "log")
    pid = os.posix_spawnp(
        "setpriv",
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    say(f"started {pid}")
    return pid


def say(words: str) -> None:
    with suppress(BrokenPipeError):  # the owner is dead, and its signal on the way
        os.write(1, f"{words}\n".encode())


def end_all_below() -> None:
    """Kill and reap until there is no child left: who loses its parent becomes ours."""
    while True:
        for pid in below(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_AGAIN_SECONDS)


def reaped() -> list[int]:
    """Reap those that have ended; orphans too, which nobody else would."""
    pids: list[int] = []
    with suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            pids.append(pid)
    return pids


def below(ancestor: int) -> list[int]:
    """Find all processes that descend from one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # Field 4 of man 5 proc_pid_stat; the name before it may hold anything.
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found = [ancestor]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
