"""Points in time: written in one form, and only that form is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.clock import InstantError, format_instant, parse_instant
from ds01.core.errors import ExitCode

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def test_an_instant_is_written_in_utc_whatever_its_zone() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert (format_instant(NOON), format_instant(there)) == ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z")


def test_parts_of_a_second_are_cut_off_and_never_rounded_up() -> None:
    late = NOON.replace(microsecond=999_999)
    assert format_instant(late) == "2026-03-01T12:00:00Z"
    assert format_instant(late, milliseconds=True) == "2026-03-01T12:00:00.999Z"


def test_an_early_year_has_four_digits() -> None:
    assert format_instant(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read_back(instant: datetime) -> None:
    assert parse_instant(format_instant(instant)) == instant.replace(microsecond=0)
    milliseconds = instant.microsecond // 1000 * 1000
    assert parse_instant(format_instant(instant, milliseconds=True)) == instant.replace(microsecond=milliseconds)


@pytest.mark.parametrize("digits", ["1", "12", "123", "123456"])
def test_parts_of_a_second_are_read_in_any_length(digits: str) -> None:
    wanted = NOON.replace(microsecond=int(digits.ljust(6, "0")))
    assert parse_instant(f"2026-03-01T12:00:00.{digits}Z") == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00+00:00",
        "2026-03-01T12:00:00z",
        "2026-03-01 12:00:00Z",
        "2026-03-01T12:00Z",
        "2026-03-01T12:00:00.Z",
        "2026-03-01T12:00:00.1234567Z",
        "20260301T120000Z",
        "+2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00Z\n",
        " 2026-03-01T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-03-01T12:60:00Z",
        "2026-03-01T12:00:60Z",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-03-01T12:00:00Z",
    ],
)
def test_anything_else_is_no_instant(text: str) -> None:
    with pytest.raises(InstantError) as refused:
        parse_instant(text)
    assert refused.value.exit_code is ExitCode.BAD_INPUT
    assert refused.value.brief == f"{text!r} is no point in time"
    assert refused.value.resolution == "write it as 2026-03-01T09:12:00Z"


def test_a_long_text_is_not_repeated_whole() -> None:
    with pytest.raises(InstantError) as refused:
        parse_instant("9" * 10_000)
    assert refused.value.brief == f"{'9' * 60!r} is no point in time"
