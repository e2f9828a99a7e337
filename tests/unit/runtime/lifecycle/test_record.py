"""What rules remember, as JSON and back: whole, or an error that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.unit.runtime.lifecycle.subjects import moment, written

from ds01.runtime.lifecycle import record
from ds01.runtime.lifecycle.record import RecordError


def test_a_moment_comes_back_as_it_was():
    there = moment(12.5, asleep=3.25)
    assert record.moment(written(there)) == there


def test_values_in_values_become_objects():
    assert record.plain({"at": None, "list": moment()}) == {"at": None, "list": record.plain(moment())}


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (record.text, 1),
        (record.text, None),
        (record.number, "1"),
        (record.number, True),
        (record.count, 1.5),
        (record.count, False),
        (record.flag, 0),
        (record.flag, None),
        (record.instant, "yesterday"),
        (record.instant, "2026-03-01T12:00:00"),
        (record.instant, 12),
        (record.rows, []),
        (record.moment, None),
        (record.optional(record.count), "1"),
    ],
)
def test_what_is_not_expected_is_an_error(read: Callable[[object], object], said: object):
    with pytest.raises(RecordError):
        read(said)


def test_each_reader_takes_its_own():
    assert record.text("x") == "x"
    assert record.number(1.5) == 1.5
    assert record.count(3) == 3
    said: object = False
    assert record.flag(said) is False
    assert record.instant("2026-03-01T12:00:00.000001+00:00") == datetime(2026, 3, 1, 12, 0, 0, 1, UTC)
    assert record.optional(record.count)(None) is None


def test_fields_that_are_missing_are_named():
    with pytest.raises(RecordError, match="boot, now missing"):
        record.fields({"awake_seconds": 1}, {"now": record.instant, "boot": record.text})
    assert record.fields({"a": 1, "b": 2}, {"a": record.count}) == {"a": 1}
