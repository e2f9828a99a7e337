"""What the sampler says, and that what is in the way is said once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ds01.core.events import Event, EventLog, read_events
from ds01.core.paths import HostPaths
from ds01.runtime.lifecycle.notices import parse_notices
from ds01.runtime.lifecycle.notify import Notifier
from ds01.runtime.telemetry.tell import Teller, Trouble

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def teller(root: Path) -> tuple[HostPaths, Teller]:
    paths = HostPaths(root)
    return paths, Teller(EventLog(root / "events.jsonl"), Notifier(paths, lambda: NOW))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records]


def test_trouble_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble()
    for words in (None, "no disk", "no disk", "no room", None, None):
        trouble.tell("events", words)
    trouble.tell("notices", "no disk")
    assert said(caplog) == [
        "events: no disk; trying again",
        "events: no room; trying again",
        "events: all is well again",
        "notices: no disk; trying again",
    ]


def test_events_are_the_samplers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, tells = teller(tmp_path)
    tells.note("quota.near", None, NOW, {"limit": "tasks"})
    assert list(read_events(tells.log.path)) == [Event("quota.near", None, "sampler", NOW, {"limit": "tasks"})]
    tells.log.path.unlink()
    tells.log.path.mkdir()
    for _ in range(2):
        tells.note("quota.near", None, NOW, {})
    assert said(caplog) == [f"events: {tells.log.path} cannot be opened: Is a directory; trying again"]


@pytest.mark.root
def test_an_account_is_told_and_no_more_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths, tells = teller(tmp_path)
    tells.notice("games", "quota.tasks", "nearly all")
    assert [each.text for each in parse_notices(paths.notices(5).read_bytes())] == ["nearly all"]
    tells.clear("games", "quota.tasks")
    assert not paths.notices(5).exists()
    assert said(caplog) == []


def test_nobody_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths, tells = teller(tmp_path)
    tells.notice(None, "quota.tasks", "nearly all")
    tells.clear(None, "quota.tasks")
    assert not paths.notices_folder.exists()
    tells.notice("nobody-has-this-name", "quota.tasks", "nearly all")
    why = "this machine has no account nobody-has-this-name, so nobody was told"
    assert said(caplog) == [f"notices of nobody-has-this-name: {why}; trying again"]
