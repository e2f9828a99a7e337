"""Weeks of a busy machine in 100,000 sweeps, with sleeping, jumping clocks, boots and failures: what must always hold.

The world knows what containers really did; the rules see what a machine would show them. Seeds are fixed: a failure
names the one to run again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import pytest
from tests.unit.runtime.lifecycle.subjects import DAY, HOUR, MINUTE, NOON, RULES, container, id_of

from ds01.runtime.containers.container import State
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.containers.start import Start
from ds01.runtime.lifecycle import idle_memory, runtime_limit, stale_containers, unmanaged
from ds01.runtime.lifecycle.decision import Action, Decision, Moment, Subject, Times, last_grace
from ds01.runtime.lifecycle.idle import WARNED_SHARE, IdleSight, sweep_idle
from ds01.runtime.lifecycle.idle_memory import GpuSign, IdleMemory
from ds01.runtime.lifecycle.runtime_limit import RuntimeMemory, sweep_runtime
from ds01.runtime.lifecycle.stale_containers import KeptMemory, sweep_stale
from ds01.runtime.lifecycle.unmanaged import StrangerMemory, sweep_unmanaged

SWEEPS: Final = 500
SEEDS: Final = {"idle": 100, "runtime": 40, "stale": 30, "unmanaged": 30}
assert sum(SEEDS.values()) * SWEEPS == 100_000
TIMES: Final = [
    Times(30 * MINUTE, 24 * HOUR, 15 * MINUTE, 30 * MINUTE),
    Times(4 * HOUR, 2 * HOUR, HOUR, 12 * HOUR),
    Times(0, 0, 0, 0),
    Times(None, None, None, None),
]


# --- The world --------------------------------------------------------------------------------------------------------


@dataclass
class Clocks:
    """All clocks of a machine; `true` is how long it was awake in all, over every boot."""

    chance: random.Random
    true: float = 0.0
    boot: int = 1
    awake: float = 7 * DAY
    slept: float = 0.0
    wall: datetime = NOON

    @property
    def moment(self) -> Moment:
        return Moment(self.wall, f"boot-{self.boot}", self.awake + self.slept, self.awake)

    def go(self, seconds: float) -> None:
        self.true += seconds
        self.awake += seconds
        self.wall += timedelta(seconds=seconds)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.wall += timedelta(seconds=seconds)

    def reboot(self) -> None:
        self.boot, self.awake, self.slept = self.boot + 1, 60.0, 0.0
        self.wall += timedelta(seconds=self.chance.choice([60, HOUR, 3 * DAY]))

    def step(self) -> float:
        """Let time go on until the next sweep; returns how long the machine was awake."""
        seconds = self.chance.choices(
            [30 * MINUTE, self.chance.uniform(0.1, 90), self.chance.uniform(60, 3 * HOUR), 2 * DAY], [70, 18, 10, 2]
        )[0]
        self.go(seconds)
        event = self.chance.random()
        if event < 0.06:
            self.sleep(self.chance.choice([10, 10 * MINUTE, 8 * HOUR, 3 * DAY]))
        elif event < 0.08:
            # Daylight saving by somebody who keeps local time in the hardware's clock, and worse.
            # Nobody sets one to the microsecond: two starts would be at the same time.
            set_by = self.chance.choice([-HOUR, HOUR, -30, 400 * DAY, -200 * DAY]) + self.chance.random()
            self.wall += timedelta(seconds=set_by)
        return seconds


@dataclass
class Body:
    """One container as it really is. Times are Clocks.true.

    Attributes:
        born: when its first process started, by all clocks.
        quiet_since: since when it did nothing that counts, as far as sweeps could be told.
        asked_wall: when it was started by somebody; its restart policy may have brought it back since.
        born_boot: when its present process was started.
        waits: whether it has ended just now, and waits for its restart policy.
        warned: when its owner was really told, in this run and since it was busy last.
    """

    name: str
    user: str
    times: Times
    left_alone: bool
    has_gpu: bool
    state: State
    started_wall: datetime
    finished_wall: datetime | None
    asked_wall: datetime
    born: float
    born_boot: float
    quiet_since: float
    restarts: int = 0
    waits: bool = False
    cpu: int = 0
    net: int = 0
    busy_at: datetime | None = None
    warned: list[float] = field(default_factory=list)
    ended: float | None = None
    limit_told: float | None = None


@dataclass
class World:
    """Some containers on one machine."""

    seed: int
    bodies: dict[str, Body] = field(default_factory=dict)
    watched: datetime = NOON - timedelta(days=9)
    calm: bool = False

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clocks = Clocks(self.chance)
        self.number = 0
        for _ in range(3):
            self.add()

    def add(self, state: State = State.RUNNING) -> Body:
        self.number += 1
        body = Body(
            name=f"c{self.number}",
            user=self.chance.choice(["alice", "bob"]),
            times=self.chance.choice(TIMES),
            left_alone=self.chance.random() < 0.15,
            has_gpu=self.chance.random() < 0.5,
            state=state,
            started_wall=self.clocks.wall,
            finished_wall=None,
            asked_wall=self.clocks.wall,
            born=self.clocks.true,
            born_boot=self.clocks.moment.boot_seconds,
            quiet_since=self.clocks.true,
        )
        self.bodies[id_of(body.name)] = body
        return body

    def start(self, body: Body) -> None:
        """Begin a new run."""
        moment = self.clocks.moment
        body.state, body.started_wall, body.finished_wall = State.RUNNING, moment.now, None
        body.asked_wall, body.restarts, body.waits = moment.now, 0, False
        body.born, body.born_boot, body.quiet_since = self.clocks.true, moment.boot_seconds, self.clocks.true
        body.warned.clear()
        body.limit_told = None

    def come_back(self, begun: Moment) -> None:
        """Have restart policies bring some back right after the last sweep, as often as they like."""
        for body in self.bodies.values():
            waited, runs = body.waits, body.state is State.RUNNING
            body.waits = runs and self.chance.random() < 0.1
            if runs and (waited or self.chance.random() < 0.3):
                body.started_wall, body.born_boot, body.cpu, body.net = begun.now, begun.boot_seconds, 0, 0
                body.restarts += self.chance.choice([1, 1, 50])

    def stop(self, body: Body) -> None:
        body.waits = False
        body.state, body.finished_wall, body.ended = State.EXITED, self.clocks.wall, self.clocks.true
        body.warned.clear()

    def churn(self, *, starts: float) -> None:
        """Now and then the machine boots, and containers are made, removed and started."""
        if self.chance.random() < 0.005:
            self.reboot()
        if self.chance.random() < 0.05:
            self.add()
        if len(self.bodies) > 5:
            self.bodies.pop(next(iter(self.bodies)))
        for body in self.bodies.values():
            if self.chance.random() < starts:
                self.start(body)

    def reboot(self) -> None:
        """All containers end; some come back."""
        for body in self.bodies.values():
            if body.state is State.RUNNING:
                self.stop(body)
        self.clocks.reboot()
        self.watched = self.clocks.wall
        for body in self.bodies.values():
            if body.state is State.EXITED and self.chance.random() < 0.5:
                self.start(body)

    def subject(self, key: str, body: Body) -> Subject:
        created = State.CREATED is body.state
        state = State.RESTARTING if body.waits else body.state
        found = container(
            body.name,
            state,
            restart_count=body.restarts + body.waits,
            created_at=body.started_wall,
            started_at=None if created else body.started_wall,
            finished_at=body.finished_wall,
        )
        owner = Attribution(body.user, Evidence.LABEL)
        kind = Kind.DOCKER if body.name.startswith("u") else Kind.MANAGED
        of_site = body.left_alone and body.has_gpu
        # Of some the events daemon did not see who asked for the start.
        last = Start(
            None if body.name.endswith("7") and body.restarts else body.asked_wall, body.restarts, body.started_wall
        )
        start = None if created else last
        seen = Seen(found, kind, owner, admitted=True, of_site=of_site, first_seen=NOON, start=start)
        age = self.clocks.moment.boot_seconds - body.born_boot if state is State.RUNNING else None
        return Subject(seen, body.times, protected=body.left_alone and not body.has_gpu, age_seconds=age)

    def tell(self, decision: Decision) -> bool:
        """Try to tell an owner; it does not always work."""
        return self.calm or self.chance.random() < 0.9


# --- Idle -------------------------------------------------------------------------------------------------------------


def live(world: World, seconds: float) -> dict[str, IdleSight]:
    """Let every container do something since the last sweep, and return what can be seen of it."""
    again = not world.calm and world.chance.random() < 0.02
    if again:
        # Who watches GPUs was restarted, and knows nothing of before.
        world.watched = world.clocks.wall
    sights = {}
    for key, body in world.bodies.items():
        busy = not world.calm and body.state is State.RUNNING and world.chance.random() < 0.25
        kind = world.chance.choice(["cpu", "net", "gpu"] if body.has_gpu else ["cpu", "net"]) if busy else ""
        body.waits = body.waits and kind in {"", "gpu"}
        body.cpu += int(seconds * 1e6 * (0.5 if kind == "cpu" else 0.01))
        body.net += int(seconds * (50_000 if kind == "net" else 100))
        if kind == "gpu":
            # A sighting every 30 s; the wall clock may show any time by now.
            body.busy_at = world.clocks.wall - timedelta(seconds=world.chance.uniform(0, min(seconds, 60)))
        body.busy_at = None if again else body.busy_at
        blind = not world.calm and not body.waits and world.chance.random() < 0.02
        kept = not world.calm and not body.waits and world.chance.random() < 0.02
        # Of less than a second nothing can be said: it becomes a part of the next look.
        if seconds >= 1 and (busy or blind or kept):
            body.quiet_since = world.clocks.true
            body.warned.clear()
        gpus = {"MIG-1": GpuSign(body.busy_at, world.watched)} if body.has_gpu else {}
        cpu = "unreadable" if blind or body.waits else body.cpu
        keep_alive = None if body.waits else kept
        sights[key] = IdleSight(world.subject(key, body), cpu, body.net, gpus, keep_alive=keep_alive)
    return sights


def check_idle_stop(world: World, decision: Decision, *, demand: float) -> None:
    body = world.bodies[decision.container_id]
    timeout = body.times.idle_timeout
    assert timeout is not None
    assert not body.left_alone
    assert body.state is State.RUNNING
    if body.has_gpu and demand >= RULES.high_demand_threshold:
        timeout *= RULES.high_demand_factor
    now = world.clocks.true
    assert body.warned, "it was not warned"
    assert now - body.warned[0] >= timeout * WARNED_SHARE - 1e-6
    assert body.warned[0] < now
    assert now - body.quiet_since >= timeout - 1e-6, "it was busy"
    assert now - body.born >= RULES.start_grace_seconds - 1e-6, "it is in its grace"


def idle_sweep(world: World, memory: IdleMemory) -> IdleMemory:
    """One sweep and what it does."""
    begun, seconds = world.clocks.moment, world.clocks.step()
    world.come_back(begun)
    if not world.calm:
        world.churn(starts=0.05)
    demand = world.chance.random()
    sights = live(world, seconds)
    sweep = sweep_idle(list(sights.values()), memory, RULES, world.clocks.moment, demand=demand)
    done = []
    for each in sweep.decisions.wanted:
        body = world.bodies[each.container_id]
        assert not body.left_alone
        if each.action is Action.STOP:
            check_idle_stop(world, each, demand=demand)
            if world.calm or world.chance.random() < 0.9:
                world.stop(body)
                done.append(each)
        elif world.tell(each):
            body.warned.append(world.clocks.true)
            done.append(each)
    lost = not world.calm and world.chance.random() < 0.005
    return IdleMemory() if lost else idle_memory.settle(sweep.memory, done, world.clocks.moment)


@pytest.mark.parametrize("seed", range(SEEDS["idle"]))
def test_idle(seed: int):
    world, memory = World(seed), IdleMemory()
    for _ in range(SWEEPS - 30):
        memory = idle_sweep(world, memory)
    world.calm = True
    for _ in range(30):
        memory = idle_sweep(world, memory)
    assert [
        body.name
        for body in world.bodies.values()
        if body.state is State.RUNNING and not body.left_alone and body.times.idle_timeout is not None
    ] == []


# --- max_runtime ------------------------------------------------------------------------------------------------------


def check_runtime_stop(world: World, body: Body) -> None:
    limit = body.times.max_runtime
    assert limit is not None
    assert not body.left_alone
    assert world.clocks.true - body.born >= limit - 1e-6, "its time is not over"
    assert body.warned, "it was not warned"
    assert body.limit_told == limit, "it was warned of another end"
    assert world.clocks.true - body.warned[0] >= last_grace(limit) - 1e-6


def runtime_sweep(world: World, memory: RuntimeMemory) -> RuntimeMemory:
    begun = world.clocks.moment
    world.clocks.step()
    world.come_back(begun)
    if not world.calm:
        world.churn(starts=0.01)
        for body in world.bodies.values():
            if world.chance.random() < 0.01:
                body.times = world.chance.choice(TIMES)
    subjects = [world.subject(key, body) for key, body in world.bodies.items()]
    sweep = sweep_runtime(subjects, memory, RULES, world.clocks.moment)
    done = []
    for each in sweep.decisions.wanted:
        body = world.bodies[each.container_id]
        assert not body.left_alone
        if each.action is Action.STOP:
            check_runtime_stop(world, body)
            if world.calm or world.chance.random() < 0.9:
                world.stop(body)
                done.append(each)
        elif world.tell(each):
            if body.limit_told != body.times.max_runtime:
                body.warned.clear()
            body.limit_told = body.times.max_runtime
            body.warned.append(world.clocks.true)
            done.append(each)
    lost = not world.calm and world.chance.random() < 0.005
    return RuntimeMemory() if lost else runtime_limit.settle(sweep.memory, done, world.clocks.moment)


@pytest.mark.parametrize("seed", range(SEEDS["runtime"]))
def test_max_runtime(seed: int):
    world, memory = World(seed), RuntimeMemory()
    for _ in range(SWEEPS - 120):
        memory = runtime_sweep(world, memory)
    world.calm = True
    for _ in range(120):
        memory = runtime_sweep(world, memory)
    assert [
        body.name
        for body in world.bodies.values()
        if body.state is State.RUNNING and not body.left_alone and body.times.max_runtime is not None
    ] == []


# --- Stopped containers -----------------------------------------------------------------------------------------------


def start_and_stop(world: World) -> None:
    """Containers are made, end, and are started again; some do both between two sweeps."""
    world.churn(starts=0)
    if world.chance.random() < 0.1:
        world.add(State.CREATED).ended = world.clocks.true
    for body in world.bodies.values():
        if body.state is not State.RUNNING and world.chance.random() < 0.1:
            world.start(body)
        if body.state is State.RUNNING and world.chance.random() < 0.2:
            world.stop(body)


def stale_sweep(world: World, memory: KeptMemory) -> KeptMemory:
    world.clocks.step()
    if not world.calm:
        start_and_stop(world)
    subjects = [world.subject(key, body) for key, body in world.bodies.items()]
    sweep = sweep_stale(subjects, memory, RULES, world.clocks.moment)
    done = []
    for each in sweep.decisions.wanted:
        body = world.bodies[each.container_id]
        assert not body.left_alone
        assert body.state is not State.RUNNING
        if each.action is Action.REMOVE:
            hold = RULES.never_started_hold_seconds if body.state is State.CREATED else body.times.container_hold
            assert hold is not None
            assert body.ended is not None
            assert world.clocks.true - body.ended >= hold - 1e-3, "its hold is not over"
            assert body.warned, "its owner was not told"
            if world.calm or world.chance.random() < 0.9:
                world.bodies.pop(each.container_id)
                done.append(each)
        elif world.tell(each):
            body.warned.append(world.clocks.true)
            done.append(each)
    lost = not world.calm and world.chance.random() < 0.01
    return KeptMemory() if lost else stale_containers.settle(sweep.memory, done)


@pytest.mark.parametrize("seed", range(SEEDS["stale"]))
def test_stopped_containers(seed: int):
    world, memory = World(seed), KeptMemory()
    for _ in range(SWEEPS - 120):
        memory = stale_sweep(world, memory)
    world.calm = True
    # A clock that is years behind would keep them for years; somebody sets it right.
    world.clocks.wall = NOON + timedelta(days=30_000)
    for _ in range(120):
        memory = stale_sweep(world, memory)
    assert [
        body.name
        for body in world.bodies.values()
        if body.state is not State.RUNNING
        and not body.left_alone
        and (body.state is State.CREATED or body.times.container_hold is not None)
    ] == []


# --- Containers that DS01 did not make --------------------------------------------------------------------------------


def unmanaged_sweep(world: World, memory: StrangerMemory) -> StrangerMemory:
    world.clocks.step()
    if not world.calm:
        world.churn(starts=0)
        if world.chance.random() < 0.1:
            made = world.add()
            world.bodies.pop(id_of(made.name))
            made.name = f"u{world.number}"
            world.bodies[id_of(made.name)] = made
    subjects = [world.subject(key, body) for key, body in world.bodies.items()]
    sweep = sweep_unmanaged(subjects, memory, RULES, world.clocks.moment)
    done = []
    for each in sweep.decisions.wanted:
        body = world.bodies[each.container_id]
        assert not body.left_alone
        assert body.name.startswith("u")
        if each.action is Action.STOP:
            # Alerts outlive a boot, and the container's end by it.
            assert len(body.warned) >= 2
            assert world.clocks.true - body.warned[0] >= RULES.unmanaged_grace_seconds - 1e-3
            world.stop(body)
            done.append(each)
        elif world.tell(each):
            body.warned.append(world.clocks.true)
            done.append(each)
    lost = not world.calm and world.chance.random() < 0.005
    return StrangerMemory() if lost else unmanaged.settle(sweep.memory, done)


@pytest.mark.parametrize("seed", range(SEEDS["unmanaged"]))
def test_unmanaged(seed: int, monkeypatch: pytest.MonkeyPatch):
    world, memory = World(seed), StrangerMemory()
    monkeypatch.setattr(World, "stop", keep_warnings)
    monkeypatch.setattr(World, "start", lambda self, body: setattr(body, "state", State.RUNNING))
    for _ in range(SWEEPS - 200):
        memory = unmanaged_sweep(world, memory)
    world.calm = True
    for _ in range(200):
        memory = unmanaged_sweep(world, memory)
    assert [
        body.name
        for body in world.bodies.values()
        if body.name.startswith("u") and body.state is State.RUNNING and not body.left_alone
    ] == []


def keep_warnings(world: World, body: Body) -> None:
    body.state = State.EXITED
