"""Ends single processes: SIGTERM, time to finish, SIGKILL. Never another one, whoever has the number by now.

A pidfd is taken first, then it is made sure that it is the process that was condemned; every signal goes through it.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Collection, Iterator

from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.gpu.hostprocesses import HostProcess, Key
from ds01.runtime.gpu.processes import is_on_host
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

# One that the kernel does not let go of dies when its call to a driver ends; it is not waited for.
_STUCK_SECONDS: Final = 10.0


@dataclass(slots=True)
class _UnderWay:
    """A process that was told to end.

    Attributes:
        fd: its pidfd.
        next_seconds: when the next step is due, in seconds since boot; None when there is none.
    """

    process: HostProcess
    fd: int
    next_seconds: float | None
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a process.

    Attributes:
        by: the last signal that was sent.
        ended: False for one that lives on after SIGKILL, for now.
    """

    process: HostProcess
    by: str
    ended: bool = True


@dataclass(slots=True)
class Ender:
    """Ends processes without waiting for any of them.

    Attributes:
        under_way: those that were told to end and have not yet; their pidfds are held meanwhile.
    """

    machine: Machine
    under_way: dict[Key, _UnderWay] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to wait for; one that does not even end when it is killed is not."""
        return any(each.next_seconds is not None for each in self.under_way.values())

    def begin(self, process: HostProcess, grace_seconds: float) -> str | None:
        """Tell a process to end.

        Args:
            process: condemned at a look of this boot.
            grace_seconds: until it is killed.

        Returns:
            Why that was not done; None when it was, now or earlier.

        Source: pidfd_open(2), pidfd_send_signal(2).
        """
        if process.key in self.under_way:
            return None
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return "it has ended"
        except OSError as error:
            return f"no signal can be sent to it: {error.strerror}"
        why = self._is_another(process) or _send(fd, signal.SIGTERM)
        if why is not None:
            os.close(fd)
            return why
        due = self.machine.boot_seconds() + grace_seconds
        self.under_way[process.key] = _UnderWay(process, fd, due)
        return None

    def spare(self, condemned: Collection[Key]) -> tuple[HostProcess, ...]:
        """Let those live that are condemned no more and were not killed yet; returns them.

        One that has ended as it was told is condemned no more either; proceed() says so of it.
        """
        others = [each for key, each in self.under_way.items() if key not in condemned and not each.killed]
        spared = [each for each in others if not _has_ended(each.fd)]
        for each in spared:
            self._close(each)
        return tuple(each.process for each in spared)

    def proceed(self) -> tuple[Outcome, ...]:
        """Do what is due, and return what became of any."""
        return tuple(self._proceed())

    def wait(self, seconds: float) -> None:
        """Wait so long, or until one of them ends or the next step is due."""
        now = self.machine.boot_seconds()
        due = [each.next_seconds - now for each in self.under_way.values() if each.next_seconds is not None]
        ends = select.poll()
        for each in self.under_way.values():
            ends.register(each.fd, select.POLLIN)
        ends.poll(max(0.0, min([seconds, *due])) * 1000)

    def _proceed(self) -> Iterator[Outcome]:
        now = self.machine.boot_seconds()
        for each in list(self.under_way.values()):
            if _has_ended(each.fd):
                self._close(each)
                yield Outcome(each.process, "SIGKILL" if each.killed else "SIGTERM")
            elif each.next_seconds is None or now < each.next_seconds:
                continue
            elif each.killed:
                each.next_seconds = None
                yield Outcome(each.process, "SIGKILL", ended=False)
            else:
                # It cannot be another: the pidfd stays the one process's, dead or alive.
                _send(each.fd, signal.SIGKILL)
                each.killed, each.next_seconds = True, now + _STUCK_SECONDS

    def _is_another(self, process: HostProcess) -> str | None:
        """Return why it is not the process that was condemned, or not condemned as it is now."""
        machine = self.machine
        if machine.process(process.pid) != ProcessRef(process.pid, process.started, machine.boot_id()):
            return "it has ended, and its number may be another's"
        if machine.uid(process.pid) != process.uid:
            return "it is another account's now"
        return None if is_on_host(machine, process.pid) else "it is in a container now"

    def _close(self, each: _UnderWay) -> None:
        os.close(each.fd)
        del self.under_way[each.process.key]


def _send(fd: int, number: signal.Signals) -> str | None:
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return "it has ended"
    except OSError as error:
        return f"{number.name} cannot be sent to it: {error.strerror}"
    return None


def _has_ended(fd: int) -> bool:
    """Source: pidfd_open(2): a pidfd can be read once its process has ended."""
    ended = select.poll()
    ended.register(fd, select.POLLIN)
    return bool(ended.poll(0))
