"""The kernel holds an account to what its slice says, whatever its containers do, and leaves everybody else alone."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.lab.containers import (
    BOMB,
    CLIENT,
    SPIN,
    WORK,
    Slice,
    State,
    at_signal,
    give_signal,
    hold,
    mebibytes,
    remove_all,
    states,
    wait_for,
)
from tests.lab.host import deploy, override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

MIB = 1 << 20
# One account a limit, so that one deploy serves all. MemoryHigh is lifted for alice; bob has the policy's own: 90 %.
OVERRIDES = """\
  alice: {memory: 128M, max_containers: 1, aggregate: {memory_high: null}}
  bob: {memory: 128M, max_containers: 2}
  student01: {pids_limit: 40, max_containers: 2}
  j.doe@lab-x.org: {max_cpus: 0.1, max_containers: 2}
"""
TASKS_MAX = 80
CPU_SHARE = 0.2
NEIGHBOUR = "carol"
WINDOW_SECONDS = 5


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Machine]:
    with lab.prepared("limits") as machine:
        override(machine, OVERRIDES)
        deploy(machine, "--restart-docker")
        yield machine


@pytest.fixture
def machine(host: Machine) -> Iterator[Machine]:
    yield host
    remove_all(host)


@pytest.fixture
def neighbour(machine: Machine) -> Slice:
    """Somebody else of the same group, at work."""
    carol = Slice.of(machine, "student", NEIGHBOUR)
    carol.start("neighbour", WORK)
    return carol


def lines(machine: Machine, container: str) -> int:
    """Count what a container has written so far: the steps of its work."""
    return int(machine.script(f"{CLIENT} logs {container} | wc -l"))


def oom_kills(machine: Machine) -> list[tuple[str, str]]:
    """Return what the kernel's log says of each kill: in which group there was no memory, and where the victim ran."""
    return re.findall(r"oom_memcg=([^,]+),task_memcg=([^,]+)", machine.must(["dmesg"]))


SIZES = {"small": 24, "middle": 40, "large": 80}  # MiB; together more than alice may have


def fill(machine: Machine, *names: str) -> Slice:
    """Start alice's containers in this order, each once the one before has its memory; the last one is too much."""
    alice, held = Slice.of(machine, "student", "alice"), 0
    for name in names:
        alice.start(name, hold(SIZES[name]))
        held += SIZES[name] * MIB
        if name != names[-1]:
            wait_for(f"{name} to be full", lambda wanted=held: alice.number("memory.current") > wanted)
    assert (alice.number("memory.max"), alice.read("memory.high")) == (128 * MIB, "max")
    wait_for("the end of the largest", lambda: not states(machine)["large"].running)
    return alice


def tell_of_memory(machine: Machine, alice: Slice, evidence: Callable[[str], None]) -> dict[str, State]:
    found = states(machine)
    evidence(f"{sum(SIZES.values())} MiB wanted, memory.peak {mebibytes(alice.number('memory.peak'))} of 128 MiB")
    evidence(f"memory.events: {alice.counters('memory.events')}")
    evidence("; ".join(f"{name}: {state}" for name, state in sorted(found.items())))
    return found


def test_past_memory_max_the_kernel_ends_one_container_of_the_account(
    machine: Machine, neighbour: Slice, evidence: Callable[[str], None]
):
    alice = fill(machine, "small", "middle", "large")
    begun = lines(machine, "neighbour")
    found = tell_of_memory(machine, alice, evidence)
    (kill,) = oom_kills(machine)
    evidence(f"kernel: no memory in {kill[0]}, victim in {kill[1]}")
    ended = machine.must([CLIENT, "inspect", "--format", "{{.Id}}", "large"]).strip()
    assert kill == (alice.path, f"{alice.path}/docker-{ended}.scope")
    assert found["large"].exit_code == 137
    assert {name for name, state in found.items() if state.running} == {"small", "middle", "neighbour"}
    wait_for("the neighbour's work", lambda: lines(machine, "neighbour") > begun)


def test_past_memory_max_not_the_one_that_asked_is_ended_but_the_largest(
    machine: Machine, neighbour: Slice, evidence: Callable[[str], None]
):
    """Now the smallest comes last.

    On the lab's one CPU it mostly gets its turn before the dying one has given its memory back, and then the kernel
    ends another one of the account too. Whoever that is, the neighbour it is not.
    """
    alice = fill(machine, "large", "middle", "small")
    begun = lines(machine, "neighbour")
    found = tell_of_memory(machine, alice, evidence)
    assert found["large"].exit_code == 137
    wait_for("the neighbour's work", lambda: lines(machine, "neighbour") > begun)
    assert states(machine)["neighbour"].running
    assert neighbour.counters("memory.events")["oom_kill"] == 0


