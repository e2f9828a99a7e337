"""Quantities: every accepted spelling has one meaning, everything else is refused with spellings that would do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.units import (
    GIB,
    KIB,
    MIB,
    MOST,
    MOST_PERCENT,
    TIB,
    UnitError,
    format_duration,
    format_number,
    format_rate,
    format_size,
    ninety_percent,
    parse_duration,
    parse_percent,
    parse_rate,
    parse_size,
)

Parser = Callable[[str | int], int]
PARSERS: tuple[Parser, ...] = (parse_size, parse_rate, parse_duration, parse_percent)
COUNTS = st.integers(min_value=0, max_value=MOST)
# Letters and signs that quantities are made of, in every wrong order, and a few that none has.
NASTY = st.text("0123456789.-+eExX %kKmMgGtTpPiIbBsShHdDwW/٣५²½𝟗_\n\t\u00a0", max_size=12)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64g", 64 * GIB),
        ("96G", 96 * GIB),
        ("96GB", 96 * GIB),
        ("96GiB", 96 * GIB),
        ("96Gi", 96 * GIB),
        (" 512 m ", 512 * MIB),
        ("512MiB", 512 * MIB),
        ("1.5t", TIB + TIB // 2),
        ("10k", 10 * KIB),
        ("100", 100),
        ("100b", 100),
        ("0", 0),
        (4096, 4096),
        ("0.3k", 307),
        ("1p", 1024 * TIB),
        (str(MOST), MOST),
    ],
)
def test_size_is_read_in_powers_of_1024(text: str | int, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("100M", 100 * 10**6),
        ("100MB", 100 * 10**6),
        ("100 MB/s", 100 * 10**6),
        ("1.5G", 1_500_000_000),
        ("10k", 10_000),
        ("2t/s", 2 * 10**12),
        ("5b", 5),
        (7, 7),
    ],
)
def test_rate_is_read_in_powers_of_1000(text: str | int, per_second: int) -> None:
    assert parse_rate(text) == per_second


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("72h", 259_200),
        ("0.5h", 1800),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("0", 0),
        (0, 0),
        ("0s", 0),
        ("0.4s", 0),
    ],
)
def test_duration_is_read_in_seconds(text: str | int, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "percent"),
    [("9600%", 9600), ("1%", 1), ("150.9%", 150), (" 100 % ", 100), (f"{MOST_PERCENT}%", MOST_PERCENT)],
)
def test_cpu_quota_is_read_in_percent_of_one_cpu(text: str, percent: int) -> None:
    assert parse_percent(text) == percent


@pytest.mark.parametrize(
    ("parse", "what", "texts"),
    [
        (parse_size, "size", ("64x", "", "g", "-1", "1e3", "1,5g", "64ib", "5bb", "1gg", "٣g", "8e", -1, True)),
        (parse_rate, "bandwidth", ("fast", "100Mbit", "-1M", "100MiB", "1M/m", "", False)),
        (parse_duration, "duration", ("30", "12:30", "h", "30M", "1h30", "-5m", "5m!", "1y", "", 30, False)),
        (parse_percent, "CPU quota", ("96", "0%", "0.9%", "-1%", "%", "96 CPUs", "96%%", "", 96)),
    ],
)
def test_what_is_no_quantity_is_refused_by_name(parse: Parser, what: str, texts: tuple[str | int, ...]) -> None:
    assert [brief(parse, text) for text in texts] == [f"{text!r} is not a {what}" for text in texts]


@pytest.mark.parametrize(
    ("parse", "what", "text"),
    [
        (parse_size, "size", str(MOST + 1)),
        (parse_size, "size", "8192p"),
        (parse_rate, "bandwidth", "9999999999t"),
        (parse_duration, "duration", "99999999999999999w"),
        (parse_percent, "CPU quota", f"{MOST_PERCENT + 1}%"),
    ],
)
def test_quantity_that_no_counter_holds_is_refused(parse: Parser, what: str, text: str) -> None:
    assert brief(parse, text) == f"{text!r} is too large for a {what}"


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "text",
    [
        *("9" * 5000, "9" * 5000 + "g", "9" * 5000 + "%", "1." + "9" * 5000 + "h", "1h" + "9" * 5000 + "m"),
        *(10**5000, -(10**5000), 10**40),
    ],
    ids=lambda text: f"{type(text).__name__}-{hash(text) % 97}",
)
def test_number_of_absurd_length_is_refused_in_a_short_message(parse: Parser, text: str | int) -> None:
    assert len(brief(parse, text)) < 120


def brief(parse: Parser, text: str | int) -> str:
    with pytest.raises(UnitError) as refused:
        parse(text)
    return refused.value.brief


@pytest.mark.parametrize(
    ("parse", "resolution"),
    [
        (parse_size, "write a number with k, m, g or t, such as 64g or 512m"),
        (parse_rate, "write bytes per second, such as 100M or 1.5G"),
        (parse_duration, "write a number with s, m, h, d or w, such as 30m or 72h"),
        (parse_percent, "write percent of one CPU, such as 9600% for 96 CPUs"),
    ],
)
def test_refusal_shows_spellings_that_would_do(parse: Parser, resolution: str) -> None:
    with pytest.raises(UnitError) as refused:
        parse("?")
    assert refused.value.resolution == resolution


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (format_size(0), "0"),
        (format_size(96 * GIB), "96G"),
        (format_size(1536 * MIB), "1536M"),
        (format_size(TIB), "1T"),
        (format_size(1023), "1023"),
        (format_rate(100 * 10**6), "100M"),
        (format_rate(1_500_000_000), "1500M"),
        (format_duration(0), "0s"),
        (format_duration(90), "90s"),
        (format_duration(900), "15m"),
        (format_duration(259_200), "72h"),
        (format_duration(604_800), "7d"),
        (format_number(3.0), "3"),
        (format_number(1.5), "1.5"),
    ],
)
def test_formatted_quantity_is_the_shortest_exact_spelling(shown: str, text: str) -> None:
    assert shown == text


@given(COUNTS)
def test_formatted_quantities_are_read_back_as_they_were(value: int) -> None:
    assert (
        parse_size(format_size(value)),
        parse_rate(format_rate(value)),
        parse_duration(format_duration(value)),
    ) == (value, value, value)


@given(st.integers(min_value=1, max_value=MOST_PERCENT))
def test_formatted_percentages_are_read_back_as_they_were(value: int) -> None:
    assert parse_percent(f"{value}%") == value


@given(st.sampled_from(PARSERS), NASTY | st.text(max_size=20) | st.integers() | st.booleans())
def test_anything_is_either_a_quantity_in_range_or_refused(parse: Parser, text: str | int) -> None:
    try:
        value = parse(text)
    except UnitError:
        return
    assert 0 <= value <= MOST


@pytest.mark.parametrize(
    ("limit", "high"),
    [
        (96 * GIB, 86 * GIB),
        (320 * GIB, 288 * GIB),
        (640 * GIB, 576 * GIB),
        (10 * GIB, 9 * GIB),
        (9 * GIB, 8294 * MIB),
        (MIB, MIB * 9 // 10),
        (2 * MIB, MIB),
        (100, 90),
        (1, 0),
        (0, 0),
    ],
)
def test_ninety_percent_is_rounded_down_to_what_people_would_write(limit: int, high: int) -> None:
    assert ninety_percent(limit) == high


@given(COUNTS)
def test_ninety_percent_is_never_above_it(value: int) -> None:
    assert 0 <= ninety_percent(value) <= value * 9 // 10
