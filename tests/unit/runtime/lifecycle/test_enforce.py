"""Acting on decisions: looked at right before, done, seen to be done, told; one that fails keeps no other from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.lifecycle.subjects import DAY, NOON, container, id_of

from ds01.core.events import Event, EventLog, read_events
from ds01.core.value import replace
from ds01.runtime.containers.container import Container, State
from ds01.runtime.lifecycle.control import ControlError
from ds01.runtime.lifecycle.decision import Action, Decision, LifecycleRule, Standing
from ds01.runtime.lifecycle.enforce import End, Enforcer, Outcome
from ds01.runtime.lifecycle.notices import Weight
from ds01.runtime.lifecycle.notify import Told


def decision(action: Action, name: str = "web", **changes: Any) -> Decision:
    settings: dict[str, Any] = {
        "user": "alice",
        "rule": LifecycleRule.IDLE,
        "reason": "idle for 2h",
        "text": "it is idle",
        "key": f"idle:{id_of(name)}",
        "keep_seconds": DAY,
        "state_since": NOON,
        "grace_seconds": 30,
    } | changes
    return Decision(id_of(name), name, action=action, **settings)


@dataclass
class World:
    """Docker, as it answers and obeys; accounts, as they can be told; and what came of it."""

    folder: Path
    containers: dict[str, Container] = field(default_factory=dict)
    obeys: bool = True
    told: list[tuple[str, str, str]] = field(default_factory=list)
    kept_seconds: list[float] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    restated: list[tuple[str, str, str, float]] = field(default_factory=list)
    cleared: list[tuple[str, str]] = field(default_factory=list)
    deaf: tuple[str, ...] = ()
    busy: Callable[[Decision, Container], str | None] = field(default=lambda _, __: None)
    done: list[str] = field(default_factory=list)

    def has(self, *containers: Container) -> World:
        self.containers = {each.id: each for each in containers}
        return self

    def stop(self, container_id: str, *, grace_seconds: float) -> None:
        there = self.containers[container_id]
        self.done.append(f"stop {there.name} {grace_seconds:g}")
        if "broken" in there.name:
            raise ControlError("the Docker engine did not stop it", "no exit event")
        if self.obeys:
            self.containers[container_id] = replace(there, state=State.EXITED, finished_at=NOON)

    def remove(self, container_id: str) -> None:
        self.done.append(f"remove {self.containers[container_id].name}")
        if self.obeys:
            self.containers.pop(container_id)

    def tell(self, user: str, text: str, *, key: str, keep_seconds: float, weight: Weight) -> Told:
        if user in self.deaf:
            return Told(remarks=("the disk is full",))
        self.told.append((user, text, key))
        self.kept_seconds.append(keep_seconds)
        self.weights.append(weight)
        return Told(kept=True)

    def restate(self, user: str, text: str, *, key: str, keep_seconds: float, weight: Weight) -> str | None:
        assert weight is Weight.HOLD
        self.restated.append((user, text, key, keep_seconds))
        return "the disk is full" if user in self.deaf else None

    def clear(self, user: str, key: str) -> str | None:
        self.cleared.append((user, key))
        return "the disk is full" if user in self.deaf else None

    def act(self, *decisions: Decision) -> list[Outcome]:
        return list(self.enforcer.act(decisions))

    @property
    def enforcer(self) -> Enforcer:
        return Enforcer(
            acts=self,
            tells=self,
            events=EventLog(self.folder / "events"),
            now=lambda: NOON,
            inspect=self.containers.get,
            busy_again=self.busy,
        )

    @property
    def events(self) -> list[tuple[str, str | None, Any]]:
        path = self.folder / "events"
        found = read_events(path) if path.exists() else ()
        return [(each.event_type, each.user, each.details) for each in found if isinstance(each, Event)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def details(name: str = "web", **more: str) -> dict[str, str]:
    return {"container": name, "container_id": id_of(name), "rule": "idle", "reason": "idle for 2h", **more}


# --- Warnings ---------------------------------------------------------------------------------------------------------


def test_a_warning_is_told_and_logged(world: World):
    warn = decision(Action.WARN)
    assert world.act(warn) == [Outcome(warn, End.DONE)]
    assert world.told == [("alice", "it is idle", f"idle:{id_of('web')}")]
    assert world.events == [("lifecycle.warned", "alice", details())]


def test_a_warning_is_shown_up_to_what_it_is_of_and_longer(world: World):
    world.act(decision(Action.WARN, ahead_seconds=14 * 86400.0), decision(Action.WARN, "job"))
    assert world.kept_seconds == [14 * 86400.0 + DAY, DAY]


def test_warnings_of_what_is_to_come_weigh_more_than_news(world: World):
    world.has(container("web"), container("old", state=State.EXITED))
    hold = {"rule": LifecycleRule.CONTAINER_HOLD, "state_since": NOON + timedelta(hours=1)}
    world.act(
        decision(Action.WARN),
        decision(Action.WARN, "would", binding=False),
        decision(Action.WARN, "old", **hold),
        decision(Action.REMOVE, "old", text="it was removed", **hold),
        decision(Action.STOP, text="it was stopped"),
    )
    assert world.weights == [Weight.END, Weight.NEWS, Weight.HOLD, Weight.NEWS, Weight.NEWS]


def test_one_sentence_about_several_containers_is_told_once_and_counts_for_each(world: World):
    world.deaf = ("bob",)
    both = [decision(Action.WARN, name, key="container_hold", text="2 are removed") for name in ("a", "b")]
    lost = [decision(Action.WARN, name, user="bob", key="container_hold", text="2 are removed") for name in ("c", "d")]
    assert [each.end for each in world.act(*both, *lost)] == [End.DONE, End.DONE, End.FAILED, End.FAILED]
    assert world.told == [("alice", "2 are removed", "container_hold")]
    assert [kind for kind, _, _ in world.events] == ["lifecycle.warned"] * 2 + ["lifecycle.failed"] * 2


def test_what_is_said_of_all_containers_is_brought_up_to_date(world: World, capsys: pytest.CaptureFixture[str]):
    world.deaf = ("bob",)
    world.enforcer.restate(
        [
            Standing("alice", "container_hold", "2 are removed", 60),
            Standing("carol", "container_hold", None),
            Standing("bob", "container_hold", "1 is removed", 60),
        ]
    )
    assert world.restated == [
        ("alice", "2 are removed", "container_hold", 60),
        ("bob", "1 is removed", "container_hold", 60),
    ]
    assert world.cleared == [("carol", "container_hold")]
    assert capsys.readouterr().err == "warning: a notice to bob cannot be brought up to date: the disk is full\n"


def test_one_that_reached_nobody_failed(world: World):
    world.deaf = ("alice",)
    warn = decision(Action.WARN)
    words = "alice could not be told: the disk is full"
    assert world.act(warn) == [Outcome(warn, End.FAILED, words)]
    assert world.events == [("lifecycle.failed", "alice", details(error=words))]


def test_where_there_is_nobody_to_tell_the_log_is_told(world: World):
    warn = decision(Action.WARN, user=None, text=None)
    assert world.act(warn) == [Outcome(warn, End.DONE)]
    assert world.told == []
    assert world.events == [("lifecycle.warned", None, details())]


def test_what_only_would_be_done_is_told_as_that(world: World):
    world.deaf = ("bob",)
    wanted = [decision(Action.WARN, binding=False), decision(Action.WARN, user="bob", binding=False)]
    assert world.act(*wanted) == [Outcome(each, End.DONE) for each in wanted]
    assert world.told == [("alice", "it is idle", f"idle:{id_of('web')}")]
    assert [(kind, user) for kind, user, _ in world.events] == [
        ("lifecycle.overruled", "alice"),
        ("lifecycle.overruled", "bob"),
    ]


# --- Stops ------------------------------------------------------------------------------------------------------------


def test_a_container_is_stopped_with_its_grace_and_its_owner_is_told(world: World):
    world.has(container())
    stop = decision(Action.STOP, text="it was stopped")
    assert world.act(stop) == [Outcome(stop, End.DONE)]
    assert world.done == ["stop web 30"]
    assert world.told == [("alice", "it was stopped", f"idle:{id_of('web')}")]
    assert world.events == [("lifecycle.stopped", "alice", details())]


@pytest.mark.parametrize("state", [State.PAUSED, State.RESTARTING])
def test_one_that_is_paused_or_comes_back_is_stopped_too(world: World, state: State):
    world.has(container(state=state))
    assert [each.end for each in world.act(decision(Action.STOP))] == [End.DONE]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ((), "it has ended by itself"),
        ((container(state=State.EXITED),), "it has ended by itself"),
        ((container(started_at=NOON + timedelta(seconds=1)),), "it was started anew meanwhile"),
    ],
)
def test_one_that_is_another_by_now_is_left_alone(world: World, there: tuple[Container, ...], words: str):
    world.has(*there)
    stop = decision(Action.STOP)
    assert world.act(stop) == [Outcome(stop, End.NOT_NEEDED, words)]
    assert (world.done, world.told, world.events) == ([], [], [])


@pytest.mark.parametrize(
    ("there", "ends"),
    [
        # Its restart policy brought it back, once more or waiting to: it is the same run.
        ({"restart_count": 4}, End.DONE),
        ({"restart_count": 5, "state": State.RESTARTING, "pid": None}, End.DONE),
        # Somebody started it, and it has come back since.
        ({"restart_count": 0}, End.NOT_NEEDED),
        ({"restart_count": 3}, End.NOT_NEEDED),
    ],
)
def test_one_that_came_back_by_itself_meanwhile_is_stopped(world: World, there: dict[str, Any], ends: End):
    world.has(container(started_at=NOON + timedelta(seconds=1), restart_policy="always", **there))
    assert [each.end for each in world.act(decision(Action.STOP, restarts=3))] == [ends]
    assert world.done == (["stop web 30"] if ends is End.DONE else [])


def test_one_that_is_busy_again_is_left_alone(world: World):
    world.has(container())
    world.busy = lambda wanted, found: f"{found.name} {wanted.rule.value}: it used 50 % of a CPU"
    stop = decision(Action.STOP)
    assert world.act(stop) == [Outcome(stop, End.NOT_NEEDED, "web idle: it used 50 % of a CPU")]
    assert (world.done, world.events) == ([], [])


def test_one_that_runs_still_failed(world: World):
    world.has(container()).obeys = False
    stop = decision(Action.STOP)
    assert world.act(stop) == [Outcome(stop, End.FAILED, "it runs still")]
    assert world.told == []
    assert world.events == [("lifecycle.failed", "alice", details(error="it runs still"))]


def test_one_that_came_back_failed(tmp_path: Path):
    class Restarting(World):
        def stop(self, container_id: str, *, grace_seconds: float) -> None:
            there = self.containers[container_id]
            self.containers[container_id] = replace(there, started_at=NOON + timedelta(seconds=9))

    world = Restarting(tmp_path).has(container())
    assert world.act(decision(Action.STOP))[0].words == "it was stopped and runs again"


def test_one_that_fails_keeps_no_other_from_being_done(world: World):
    world.has(container("broken"), container("web"))
    outcomes = world.act(decision(Action.STOP, "broken"), decision(Action.STOP, "web"))
    assert [(each.decision.name, each.end, each.words) for each in outcomes] == [
        ("broken", End.FAILED, "the Docker engine did not stop it: no exit event"),
        ("web", End.DONE, ""),
    ]
    assert [kind for kind, _, _ in world.events] == ["lifecycle.failed", "lifecycle.stopped"]


def test_an_owner_who_cannot_be_told_of_a_stop_is_a_warning(world: World, capsys: pytest.CaptureFixture[str]):
    world.has(container()).deaf = ("alice",)
    assert [each.end for each in world.act(decision(Action.STOP))] == [End.DONE]
    assert capsys.readouterr().err == ("warning: alice could not be told what became of web: the disk is full\n")


# --- Removals ---------------------------------------------------------------------------------------------------------


def remove(**changes: Any) -> Decision:
    settings = {"state_since": NOON + timedelta(hours=1), "rule": LifecycleRule.CONTAINER_HOLD} | changes
    return decision(Action.REMOVE, **settings)


def test_a_stopped_container_is_removed_and_its_owner_is_told(world: World):
    world.has(container(state=State.EXITED))
    wanted = remove(text="it was removed")
    assert world.act(wanted) == [Outcome(wanted, End.DONE)]
    assert world.done == ["remove web"]
    assert world.told == [("alice", "it was removed", f"idle:{id_of('web')}")]
    assert world.events == [("lifecycle.removed", "alice", details(rule="container_hold"))]


def test_one_that_was_never_started_is_known_by_when_it_was_made(world: World):
    world.has(container(state=State.CREATED))
    assert [each.end for each in world.act(remove(state_since=NOON))] == [End.DONE]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ((), "it is gone"),
        ((container(state=State.REMOVING),), "it is gone"),
        ((container(),), "it was started meanwhile"),
        ((container(state=State.PAUSED),), "it was started meanwhile"),
        ((container(state=State.RESTARTING),), "it was started meanwhile"),
        ((container(state=State.EXITED, finished_at=NOON + timedelta(hours=2)),), "it was started meanwhile"),
    ],
)
def test_one_that_lives_again_is_never_removed(world: World, there: tuple[Container, ...], words: str):
    world.has(*there)
    wanted = remove()
    assert world.act(wanted) == [Outcome(wanted, End.NOT_NEEDED, words)]
    assert (world.done, world.events) == ([], [])


def test_one_that_is_there_still_failed(world: World):
    world.has(container(state=State.EXITED)).obeys = False
    assert world.act(remove())[0].words == "it is there still"


def test_one_whose_removal_goes_on_is_done(tmp_path: Path):
    class Slow(World):
        def remove(self, container_id: str) -> None:
            there = self.containers[container_id]
            self.containers[container_id] = replace(there, state=State.REMOVING)

    world = Slow(tmp_path).has(container(state=State.EXITED))
    assert [each.end for each in world.act(remove())] == [End.DONE]


# --- All together -----------------------------------------------------------------------------------------------------


def test_a_release_was_done_already_and_is_logged(world: World):
    wanted = decision(
        Action.RELEASE, rule=LifecycleRule.GPU_HOLD, slots=("2:0", "2:1"), text=None, reason="the hold is over"
    )
    assert world.act(wanted) == [Outcome(wanted, End.DONE)]
    assert world.events == [
        (
            "lifecycle.released",
            "alice",
            {
                "container": "web",
                "allocation": id_of("web"),
                "gpu_id": "2:0,2:1",
                "rule": "gpu_hold",
                "reason": "the hold is over",
            },
        )
    ]


def test_warnings_come_before_stops_that_take_their_time(world: World):
    world.has(container("a"), container("b", State.EXITED))
    wanted = [decision(Action.STOP, "a"), remove(name="b"), decision(Action.WARN, "c")]
    assert [each.decision.name for each in world.act(*wanted)] == ["c", "b", "a"]


def test_what_holds_no_more_is_taken_back(world: World, capsys: pytest.CaptureFixture[str]):
    world.deaf = ("bob",)
    world.enforcer.clear([("alice", "idle:1"), ("bob", "idle:2")])
    assert world.cleared == [("alice", "idle:1"), ("bob", "idle:2")]
    assert capsys.readouterr().err == "warning: a notice to bob cannot be taken back: the disk is full\n"


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    world = World(tmp_path / "nowhere").has(container())
    assert [each.end for each in world.act(decision(Action.STOP))] == [End.DONE]
    assert capsys.readouterr().err.startswith("warning: lifecycle.stopped of web is not in the event log: ")
