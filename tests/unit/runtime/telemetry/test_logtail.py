"""The end of the event log, whole lines of it, across a rotation."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ds01.core.events import Event, EventLog
from ds01.runtime.telemetry.logtail import read_tail

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def write(path: Path, *numbers: int) -> None:
    for number in numbers:
        assert EventLog(path).append(Event("container.start", None, "eventsd", NOON, {"number": number}))


def numbers(path: Path, most_bytes: int = 10_000) -> list[object]:
    return [each.details["number"] for each in read_tail(path, most_bytes=most_bytes)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_all_of_a_short_log(log: Path) -> None:
    write(log, 1, 2, 3)
    assert numbers(log) == [1, 2, 3]


def test_of_a_long_one_only_whole_lines(log: Path) -> None:
    write(log, *range(100))
    length = len(log.read_bytes().splitlines()[-1]) + 1
    assert numbers(log, most_bytes=3 * length + 5) == [97, 98, 99]
    assert numbers(log, most_bytes=length // 2) == []


def test_no_log_tells_nothing(log: Path) -> None:
    assert read_tail(log) == []
    log.mkdir()
    assert read_tail(log) == []


def test_lines_that_are_no_events_tell_nothing(log: Path) -> None:
    write(log, 1)
    with log.open("ab") as out:
        out.write(b'\x00\x00\n{"event_type": "contain\n\xff\n')
    write(log, 2)
    assert numbers(log) == [1, 2]


def test_a_log_that_was_just_rotated_is_read_too(log: Path) -> None:
    for name, number in (("events.jsonl-20260222", 1), ("events.jsonl-20260301", 2)):
        write(log.with_name(name), number)
        os.utime(log.with_name(name), (number, number))
    log.with_name("events.jsonl-20260302.gz").write_bytes(b"")
    assert numbers(log) == [2]
    write(log, 3)
    assert numbers(log) == [2, 3]
    write(log, *range(4, 100))
    assert numbers(log, most_bytes=1000)[-1] == 99
    assert 2 not in numbers(log, most_bytes=1000)
