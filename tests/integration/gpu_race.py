"""Processes that fight for GPUs and what watches over them; run by `python -I gpu_race.py SCRIPTS SCENARIO OPTIONS`.

OPTIONS is JSON, what comes out is a verdict in JSON. Real are the processes, the kills, the lock, the file and its
disk. Given are the hardware, a Docker without containers, and the clocks: time since boot goes SPEED times as fast, so
that what a killed process reserved lapses in half a second and not in a minute.

Who has a unit is also known beside the ledger: whoever was granted one claims it by a file, and gives the claim up
before releasing. A claim by another process that lives is a double allocation, whatever the ledger says.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])

from ds01.core.errors import BusyError
from ds01.core.events import EventLog
from ds01.core.paths import HostPaths
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuUuid, MigInstance
from ds01.runtime.gpu.operations import Gpus
from ds01.runtime.gpu.queue import Line, wait_for_gpu
from ds01.runtime.gpu.record import parse_ledger
from ds01.runtime.gpu.request import AccountLimits, Count, GpuUnit, Limits, Named, Request, Wanted
from ds01.runtime.gpu.state import GpuState, GpuStateError
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

SPEED = 120
USERS = 10
MOST_UNITS = 2
GIB = 1024**3
DAY_SECONDS = 86_400


def split_gpu(index: int, parts: int) -> Gpu:
    name = "NVIDIA A100-SXM4-80GB"
    instances = tuple(
        MigInstance(GpuUuid(f"MIG-{index}-{each}"), each, 0, "2g.20gb", 2, 20 * GIB) for each in range(3, 3 + parts)
    )
    return Gpu(index, GpuUuid(f"GPU-{index}"), name, 80 * GIB, mig=bool(parts), instances=instances)


FOURTEEN = Devices(tuple(split_gpu(index, 0 if index < 2 else 3) for index in range(6)))
ONE = Devices((split_gpu(0, 0),))


# --- A host and what is known of it beside its ledger ---------------------------------------------------------------


@dataclass(frozen=True)
class Host:
    """A root with state, and a folder beside it for claims, progress and what went wrong."""

    root: Path
    notes: Path
    devices: Devices
    most_units: int | None
    started: float

    def boot_seconds(self) -> float:
        return self.started + (time.clock_gettime(time.CLOCK_BOOTTIME) - self.started) * SPEED

    def gpus(
        self, *, now: Callable[[], datetime] | None = None, boot_seconds: Callable[[], float] | None = None
    ) -> Gpus:
        def account_of(_: str) -> AccountLimits:
            return AccountLimits(unit=GpuUnit.ANY, max_units=self.most_units, allow_full=True)

        paths = HostPaths(self.root)
        machine = Machine(now=now or (lambda: datetime.now(UTC)), boot_seconds=boot_seconds or self.boot_seconds)
        state = GpuState(paths, machine, EventLog(paths.events), lambda _: (), account_of)
        return Gpus(state, lambda: self.devices, Limits)

    def note(self, file: str, text: str) -> None:
        """Add to a file in one write, so that no kill can tear it."""
        fd = os.open(self.notes / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(fd, text.encode())
        os.close(fd)

    def noted(self, file: str) -> str:
        path = self.notes / file
        return path.read_text() if path.exists() else ""

    def written(self) -> list[int]:
        """How many units the file says are held, and how many wait."""
        ledger = parse_ledger(HostPaths(self.root).gpu_state.read_bytes())
        return [len(ledger.holders()), len(ledger.queue)]

    def wrong(self, what: str) -> None:
        self.note("wrong", f"{what}\n")


def me() -> ProcessRef:
    found = Machine().process(os.getpid())
    assert found is not None
    return found


def lives(pid: int, started: int) -> bool:
    """Asked without the product's own code: a fault there must not hide itself."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] not in {b"Z", b"X"} and int(fields[19]) == started


