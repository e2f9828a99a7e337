"""People who take GPUs and give them back, in a machine of the lab; also whoever asks for all that is free.

Runs inside, with the runtime's own Python. What somebody was given, and what they are about to do with it, is on the
disk in a journal of their own before the next step: a record that owes nothing to DS01.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ds01.core.paths import HostPaths
from ds01.core.policy import read_policy
from ds01.runtime.gpu.answer import Grant, Refusal
from ds01.runtime.gpu.host import open_gpus
from ds01.runtime.gpu.launch import docker_args
from ds01.runtime.gpu.operations import new_id
from ds01.runtime.gpu.request import Request, parse_wanted
from ds01.runtime.identity import ProcessRef

_MOST_KEPT: Final = 2
_REFUSED: Final = 4


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody was given.

    Attributes:
        options: for `docker run`.
    """

    uuids: tuple[str, ...]
    options: tuple[str, ...]


class Hands(Protocol):
    """A way to reach the allocator."""

    def allocate(self, token: str, user: str, wanted: str, container: str) -> Given | None:
        """Ask; None when that is refused."""

    def release(self, container: str) -> None:
        """Give back."""

    def mark_stopped(self, container: str) -> None:
        """Say that it has stopped."""

    def clear_stopped(self, container: str) -> Given | None:
        """Ask for what it had; None when that is refused."""


class Commands:
    """As an admin's script does it: `ds01 gpu …`."""

    def allocate(self, token: str, user: str, wanted: str, container: str) -> Given | None:
        words = ["--allocation", token, "--user", user, "--gpus", wanted, "--wait", "2"]
        return self._given("allocate", container, *words)

    def release(self, container: str) -> None:
        self._run("release", container)

    def mark_stopped(self, container: str) -> None:
        self._run("mark-stopped", container)

    def clear_stopped(self, container: str) -> Given | None:
        return self._given("clear-stopped", container)

    def _given(self, action: str, container: str, *words: str) -> Given | None:
        found = json.loads(self._run(action, container, *words))
        # Of something that nobody holds and nobody ever held, clear-stopped has nothing to say.
        return Given(tuple(found["gpu_uuids"]), tuple(found["docker_args"])) if found.get("granted") else None

    def _run(self, action: str, container: str, *words: str) -> str:
        argv = ["ds01", "gpu", action, "--container", container, "--json", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode not in {0, _REFUSED}:
            raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr}")
        return done.stdout


class Library:
    """As the services do it: many calls of one process."""

    def __init__(self) -> None:
        paths = HostPaths(Path("/"))
        self._gpus = open_gpus(paths, read_policy(paths.policy))

    def allocate(self, token: str, user: str, wanted: str, container: str) -> Given | None:
        priority = self._gpus.state.account_of(user).priority
        request = Request(token, user, parse_wanted(wanted), priority, container)
        return _given(self._gpus.allocate(request, self._me()))

    def release(self, container: str) -> None:
        self._gpus.release(container)

    def mark_stopped(self, container: str) -> None:
        self._gpus.mark_stopped(container)

    def clear_stopped(self, container: str) -> Given | None:
        return _given(self._gpus.clear_stopped(container, self._me()))

    def _me(self) -> ProcessRef:
        found = self._gpus.state.machine.process(os.getpid())
        assert found is not None
        return found


def _given(answer: Grant | Refusal | None) -> Given | None:
    return Given(answer.allocation.uuids, docker_args(answer)) if isinstance(answer, Grant) else None


class Journal:
    """What somebody did, one line a step, each on the disk before the next thing is done."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # What the last cut tore stays a line of its own.
        os.write(self._file, b"\n")

    def note(self, step: str, container: str, **more: object) -> None:
        """Add a step; the time is the machine's own, which all processes share."""
        line = {"step": step, "container": container, "at": time.monotonic(), "boot": self._boot, **more}
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fsync(self._file)


