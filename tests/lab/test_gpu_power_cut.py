"""The power goes while GPUs are taken and given back: after each boot the ledger is what the containers say."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.lab.containers import CLIENT
from tests.lab.gpu_journals import Journals
from tests.lab.gpus import ENVIRONMENT, HARDWARE, give_gpus
from tests.lab.host import deploy, leave_to_commands
from tests.lab.machine.errors import MachineStoppedError
from tests.lab.machine.jobs import Command

from ds01.core.errors import ExitCode
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.record import DamagedError, parse_ledger

if TYPE_CHECKING:
    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

CUTS = 20
LONGEST_SECONDS = 8.0
SEED = int(os.environ.get("DS01_LAB_SEED", time.time_ns() % 2**32))
# A disk may also lose what it said it had: after so many cuts the file is torn by hand before anybody looks at it.
TORN_EVERY = 7
STATE = "/var/lib/ds01/gpu-state.json"
EVENTS = "/var/log/ds01/events.jsonl"
JOURNALS = "/srv/journals"
PROGRAM = "/srv/gpu_load.py"
LOAD = f"/opt/ds01/current/venv/bin/python -I {PROGRAM}"
ADMIN = "sysop"
# Each with a journal of the name. Whoever lives here has containers, the others only reserve.
PEOPLE = (
    "live --name=one --user=alice --by=command",
    "live --name=two --user=bob --by=command --restart=always",
    "live --name=three --user=j.doe@lab-x.org --wanted=2 --restart=unless-stopped",
    "live --name=four --user=student01 --restart=unless-stopped",
    "reserve --name=five --user=guest01",
    "reserve --name=six --user=j.doe@lab-x.org",
)
COME_BACK = frozenset({"always", "unless-stopped"})
Evidence = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A container as Docker has it.

    Attributes:
        uuids: what it really was given, by its device request.
    """

    allocation: str
    uuids: tuple[str, ...]
    running: bool
    restart: str


def containers(machine: Machine) -> Mapping[str, Found]:
    """Return all there are, by name."""
    listed = machine.script(f"{CLIENT} ps --all --quiet --no-trunc | xargs --no-run-if-empty {CLIENT} inspect")
    return {each["Name"].removeprefix("/"): _found(each) for each in json.loads(listed or "[]")}


def _found(told: Mapping[str, Any]) -> Found:
    (request,) = told["HostConfig"]["DeviceRequests"]
    return Found(
        allocation=told["Config"]["Labels"]["ds01.allocation"],
        uuids=tuple(request["DeviceIDs"]),
        running=told["State"]["Running"],
        restart=told["HostConfig"]["RestartPolicy"]["Name"],
    )


def load_and_cut(machine: Machine, number: int, seconds: float) -> None:
    """Let people come and go, and cut the power so long after the first of them began."""
    folder = f"{JOURNALS}/{number}"
    machine.script(f"mkdir -p {folder}; sync")
    people = "\n".join(f"{LOAD} {words} --seed={SEED + number} --journals={folder} &" for words in PEOPLE)
    script = f"{people}\nuntil [ -s {folder}/six ]; do sleep 0.05; done; echo begun; wait"
    begun, said = threading.Event(), bytearray()

    def hear(data: bytes) -> None:
        said.extend(data)
        if b"begun\n" in said:
            begun.set()

    def go_on() -> None:
        command = Command(["bash", "-c", script], environment=ENVIRONMENT, timeout_seconds=300)
        with suppress(MachineStoppedError):
            machine.stream(command, hear, said.extend)

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(go_on)
        assert begun.wait(120), said
        time.sleep(seconds)
        machine.cut()
        going.result(60)


def state(machine: Machine) -> Ledger | None:
    """Return what the file says; None when it cannot be believed."""
    try:
        return parse_ledger(machine.must(["cat", STATE]).encode())
    except DamagedError:
        return None


def kept_aside(machine: Machine) -> int:
    return int(machine.script(f"ls -d {STATE}.damaged-* 2>/dev/null | wc -l || true"))