@dataclass(frozen=True)
class Claims:
    """Whose the units are, by a file each: `PID STARTED REQUEST`."""

    host: Host
    process: ProcessRef

    def take(self, uuid: str, request_id: str) -> None:
        target, mine = self.host.notes / f"claim.{uuid}", self._text(request_id)
        own = self.host.notes / f"new.{self.process.pid}"
        own.write_text(mine)
        try:
            target.hardlink_to(own)
        except FileExistsError:
            other = target.read_text()
            pid, started, theirs = other.split()
            if theirs != request_id and lives(int(pid), int(started)):
                self.host.wrong(f"double: {uuid} is granted to {mine}, and {other} has it")
            # Left behind by a kill; nobody but whom the unit was granted may take it over.
            own.replace(target)
        else:
            own.unlink()

    def give_up(self, uuid: str, request_id: str) -> None:
        target = self.host.notes / f"claim.{uuid}"
        if not target.exists() or target.read_text() != self._text(request_id):
            self.host.wrong(f"stolen: {uuid} was claimed by {self._text(request_id)}")
        else:
            target.unlink()

    def _text(self, request_id: str) -> str:
        return f"{self.process.pid} {self.process.started} {request_id}"


def fork(host: Host, work: Callable[[], object]) -> int:
    """Start a process that does the work and nothing of its parent's."""
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        work()
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - the process ends here, and says why
        host.wrong(traceback.format_exc())
    os._exit(code)


def until(what: str, is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.005)


# --- One worker -------------------------------------------------------------------------------------------------------


@dataclass
class Worker:
    """Allocates and releases until its number of pairs is done, over as many lives as it takes."""

    host: Host
    number: int
    pairs: int
    wild_clock: bool
    fails: bool
    chance: random.Random

    def run(self) -> None:
        gpus = self.host.gpus(now=self._wild_now if self.wild_clock else None)
        process = me()
        while (done := len(self.host.noted(f"done.{self.number}"))) < self.pairs:
            # Who comes again after a kill either asks for the same once more, or for something new and leaves the
            # reservation to lapse.
            attempt = process.pid if self.chance.random() < 0.5 else 0
            self._pair(gpus, process, f"{self.number}-{done}-{attempt}")
            self.host.note(f"done.{self.number}", ".")

    def _pair(self, gpus: Gpus, process: ProcessRef, request_id: str) -> None:
        user, wanted = f"student{self.number % USERS:02}", self._wanted()
        request = Request(request_id, user, wanted, priority=self.chance.choice((10, 50, 90)))
        grant = self._ask(gpus, request, process)
        claims, uuids = Claims(self.host, process), grant.allocation.uuids
        for uuid in uuids:
            claims.take(uuid, request_id)
        if gpus.state.read().by_id(request_id) is None:
            self.host.wrong(f"lost: {request_id} was granted and is not in the ledger")
        time.sleep(self.chance.random() * 0.003)
        for uuid in uuids:
            claims.give_up(uuid, request_id)
        released = self._insist(lambda: gpus.release(request_id))
        if released is None or released.uuids != uuids:
            self.host.wrong(f"release of {request_id}: granted {uuids}, released {released}")

    def _ask(self, gpus: Gpus, request: Request, process: ProcessRef) -> Grant:
        stands_in_line = self.number % 5 == 0
        while True:
            if stands_in_line:
                answer = self._insist(lambda: gpus.allocate_or_wait(request, process, process))
            else:
                answer = self._insist(lambda: gpus.allocate(request, process))
            if isinstance(answer, Grant):
                return answer
            self.host.note("refused", ".")
            time.sleep(self.chance.uniform(0.002, 0.02))

    def _insist(self, act: Callable[[], Any]) -> Any:
        while True:
            try:
                return act()
            except (GpuStateError, BusyError) as error:
                if not self.fails or "nothing was changed" not in error.brief:
                    self.host.wrong(error.render())
                self.host.note("failed", ".")
                time.sleep(0.01)

    def _wanted(self) -> Wanted:
        kind = self.chance.random()
        if kind < 0.8:
            return Count(1)
        if kind < 0.9:
            return Count(2)
        return Named((self.chance.choice(FOURTEEN.units).slot,))

    def _wild_now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.chance.randint(-DAY_SECONDS, DAY_SECONDS))


