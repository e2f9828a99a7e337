"""Notices as values: one a key, the newest last, never too many, and back from their text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.lifecycle.notices import (
    MOST_KEPT,
    Notice,
    added,
    current,
    format_notices,
    new_notice,
    parse_notices,
    without,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def notice(key: str | None, text: str = "text", until: datetime | None = NOW + HOUR) -> Notice:
    return Notice(NOW, text, key, until)


def test_a_notice_of_now_ends_after_its_time() -> None:
    assert new_notice("over", "quota.memory", NOW, 3600) == notice("quota.memory", "over")


def test_longer_than_there_are_dates_is_for_ever() -> None:
    assert new_notice("over", "k", NOW, 1e15) == notice("k", "over", None)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("two\nlines", "two\\nlines"), ("\x1b[31mred", "\\x1b[31mred"), ("x" * 501, "x" * 499 + "…")],
)
def test_its_text_is_one_bounded_line(text: str, kept: str) -> None:
    assert new_notice(text, "k", NOW, 1).text == kept


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


def test_what_is_over_is_left_out() -> None:
    kept = (notice("later", until=NOW + timedelta(seconds=1)), notice("never", until=None))
    assert current((notice("now", until=NOW), *kept, notice("past", until=NOW - HOUR)), NOW) == kept


def test_the_text_is_a_list_that_people_can_read() -> None:
    assert json.loads(format_notices((notice("k", "zoë"), Notice(NOW, "old")))) == [
        {"at": "2026-03-01T12:00:00Z", "text": "zoë", "key": "k", "until": "2026-03-01T13:00:00Z"},
        {"at": "2026-03-01T12:00:00Z", "text": "old", "key": None, "until": None},
    ]


def test_one_without_key_and_until_is_read_too() -> None:
    assert parse_notices(b'[{"at": "2026-03-01T12:00:00Z", "text": "old"}]') == (Notice(NOW, "old"),)


INSTANTS = st.datetimes(timezones=st.just(UTC)).map(lambda found: found.replace(microsecond=0))
NOTICES = st.builds(Notice, INSTANTS, st.text().map(ascii), st.none() | st.text().map(ascii), st.none() | INSTANTS)


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
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_anything_else_is_no_list_of_notices(text: bytes) -> None:
    with pytest.raises(ValueError, match="Error: "):
        parse_notices(text)
