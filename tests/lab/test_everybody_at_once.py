"""Every account at its limits at once, all of them past what users may have together: the machine stays its admin's."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import pytest
from tests.lab.containers import (
    BOMB,
    CGROUP,
    PATIENCE_SECONDS,
    SPIN,
    Slice,
    at_signal,
    give_signal,
    hold,
    mebibytes,
    remove_all,
    states,
    wait_for,
)
from tests.lab.host import HOST_FILE, deploy, edit, override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

MIB = 1 << 20
# Four accounts may have 200M each, all users together 600M of the machine's 2G and half its CPU.
ACCOUNTS = (("student", "alice"), ("student", "bob"), ("student", "student01"), ("researcher", "j.doe@lab-x.org"))
EACH, TOGETHER = 200 * MIB, 600 * MIB
LIMITS = "memory: 200M, max_containers: 1, pids_limit: 40, max_cpus: 0.5"
# Two go up to MemoryMax at once; for the others the policy's own MemoryHigh comes first.
OVERRIDES = f"""\
  alice: {{{LIMITS}, aggregate: {{memory_high: null}}}}
  bob: {{{LIMITS}, aggregate: {{memory_high: null}}}}
  student01: {{{LIMITS}}}
  j.doe@lab-x.org: {{{LIMITS}}}
"""
SAMPLES = 15
# What an admin types, and what somebody who logs in has to wait for.
CONSOLE = ["systemctl", "is-active", "docker.service"]
OUTSIDE = ("system.slice", "user.slice", "init.scope")


@pytest.fixture
def machine(lab: Lab) -> Iterator[Machine]:
    with lab.prepared("everybody") as machine:
        override(machine, OVERRIDES)
        edit(machine, HOST_FILE, "reserve_memory: 256M", f"reserve_memory: {2048 - TOGETHER // MIB}M")
        edit(machine, HOST_FILE, "reserve_cpus: 0.1", "reserve_cpus: 0.5")
        deploy(machine, "--restart-docker")
        yield machine
        remove_all(machine)


class Latencies:
    """How long commands took, in milliseconds."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.console: list[float] = []
        self.login: list[float] = []

    def sample(self) -> None:
        """Run a command as root, outside the users' slice, and one in a login shell; both have to succeed."""
        self.console.append(self._timed(CONSOLE, None))
        self.login.append(self._timed(["true"], "alice"))

    def _timed(self, argv: list[str], user: str | None) -> float:
        begin = time.monotonic()
        self._machine.must(argv, user=user, timeout_seconds=PATIENCE_SECONDS)
        return (time.monotonic() - begin) * 1000

    def __str__(self) -> str:
        return "; ".join(
            f"{name} median {statistics.median(taken):.0f} ms, longest {max(taken):.0f} ms of {len(taken)}"
            for name, taken in (("systemctl is-active", self.console), ("login of alice", self.login))
        )


def test_with_everybody_at_the_limit_users_pay_and_the_machine_does_not(
    machine: Machine, evidence: Callable[[str], None]
):
    root = Slice(machine, "ds01.slice")
    slices = {account: Slice.of(machine, group, account) for group, account in ACCOUNTS}
    for account, each in slices.items():
        name = account.split("@")[0]
        each.start(f"{name}-small", at_signal(hold(90)))
        each.start(f"{name}-large", at_signal(hold(130)))
        each.start(f"{name}-bomb", at_signal(f"({SPIN}) & {BOMB}", "fork"))
        assert each.number("memory.max") == EACH
    assert root.number("memory.max") == TOGETHER
    daemons = machine.must(["systemctl", "show", "--value", "--property=MainPID", "docker", "containerd"])
    quiet, loaded = Latencies(machine), Latencies(machine)
    for _ in range(SAMPLES):
        quiet.sample()

    give_signal(machine)
    # Not an account's limit: that of all together.
    wait_for("the limit of all", lambda: root.counters("memory.events.local")["oom"] > 0)
    give_signal(machine, "fork")
    for _ in range(SAMPLES):
        loaded.sample()

    killed = tell(machine, slices, evidence)
    events, peak = root.counters("memory.events"), root.number("memory.peak")
    evidence(f"ds01.slice: memory.peak {mebibytes(peak)} of {mebibytes(TOGETHER)}, {events}")
    evidence(f"ds01.slice: cpu.max {root.read('cpu.max')}, {root.counters('cpu.stat')['nr_throttled']} times throttled")
    evidence(f"before: {quiet}")
    evidence(f"under load: {loaded}")
    assert peak <= TOGETHER
    assert peak > 0.98 * TOGETHER
    assert killed
    assert events["oom_kill"] >= len(killed)
    # Nothing outside was touched.
    kills = machine.must(["grep", "-w", "oom_kill", *(f"{CGROUP}/{name}/memory.events" for name in OUTSIDE)])
    evidence(f"outside: {', '.join(line.removeprefix(f'{CGROUP}/') for line in kills.splitlines())}")
    assert [line.split()[1] for line in kills.splitlines()] == ["0"] * len(OUTSIDE)
    assert machine.must(["systemctl", "show", "--value", "--property=MainPID", "docker", "containerd"]) == daemons
    assert machine.must(["systemctl", "is-system-running"]) == "running\n"


def tell(machine: Machine, slices: dict[str, Slice], evidence: Callable[[str], None]) -> list[str]:
    """Say what became of every account; return the containers that were killed."""
    for account, each in slices.items():
        events, forks = each.counters("memory.events"), each.counters("pids.events")["max"]
        evidence(
            f"{account}: memory.peak {mebibytes(each.number('memory.peak'))} of 200 MiB, at MemoryMax {events['max']}"
            f" times, at MemoryHigh {events['high']}, killed {events['oom_kill']}; {each.number('pids.current')} of 40"
            f" processes, {forks} forks refused; stood still {each.stall_usec('memory.pressure') / 1e6:.1f} s"
        )
    found = states(machine)
    killed = sorted(name for name, state in found.items() if (state.running, state.exit_code) == (False, 137))
    # A bomb that cannot fork at all ends by itself.
    ended = sorted(name for name, state in found.items() if not state.running and name not in killed)
    there = sorted(name for name, state in found.items() if state.running)
    evidence(f"killed: {', '.join(killed)}; ended: {', '.join(ended) or 'none'}; still there: {', '.join(there)}")
    return killed