# --- Those who watch and those who disturb ---------------------------------------------------------------------------


def watch(host: Host, stop: Path) -> None:
    """Read the state all the time, without a lock: it always parses, and never shows anything forbidden."""
    path = HostPaths(host.root).gpu_state
    seen, before = 0, b""
    while not stop.exists():
        time.sleep(0.001)
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            if content == before:
                continue
            before, seen = content, seen + 1
            allocations = parse_ledger(content).allocations.values()
            units = Counter(uuid for each in allocations for uuid in each.uuids)
            users = Counter(each.user for each in allocations for _ in each.uuids)
            if max(units.values(), default=0) > 1:
                host.wrong(f"in the file twice: {units}")
            if host.most_units is not None and max(users.values(), default=0) > host.most_units:
                host.wrong(f"above the quota: {users}")
    host.note("seen", str(seen))


def fill_and_free(folder: Path, stop: Path) -> None:
    """Take all room on a disk, and give it back, and take it again."""
    filler = folder / "filler"
    while not stop.exists():
        with filler.open("wb", buffering=0) as out, suppress(OSError):
            while True:
                out.write(bytes(4096))
        time.sleep(0.05)
        filler.unlink()
        time.sleep(0.1)


# --- The race ---------------------------------------------------------------------------------------------------------


@dataclass
class Race:
    """Keeps so many workers running, and kills one now and then, until the work is done."""

    host: Host
    options: dict[str, Any]

    def __post_init__(self) -> None:
        self.chance = random.Random(self.options["seed"])
        self.kills = 0
        self.running: dict[int, int] = {}

    def run(self) -> dict[str, object]:
        stop = self.host.notes / "stop"
        beside = [fork(self.host, lambda: watch(self.host, stop))]
        if self.options["fill"]:
            folder = HostPaths(self.host.root).gpu_state.parent
            beside.append(fork(self.host, lambda: fill_and_free(folder, stop)))
        begun = time.monotonic()
        for number in range(self.options["workers"]):
            self._start(number)
        self._until_done(begun + self.options["seconds"])
        seconds = time.monotonic() - begun
        stop.touch()
        for pid in beside:
            os.waitpid(pid, 0)
        return {"seconds": round(seconds, 1), "kills": self.kills, "held": self._held_by_the_dead(), **self._counted()}

    def _start(self, number: int) -> None:
        seed, options = self.chance.random(), self.options
        worker = Worker(
            self.host, number, options["pairs"], options["wild_clock"], options["fill"], random.Random(seed)
        )
        self.running[fork(self.host, worker.run)] = number

    def _until_done(self, end: float) -> None:
        while self.running:
            time.sleep(self.chance.uniform(0, 2 * self.options["kill_every"]))
            for pid, number in list(self.running.items()):
                gone, status = os.waitpid(pid, os.WNOHANG)
                if gone:
                    del self.running[pid]
                    if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
                        self._start(number)
            if time.monotonic() > end:
                self.host.wrong(f"not done in time, by {sorted(self.running.values())}")
                self.options["pairs"] = 0
                end = float("inf")
                for pid in self.running:
                    os.kill(pid, signal.SIGKILL)
                continue
            # Whose turn it is may be done already: the last ones are not killed the more often for being few.
            victim = self.chance.randrange(self.options["workers"])
            for pid, number in self.running.items():
                if number == victim and self.options.get("kill", True):
                    os.kill(pid, signal.SIGKILL)
                    self.kills += 1

    def _held_by_the_dead(self) -> list[list[int]]:
        """Leave five reservations and a waiter of killed processes.

        Returns:
            How many hold and how many wait: while they live, when they were just killed, 59.9 s after that was seen,
            60 s after. Before all this nobody did.
        """
        later = self.host.boot_seconds() + 1000
        self.host.gpus().reconcile()
        self.host.gpus(boot_seconds=lambda: later).reconcile()
        if self.host.written() != [0, 0]:
            self.host.wrong(f"leaked: {self.host.written()}")
        children = []
        for number, slot in enumerate(("0", "1", "2:0", "3:1", "4:2", "0")):
            children.append(fork(self.host, lambda number=number, slot=slot: self._hold(number, slot)))
            until("five hold and one waits", lambda: len(self.host.noted("holding")) == len(children))
        held = [self.host.written()]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for after in (0, 59.9, 60):
            self.host.gpus(boot_seconds=lambda after=after: later + after).reconcile()
            held.append(self.host.written())
        return held

    def _hold(self, number: int, slot: str) -> None:
        process = me()
        self.host.gpus().allocate_or_wait(Request(f"last-{number}", f"{number}", Named((slot,)), 1), process, process)
        self.host.note("holding", ".")
        signal.pause()

    def _counted(self) -> dict[str, object]:
        done = [len(self.host.noted(f"done.{number}")) for number in range(self.options["workers"])]
        return {
            "done": min(done),
            "refused": len(self.host.noted("refused")),
            "failed": len(self.host.noted("failed")),
            "seen": int(self.host.noted("seen") or 0),
        }


