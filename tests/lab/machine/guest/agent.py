#!/usr/bin/python3
"""Runs inside the lab machine: starts the jobs whose numbers come over a serial line.

The host shares a folder that is mounted on /lab. Job N is the folder /lab/jobs/N with job.json
{argv, cwd, env, timeout_seconds} and maybe a file stdin; the answer is out, err and, once the job has ended, rc.
Lines on the serial line: N starts a job, -N ends it, POWEROFF switches the machine off at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import tty
from pathlib import Path
from typing import Any, Final

LAB: Final = Path("/lab")
LINE: Final = "/dev/ttyS1"
# su forwards SIGTERM to the session it opened and needs 2 s when it has to insist.
GRACE_SECONDS: Final = 4
BASE_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
NOT_FOUND: Final = 127
TIMED_OUT: Final = 124
AGENT_FAILED: Final = 125
WAIT_WRITE_WAIT: Final = 7  # all three flags of sync_file_range(2)
POWER_OFF: Final = 0x4321FEDC  # reboot(2)

libc = ctypes.CDLL(None, use_errno=True)
libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


class Jobs:
    """The jobs under way."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, number: str) -> None:
        """Run one job on a thread of its own."""
        threading.Thread(target=self._answer, args=(number,), daemon=True).start()

    def end(self, number: str) -> None:
        """End one job's process group; nothing when it has ended."""
        process = self._running.get(number)
        if process:
            threading.Thread(target=end, args=(process,), daemon=True).start()

    def _answer(self, number: str) -> None:
        folder = LAB / "jobs" / number
        try:
            code = self._run(number, folder)
        except Exception as error:  # noqa: BLE001 - the host must always get an answer
            sys.stderr.write(f"job {number}: {error!r}\n")
            code = AGENT_FAILED
        with contextlib.suppress(OSError):
            finish(folder, code)

    def _run(self, number: str, folder: Path) -> int:
        job: dict[str, Any] = json.loads((folder / "job.json").read_text())
        readers, pipes = [], []
        for name in ("out", "err"):
            reading, writing = os.pipe()
            pipes.append(writing)
            readers.append(threading.Thread(target=pump, args=(reading, folder / name), daemon=True))
        try:
            process = start(job, folder / "stdin", *pipes)
        except OSError as error:
            os.write(pipes[1], f"lab: {error.filename or job['argv'][0]}: {error.strerror}\n".encode())
            process = None
        finally:
            for pipe in pipes:
                os.close(pipe)
        for reader in readers:
            reader.start()
        code = NOT_FOUND
        if process:
            self._running[number] = process
            code = wait(process, job["timeout_seconds"])
            del self._running[number]
        for reader in readers:
            # A daemon that the job left behind may hold the pipes open: wait a moment only.
            reader.join(0.5 if process else None)
        return code


def start(job: dict[str, Any], stdin: Path, out: int, err: int) -> subprocess.Popen[bytes]:
    """Start a job's program in a session of its own, so that it can be ended as a whole."""
    with (stdin if stdin.exists() else Path(os.devnull)).open("rb") as source:
        return subprocess.Popen(
            job["argv"],
            stdin=source,
            stdout=out,
            stderr=err,
            env=BASE_ENVIRONMENT | job["env"],
            cwd=job["cwd"] or "/root",
            start_new_session=True,
        )


def wait(process: subprocess.Popen[bytes], timeout_seconds: float | None) -> int:
    """Return the exit status as a shell would give it; 124 when the time was up."""
    try:
        code = process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        end(process)
        return TIMED_OUT
    return code if code >= 0 else 128 - code


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: ask, then kill."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def flush(descriptor: int) -> None:
    """Push what was written to the host's file now; hostfs would do it some seconds later."""
    if libc.sync_file_range(descriptor, 0, 0, WAIT_WRITE_WAIT) != 0:
        os.fsync(descriptor)


def pump(source: int, target: Path) -> None:
    """Copy a pipe to a file of the host until the pipe closes."""
    with target.open("ab", buffering=0) as file:
        while data := os.read(source, 1 << 16):
            file.write(data)
            flush(file.fileno())
    os.close(source)


def finish(folder: Path, code: int) -> None:
    """Write a job's exit status in one step."""
    unfinished = folder / "rc.new"
    with unfinished.open("w") as file:
        file.write(f"{code}\n")
        file.flush()
        flush(file.fileno())
    unfinished.replace(folder / "rc")


def obey(jobs: Jobs, line: str) -> None:
    """Do what one line says; unknown lines do nothing."""
    if line == "POWEROFF":
        os.sync()
        libc.reboot(POWER_OFF)
    elif line.isdigit():
        jobs.start(line)
    elif line.startswith("-"):
        jobs.end(line[1:])


def main() -> None:
    """Listen for ever."""
    line = os.open(LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line, termios.TCSANOW)
    (LAB / "ready").write_text("ready\n")
    jobs, unread = Jobs(), b""
    while True:
        *lines, unread = (unread + os.read(line, 4096)).split(b"\n")
        for one in lines:
            obey(jobs, one.decode("ascii", "replace").strip())


if __name__ == "__main__":
    main()
