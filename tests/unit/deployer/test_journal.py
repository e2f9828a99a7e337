"""The journal: written whole before anything changes, one step from state to state, never half believed."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from ds01.core.paths import HostPaths
from ds01.core.tree import sha256
from ds01.deployer import journal
from ds01.deployer.files import ObstacleError
from ds01.deployer.journal import Entry, JournalError, Record, State

RECORD = Record(
    entries=(
        Entry(PurePosixPath("/etc/a b/ü.conf"), sha256(b"x"), existed=True),
        Entry(PurePosixPath("/etc/gone"), None, existed=True),
        Entry(PurePosixPath("/etc/new/file"), sha256(b""), existed=False),
    ),
    made=(PurePosixPath("/etc/new"),),
    prune=(PurePosixPath("/etc/old"),),
    context={"handlers": ["daemon-reload"], "generation": 3, "nested": {"null": None}},
)
BESIDE = [".journal.json.applied", ".journal.json.applying", ".journal.json.finishing", ".journal.json.undoing"]


@pytest.fixture
def paths(tmp_path):
    return HostPaths(tmp_path)


def names(paths):
    return sorted(path.name for path in paths.deploy.iterdir())


def test_a_record_survives_the_disk(paths):
    journal.begin(paths, RECORD)
    assert journal.load(paths) == (State.STAGING, RECORD)
    assert names(paths) == sorted([*BESIDE, "journal.files.json", "journal.json"])


def test_there_is_none_at_first(paths):
    assert (journal.pending(paths), journal.load(paths)) == (None, None)
    journal.sweep(paths)
    journal.end(paths)
    assert list(paths.root.iterdir()) == []


@pytest.mark.parametrize("way", [["APPLYING", "APPLIED", "FINISHING"], ["APPLYING", "UNDOING"], ["APPLIED", "UNDOING"]])
def test_each_state_is_one_rename_and_needs_no_new_name(paths, way):
    journal.begin(paths, RECORD)
    for state in map(State.__getitem__, way):
        before = names(paths)
        journal.switch(paths, state)
        assert names(paths) == sorted(set(before) - {f".journal.json.{state.value}"})
        assert (journal.pending(paths), journal.load(paths)) == (state, (state, RECORD))


def test_the_end_leaves_nothing(paths):
    journal.begin(paths, RECORD)
    journal.switch(paths, State.APPLYING)
    journal.end(paths)
    assert (names(paths), journal.load(paths)) == ([], None)
    journal.end(paths)


def test_a_second_one_is_refused_and_the_first_stays(paths):
    journal.begin(paths, RECORD)
    for attempt in (lambda: journal.begin(paths, RECORD), lambda: journal.sweep(paths)):
        with pytest.raises(JournalError, match="an earlier deploy was interrupted and is not cleared up yet"):
            attempt()
    assert journal.load(paths) == (State.STAGING, RECORD)


def test_leftovers_without_a_journal_are_swept_and_links_among_them_not_followed(paths):
    paths.deploy.mkdir(parents=True)
    precious = paths.root / "precious"
    precious.write_text("precious")
    (paths.deploy / "journal.files.json").symlink_to(precious)
    (paths.deploy / ".journal.json.staging").symlink_to(precious)
    (paths.deploy / "manifest.json").write_text("{}")
    journal.begin(paths, RECORD)
    journal.end(paths)
    assert (precious.read_text(), names(paths)) == ("precious", ["manifest.json"])


def test_everybody_may_see_the_state_but_not_the_list(paths):
    journal.begin(paths, RECORD)
    modes = {path.name: path.stat().st_mode & 0o777 for path in paths.deploy.iterdir()}
    assert modes == {"journal.json": 0o644, "journal.files.json": 0o600} | dict.fromkeys(BESIDE, 0o644)


def spoil_state(change):
    def spoil(paths):
        file = paths.deploy / "journal.json"
        value = json.loads(file.read_text())
        change(value)
        file.write_text(json.dumps(value))

    return spoil


WRONG = [
    (lambda paths: (paths.deploy / "journal.json").write_text(""), "journal.json", "JSONDecodeError"),
    (lambda paths: (paths.deploy / "journal.json").write_bytes(b"\xff"), "journal.json", "UnicodeDecodeError"),
    (lambda paths: (paths.deploy / "journal.json").write_text("[]"), "journal.json", "TypeError"),
    (lambda paths: (paths.deploy / "journal.json").write_text('{"state": "applied"}'), "journal.json", "KeyError"),
    (spoil_state(lambda value: value.update(state="else")), "journal.json", "'else' is not a valid State"),
    (spoil_state(lambda value: value.update(version=2)), "journal.json", "it has version 2, this DS01 knows 1"),
    (lambda paths: (paths.deploy / "journal.files.json").unlink(), "journal.files.json", "it is missing"),
    (lambda paths: (paths.deploy / "journal.files.json").write_text("{}"), "journal.files.json", "it is not the list"),
    (
        lambda paths: (
            (paths.deploy / "journal.files.json").write_text("{}"),
            spoil_state(lambda value: value.update(list=sha256(b"{}")))(paths),
        ),
        "journal.files.json",
        "KeyError: 'version'",
    ),
]


@pytest.mark.parametrize(("spoil", "name", "cause"), WRONG)
def test_a_spoilt_journal_is_refused_and_kept(paths, spoil, name, cause):
    journal.begin(paths, RECORD)
    spoil(paths)
    before = {path.name: path.read_bytes() for path in paths.deploy.iterdir()}
    with pytest.raises(JournalError) as caught:
        journal.load(paths)
    assert caught.value.brief == f"the journal of an interrupted deploy cannot be read: /var/lib/ds01/deploy/{name}"
    assert cause in (caught.value.details or "")
    assert (caught.value.details or "").endswith(". Nothing was touched")
    assert {path.name: path.read_bytes() for path in paths.deploy.iterdir()} == before


def test_a_link_in_the_place_of_the_journal_is_refused(paths):
    paths.deploy.mkdir(parents=True)
    (paths.deploy / "journal.json").symlink_to("/etc/passwd")
    with pytest.raises(ObstacleError, match=r"journal\.json is a symbolic link to /etc/passwd"):
        journal.load(paths)


def test_a_link_in_the_place_of_its_folder_is_refused(paths):
    (paths.root / "data").mkdir()
    (paths.root / "var").symlink_to("data")
    for attempt in (journal.load, journal.pending, journal.sweep, lambda paths: journal.begin(paths, RECORD)):
        with pytest.raises(ObstacleError, match="/var is a symbolic link to data"):
            attempt(paths)
    assert list((paths.root / "data").iterdir()) == []
