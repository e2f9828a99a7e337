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
        stuck: the child that did not answer, and since when in seconds since boot.
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
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            _answer(question, theirs)
        os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as source:
            answer = self._read(source.fileno(), began + self.limit_seconds)
        if answer is None:
            os.kill(child, signal.SIGKILL)
            self.stuck = (child, began)
            # One that only waits, rather than hangs in the kernel, is gone in a moment.
            self._is_free(child, began)
            return f"the driver gave no answer within {self.limit_seconds:g} s; {_FIX}"
        os.waitpid(child, 0)
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

    def _is_free(self, child: int, since: float) -> bool:
        gone, _ = os.waitpid(child, os.WNOHANG)
        self.stuck = None if gone else (child, since)
        return bool(gone)


def _answer(question: Callable[[], Seen], out: int) -> None:
    """Be the child: answer and end, whatever happens, without anything of its parent's."""
    answer: Seen | str
    try:
        answer = question()
    except Ds01Error as error:
        answer = ". ".join(part for part in (error.brief, error.details, error.resolution) if part).replace("\n", ". ")
    except BaseException as error:  # noqa: BLE001 - the end of the child, as main() is of a program
        answer = f"the look at the driver failed: {type(error).__name__}: {error}"
    with suppress(OSError), os.fdopen(out, "wb") as sink:
        pickle.dump(answer, sink)
    os._exit(0)
