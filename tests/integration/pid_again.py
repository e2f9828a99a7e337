"""Run as the first process of a PID namespace: gives the number of a process that is gone to another one.

Takes a program with its arguments, and a word a line: `look` runs the program, `again` ends the process and starts
another with its number, `state` says what became of it. Answers each with a line; the first one is the number.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

# Source: clone3(2), set_tid; the number of the system call is the same on every architecture since Linux 5.3.
CLONE3 = 435
UID = 5


def clone_as(pid: int) -> int:
    """Fork a process with a number of our choice; returns 0 in it, as fork() does."""
    wanted = (ctypes.c_int32 * 1)(pid)
    # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    values = (0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    arguments = (ctypes.c_uint64 * len(values))(*values)
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.syscall(ctypes.c_long(CLONE3), arguments, ctypes.c_size_t(ctypes.sizeof(arguments)))
    if found < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    return int(found)


def become_account() -> None:
    """Be a process of an account that waits."""
    os.setuid(UID)
    signal.pause()
    os._exit(0)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    pid = os.fork() or become_account()
    assert pid is not None
    say(str(pid))
    for word in sys.stdin:
        match word.strip():
            case "look":
                say(str(subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False).returncode))
            case "again":
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                found = clone_as(pid) or become_account()
                say(str(found))
            case "state":
                ended, status = os.waitpid(pid, os.WNOHANG)
                say(f"ended by {os.WTERMSIG(status)}" if ended else "lives")


if __name__ == "__main__":
    main()
