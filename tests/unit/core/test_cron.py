"""Cron's times are read as cron itself reads them, and what it would ignore or never do is refused."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.cron import Times, TimesError, last_due, parse_times

ALL = Times(*map(frozenset, (range(60), range(24), range(1, 32), range(1, 13), range(7))), either=False)
GOOD = [
    "* * * * *",
    "*/30 * * * *",
    "0 0 1 1 0",
    "59 23 31 12 7",
    "05 * * * *",
    "0-30/10,45 * * * mon-FRI",
    "5 4 * jan,Feb sun",
    "* * * jan-mar *",
    "* * * JAN-6 *",
    "* * * * 5-7",
    "* * * * sun-tue",
    "* * * * mon-fri/2",
    "*,5 * * * *",
    "5-5 * * * *",
    "*/1 * * * *",
    "0 0 29 2 *",
    "0 0 31 2 mon",
]
# What cron does not take: it would ignore its whole file.
BAD = [
    ("60 * * * *", "'60' is no minute"),
    ("61 * * * *", "'61' is no minute"),
    ("* 24 * * *", "'24' is no hour"),
    ("* * 0 * *", "'0' is no day"),
    ("* * 32 * *", "'32' is no day"),
    ("* * * 0 *", "'0' is no month"),
    ("* * * 13 *", "'13' is no month"),
    ("* * * * 8", "'8' is no weekday"),
    ("* * * * jan", "'jan' is no weekday"),
    ("* * * mon *", "'mon' is no month"),
    ("* * * january *", "'january' is no month"),
    ("mon * * * *", "'mon' is no minute"),
    ("5/10 * * * *", "'5/10' is no minute"),
    ("* * * * mon/2", "'mon/2' is no weekday"),
    ("*/0 * * * *", "'*/0' is no minute"),
    ("*/x * * * *", "'*/x' is no minute"),
    # A name is no number of steps.
    ("* * * */jan *", "'*/jan' is no month"),
    ("* * * * 1-5/tue", "'1-5/tue' is no weekday"),
    ("1,,2 * * * *", "'' is no minute"),
    ("1- * * * *", "'1-' is no minute"),
    ("-1 * * * *", "'-1' is no minute"),
    ("* * L * *", "'L' is no day"),
]
# What cron takes for something that nobody means.
STRICTER = [
    ("*/60 * * * *", "'*/60' is no minute"),
    ("*/ * * * *", "'*/' is no minute"),
    ("1-2-3 * * * *", "'1-2-3' is no minute"),
    ("*/30/2 * * * *", "'*/30/2' is no minute"),
    ("*-5 * * * *", "'*-5' is no minute"),
    ("0000000001 * * * *", "'0000000001' is no minute"),
    ("\u0661 * * * *", "'\u0661' is no minute"),
]
NEVER = [
    ("10-5 * * * *", "'10-5' ends before it begins, so that nothing would ever be done"),
    ("* * * * fri-mon", "'fri-mon' ends before it begins, so that nothing would ever be done"),
    ("* * * * sat-sun", "'sat-sun' ends before it begins, so that nothing would ever be done"),
    ("0 0 31 2 *", "'0 0 31 2 *' names a day that never comes, so that nothing would ever be done"),
    ("0 0 31 4,6,9,11 */2", "'0 0 31 4,6,9,11 */2' names a day that never comes, so that nothing would ever be done"),
]


@pytest.mark.parametrize("text", GOOD)
def test_what_cron_takes_is_taken(text: str):
    assert isinstance(parse_times(text), Times)


@pytest.mark.parametrize(("text", "fault"), [*BAD, *STRICTER])
def test_what_is_no_time_is_refused_by_its_part(text: str, fault: str):
    with pytest.raises(TimesError) as caught:
        parse_times(text)
    assert caught.value.brief == f"{fault}, for which cron would ignore its whole file"


@pytest.mark.parametrize(("text", "brief"), NEVER)
def test_what_would_never_be_due_is_refused(text: str, brief: str):
    with pytest.raises(TimesError) as caught:
        parse_times(text)
    assert caught.value.brief == brief


@pytest.mark.parametrize(("text", "fields"), [("", 1), ("* * * *", 4), ("* * * * * *", 6), ("*  * * * *", 6)])
def test_there_are_five_fields_with_one_blank_between_them(text: str, fields: int):
    with pytest.raises(TimesError, match=f"has {fields} fields, not 5" if fields != 6 else "6 fields|'' is no"):
        parse_times(text)


def taken_by_cron(folder: Path, times: str) -> bool:
    """Ask Debian's cron, which reads a line of a user's table as one of /etc/cron.d: the account is its command."""
    file = folder / "tab"
    file.write_text(f"{times} root true\n")
    return subprocess.run(["crontab", "-n", file], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("crontab") is None, reason="there is no cron")
def test_cron_itself_agrees(tmp_path: Path):
    assert [times for times in GOOD if not taken_by_cron(tmp_path, times)] == []
    assert [times for times, _ in BAD if taken_by_cron(tmp_path, times)] == []


FIELD = st.text("0123456789*/,-jansumoty", min_size=1, max_size=6)


@pytest.mark.skipif(shutil.which("crontab") is None, reason="there is no cron")
@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
def test_whatever_is_taken_here_is_taken_by_cron(tmp_path_factory: pytest.TempPathFactory, times: str):
    try:
        parse_times(times)
    except TimesError:
        return
    assert taken_by_cron(tmp_path_factory.mktemp("tab"), times)


def test_stars_names_ranges_and_steps_are_numbers():
    assert parse_times("* * * * *") == ALL
    assert parse_times("0-30/10,45 */12 1,15 jan-mar/2 5-7") == Times(
        frozenset({0, 10, 20, 30, 45}),
        frozenset({0, 12}),
        frozenset({1, 15}),
        frozenset({1, 3}),
        frozenset({5, 6, 0}),
        either=True,
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "until", "due"),
    [
        ("* * * * *", "2026-03-01T09:12:59", "2026-03-01T09:12"),
        ("*/30 * * * *", "2026-03-01T09:29", "2026-03-01T09:00"),
        ("*/30 * * * *", "2026-03-01T09:30", "2026-03-01T09:30"),
        ("45 * * * *", "2026-03-01T00:44", "2026-02-28T23:45"),
        ("0 6 * * mon-fri", "2026-03-01T09:00", "2026-02-27T06:00"),  # a Sunday
        ("0 6 * * 7", "2026-03-01T09:00", "2026-03-01T06:00"),
        ("0 6 1 * fri", "2026-03-05T00:00", "2026-03-01T06:00"),  # either
        ("0 6 1 * fri", "2026-03-07T00:00", "2026-03-06T06:00"),
        ("0 6 1 * */5", "2026-03-07T00:00", "2026-03-01T06:00"),  # both: a Sunday, which is 0
        ("0 0 29 2 *", "2026-03-01T00:00", "2024-02-29T00:00"),
        ("59 23 31 12 *", "2026-12-31T23:58", "2025-12-31T23:59"),
    ],
)
def test_the_last_time_that_something_was_due(text: str, until: str, due: str):
    assert last_due(parse_times(text), at(until)) == at(due)


@given(
    st.sampled_from([each for each in GOOD if "29 2" not in each]),
    st.datetimes(datetime.fromisoformat("2001-01-01"), datetime.fromisoformat("2040-01-01")),
)
def test_between_the_last_time_and_now_there_is_no_other(text: str, until: datetime):
    times = parse_times(text)
    due = last_due(times, until)
    assert due is not None
    assert due <= until
    before = last_due(times, due - timedelta(minutes=1))
    assert before is not None
    assert before < due
    assert last_due(times, until) == last_due(times, due)