def gpu(machine: Machine, *words: str) -> dict[str, Any]:
    """Run `ds01 gpu` as root, and return what it says."""
    done = machine.run(["ds01", "gpu", *words, "--json"], environment=ENVIRONMENT)
    assert done.code in {ExitCode.DONE, ExitCode.REFUSED}, done.words
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def assert_kept(ledger: Ledger, journals: Journals) -> None:
    """Whatever somebody was told is in the file after the cut, and nothing that somebody gave back before it."""
    there = {each.id: each.uuids for each in ledger.allocations.values()}
    told = {each: story.uuids for each, story in journals.stories.items() if story.is_certain}
    assert {each: there.get(each) for each in told} == told
    assert there.keys() <= journals.stories.keys()
    given = {uuid for each in there.values() for uuid in each}
    assert len(given) == sum(map(len, there.values())), "a unit is in two allocations"


def hand_out_the_rest(machine: Machine, *, free: set[str]) -> None:
    """Ask for all there is, one after the other: just what no container has is given."""
    first = gpu(machine, "allocate", f"--user={ADMIN}", "--container=first", "--gpus=1")
    assert first["granted"] == bool(free), first
    rest = json.loads(machine.must([*LOAD.split(), "fill", f"--user={ADMIN}"], environment=ENVIRONMENT))
    given = [(first["allocation"], first["gpu_uuids"])] if free else []
    given += [(each["allocation"], each["uuids"]) for each in rest]
    assert sorted(uuid for _, uuids in given for uuid in uuids) == sorted(free)
    gpu(machine, "release", "--container=first")
    events, _ = read_events(machine)
    assert {allocation for allocation, _ in given} <= logged(events), "the event log does not go on"


def read_events(machine: Machine) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the log's events, and the lines that are none: what a cut tore."""
    events, torn = [], []
    for line in machine.must(["cat", EVENTS]).encode().splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            torn.append(line)
    return events, torn


def logged(events: list[dict[str, Any]]) -> set[str]:
    """Return the allocations whose grant is in the log."""
    return {each["details"]["allocation"] for each in events if each["event_type"] == "gpu.allocated"}


def held(allocation: Allocation) -> tuple[str, tuple[str, ...], bool, bool]:
    return allocation.id, allocation.uuids, allocation.stopped_at is None, allocation.reservation is None


def assert_right(machine: Machine, there: Mapping[str, Found]) -> None:
    """The ledger has each container with exactly its units, and nothing else."""
    ledger = state(machine)
    assert ledger is not None
    assert {name: held(each) for name, each in ledger.allocations.items()} == {
        name: (each.allocation, each.uuids, each.running, True) for name, each in there.items()
    }
    assert ledger.queue == ()


def assert_came_back(journals: Journals, there: Mapping[str, Found]) -> int:
    """Return how many containers run again, which all do that ran and are to."""
    ran = {story.container for story in journals.stories.values() if story.step == "started"}
    back = {name: each.running for name, each in there.items() if each.restart in COME_BACK and name in ran}
    assert all(back.values()), back
    return len(back)


@dataclass(slots=True)
class Seen:
    """What the cuts met with, so that a test that met with nothing fails."""

    back: int = 0
    stopped: int = 0
    under_way: int = 0
    freed: int = 0
    rebuilt: int = 0


@dataclass(frozen=True, slots=True)
class Boot:
    """What is there after a cut, before anybody changes anything.

    Attributes:
        number: of the cut, from 1 on.
        freeable: names in the file that no container has; None when the file cannot be believed.
        there: containers, by name.
    """

    number: int
    freeable: frozenset[str] | None
    there: Mapping[str, Found]


def look(machine: Machine, number: int, journals: Journals) -> Boot:
    """Hold file and containers against the journals, and maybe tear the file."""
    ledger, there = state(machine), containers(machine)
    if ledger is not None:
        assert_kept(ledger, journals)
    given = {story.container: story.uuids for story in journals.stories.values() if story.uuids}
    assert {name: each.uuids for name, each in there.items()} == {name: given[name] for name in there}
    if number % TORN_EVERY == 0:
        machine.must(["truncate", "--size=-40", STATE])
        ledger = None
    freeable = None if ledger is None else frozenset(ledger.allocations.keys() - there.keys())
    return Boot(number, freeable, there)


