"""What rules remember lies in root's files; one that cannot be believed is kept aside, and counts as nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.lifecycle.subjects import NOON, moment

from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.runtime.lifecycle.memory import path_of, put_aside, recall, remember
from ds01.runtime.lifecycle.stale_containers import Kept, KeptMemory, from_document

MEMORY = KeptMemory(moment(), {"a": Kept("alice", NOON, 12.5, 3.0)})
NOTHING = KeptMemory()


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    return HostPaths(tmp_path)


def recalled(paths: HostPaths) -> tuple[KeptMemory, str | None]:
    return recall(paths, "stale-containers", from_document, NOTHING)


def test_what_was_remembered_is_recalled(paths: HostPaths):
    assert recalled(paths) == (NOTHING, None)
    remember(paths, "stale-containers", MEMORY)
    assert recalled(paths) == (MEMORY, None)
    path = path_of(paths, "stale-containers")
    assert path == paths.root / "var/lib/ds01/lifecycle/stale-containers.json"
    assert path.stat().st_mode & 0o777 == 0o640
    assert {key: json.loads(path.read_text())[key] for key in ("version", "rule")} == {
        "version": 1,
        "rule": "stale-containers",
    }
    remember(paths, "stale-containers", NOTHING)
    assert recalled(paths) == (NOTHING, None)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "Expecting value"),
        ("[]", "not a JSON object"),
        ('{"version": 2, "memory": {}}', "it has version 2, this DS01 reads version 1"),
        ('{"version": 1}', "expected an object, found NoneType"),
        ('{"version": 1, "memory": {"at": null}}', "kept missing"),
        ('{"version": 1, "memory": {"at": null, "kept": {"a": 1}}}', "expected an object, found int"),
    ],
)
def test_what_cannot_be_believed_is_nothing_and_says_why(paths: HostPaths, content: str, why: str):
    remember(paths, "stale-containers", MEMORY)
    path_of(paths, "stale-containers").write_text(content)
    memory, said = recalled(paths)
    assert memory == NOTHING
    assert why in str(said)


@pytest.mark.root
def test_what_others_can_write_is_not_believed(paths: HostPaths):
    remember(paths, "stale-containers", MEMORY)
    path_of(paths, "stale-containers").chmod(0o666)
    memory, said = recalled(paths)
    assert memory == NOTHING
    assert said == "owner uid 0, mode 0666"


def test_what_is_put_aside_is_kept_however_often(paths: HostPaths, caplog: pytest.LogCaptureFixture):
    now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    for content in ("one", "two"):
        remember(paths, "idle", MEMORY)
        path_of(paths, "idle").write_text(content)
        put_aside(paths, "idle", "it is no JSON", now)
    folder = paths.lifecycle
    assert sorted(each.name for each in folder.iterdir()) == [
        "idle.json.damaged-20260301T120000Z",
        "idle.json.damaged-20260301T120000Z.1",
    ]
    assert (folder / "idle.json.damaged-20260301T120000Z").read_text() == "one"
    assert "could not be believed: it is no JSON" in caplog.text


def test_a_link_in_its_place_is_put_aside_and_not_followed(paths: HostPaths):
    remember(paths, "idle", MEMORY)
    path_of(paths, "idle").unlink()
    path_of(paths, "idle").symlink_to("/etc/passwd")
    _, said = recall(paths, "idle", from_document, NOTHING)
    assert said is not None
    put_aside(paths, "idle", said, NOON)
    assert (paths.lifecycle / "idle.json.damaged-20260301T120000Z").readlink() == Path("/etc/passwd")


def test_where_nothing_can_be_kept_that_is_said(paths: HostPaths):
    paths.lifecycle.parent.mkdir(parents=True)
    paths.lifecycle.touch()
    with pytest.raises(StateError, match="cannot be written"):
        remember(paths, "idle", MEMORY)
    with pytest.raises(StateError, match="cannot be written"):
        put_aside(paths, "idle", "damaged", NOON)
