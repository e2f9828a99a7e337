"""Grants: given, taken away, over; and their file."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.gpu.hosts import NOON

from ds01.runtime.gpu.grants import Grant, GrantsError, from_document, grant_of, granted, revoked, to_document

HOUR = timedelta(hours=1)


def grant(user: str = "alice", hours: float = 24, at: float = 0) -> Grant:
    start = NOON + at * HOUR
    return Grant(user, "sysop", start, start + hours * HOUR, "a demo")


def test_a_grant_holds_until_its_end_and_not_at_it() -> None:
    one = grant(hours=2)
    assert [grant_of([one], "alice", NOON + hours * HOUR) for hours in (0, 1.999, 2, 3)] == [one, one, None, None]
    assert grant_of([one], "bob", NOON) is None


def test_a_clock_that_is_set_back_takes_none_away() -> None:
    assert grant_of([grant()], "alice", NOON - 5 * HOUR) == grant()


def test_a_new_grant_takes_the_place_of_the_one_that_holds() -> None:
    bobs, over, first, second = grant("bob"), grant(hours=1, at=-5), grant(hours=48), grant(hours=2)
    assert granted((bobs, over, first), second) == (bobs, over, second)
    assert grant_of(granted((bobs, over, first), second), "alice", NOON) == second


def test_one_that_is_long_over_is_forgotten() -> None:
    old, older = grant(hours=1, at=-29 * 24), grant("bob", hours=1, at=-31 * 24)
    assert granted((old, older), grant()) == (old, grant())


def test_taking_away_leaves_others_and_what_is_over() -> None:
    over = grant(hours=1, at=-5)
    assert revoked((grant("bob"), over, grant()), "alice", NOON) == (grant("bob"), over)
    assert revoked((over,), "alice", NOON) == (over,)


def test_of_several_in_a_file_the_longest_counts() -> None:
    assert grant_of((grant(hours=5), grant(hours=9), grant(hours=1)), "alice", NOON) == grant(hours=9)


def test_the_file_is_as_others_read_it() -> None:
    assert to_document([grant()]) == {
        "version": 1,
        "grants": [
            {
                "user": "alice",
                "by": "sysop",
                "from": "2026-03-01T12:00:00Z",
                "until": "2026-03-02T12:00:00Z",
                "reason": "a demo",
            }
        ],
    }


@given(st.lists(st.tuples(st.text(), st.integers(0, 10**6), st.text()), max_size=5))
def test_the_file_reads_back_to_the_same(rows: list[tuple[str, int, str]]) -> None:
    grants = tuple(Grant(user, "root", NOON, NOON + timedelta(seconds=more), why) for user, more, why in rows)
    assert from_document(json.loads(json.dumps(to_document(grants)))) == grants


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"version": 2, "grants": []},
        {"version": 1, "grants": {}},
        {"version": 1, "grants": [None]},
        {"version": 1, "grants": [{}]},
        *(
            {"version": 1, "grants": [to_document([grant()])["grants"][0] | {key: value}]}  # type: ignore[index] # as it is
            for key, value in (("user", 5), ("until", "tomorrow"), ("from", None), ("reason", None))
        ),
    ],
)
def test_what_is_no_list_of_grants_is_an_error_and_no_empty_list(document: dict[str, object]) -> None:
    with pytest.raises(GrantsError):
        from_document(document)
