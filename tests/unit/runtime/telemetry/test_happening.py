"""Messages of the engine as values; the words were written by Docker 20.10."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.containers.rows import NOON, row
from tests.unit.runtime.telemetry.played import START_NANO, id_of, line, message

from ds01.core.value import replace
from ds01.runtime.containers.container import Container, State
from ds01.runtime.telemetry.happening import (
    Action,
    Happening,
    Key,
    MessageError,
    Passed,
    after,
    clashing,
    container_from,
    nano_of,
    read_message,
    signal_of,
    time_of,
)

ID = id_of("train")


def happening(action: Action, **changes: Any) -> Happening:
    return replace(Happening(action, ID, "train", "pytorch", START_NANO), **changes)


def test_a_message_says_what_happened_to_which_container() -> None:
    assert read_message(line("create", "train", **{"ds01.user": "alice"})) == Happening(
        action=Action.CREATE,
        id=ID,
        name="train",
        image="pytorch",
        time_nano=START_NANO,
        attributes={"ds01.user": "alice"},
    )
    assert read_message(line("die", "train", exitCode="137")) == Happening(
        Action.DIE, ID, "train", "pytorch", START_NANO, {"exitCode": "137"}, 137
    )


@pytest.mark.parametrize("action", list(Action))
def test_every_action_is_read_and_is_the_key(action: Action) -> None:
    found = read_message(line(action.value, "train"))
    assert found == happening(action)
    assert found.key == Key(START_NANO, ID, action.value)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (line("exec_create: sh -c 'echo my-password'", "train"), Key(START_NANO, ID, "exec_create")),
        (line("exec_die", "train"), Key(START_NANO, ID, "exec_die")),
        (line("health_status: healthy", "train"), Key(START_NANO, ID, "health_status")),
        (line("attach", "train"), Key(START_NANO, ID, "attach")),
        (line("top", "train"), Key(START_NANO, ID, "top")),
        (line("prune", "", id=""), Key(START_NANO, "", "prune")),
        (line("create", "host", kind="network"), Key(START_NANO, id_of("host"), "create")),
        (line("create", "train", id="short"), Key(START_NANO, "short", "create")),
        (line("CREATE", "train"), Key(START_NANO, ID, "CREATE")),
        (line("something new", "train"), Key(START_NANO, ID, "something new")),
    ],
)
def test_what_floods_or_shows_commands_is_passed_by(raw: bytes, key: Key) -> None:
    assert read_message(raw) == Passed(key)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps({"Type": "container", "Action": "die", "timeNano": 1}).encode(),
        json.dumps(message("die", "train", 1) | {"timeNano": "1"}).encode(),
        json.dumps(message("die", "train", 1) | {"timeNano": 10**30}).encode(),
        json.dumps(message("die", "train", 1) | {"Action": None}).encode(),
        json.dumps(message("die", "train", 1) | {"Actor": {"ID": 7}}).encode(),
    ],
)
def test_what_is_no_message_is_told_from_one(raw: bytes) -> None:
    with pytest.raises(MessageError):
        read_message(raw)


@pytest.mark.parametrize("text", ["", "-1", "0x89", "1" * 10, "\u0661"])
def test_an_exit_code_that_is_no_number_is_none(text: str) -> None:
    found = read_message(line("die", "train", exitCode=text))
    assert isinstance(found, Happening)
    assert found.exit_code is None


def test_attributes_of_another_form_are_none() -> None:
    said = message("start", "train", START_NANO)
    said["Actor"]["Attributes"] = None
    assert read_message(json.dumps(said).encode()) == Happening(Action.START, ID, "", "", START_NANO)


def test_a_label_of_the_engines_own_word_is_known_to_overwrite_it() -> None:
    labels = {"exitCode": "0", "signal": "9", "ds01.user": "alice"}
    assert clashing(labels) == {"exitCode", "signal"}
    assert clashing({"ds01.user": "alice"}) == frozenset()
    kill = happening(Action.KILL, attributes={"signal": "15"})
    assert (signal_of(kill, ()), signal_of(kill, clashing(labels))) == ("15", None)
    assert signal_of(happening(Action.KILL), ()) is None


def test_of_a_container_that_is_gone_the_message_tells_what_it_can() -> None:
    labels = {"ds01.user": "alice", "exitCode": "7"}
    made = container_from(happening(Action.CREATE, attributes=labels))
    assert made == Container(
        id=ID,
        name="train",
        state=State.CREATED,
        created_at=NOON,
        started_at=None,
        finished_at=None,
        image="pytorch",
        cgroup_parent="",
        restart_policy="no",
        pid=None,
        gpu=None,
        labels=labels,
    )
    ended = container_from(happening(Action.DIE, attributes=labels))
    assert (ended.state, ended.created_at, ended.labels) == (State.EXITED, None, {"ds01.user": "alice"})


@pytest.mark.parametrize(
    ("action", "state"),
    [
        (Action.CREATE, State.CREATED),
        (Action.START, State.RUNNING),
        (Action.RESTART, State.RUNNING),
        (Action.PAUSE, State.PAUSED),
        (Action.UNPAUSE, State.RUNNING),
        (Action.DIE, State.EXITED),
        (Action.STOP, State.DEAD),
        (Action.KILL, State.DEAD),
        (Action.OOM, State.DEAD),
        (Action.UPDATE, State.DEAD),
        (Action.RENAME, State.DEAD),
    ],
)
def test_what_becomes_of_a_container(action: Action, state: State) -> None:
    assert after(row(state=State.DEAD), happening(action)).state is state


def test_start_end_and_name_are_remembered() -> None:
    later = START_NANO + 10**9
    before = row("old", id=ID)
    assert after(before, happening(Action.START, time_nano=later)) == replace(
        before, name="train", started_at=NOON + timedelta(seconds=1)
    )
    assert after(before, happening(Action.DIE, time_nano=later)) == replace(
        before, name="train", state=State.EXITED, finished_at=NOON + timedelta(seconds=1)
    )
    assert after(before, happening(Action.RENAME, name="")) == before


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - the zone comes next
def test_times_go_to_nanoseconds_and_back(moment: datetime) -> None:
    instant = moment.replace(tzinfo=UTC)
    assert time_of(nano_of(instant)) == instant
    assert time_of(nano_of(instant) + 999) == instant


def test_noon_is_noon() -> None:
    assert happening(Action.START).at == NOON
    assert nano_of(NOON) == START_NANO