def put_right(machine: Machine, boot: Boot) -> list[str]:
    """Change something for the first time, by two ways in turn; return what reconcile says."""
    aside, held_now = kept_aside(machine), [uuid for each in boot.there.values() for uuid in each.uuids]
    assert len(set(held_now)) == len(held_now), "a unit is in two containers"
    said: list[str] = []
    if boot.number % 2:
        said = gpu(machine, "reconcile")["corrections"]
        assert (boot.freeable or set()) <= {each.partition(": ")[0] for each in said}
    hand_out_the_rest(machine, free=set(HARDWARE.units) - set(held_now))
    said += gpu(machine, "reconcile")["corrections"]
    assert_right(machine, boot.there)
    assert gpu(machine, "reconcile")["corrections"] == []
    assert kept_aside(machine) - aside == int(boot.freeable is None)
    return said


def after_cut(machine: Machine, number: int, journals: Journals, seen: Seen) -> str:
    """Look at everything after a boot; returns what there was, in words."""
    steps = journals.read(machine.script(f"cat {JOURNALS}/{number}/*"))
    boot = look(machine, number, journals)
    said = put_right(machine, boot)
    back, running = assert_came_back(journals, boot.there), sum(each.running for each in boot.there.values())
    freed = "the file was torn" if boot.freeable is None else f"{len(boot.freeable)} without a container freed"
    seen.back += back
    seen.stopped += len(boot.there) - running
    seen.under_way += sum(not story.is_certain for story in journals.stories.values())
    seen.freed += len(boot.freeable or ())
    seen.rebuilt += boot.freeable is None
    assert_log_is_whole(machine, number, seen.rebuilt)
    journals.only({each.allocation for each in boot.there.values()})
    has = f"{len(boot.there)} containers, {running} running, {back} of them since they ran before"
    return f"{steps} steps; {has}; {freed}; reconcile: {'; '.join(said) or 'nothing'}"


def assert_log_is_whole(machine: Machine, cuts: int, rebuilt: int) -> None:
    """Each cut may tear one line, and what was rebuilt is told once."""
    events, torn = read_events(machine)
    assert len(torn) <= cuts, torn
    assert [event["event_type"] for event in events].count("gpu.state_rebuilt") == rebuilt


def test_power_cuts_among_allocations_leave_the_ledger_right(
    lab: Lab, evidence: Evidence, share: Callable[[int], int]
) -> None:
    dice, journals, seen = random.Random(SEED), Journals(), Seen()
    evidence(f"seed {SEED}")
    with lab.prepared("gpucut") as machine:
        give_gpus(machine)
        deploy(machine, "--restart-docker")
        leave_to_commands(machine)
        machine.push(Path(__file__).with_name("gpu_load.py"), PROGRAM)
        for number in range(1, share(CUTS) + 1):
            seconds = dice.uniform(0, LONGEST_SECONDS)
            load_and_cut(machine, number, seconds)
            machine.up()
            evidence(f"cut {number} after {seconds:.2f} s: {after_cut(machine, number, journals, seen)}")
        events, torn = read_events(machine)
        zeros, lost = b"".join(torn).count(0), journals.granted - logged(events)
        evidence(
            f"{len(events)} events and {len(torn)} torn lines of {sum(map(len, torn))} bytes, {zeros} of them zero"
        )
        evidence(
            f"{len(lost)} of {len(journals.granted)} grants are not in the log, which nobody waits for to be on disk"
        )
        evidence(f"steps: {dict(journals.steps)}; {seen}")
    # A few say nothing of when they come.
    assert share(CUTS) < CUTS or all([seen.back, seen.stopped, seen.under_way, seen.freed]), (
        f"the cuts came where nothing happens: {seen}"
    )
