"""The power goes in a burst of events: after each boot DS01 knows what Docker has, and its log says nothing twice."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.lab.containers import CLIENT, wait_for
from tests.lab.host import deploy
from tests.lab.machine.errors import MachineStoppedError
from tests.lab.machine.jobs import Command
from tests.lab.machine.settings import Suite

if TYPE_CHECKING:
    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

CUTS = 20
LONGEST_SECONDS = 6.0
SEED = int(os.environ.get("DS01_LAB_SEED", time.time_ns() % 2**32))
EVENTS = "/var/log/ds01/events.jsonl"
KNOWN = "/var/lib/ds01/containers.json"
PEOPLE = 3
TELLING = timedelta(seconds=5)
# Some come and go, some stay; past the wrapper, since it is the events that count here.
WORK = f"""
person=$1 cut=$2
for number in $(seq 1 500); do
    name=burst-$cut-$person-$number
    {CLIENT} create --name "$name" --network none busybox sleep 6000 >/dev/null
    case $((number % 3)) in
    0) {CLIENT} start "$name" >/dev/null; {CLIENT} rm --force "$name" >/dev/null ;;
    1) {CLIENT} rm "$name" >/dev/null ;;
    2) {CLIENT} rename "$name" "kept-$cut-$person-$number"; [ "$number" -le 5 ] ||
           {CLIENT} rm "kept-$cut-$person-$number" >/dev/null ;;
    esac
    [ "$number" != 1 ] || echo begun
done
"""
Evidence = Callable[[str], None]


def work_and_cut(machine: Machine, number: int, seconds: float) -> None:
    """Let people make containers and remove them, and cut the power so long after all of them began."""
    begun, said = threading.Event(), bytearray()

    def hear(data: bytes) -> None:
        said.extend(data)
        if said.count(b"begun\n") == PEOPLE:
            begun.set()

    def go_on() -> None:
        people = "\n".join(f"work {person} {number} &" for person in range(PEOPLE))
        command = Command(["bash", "-c", f"work() {{ {WORK}\n}}\n{people}\nwait"], timeout_seconds=600)
        with suppress(MachineStoppedError):
            machine.stream(command, hear, said.extend)

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(go_on)
        assert begun.wait(120), said
        time.sleep(seconds)
        machine.cut()
        going.result(60)


def read_log(machine: Machine) -> tuple[list[dict[str, Any]], int]:
    """Return the log's events, and how many lines are none: what cuts tore."""
    events, torn = [], 0
    for line in machine.must(["cat", EVENTS]).splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            torn += 1
    return events, torn


def in_docker(machine: Machine) -> Mapping[str, tuple[str, str, datetime]]:
    """Return name, state and birth of every container, by its id."""
    # Docker may still be removing some, between the two commands too.
    inspect = f"xargs --no-run-if-empty {CLIENT} inspect || true"
    listed = machine.script(f"{CLIENT} ps --all --quiet --no-trunc | ({inspect})")
    return {
        each["Id"]: (
            each["Name"].removeprefix("/"),
            each["State"]["Status"],
            datetime.fromisoformat(each["Created"]),
        )
        for each in json.loads(listed or "[]")
    }


def names_of(there: Mapping[str, tuple[str, str, datetime]]) -> Mapping[str, tuple[str, str]]:
    return {identity: (name, state) for identity, (name, state, _) in there.items()}


def known(machine: Machine) -> Mapping[str, tuple[str, str]]:
    """Return name and state of every container that DS01 knows, by its id."""
    found = json.loads(machine.must(["cat", KNOWN]))["containers"]
    return {identity: (each["name"], each["state"]) for identity, each in found.items()}


def of_containers(events: Sequence[Mapping[str, Any]], action: str) -> Counter[str]:
    return Counter(each["details"]["container_id"] for each in events if each["event_type"] == f"container.{action}")


def assert_nothing_twice(events: Sequence[Mapping[str, Any]]) -> None:
    for action in ("create", "destroy"):
        assert [each for each, count in of_containers(events, action).items() if count > 1] == [], action
    told = Counter(
        (each["event_type"], each["details"]["container_id"], each["details"]["time_nano"])
        for each in events
        if each["details"].get("time_nano") and each["event_type"].startswith("container.")
    )
    assert [each for each, count in told.items() if count > 1] == []


def in_a_gap(events: Sequence[Mapping[str, Any]], moment: datetime) -> bool:
    """Whether the log says itself that it may lack what happened then."""
    # A container's birth is some time before Docker tells of it, and others' events lie in between.
    return any(
        datetime.fromisoformat(each["from"]) - TELLING <= moment <= datetime.fromisoformat(each["to"])
        for each in gaps(events)
    )


def gaps(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return all but the first, before which nothing was known."""
    told = [each["details"] for each in events if each["event_type"] == "events.gap"]
    return [each for each in told if each["from"] is not None]


def after_cut(machine: Machine, number: int) -> str:
    """Look at everything after a boot; returns what there was, in words."""
    # Docker goes on with a removal that the cut was in; what comes of it has to be known too.
    wait_for("the events daemon to know what there is", lambda: known(machine) == names_of(in_docker(machine)))
    there = in_docker(machine)
    events, torn = read_log(machine)
    assert_nothing_twice(events)
    assert torn <= number
    created = of_containers(events, "create")
    missing = [
        name for identity, (name, _, born) in there.items() if not created[identity] and not in_a_gap(events, born)
    ]
    assert missing == []
    assert len(gaps(events)) == number, gaps(events)
    return f"{len(there)} containers, {len(events)} events, {torn} torn lines, {len(gaps(events))} gaps"


def test_power_cuts_in_a_burst_double_nothing_and_leave_the_state_right(
    lab: Lab, evidence: Evidence, share: Callable[[int], int]
) -> None:
    dice = random.Random(SEED)
    evidence(f"seed {SEED}")
    with lab.prepared("eventcut", Suite.BOOKWORM) as machine:
        deploy(machine, "--restart-docker")
        for number in range(1, share(CUTS) + 1):
            seconds = dice.uniform(0, LONGEST_SECONDS)
            work_and_cut(machine, number, seconds)
            machine.up()
            evidence(f"cut {number} after {seconds:.2f} s: {after_cut(machine, number)}")
            # Few stay, so that the twentieth boot has no more to look at than the first.
            machine.script(f"{CLIENT} ps --all --quiet | xargs --no-run-if-empty {CLIENT} rm --force >/dev/null")
        events, _ = read_log(machine)
        evidence(f"{dict(Counter(each['event_type'] for each in events))}")
    assert of_containers(events, "create"), "no burst was ever seen"
