"""What must have happened while nobody listened, told from what was known and what there is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.containers.rows import NOON, id_of, row

from ds01.core.value import replace
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.record import Row
from ds01.runtime.telemetry.catchup import Suspects, missed
from ds01.runtime.telemetry.happening import Action, Happening, nano_of

NOW = NOON + timedelta(hours=2)
STARTED, ENDED = NOON + timedelta(minutes=10), NOON + timedelta(minutes=20)
CREATE, START, DIE, DESTROY = Action.CREATE, Action.START, Action.DIE, Action.DESTROY
PAUSE, UNPAUSE, RENAME = Action.PAUSE, Action.UNPAUSE, Action.RENAME


def container(name: str = "train", state: State = State.RUNNING, **changes: Any) -> Container:
    started = None if state is State.CREATED else STARTED
    ended = ENDED if state in {State.EXITED, State.DEAD} else None
    made = Container(
        id=id_of(name),
        name=name,
        state=state,
        created_at=NOON,
        started_at=started,
        finished_at=ended,
        image="pytorch",
        cgroup_parent="",
        restart_policy="no",
        pid=None,
        gpu=None,
        exit_code=137,
    )
    return replace(made, **changes)


def told(state: State, **changes: Any) -> Row:
    return row(state=state, started_at=None if state is State.CREATED else STARTED, **changes)


def brief(rows: list[Row], found: list[Container]) -> dict[str, list[Action]]:
    lacking = missed({each.id: each for each in rows}, found, NOW)
    return {happened[0].name: [each.action for each in happened] for happened in lacking.values()}


@pytest.mark.parametrize(
    ("state", "actions"),
    [
        (State.CREATED, [CREATE]),
        (State.RUNNING, [CREATE, START]),
        (State.PAUSED, [CREATE, START, PAUSE]),
        (State.EXITED, [CREATE, START, DIE]),
        (State.DEAD, [CREATE, START, DIE]),
        (State.RESTARTING, [CREATE]),
        (State.REMOVING, [CREATE]),
    ],
)
def test_a_container_that_nobody_told_of_was_made(state: State, actions: list[Action]) -> None:
    assert brief([], [container(state=state)]) == {"train": actions}


def test_a_container_that_is_not_there_any_more_was_removed() -> None:
    lacking = missed({id_of("train"): told(State.RUNNING)}, [], NOW)
    assert lacking == {
        id_of("train"): (Happening(DESTROY, id_of("train"), "train", "pytorch", nano_of(NOW), reconstructed=True),)
    }


@pytest.mark.parametrize(
    ("before", "state", "actions"),
    [
        (State.CREATED, State.CREATED, []),
        (State.CREATED, State.RUNNING, [START]),
        (State.CREATED, State.PAUSED, [START, PAUSE]),
        (State.CREATED, State.EXITED, [START, DIE]),
        (State.RUNNING, State.RUNNING, []),
        (State.RUNNING, State.PAUSED, [PAUSE]),
        (State.RUNNING, State.EXITED, [DIE]),
        (State.RUNNING, State.DEAD, [DIE]),
        (State.PAUSED, State.RUNNING, [UNPAUSE]),
        (State.PAUSED, State.PAUSED, []),
        (State.PAUSED, State.EXITED, [DIE]),
        (State.EXITED, State.RUNNING, [START]),
        (State.EXITED, State.PAUSED, [START, PAUSE]),
        (State.EXITED, State.EXITED, []),
        (State.EXITED, State.DEAD, []),
        # On their way: what becomes of them is told of.
        (State.RUNNING, State.RESTARTING, []),
        (State.EXITED, State.RESTARTING, []),
        (State.RUNNING, State.REMOVING, []),
        (State.RESTARTING, State.RUNNING, []),
        (State.REMOVING, State.EXITED, []),
    ],
)
def test_what_became_of_a_container_that_is_known(before: State, state: State, actions: list[Action]) -> None:
    assert brief([told(before)], [container(state=state)]) == ({"train": actions} if actions else {})


def test_one_whose_start_failed_has_not_died() -> None:
    never = container(state=State.CREATED, exit_code=127)
    dead = container(state=State.DEAD, started_at=None)
    assert brief([told(State.CREATED)], [never]) == {}
    assert brief([told(State.CREATED)], [dead]) == {}


@pytest.mark.parametrize(
    ("seconds", "state", "actions"),
    [
        (1, State.RUNNING, []),
        (60, State.RUNNING, [START]),
        (60, State.PAUSED, [START, PAUSE]),
        (60, State.EXITED, [START, DIE]),
        (1, State.EXITED, []),
        (-60, State.RUNNING, []),
    ],
)
def test_one_that_is_as_it_was_by_another_start_was_started(seconds: int, state: State, actions: list[Action]) -> None:
    again = container(state=state, started_at=STARTED + timedelta(seconds=seconds))
    assert brief([told(state)], [again]) == ({"train": actions} if actions else {})


def test_a_start_that_is_not_known_is_not_compared() -> None:
    assert brief([told(State.RUNNING)], [container(started_at=None)]) == {}
    assert brief([replace(told(State.RUNNING), started_at=None)], [container()]) == {}


def test_another_name_is_a_rename_and_no_name_is_none() -> None:
    assert brief([told(State.RUNNING)], [container(id=id_of("train"), name="other")]) == {"other": [RENAME]}
    assert brief([told(State.RUNNING)], [container(name="other", id=id_of("train"), state=State.EXITED)]) == {
        "other": [RENAME, DIE]
    }
    assert brief([told(State.RUNNING)], [container(id=id_of("train"), name="", state=State.REMOVING)]) == {}


def test_what_is_reconstructed_has_the_times_and_the_code_that_docker_knows() -> None:
    lacking = missed({}, [container(state=State.EXITED)], NOW)

    def happened(action: Action, at: int, code: int | None = None) -> Happening:
        return Happening(action, id_of("train"), "train", "pytorch", at, exit_code=code, reconstructed=True)

    assert lacking[id_of("train")] == (
        happened(CREATE, nano_of(NOON)),
        happened(START, nano_of(STARTED)),
        happened(DIE, nano_of(ENDED), 137),
    )


def test_times_that_docker_does_not_know_are_now() -> None:
    lacking = missed({}, [container(created_at=None, started_at=None)], NOW)
    assert [each.at for each in lacking[id_of("train")]] == [NOW, NOW]


# --- What is only on its way ------------------------------------------------------------------------------------------


def lacking(*states: State) -> dict[str, Any]:
    return dict(missed({}, [container(f"c{number}", state) for number, state in enumerate(states)], NOW))


def test_a_difference_counts_once_it_has_lasted() -> None:
    suspects = Suspects(settle_seconds=2)
    there = lacking(State.RUNNING)
    assert suspects.settle(there, 10.0) == {}
    assert suspects
    assert suspects.settle(there, 11.9) == {}
    assert suspects.settle(there, 12.0) == there
    assert not suspects


def test_one_whose_message_came_is_no_difference_any_more() -> None:
    suspects = Suspects(settle_seconds=2)
    there = lacking(State.RUNNING)
    suspects.settle(there, 10.0)
    suspects.clear(id_of("c0"))
    suspects.clear(id_of("never suspected"))
    assert suspects.settle(there, 12.0) == {}
    assert suspects.settle(there, 14.0) == there


def test_one_that_changes_is_waited_for_anew() -> None:
    suspects = Suspects(settle_seconds=2)
    suspects.settle(lacking(State.CREATED, State.RUNNING), 10.0)
    both = lacking(State.RUNNING, State.RUNNING)
    assert suspects.settle(both, 12.0) == {id_of("c1"): both[id_of("c1")]}
    del both[id_of("c1")]
    assert suspects.settle(both, 14.0) == both


def test_one_that_is_no_difference_any_more_is_forgotten() -> None:
    suspects = Suspects(settle_seconds=2)
    suspects.settle(lacking(State.RUNNING), 10.0)
    assert suspects.settle({}, 11.0) == {}
    assert not suspects


def test_one_that_cannot_be_told_more_of_is_not_gone() -> None:
    rows = {each.id: each for each in (row("stuck"), row("gone"))}
    lacking = missed(rows, (), NOW, unseen={id_of("stuck"), id_of("unknown")})
    assert list(lacking) == [id_of("gone")]
