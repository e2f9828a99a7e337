"""Notices as values: one a key, the newest last, never too many, and back from their text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.lifecycle.notices import (
    MOST_BINDING,
    MOST_KEPT,
    Notice,
    Weight,
    added,
    by_weight,
    current,
    foremost,
    format_notices,
    new_notice,
    parse_notices,
    restated,
    without,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def notice(
    key: str | None, text: str = "text", until: datetime | None = NOW + HOUR, weight: Weight = Weight.NEWS
) -> Notice:
    return Notice(NOW, text, key, until, weight)


def many(number: int, weight: Weight, name: str = "") -> tuple[Notice, ...]:
    return tuple(notice(f"{name or weight.value}{each}", weight=weight) for each in range(number))


def test_a_notice_of_now_ends_after_its_time() -> None:
    made = new_notice("over", "quota.memory", NOW, 3600, Weight.TROUBLE)
    assert made == notice("quota.memory", "over", weight=Weight.TROUBLE)


def test_longer_than_there_are_dates_is_for_ever() -> None:
    assert new_notice("over", "k", NOW, 1e15, Weight.NEWS) == notice("k", "over", None)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("two\nlines", "two\\nlines"), ("\x1b[31mred", "\\x1b[31mred"), ("x" * 501, "x" * 499 + "…")],
)
def test_its_text_is_one_bounded_line(text: str, kept: str) -> None:
    assert new_notice(text, "k", NOW, 1, Weight.NEWS).text == kept


def test_one_with_the_same_key_goes_behind_the_others_in_its_place() -> None:
    before = (notice("a"), notice(None, "old"), notice("b"))
    assert added(before, notice("a", "new")) == (notice(None, "old"), notice("b"), notice("a", "new"))


def test_without_a_key_nothing_is_replaced() -> None:
    assert added((notice(None, "one"),), notice(None, "two")) == (notice(None, "one"), notice(None, "two"))
    assert without((notice(None),), None) == (notice(None),)


def test_of_too_many_the_oldest_goes() -> None:
    full = tuple(notice(str(number)) for number in range(MOST_KEPT))
    assert added(full, notice("new")) == (*full[1:], notice("new"))
    assert added(full, notice("0", "again")) == (*full[1:], notice("0", "again"))


@pytest.mark.parametrize("weight", [Weight.TROUBLE, Weight.NEWS])
def test_what_is_not_to_come_makes_room_for_its_own_kind_alone(weight: Weight) -> None:
    other = Weight.NEWS if weight is Weight.TROUBLE else Weight.TROUBLE
    before = (*many(1, Weight.END), *many(1, Weight.HOLD), *many(MOST_KEPT, other), *many(MOST_KEPT, weight))
    new = notice("new", weight=weight)
    assert added(before, new) == (*before[: 2 + MOST_KEPT], *before[3 + MOST_KEPT :], new)


def test_no_number_of_stopped_containers_pushes_a_warning_of_an_end_out() -> None:
    warning = notice("max_runtime:train", "container train is stopped 14:00", weight=Weight.END)
    notices: tuple[Notice, ...] = added((), warning)
    for number in range(200):
        notices = added(notices, notice(f"container_hold:{number}", weight=Weight.NEWS))
        notices = added(notices, notice(f"oom.{number}", weight=Weight.TROUBLE))
    assert notices[0] == warning
    assert len(notices) == 1 + 2 * MOST_KEPT


def test_a_warning_for_which_there_is_no_place_is_not_added_and_replaces_none() -> None:
    full = (*many(MOST_BINDING - 1, Weight.END), *many(1, Weight.HOLD), notice("job", "was stopped"))
    assert added(full, notice("job", "is stopped", weight=Weight.END)) == full
    assert added(full, notice("end0", "later", weight=Weight.END)) == (
        *full[1:],
        notice("end0", "later", weight=Weight.END),
    )
    # What has come to pass is news, and leaves its place.
    over = added(full, notice("end0", "was stopped"))
    new = notice("new", weight=Weight.END)
    assert added(over, new) == (*over, new)


def test_what_is_brought_up_to_date_keeps_its_place_and_time_while_it_says_the_same() -> None:
    before = (notice("a"), notice("b"))
    same = Notice(NOW + HOUR, "text", "a", NOW + 2 * HOUR)
    assert restated(before, same) == (notice("a", until=NOW + 2 * HOUR), notice("b"))
    other = Notice(NOW + HOUR, "other", "a", NOW + 2 * HOUR)
    assert restated(before, other) == (notice("b"), other)
    assert restated((), other) == (other,)


def test_what_matters_most_comes_first_and_of_warnings_what_ends_first() -> None:
    later, sooner = (notice(key, until=NOW + hours * HOUR, weight=Weight.END) for key, hours in (("l", 9), ("s", 2)))
    never = notice("never", until=None, weight=Weight.END)
    trouble, hold, news = (notice(each.value, weight=each) for each in (Weight.TROUBLE, Weight.HOLD, Weight.NEWS))
    older = Notice(NOW - HOUR, "older", "o")
    assert by_weight((news, hold, older, never, later, trouble, sooner)) == (
        sooner,
        later,
        never,
        trouble,
        hold,
        older,
        news,
    )


def test_a_login_shows_every_warning_and_fills_up_with_trouble_then_the_newest() -> None:
    warning, hold, trouble = many(1, Weight.END), many(1, Weight.HOLD), many(2, Weight.TROUBLE)
    news = tuple(Notice(NOW + each * HOUR, "n", f"n{each}") for each in range(9))
    assert foremost((*warning, *hold, *news, *trouble), 5, 10) == (*warning, *trouble, *hold, news[8])
    assert foremost(news, 5, 10) == news[4:]
    assert foremost((), 5, 10) == ()


def test_many_warnings_leave_room_for_one_other_and_what_ends_first_is_shown() -> None:
    ends = tuple(notice(f"e{each}", until=NOW + each * HOUR, weight=Weight.END) for each in range(12))
    news = (Notice(NOW - HOUR, "older", "o"), notice("newer"))
    assert foremost((*reversed(ends), *news), 5, 10) == (*ends[:10], news[1])


def test_what_is_over_is_left_out() -> None:
    kept = (notice("later", until=NOW + timedelta(seconds=1)), notice("never", until=None))
    assert current((notice("now", until=NOW), *kept, notice("past", until=NOW - HOUR)), NOW) == kept


def test_the_text_is_a_list_that_people_can_read() -> None:
    assert json.loads(format_notices((notice("k", "zoë", weight=Weight.END), Notice(NOW, "old")))) == [
        {"at": "2026-03-01T12:00:00Z", "text": "zoë", "key": "k", "until": "2026-03-01T13:00:00Z", "weight": "end"},
        {"at": "2026-03-01T12:00:00Z", "text": "old", "key": None, "until": None, "weight": "news"},
    ]


def test_one_without_key_and_until_is_read_too() -> None:
    assert parse_notices(b'[{"at": "2026-03-01T12:00:00Z", "text": "old"}]') == (Notice(NOW, "old"),)


@pytest.mark.parametrize(
    ("key", "weight"),
    [
        ("max_runtime:4f2a", Weight.END),
        ("idle:4f2a", Weight.END),
        ("unmanaged:4f2a", Weight.END),
        ("baremetal.4711.77", Weight.END),
        ("oom.4f2a", Weight.TROUBLE),
        ("pressure.ds01-student-alice.slice", Weight.TROUBLE),
        ("quota.memory", Weight.TROUBLE),
        ("container_hold:4f2a", Weight.NEWS),
        ("comeback:4f2a", Weight.NEWS),
    ],
)
def test_one_of_before_there_were_weights_has_that_of_its_key(key: str, weight: Weight) -> None:
    row = {"at": "2026-03-01T12:00:00Z", "text": "text", "key": key, "until": "2026-03-01T13:00:00Z"}
    assert parse_notices(json.dumps([row]).encode()) == (notice(key, weight=weight),)


INSTANTS = st.datetimes(timezones=st.just(UTC)).map(lambda found: found.replace(microsecond=0))
NOTICES = st.builds(
    Notice,
    INSTANTS,
    st.text().map(ascii),
    st.none() | st.text().map(ascii),
    st.none() | INSTANTS,
    st.sampled_from(Weight),
)


@given(st.lists(NOTICES).map(tuple))
def test_what_is_written_is_read_back(notices: tuple[Notice, ...]) -> None:
    assert parse_notices(format_notices(notices)) == notices


def test_text_that_has_no_form_in_utf_8_does_not_spoil_the_file() -> None:
    assert [each.text for each in parse_notices(format_notices([notice("k", "\udcff"), notice("l")]))] == [
        "\udcff",
        "text",
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"3",
        b'{"at": "x"}',
        b'["x"]',
        b'[{"text": "x"}]',
        b'[{"at": "2026-03-01", "text": "x"}]',
        b'[{"at": "2026-03-01T09:12:00Z", "text": 3}]',
        b'[{"at": 5, "text": "x"}]',
        b'[{"at": "2026-03-01T09:12:00Z", "text": "x", "key": 3}]',
        b'[{"at": "2026-03-01T09:12:00Z", "text": "x", "until": "soon"}]',
        b'[{"at": "2026-03-01T09:12:00Z", "text": "x", "weight": "heavy"}]',
        b'[{"at": "2026-03-01T09:12:00Z", "text": "x", "weight": 3}]',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_anything_else_is_no_list_of_notices(text: bytes) -> None:
    with pytest.raises(ValueError, match="Error: "):
        parse_notices(text)
