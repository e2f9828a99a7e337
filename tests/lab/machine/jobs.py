"""Commands on their way into a machine and their answers on the way out; the other end is guest/agent.py."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tests.lab.machine.errors import LabError, MachineStoppedError

# A job that is over its time gets 4 s inside to end; after this much more the machine itself is taken for hung.
_PATIENCE_SECONDS: Final = 30
_SHORTEST_NAP: Final = 0.003
_LONGEST_NAP: Final = 0.03
_ALIVE_CHECK_SECONDS: Final = 0.5


class Sink(Protocol):
    """Something that takes output as it comes."""

    def __call__(self, data: bytes, /) -> object:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run inside.

    Attributes:
        user: run in this account's login shell (PAM session, /etc/profile, /etc/profile.d); None is root, without one.
        folder: where; None is the home folder.
        environment: added to the account's.
        stdin: bytes, or a file of this machine; None is empty.
        timeout_seconds: then it is ended and its status is 124; None waits for ever.
    """

    argv: Sequence[str]
    user: str | None = None
    folder: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | Path | None = None
    timeout_seconds: float | None = None

    def job(self) -> dict[str, object]:
        """Return what the agent is told."""
        argv, folder, environment = list(self.argv), self.folder, dict(self.environment)
        if self.user is not None:
            # A login shell forgets both, so they travel inside its command.
            move = f"cd {shlex.quote(folder)} && " if folder else ""
            settings = ["env", *(f"{name}={value}" for name, value in environment.items())] if environment else []
            argv = ["su", "-", self.user, "-c", f"{move}exec {shlex.join([*settings, *argv])}"]
            folder, environment = None, {}
        return {"argv": argv, "cwd": folder, "env": environment, "timeout_seconds": self.timeout_seconds}


@dataclass(frozen=True, slots=True)
class Postbox:
    """The way into one running machine.

    Attributes:
        share: the folder that the guest sees as /lab.
        control: the named pipe behind the guest's second serial line.
    """

    share: Path
    control: Path
    is_alive: Callable[[], bool]

    def run(self, command: Command, stdout: Sink, stderr: Sink) -> int:
        """Run a command to its end, handing on its output as it comes; interrupted, it ends the command too.

        Returns:
            Its exit status; 128 and more for a signal, 127 when there is no such program, 124 when its time was up.

        Raises:
            MachineStoppedError: the machine went away.
            LabError: it gave no answer in time.
        """
        folder = self._submit(command)
        answer = _Answer(folder, {"out": stdout, "err": stderr})
        try:
            code = self._wait(answer, command)
        except BaseException:
            self._send(f"-{folder.name}")
            raise
        shutil.rmtree(folder)
        return code

    def switch_off(self) -> None:
        """Have the guest write its disk and stop at once, without stopping services."""
        self._send("POWEROFF")

    def _submit(self, command: Command) -> Path:
        number = time.time_ns()
        while True:
            folder = self.share / "jobs" / str(number)
            try:
                folder.mkdir()
                break
            except FileExistsError:
                number += 1
        match command.stdin:
            case bytes():
                (folder / "stdin").write_bytes(command.stdin)
            case Path():
                shutil.copyfile(command.stdin, folder / "stdin")
            case None:
                pass
        (folder / "job.json").write_text(json.dumps(command.job()))
        self._send(folder.name)
        return folder

    def _send(self, line: str) -> None:
        # Opened for reading too, so that it never blocks when the machine has just gone.
        control = os.open(self.control, os.O_RDWR)
        try:
            os.write(control, f"{line}\n".encode())
        finally:
            os.close(control)

    def _wait(self, answer: _Answer, command: Command) -> int:
        begin = checked = time.monotonic()
        nap = _SHORTEST_NAP
        while (code := answer.code()) is None:
            nap = _SHORTEST_NAP if answer.hand_on() else min(nap * 1.1, _LONGEST_NAP)
            now = time.monotonic()
            if now - checked > _ALIVE_CHECK_SECONDS:
                checked = now
                if not self.is_alive():
                    answer.hand_on()
                    raise MachineStoppedError(f"the machine stopped while it ran {shlex.join(command.argv)}")
            if command.timeout_seconds is not None and now - begin > command.timeout_seconds + _PATIENCE_SECONDS:
                raise LabError(f"the machine hangs: no answer to {shlex.join(command.argv)}")
            time.sleep(nap)
        answer.hand_on()
        return code


class _Answer:
    """What has come back of one job so far."""

    def __init__(self, folder: Path, sinks: Mapping[str, Sink]) -> None:
        self._folder = folder
        self._sinks = sinks
        self._read = dict.fromkeys(sinks, 0)

    def code(self) -> int | None:
        """Return the exit status once the job has ended."""
        try:
            return int((self._folder / "rc").read_text())
        except FileNotFoundError:
            return None

    def hand_on(self) -> bool:
        """Hand on what is new; tell whether there was any."""
        anything = False
        for name, sink in self._sinks.items():
            try:
                with (self._folder / name).open("rb") as file:
                    file.seek(self._read[name])
                    data = file.read()
            except FileNotFoundError:
                continue
            if data:
                self._read[name] += len(data)
                sink(data)
                anything = True
        return anything
