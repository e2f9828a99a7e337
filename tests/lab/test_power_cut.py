"""The power goes at random points of a deploy: after boot and recovery all of it is old or all of it is new."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.lab.machine.errors import MachineStoppedError
from tests.lab.machine.jobs import Command

if TYPE_CHECKING:
    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

INV = "/srv/ds01/inv"
POLICY = "/srv/ds01/inventory/resource-limits.yaml"
MODULE = "/srv/ds01/scripts/ds01/core/override.py"
JOURNAL = "/var/lib/ds01/deploy/journal.json"
FIRST_CUTS, LATER_CUTS = 4, 16
SEED = int(os.environ.get("DS01_LAB_SEED", time.time_ns() % 2**32))
# What a deploy puts on a host. Not the deployer's own state, which verify holds it against, nor what it lays beside
# its targets, which no program reads.
SNAPSHOT = """
{ find /etc/ds01 /etc/systemd/system/ds01* /etc/systemd/system/*.wants/ds01* /etc/docker/daemon.json \
    /etc/tmpfiles.d/ds01.conf /etc/logrotate.d/ds01 /usr/local/bin /usr/local/sbin /opt/ds01/current \
    -not -type d -not -name '*.ds01-new~' -not -name '*.ds01-old~' 2>/dev/null || true; } |
    sort | while read -r path; do
    if [ -L "$path" ]; then echo "$path -> $(readlink "$path")"; else sha256sum "$path"; fi
done
"""
# Files are staged and put in place within some 50 ms, too short to be hit: from the moment the journal is there until
# it says that all files are in place, the deploy gets a twentieth of the processor.
DEPLOY = f"""
systemd-run --quiet --scope --unit=slow {INV} deploy --yes --restart-docker >/dev/null &
cgroup=/sys/fs/cgroup/system.slice/slow.scope
until [ -e {JOURNAL} ]; do :; done
echo 1 >$cgroup/cgroup.freeze; echo '10000 200000' >$cgroup/cpu.max; echo 0 >$cgroup/cgroup.freeze
echo staging
until grep -q -E 'applied|finishing' {JOURNAL} 2>/dev/null || ! [ -e {JOURNAL} ]; do sleep 0.02; done
echo 'max 100000' >$cgroup/cpu.max || true
echo applied
wait %1
echo ended
"""
PHASES = ("staging", "applied", "ended")
Evidence = Callable[[str], None]


class Run:
    """A deploy that goes on in the background, and how far it has come."""

    def __init__(self, machine: Machine) -> None:
        self.reached = {phase: threading.Event() for phase in PHASES}
        self._said = bytearray()
        self._machine = machine

    def hear(self, data: bytes) -> None:
        self._said.extend(data)
        for phase, event in self.reached.items():
            if f"{phase}\n".encode() in self._said:
                event.set()

    def __call__(self) -> None:
        with suppress(MachineStoppedError):
            self._machine.stream(Command(["bash", "-c", DEPLOY], timeout_seconds=300), self.hear, self.hear)
        for event in self.reached.values():
            event.set()


def deploy(machine: Machine) -> dict[str, float]:
    """Deploy, and return how long each phase went on, in seconds: until all files were in place, and from then on."""
    run = Run(machine)
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(run)
        times = []
        for phase in PHASES:
            assert run.reached[phase].wait(300)
            times.append(time.monotonic())
        going.result(60)
    return {"staging": times[1] - times[0], "applied": times[2] - times[1]}


def deploy_and_cut(machine: Machine, phase: str, seconds: float) -> str:
    """Cut the power so long after a phase began; returns when that was, in words."""
    run = Run(machine)
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(run)
        assert run.reached[phase].wait(300)
        time.sleep(seconds)
        last = [name for name in PHASES if run.reached[name].is_set()][-1]
        machine.cut()
        going.result(60)
    return f"{seconds:.2f} s after {phase} began" + ("" if last == phase else f", {last} had begun")


def change(machine: Machine, *, newer: bool) -> None:
    """Write the inventory and the code of one of the two states: another limit, another release of the runtime."""
    gigabytes = 128 if newer else 96
    machine.script(f"sed -i -E 's/memory_max: (96|128)G( .*32G x 3)/memory_max: {gigabytes}G\\2/' {POLICY}")
    mark = f"echo '# newer' >>{MODULE}" if newer else "true"
    machine.script(f"sed -i '/^# newer/d' {MODULE}; {mark}; sync")


def snapshot(machine: Machine) -> str:
    return machine.script(SNAPSHOT)


def recovered(machine: Machine) -> str:
    """Return what recovery said in this boot."""
    said = machine.script("journalctl -b -u ds01-recover.service -o cat | grep '^An interrupted' || true").strip()
    return said or "nothing to recover"


def assert_sound(machine: Machine) -> None:
    """Nothing is left over, and the host is what its own manifest says."""
    assert machine.run(["test", "-e", JOURNAL]).code == 1
    assert machine.script("find / -xdev -name '*.ds01-new~' -o -xdev -name '*.ds01-old~'") == ""
    done = machine.run(["ds01", "verify"])
    assert done.code == 0, done.stdout
    assert machine.must(["systemctl", "is-active", "docker"]) == "active\n"
    assert machine.script("systemctl list-units --failed --plain --no-legend") == ""
    assert machine.must(["systemctl", "is-system-running"]) == "running\n"


def test_a_power_cut_in_a_later_deploy_leaves_the_old_or_the_new(
    lab: Lab, evidence: Evidence, share: Callable[[int], int]
) -> None:
    dice = random.Random(SEED)
    with lab.prepared("cuts") as machine:
        states = {}
        for newer in (False, True):
            change(machine, newer=newer)
            lengths = deploy(machine)
            assert_sound(machine)
            states[newer] = snapshot(machine)
        assert states[False] != states[True]
        evidence(f"seed {SEED}; uncut: {lengths['staging']:.2f} s until all files are in place, slowed down,")
        evidence(f"then {lengths['applied']:.2f} s for handlers and checks")
        present, seen = True, set()
        for number in range(1, share(LATER_CUTS) + 1):
            change(machine, newer=not present)
            phase = "applied" if number % 4 == 0 else "staging"
            point = deploy_and_cut(machine, phase, dice.uniform(0, lengths[phase]))
            machine.up()
            there = snapshot(machine)
            what = "new" if there == states[not present] else "old" if there == states[present] else "MIXED"
            evidence(f"cut {number} {point}: {what}; {recovered(machine)}")
            assert what != "MIXED"
            assert_sound(machine)
            seen.add(what)
            present = there == states[True]
        # A few say nothing of when they come.
        assert share(LATER_CUTS) < LATER_CUTS or seen == {"old", "new"}, (
            "all cuts came too early, or all too late, to show anything"
        )


def test_a_power_cut_in_the_first_deploy_leaves_nothing_or_all_of_it(
    lab: Lab, evidence: Evidence, share: Callable[[int], int]
) -> None:
    dice = random.Random(SEED + 1)
    with lab.prepared("first") as machine:
        before = snapshot(machine)
        lengths = deploy(machine)
        after = snapshot(machine)
    for number in range(1, share(FIRST_CUTS) + 1):
        with lab.prepared(f"first{number}") as machine:
            point = deploy_and_cut(machine, "staging", dice.uniform(0, lengths["staging"]))
            machine.up()
            there = snapshot(machine)
            begun = machine.run(["test", "-e", JOURNAL]).ok
            what = "new" if there == after else "old" if there == before else "begun" if begun else "MIXED"
            evidence(f"cut {number} {point}: {what}; {recovered(machine)}")
            if begun:
                # The recovery service was not in place yet, and it comes before anything of the policy.
                added = set(there.splitlines()) - set(before.splitlines())
                assert all("ds01-recover" in line or "/opt/ds01" in line for line in added), added
                assert "interrupted half way" in machine.run([INV, "plan"]).stdout
            else:
                assert what != "MIXED"
            final = machine.run([INV, "deploy", "--yes", "--restart-docker"], timeout_seconds=300)
            assert final.code == 0, final.stderr
            assert_sound(machine)
            assert snapshot(machine) == after
            assert machine.script("ls -A /opt/ds01/releases").count("\n") == 1