# --- The line ---------------------------------------------------------------------------------------------------------


@dataclass
class InLine:
    """Waits for the one unit there is, notes its turn, and gives the unit back."""

    host: Host
    name: str
    priority: int
    dies_holding: bool = False

    def run(self) -> None:
        process, gpus = me(), self.host.gpus()
        line = Line(300, lambda _, place: self.host.note("told", f"{self.name} {place.number} {place.of}\n"), process)
        answer = wait_for_gpu(gpus, Request(self.name, self.name, Count(1), self.priority), process, line)
        if not isinstance(answer, Grant):
            self.host.wrong(f"{self.name} was refused: {answer.text}")
            return
        claims, [uuid] = Claims(self.host, process), answer.allocation.uuids
        claims.take(uuid, self.name)
        self.host.note("served", f"{self.name} ")
        if self.dies_holding:
            os.kill(os.getpid(), signal.SIGKILL)
        claims.give_up(uuid, self.name)
        gpus.release(self.name)


def stand_in_line(host: Host, options: dict[str, Any]) -> dict[str, object]:
    """Let so many wait for one unit, end some of them, then free it; returns what happened, in order."""
    gpus, priorities = host.gpus(), options["priorities"]
    gpus.allocate(Request("holder", "holder", Count(1), 1), me())
    children = {}
    for number, priority in enumerate(priorities):
        waiter = InLine(host, f"w{number}", priority, dies_holding=number == options["dies_holding"])
        children[number] = fork(host, waiter.run)
        until(f"w{number} stands in the line", lambda number=number: f"w{number} " in host.noted("told"))
    told = host.noted("told").splitlines()
    for number, signal_number in (
        (each, getattr(signal, name)) for name, of in options["ended"].items() for each in of
    ):
        os.kill(children[number], signal_number)
        os.waitpid(children.pop(number), 0)
    waiting = [each.id for each in gpus.state.read().in_line()]
    written = [each.id for each in parse_ledger(HostPaths(host.root).gpu_state.read_bytes()).queue]
    served_before = host.noted("served")
    gpus.release("holder")
    codes = {number: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for number, pid in children.items()}
    return {
        "told": told,
        "waiting": waiting,
        "written": written,
        "served_before": served_before,
        "served": host.noted("served").split(),
        "codes": codes,
        "left": host.written(),
    }


def main(scenario: str, options: dict[str, Any]) -> NoReturn:
    folder = Path(options["folder"])
    notes = folder / "notes"
    notes.mkdir()
    for part in ("var/lib/ds01", "var/log/ds01"):
        (folder / "root" / part).mkdir(parents=True, exist_ok=True)
    started = time.clock_gettime(time.CLOCK_BOOTTIME)
    race = scenario == "race"
    host = Host(folder / "root", notes, FOURTEEN if race else ONE, MOST_UNITS if race else None, started)
    verdict = Race(host, options).run() if race else stand_in_line(host, options)
    sys.stdout.write(json.dumps({**verdict, "wrong": host.noted("wrong").splitlines()}))
    sys.exit()


if __name__ == "__main__":
    main(sys.argv[2], json.loads(sys.argv[3]))
