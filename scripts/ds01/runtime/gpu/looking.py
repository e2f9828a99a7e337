"""Looks at the GPUs in a child process with a time limit: a driver that hangs must not take its watcher with it.

NVML has no time limit of its own, and a call that hangs in the kernel cannot be ended. So while one is stuck, no other
is begun.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.typed import Final, cast
from ds01.core.value import dataclass, field
from ds01.runtime.gpu.devices import read_devices, read_usage
from ds01.runtime.gpu.hardware import Devices, GpuUuid, Usage
from ds01.runtime.machine import Machine

LIMIT_SECONDS: Final = 20.0
_FIX: Final = "see dmesg for NVRM lines; when nvidia-smi hangs too, only a restart of the machine helps"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the driver gave."""

    devices: Devices
    usage: Mapping[GpuUuid, Usage]


@dataclass(slots=True)
class Looker:
    """Looks again and again.

    Attributes:
        limit_seconds: for one look.
        stuck: the child that did not answer or end, and since when in seconds since boot. What it started is in the
            process group that it leads.
    """

    paths: HostPaths
    limit_seconds: float = LIMIT_SECONDS
    machine: Machine = field(default_factory=Machine)
    stuck: tuple[int, float] | None = None

    def look(self) -> Seen | str:
        """Return what there is, or why that cannot be told, in one line."""
        return self.ask(lambda: Seen(read_devices(self.paths), read_usage(self.paths)))

    def ask(self, question: Callable[[], Seen]) -> Seen | str:
        """Have a question answered by a child within the limit."""
        if self.stuck is not None and not self._is_free(*self.stuck):
            for_seconds = self.machine.boot_seconds() - self.stuck[1]
            return f"the driver has not answered for {for_seconds:.0f} s; {_FIX}"
        began = self.machine.boot_seconds()
        until = began + self.limit_seconds
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            _answer(question, theirs)
        os.close(theirs)
        try:
            with os.fdopen(ours, "rb", buffering=0) as source:
                answer = self._read(source.fileno(), until)
            has_ended = self._has_ended(child, until)
        except BaseException:
            _kill(child)
            raise
        if not has_ended:
            _kill(child)
            self.stuck = (child, began)
            # One that only waits, rather than hangs in the kernel, is gone in a moment.
            self._is_free(child, began)
        if answer is None:
            return f"the driver gave no answer within {self.limit_seconds:g} s; {_FIX}"
        # Written by our own child, which is this very program.
        return cast("Seen | str", pickle.loads(answer)) if answer else "the look at the driver ended without an answer"  # noqa: S301 - see above

    def _read(self, fd: int, until: float) -> bytes | None:
        """Return all of the answer; None when it is not there in time."""
        found, ready = bytearray(), select.poll()
        ready.register(fd, select.POLLIN)
        while (left := until - self.machine.boot_seconds()) > 0:
            if ready.poll(left * 1000):
                piece = os.read(fd, 1 << 16)
                if not piece:
                    return bytes(found)
                found += piece
        return None

    def _has_ended(self, child: int, until: float) -> bool:
        """Wait for a child that has said all: letting go of the driver's files can hang as well."""
        fd = os.pidfd_open(child)
        try:
            ended = select.poll()
            ended.register(fd, select.POLLIN)
            ended.poll(max(0.0, until - self.machine.boot_seconds()) * 1000)
        finally:
            os.close(fd)
        return _is_reaped(child)

    def _is_free(self, child: int, since: float) -> bool:
        free = _is_reaped(child) and not _has_group(child)
        self.stuck = None if free else (child, since)
        return free


def _is_reaped(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        # By an earlier call.
        return True


def _has_group(child: int) -> bool:
    """Whether anything that a child started is there still: nvidia-smi hangs in the kernel as NVML does."""
    try:
        os.killpg(child, 0)
    except ProcessLookupError:
        return False
    return True


def _kill(child: int) -> None:
    """Kill a child with all that it started, whether it has come to make its group or not."""
    for end in (os.kill, os.killpg):
        with suppress(ProcessLookupError):
            end(child, signal.SIGKILL)


def _answer(question: Callable[[], Seen], out: int) -> None:
    """Be the child: answer and end, whatever happens, without anything of its parent's."""
    answer: Seen | str
    try:
        os.setpgid(0, 0)
        answer = question()
    except Ds01Error as error:
        answer = ". ".join(part for part in (error.brief, error.details, error.resolution) if part).replace("\n", ". ")
    except BaseException as error:  # noqa: BLE001 - the end of the child, as main() is of a program
        answer = f"the look at the driver failed: {type(error).__name__}: {error}"
    with suppress(OSError), os.fdopen(out, "wb") as sink:
        pickle.dump(answer, sink)
    os._exit(0)
