"""How far the messages are in the log: none is dealt with twice, and what is lost is known to be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from tests.unit.runtime.telemetry.played import START_NANO, id_of

from ds01.core.events import Event
from ds01.runtime.telemetry.cursor import (
    CursorError,
    Recent,
    from_document,
    key_of,
    recall,
    to_document,
    told_of,
    what_is_lost,
)
from ds01.runtime.telemetry.happening import Action, Happening, Key

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def key(number: int, action: str = "start") -> Key:
    return Key(START_NANO + number, id_of(f"c{number}"), action)


def test_a_message_is_new_once() -> None:
    recent = Recent()
    assert [recent.add(each) for each in (key(1), key(2), key(1), key(1, "die"))] == [True, True, False, True]
    assert recent.last == key(1, "die")


def test_a_message_that_comes_again_does_not_become_the_last() -> None:
    recent = Recent()
    for each in (key(1), key(2), key(1)):
        recent.add(each)
    assert recent.last == key(2)


def test_a_million_messages_take_no_more_room_than_some_thousand() -> None:
    recent = Recent()
    for number in range(10_000):
        assert recent.add(key(number))
    assert len(recent._keys) == len(recent._order) == 2048
    assert not any(recent.add(key(number)) for number in range(10_000 - 2048, 10_000))
    assert recent.add(key(0))


@pytest.mark.parametrize(
    ("written", "logged", "last"),
    [
        (None, [], None),
        (key(5), [], key(5)),
        (None, [key(1), key(2)], key(2)),
        # Killed before the file was written: the log is ahead.
        (key(1), [key(1), key(2), key(3)], key(3)),
        # What is passed by is in the file alone.
        (key(9, "exec_start"), [key(1), key(2)], key(9, "exec_start")),
        (key(2), [key(1), key(2)], key(2)),
    ],
)
def test_a_start_goes_on_after_the_last_message_that_was_dealt_with(
    written: Key | None, logged: list[Key], last: Key | None
) -> None:
    recent = recall(written, logged)
    assert recent.last == last
    assert not any(recent.add(each) for each in (*logged, *([written] if written else [])))


MANY = [key(number) for number in range(256)]


@pytest.mark.parametrize(
    ("last", "remembered", "why"),
    [
        (None, [], None),
        (None, MANY, None),
        (key(1), [key(0), key(1), key(2)], None),
        (key(255), MANY, None),
        (key(1), [], "the engine was started anew and remembers nothing from before"),
        (key(1), [key(2)], "the engine was started anew and remembers nothing from before"),
        (key(1, "die"), [key(1)], "the engine was started anew and remembers nothing from before"),
        (key(256), MANY, "more happened than the engine remembers (256 messages)"),
    ],
)
def test_it_is_known_whether_messages_may_be_missing(
    last: Key | None, remembered: Sequence[Key], why: str | None
) -> None:
    assert what_is_lost(last, remembered) == why


def test_it_goes_through_a_file_unchanged() -> None:
    last = key(1, "exec_start")
    assert to_document(last, NOON) == {
        "version": 1,
        "time_nano": START_NANO + 1,
        "id": id_of("c1"),
        "action": "exec_start",
        "at": "2026-03-01T12:00:00.000Z",
        "updated_at": "2026-03-01T12:00:00.000Z",
    }
    assert from_document(to_document(last, NOON)) == last


@pytest.mark.parametrize("change", [{"version": 2}, {"time_nano": "1"}, {"id": None}, {"action": 1}])
def test_another_form_is_not_believed(change: dict[str, object]) -> None:
    with pytest.raises(CursorError):
        from_document({**to_document(key(1), NOON), **change})


def event(event_type: str, **details: object) -> Event:
    return Event(event_type, None, "eventsd", NOON, details)


TOLD: dict[str, object] = {
    "container_id": id_of("train"),
    "container": "train",
    "image": "pytorch",
    "time_nano": START_NANO + 1,
}


def test_a_line_of_the_log_tells_which_message_it_is_of() -> None:
    there = event("container.die", **TOLD, exit_code=1)
    assert key_of(there) == Key(START_NANO + 1, id_of("train"), "die")
    assert told_of(there) == Happening(Action.DIE, id_of("train"), "train", "pytorch", START_NANO + 1)


def test_what_was_reconstructed_is_no_message_and_happened_at_its_time() -> None:
    there = event("container.die", **{**TOLD, "time_nano": None}, reconstructed=True)
    assert key_of(there) is None
    assert told_of(there) == Happening(Action.DIE, id_of("train"), "train", "pytorch", START_NANO)


@pytest.mark.parametrize(
    "other",
    [
        event("gpu.released", **TOLD),
        event("container.bypass", **TOLD),
        event("container.claimed", **TOLD),
        event("container.die", **{**TOLD, "container_id": None}),
        event("container.die", **{**TOLD, "container": 7}),
        event("container.die", time_nano=START_NANO),
    ],
)
def test_other_lines_tell_of_nothing_that_happened(other: Event) -> None:
    assert (told_of(other), key_of(other)) == (None, None)