@dataclass(slots=True)
class Person:
    """Somebody who has containers, and never more than two of them left from before."""

    name: str
    user: str
    wanted: str
    hands: Hands
    journal: Journal
    dice: random.Random
    restart: str = "no"

    def live(self) -> None:
        """Go on with what a former boot left, then begin new ones, for ever."""
        for number in itertools.count():
            mine = self._containers()
            if mine and (len(mine) >= _MOST_KEPT or self.dice.random() < 0.6):
                self._go_on(*self.dice.choice(list(mine.items())))
            else:
                self._begin(f"{self.name}-{time.time_ns() // 1_000_000}-{number}")

    def reserve(self) -> None:
        """Ask and give back without a container, for ever."""
        for number in itertools.count():
            container = f"{self.name}-{number}"
            if self._ask(container) is not None:
                time.sleep(self.dice.uniform(0, 0.3))
                self._release(container)
            time.sleep(self.dice.uniform(0, 0.3))

    def _begin(self, container: str) -> None:
        given = self._ask(container)
        if given is None:
            time.sleep(self.dice.uniform(0, 0.5))
            return
        verb = ["create"] if self.dice.random() < 0.2 else ["run", "--detach"]
        options = [f"--name={container}", f"--restart={self.restart}", "--network=none", *given.options]
        self._docker(*verb, *options, "busybox", "sleep", "100000")
        self.journal.note("made" if verb == ["create"] else "started", container)

    def _go_on(self, container: str, state: str) -> None:
        if state == "running":
            self.journal.note("stopping", container)
            self._docker("stop", "--time=0", container)
            self.journal.note("stopped", container)
            self.hands.mark_stopped(container)
            self.journal.note("marked", container)
        elif self.dice.random() < 0.4:
            given = self.hands.clear_stopped(container)
            self.journal.note("cleared", container, uuids=None if given is None else given.uuids)
            self._docker("start", container)
            self.journal.note("started", container)
        else:
            self._docker("rm", container)
            self.journal.note("removed", container)
            self._release(container)

    def _ask(self, container: str) -> Given | None:
        token = new_id()
        self.journal.note("asking", container, allocation=token)
        given = self.hands.allocate(token, self.user, self.wanted, container)
        self.journal.note("granted" if given else "refused", container, uuids=given.uuids if given else ())
        return given

    def _release(self, container: str) -> None:
        self.journal.note("releasing", container)
        self.hands.release(container)
        self.journal.note("released", container)

    def _containers(self) -> Mapping[str, str]:
        """Return our containers with their states."""
        form = "{{.Names}} {{.State}}"
        listed = self._docker("ps", "--all", f"--filter=name=^{self.name}-", "--format", form)
        return dict(line.split() for line in listed.splitlines())

    def _docker(self, *words: str) -> str:
        return subprocess.run(["/usr/bin/docker", *words], check=True, capture_output=True, text=True).stdout


def fill(hands: Hands, user: str) -> Sequence[Mapping[str, object]]:
    """Ask for one unit after the other until there is none; returns what was given, all given back."""
    given = []
    for number in itertools.count():
        token = new_id()
        got = hands.allocate(token, user, "1", f"fill-{number}")
        if got is None:
            break
        given.append({"allocation": token, "container": f"fill-{number}", "uuids": got.uuids})
    for each in given:
        hands.release(str(each["container"]))
    return given


def main() -> None:
    """Run what the command line says, until somebody ends it."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("act", choices=["live", "reserve", "fill"])
    made.add_argument("--name", default="")
    made.add_argument("--user", required=True)
    made.add_argument("--wanted", default="1")
    made.add_argument("--restart", default="no")
    made.add_argument("--by", choices=["command", "library"], default="library")
    made.add_argument("--journals", type=Path, default=Path("/srv/journals"))
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    hands: Hands = Commands() if options.by == "command" else Library()
    if options.act == "fill":
        json.dump(fill(hands, options.user), sys.stdout)
        return
    journal = Journal(options.journals / options.name)
    dice = random.Random(f"{options.seed} {options.name}")
    person = Person(options.name, options.user, options.wanted, hands, journal, dice, options.restart)
    try:
        (person.live if options.act == "live" else person.reserve)()
    except Exception as error:
        said = getattr(error, "stderr", "") or ""
        journal.note("wrong", "", words=f"{type(error).__name__}: {error} {said}")
        raise


if __name__ == "__main__":
    main()
