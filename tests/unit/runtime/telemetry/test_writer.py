"""Events reach the log in their order, also when it does not take them at once."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ds01.core.events import Event, EventLog
from ds01.runtime.telemetry import writer as module
from ds01.runtime.telemetry.writer import Writer

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(number: int) -> Event:
    return Event("container.start", None, "eventsd", NOON, {"number": number})


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["details"]["number"] for line in path.read_text().splitlines()]


def test_an_event_is_in_the_log_at_once(tmp_path: Path) -> None:
    writer = Writer(EventLog(tmp_path / "events.jsonl"))
    writer.write(event(1))
    assert writer
    assert numbers(tmp_path / "events.jsonl") == [1]


def test_threads_that_write_at_once_lose_nothing_and_write_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = Writer(EventLog(path))

    def write(begin: int) -> None:
        for number in range(begin, begin + 200):
            writer.write(event(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(0, 1600, 200)))
    assert sorted(numbers(path)) == list(range(1600))


def test_what_the_log_does_not_take_is_kept_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log/events.jsonl"
    writer = Writer(EventLog(path))
    with caplog.at_level(logging.INFO):
        for number in range(3):
            writer.write(event(number))
            writer.retry()
        assert not writer
        path.parent.mkdir()
        writer.write(event(3))
        assert writer
        writer.retry()
    assert numbers(path) == [0, 1, 2, 3]
    assert [each.getMessage().partition(";")[0] for each in caplog.records] == [
        f"{path} cannot be opened: No such file or directory",
        "the event log is written again",
    ]


def test_of_too_many_the_oldest_are_given_up_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KEPT", 5)
    path = tmp_path / "log/events.jsonl"
    writer = Writer(EventLog(path))
    for number in range(8):
        writer.write(event(number))
    assert writer.lost == 3
    path.parent.mkdir()
    writer.retry()
    assert numbers(path) == [3, 4, 5, 6, 7]
