"""Runs the long steps of a build: says what goes on and for how long, keeps a log, ends what it started.

A step that fails is an error that names the cause, shows the last lines and where the whole log is.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.lab.machine.errors import LabError

from ds01.core.process import SYSTEM_PATH

_TICK_SECONDS: Final = 30
_GRACE_SECONDS: Final = 10
_REAP_SECONDS: Final = 0.02
_SHOWN_LINES: Final = 15
_INTERRUPTS: Final = frozenset({signal.SIGINT, signal.SIGTERM})
_CAUSE: Final = re.compile(r"^(E|Err|W): |\berror\b|\bcannot\b|could not|no space left|not found|failed", re.IGNORECASE)
# Lines of make and of the kernel's build that name files; a file may be called error.c.
_CHATTER: Final = re.compile(r"^make(\[\d+\])?: |^ +[A-Z]+ +\S+$")


def say(words: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"lab: {words}\n")
    sys.stderr.flush()


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one build.

    Attributes:
        what: the artefact, first word of every line that is said.
        log: all output goes here.
    """

    what: str
    log: Path

    @classmethod
    def begin(cls, what: str, log: Path) -> Steps:
        """Start with an empty log."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        return cls(what, log)

    def run(self, doing: str, argv: Sequence[str | os.PathLike[str]], *, folder: Path | None = None) -> None:
        """Run a program of this machine, in the caller's environment (proxies) but with the system's PATH.

        Raises:
            LabError: it is missing or did not end with 0.
        """
        command = [os.fspath(word) for word in argv]
        begin = time.monotonic()
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            log.flush()
            start = log.tell()
            try:
                code = self._watch(doing, command, folder, log.fileno())
            except FileNotFoundError as error:
                raise self._failure(doing, f"{error.filename} is not there", start) from error
        if code != 0:
            raise self._failure(doing, f"{command[0]} ended with {code}", start)
        spent = time.monotonic() - begin
        if spent > 1:
            say(f"{self.what}: {doing}: done in {duration(spent)}")

    def _watch(self, doing: str, command: list[str], folder: Path | None, log: int) -> int:
        say(f"{self.what}: {doing} ...")
        begin = time.monotonic()
        with child(command, folder, log) as process:
            while True:
                try:
                    return process.wait(_TICK_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f"{self.what}: {doing}: {duration(time.monotonic() - begin)} so far")

    def cause(self, start: int = 0) -> str:
        """Return the first line of the log, from a byte on, that speaks of a failure; else its last line."""
        lines = self._lines(start)
        causes = [line for line in lines if _CAUSE.search(line) and not _CHATTER.match(line)]
        return [*causes[:1], *lines[-1:], "it said nothing"][0].strip()

    def _lines(self, start: int) -> list[str]:
        with self.log.open("rb") as log:
            log.seek(start)
            return [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]

    def _failure(self, doing: str, how: str, start: int) -> LabError:
        lines = self._lines(start)
        shown = "\n".join(f"    {line}" for line in lines[-_SHOWN_LINES:])
        return LabError(
            f"the lab's {self.what} cannot be built: {doing} failed, {how}",
            f"Its last lines:\n{shown}\nThe whole log is {self.log}.\nCause: {self.cause(start)}",
        )


@contextmanager
def child(command: list[str], folder: Path | None, log: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own and leave nothing of it behind.

    An interrupt can come at any moment: while the program is being started it waits until that is done.
    """
    environment = os.environ | {"PATH": SYSTEM_PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    unmask = partial(signal.pthread_sigmask, signal.SIG_SETMASK, before)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=unmask,  # noqa: PLW1509 - builds have no other thread
        )
    except BaseException:
        unmask()
        raise
    try:
        unmask()
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a group and reap its first process.

    Not by Popen's own wait(): an interrupt between its taking its lock and its letting go of it leaves that lock taken
    for ever, and whoever waits next never returns.
    """
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, math.inf)):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        deadline = time.monotonic() + seconds
        while process.returncode is None and time.monotonic() < deadline:
            time.sleep(_REAP_SECONDS)
            process.returncode = _reaped(process.pid)


def _reaped(pid: int) -> int | None:
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0  # reaped already, by the wait() that was interrupted
    return os.waitstatus_to_exitcode(status) if done else None
