"""Want of memory on a real kernel, seen by the deployed sampler: who was ended, who is stuck, what they are told."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.lab.containers import CGROUP, at_signal, give_signal, hold, remove_all, states, wait_for
from tests.lab.host import POLICY, deploy, override
from tests.lab.people import MIB, at_terminal, slice_of_alice, started, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine
    from tests.lab.machine.settings import Suite

pytestmark = pytest.mark.lab

Evidence = Callable[[str], None] if TYPE_CHECKING else object
EVENTS = "/var/log/ds01/events.jsonl"
PRESSURE = "/run/ds01/pressure.json"
# The sampler looks once a minute, and a stall has to last for two minutes.
LOOK_SECONDS = 90
STALL_SECONDS = 300
HIGH, MAX = 96 * MIB, 192 * MIB
ALICE = """\
  alice: {memory: 128M, max_containers: 3, aggregate: {memory_max: 192M, memory_high: 96M}}
"""
# Wants more and more, so that it waits for ever above MemoryHigh.
HUNGRY = "exec tail /dev/zero"


@pytest.fixture(scope="module")
def host(lab: Lab, suite: Suite) -> Iterator[Machine]:
    with lab.prepared(f"pressure-{suite}", suite) as machine:
        machine.script("gpasswd --add alice docker")
        override(machine, ALICE)
        deploy(machine, "--restart-docker")
        # Her slice is there from her first container on.
        machine.must(slice_of_alice(machine).run("--rm", "busybox", "true"))
        yield machine


@pytest.fixture
def machine(host: Machine) -> Iterator[Machine]:
    yield host
    remove_all(host)


def events(machine: Machine, event_type: str) -> list[dict[str, Any]]:
    lines = machine.must(["cat", EVENTS]).splitlines()
    return [each for each in map(json.loads, lines) if each["event_type"] == event_type]


def wait_long(what: str, seconds: int, come: Callable[[], bool]) -> float:
    """Look until something is true; returns after how many seconds it was."""
    begin = time.monotonic()
    while not come():
        assert time.monotonic() - begin < seconds, f"not within {seconds} s: {what}"
        time.sleep(1)
    return time.monotonic() - begin


def wait_for_a_look(machine: Machine) -> None:
    """Wait until the sampler has looked once more."""
    before = machine.run(["cat", PRESSURE]).stdout
    wait_long("another look", LOOK_SECONDS, lambda: machine.run(["cat", PRESSURE]).stdout != before)


def greeting(machine: Machine) -> str:
    """Log alice in; returns what it showed as one line."""
    seen = at_terminal(machine, typed("exit 0"))
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.stdout).split())


def test_the_service_runs_with_little_rights(machine: Machine, evidence: Evidence) -> None:
    wait_long("the first look", LOOK_SECONDS, lambda: machine.run(["test", "-e", PRESSURE]).code == 0)
    assert machine.must(["systemctl", "is-active", "ds01-sampler"]) == "active\n"
    pid = machine.must(["systemctl", "show", "--property=MainPID", "--value", "ds01-sampler"]).strip()
    status = machine.must(["cat", f"/proc/{pid}/status"])
    evidence(" ".join(re.findall(r"^(CapEff:\s+\S+|Groups:.*)$", status, re.MULTILINE)))
    assert re.search(r"^CapEff:\s+0000000000000001$", status, re.MULTILINE), status
    inside = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "--"]
    assert machine.run([*inside, "touch", f"{CGROUP}/ds01.slice/memory.high"]).code != 0
    assert "psi" not in machine.must(["cat", PRESSURE])


def test_a_container_over_its_own_limit_is_named_to_its_owner(machine: Machine, evidence: Evidence) -> None:
    started(machine, "--name=train", "--memory=24M", "busybox", "sh", "-c", hold(64))
    wait_for("the end of the container", lambda: not states(machine)["train"].running)
    took = wait_long("an event", LOOK_SECONDS, lambda: bool(events(machine, "pressure.oom")))
    (event,) = events(machine, "pressure.oom")
    evidence(f"pressure.oom after {took:.0f} s: {json.dumps(event['details'])}")
    assert event["user"] == "alice"
    (container,) = event["details"]["containers"]
    assert (container["name"], container["limit"], container["limit_bytes"]) == ("train", "container", 24 * MIB)
    text = greeting(machine)
    evidence(text[text.index("container train") :])
    assert re.search(r"container train was ended at \d\d:\d\d: out of memory \(its own limit of 24M\)", text)


def test_the_limit_of_all_containers_is_told_where_their_owner_sits(machine: Machine, evidence: Evidence) -> None:
    # A session that only waits, on a terminal as sshd gives it: `mesg y`.
    sits = "chmod g+w $(tty); exec sleep 900"
    session = f"script --quiet --flush --command '{sits}' /tmp/session </dev/null >/dev/null 2>&1 & echo"
    machine.must(["su", "-", "alice", "-c", session])
    alice, before = slice_of_alice(machine), len(events(machine, "pressure.oom"))
    assert (alice.number("memory.high"), alice.number("memory.max")) == (HIGH, MAX)
    alice.start("one", at_signal(hold(80)))
    alice.start("two", at_signal(f"sleep 5; {hold(150)}"))
    # Lifted by hand, or it would stall first; systemd puts it back when a container starts.
    machine.script(f"echo max >{CGROUP}{alice.path}/memory.high")
    give_signal(machine)
    wait_for("the end of the larger one", lambda: not states(machine)["two"].running)
    wait_long("an event", LOOK_SECONDS, lambda: len(events(machine, "pressure.oom")) > before)
    event = events(machine, "pressure.oom")[-1]
    evidence(json.dumps(event["details"]))
    assert (event["user"], event["details"]["limit"]) == ("alice", "account")
    assert "two" in {each["name"] for each in event["details"]["containers"]}
    shown = " ".join(machine.must(["cat", "/tmp/session"]).split())
    evidence(shown)
    assert "DS01: container two was ended at" in shown
    assert "out of memory (all your containers together reached 192M)" in shown


def test_who_is_stuck_is_told(machine: Machine, evidence: Evidence) -> None:
    alice, kills = slice_of_alice(machine), slice_of_alice(machine).counters("memory.events")["oom_kill"]
    alice.start("stuck", HUNGRY)
    took = wait_long("pressure.stalled", STALL_SECONDS, lambda: bool(events(machine, "pressure.stalled")))
    (event,) = events(machine, "pressure.stalled")
    evidence(f"pressure.stalled after {took:.0f} s: {json.dumps(event['details'])}")
    assert (event["user"], event["details"]["stall"]) == ("alice", "notify")
    assert (alice.number("memory.high"), alice.counters("memory.events")["oom_kill"]) == (HIGH, kills)
    text = greeting(machine)
    evidence(text)
    assert "your containers hardly move: together they need more memory than the 96M" in text
    assert "Processes waited for memory in" in text
    remove_all(machine)
    wait_long("its end", STALL_SECONDS, lambda: any(is_end(each) for each in events(machine, "pressure.over")))
    assert "hardly move" not in greeting(machine)


def is_end(event: dict[str, Any]) -> bool:
    return event["details"]["what"] == "stalled"


def test_with_release_the_kernel_ends_it_and_the_limit_is_back(machine: Machine, evidence: Evidence) -> None:
    machine.must(["tee", "--append", POLICY], stdin="\npressure:\n  stall: release\n")
    deploy(machine)
    # As verify says after such a deploy: systemd reads a service's new rights at its next reload.
    machine.script("systemctl daemon-reload; systemctl restart ds01-sampler")
    wait_for_a_look(machine)
    alice, kills = slice_of_alice(machine), slice_of_alice(machine).counters("memory.events")["oom_kill"]
    assert alice.number("memory.high") == HIGH
    alice.start("stuck", HUNGRY)
    took = wait_long("pressure.released", STALL_SECONDS, lambda: bool(events(machine, "pressure.released")))
    evidence(f"pressure.released after {took:.0f} s")
    wait_long("a kill", LOOK_SECONDS, lambda: alice.counters("memory.events")["oom_kill"] > kills)
    wait_long("pressure.restored", LOOK_SECONDS, lambda: bool(events(machine, "pressure.restored")))
    (restored,) = events(machine, "pressure.restored")
    evidence(f"pressure.restored: {json.dumps(restored['details'])}; memory.events {alice.counters('memory.events')}")
    assert (restored["details"]["reason"], alice.number("memory.high")) == ("oom_kill", HIGH)
    last = events(machine, "pressure.oom")[-1]["details"]
    assert (last["limit"], [each["name"] for each in last["containers"]]) == ("account", ["stuck"])
    assert "container stuck was ended at" in greeting(machine)


def test_a_sampler_that_was_killed_leaves_nothing_lifted(machine: Machine, evidence: Evidence) -> None:
    alice, before = slice_of_alice(machine), len(events(machine, "pressure.restored"))
    machine.must(["systemctl", "kill", "--signal=KILL", "ds01-sampler"])
    machine.script(f"echo max >{CGROUP}{alice.path}/memory.high")
    wait_long("the limit to be back", LOOK_SECONDS, lambda: alice.read("memory.high") == f"{HIGH}")
    assert [each["details"]["reason"] for each in events(machine, "pressure.restored")[before:]] == ["start"]
    evidence(machine.must(["journalctl", "--unit=ds01-sampler", "--no-pager", "--output=cat", "--lines=20"]))