def test_past_memory_high_the_account_crawls_and_nothing_is_killed(
    machine: Machine, neighbour: Slice, evidence: Callable[[str], None]
):
    """No swap: what is held cannot go anywhere, so whoever in the slice wants a page more has to wait."""
    bob = Slice.of(machine, "student", "bob")
    bob.start("bob-works", WORK)
    assert (bob.number("memory.max"), bob.number("memory.high")) == (256 * MIB, 230 * MIB)
    rest = pace(machine, bob)
    for name in ("bob-one", "bob-two"):
        bob.start(name, hold(120))
    wait_for("more than MemoryHigh", lambda: bob.counters("memory.events")["high"] > 0)

    crowded = pace(machine, bob)

    evidence(f"at rest: {rest}")
    evidence(f"{mebibytes(bob.number('memory.current'))} of MemoryHigh 230 and MemoryMax 256 MiB: {crowded}")
    evidence(f"memory.pressure: {bob.read('memory.pressure').splitlines()[1]}")
    begin = time.monotonic()
    machine.must([CLIENT, "rm", "--force", "bob-one"])
    evidence(f"ended from outside, docker rm of one took {time.monotonic() - begin:.1f} s")
    assert crowded.high > 0
    assert crowded.stalled_usec > WINDOW_SECONDS * 1_000_000 / 10
    assert rest.stalled_usec < crowded.stalled_usec
    assert crowded.steps / rest.steps < 0.5 * crowded.neighbours_steps / rest.neighbours_steps
    assert bob.counters("memory.events")["oom_kill"] == 0
    found = states(machine)
    assert {name: state.running for name, state in found.items()} == dict.fromkeys(
        ("bob-works", "bob-two", "neighbour"), True
    )
    wait_for("room again", lambda: bob.number("memory.current") < bob.number("memory.high"))


@dataclass(frozen=True)
class Pace:
    """How an account and its neighbour got on for a while.

    Attributes:
        steps, neighbours_steps: of their work.
        stalled_usec: for how long the whole slice stood still for want of memory.
        high: how often a process was made to wait at MemoryHigh.
    """

    seconds: float
    steps: int
    neighbours_steps: int
    stalled_usec: int
    high: int

    def __str__(self) -> str:
        return (
            f"bob {self.steps / self.seconds:.0f} and his neighbour {self.neighbours_steps / self.seconds:.0f} steps/s;"
            f" bob's slice stood still for {self.stalled_usec / 1e6:.2f} of {self.seconds:.1f} s,"
            f" memory.events high + {self.high}"
        )


def pace(machine: Machine, bob: Slice) -> Pace:
    def now() -> tuple[float, int, int, int, int]:
        seen = lines(machine, "bob-works"), lines(machine, "neighbour")
        return time.monotonic(), *seen, bob.stall_usec("memory.pressure"), bob.counters("memory.events")["high"]

    before = now()
    time.sleep(WINDOW_SECONDS)
    after = now()
    return Pace(*(late - early for early, late in zip(before, after, strict=True)))


def test_tasks_max_stops_a_fork_bomb_over_all_containers(machine: Machine, evidence: Callable[[str], None]):
    student = Slice.of(machine, "student", "student01")
    for name in ("bomb-one", "bomb-two"):
        student.start(name, at_signal(BOMB))
    assert student.number("pids.max") == TASKS_MAX
    give_signal(machine)
    wait_for("as many processes as may be", lambda: student.number("pids.current") == TASKS_MAX)

    counts = []
    for _ in range(10):
        counts.append(student.number("pids.current"))
        time.sleep(0.2)
    shares = machine.script(f"cat /sys/fs/cgroup{student.path}/docker-*.scope/pids.current").split()
    further = machine.run(student.run("busybox", "true"))
    other = machine.run(Slice.of(machine, "student", NEIGHBOUR).run("busybox", "echo", "alive"))

    evidence(f"pids.current {min(counts)} to {max(counts)}, {' and '.join(shares)} in the two containers")
    evidence(f"pids.events: {student.counters('pids.events')}")
    evidence(f"a third container of the account: exit {further.code}, {further.words.splitlines()[0]}")
    evidence(f"a container of {NEIGHBOUR}: exit {other.code}, {other.stdout.strip()}")
    assert max(counts) <= TASKS_MAX
    assert min(map(int, shares)) > 1
    assert student.counters("pids.events")["max"] > 0
    assert (other.code, other.stdout) == (0, "alive\n")
    assert machine.must(["systemctl", "is-system-running"]) == "running\n"


def test_cpu_quota_holds_over_all_containers(machine: Machine, evidence: Callable[[str], None]):
    """Against a neighbour who wants as much and has no quota that would matter."""
    doe, carol = Slice.of(machine, "researcher", "j.doe@lab-x.org"), Slice.of(machine, "student", NEIGHBOUR)
    for owner, name in ((doe, "doe-one"), (doe, "doe-two"), (carol, "carol-one")):
        owner.start(name, SPIN)
    assert doe.read("cpu.max") == f"{int(CPU_SHARE * 100_000)} 100000"
    begin, before, others = time.monotonic(), doe.counters("cpu.stat"), carol.counters("cpu.stat")
    time.sleep(WINDOW_SECONDS)
    after, others_after = doe.counters("cpu.stat"), carol.counters("cpu.stat")
    wall_usec = (time.monotonic() - begin) * 1e6

    used = (after["usage_usec"] - before["usage_usec"]) / wall_usec
    theirs = (others_after["usage_usec"] - others["usage_usec"]) / wall_usec
    throttled = after["nr_throttled"] - before["nr_throttled"]
    evidence(
        f"quota {CPU_SHARE:.0%}: two spinning containers had {used:.1%} of one CPU,"
        f" throttled in {throttled} of {after['nr_periods'] - before['nr_periods']} periods"
    )
    evidence(f"without a quota that matters: one spinning container had {theirs:.1%}")
    assert throttled > 0
    assert used < 1.5 * CPU_SHARE
    assert theirs > 1.5 * used
