"""The containers there are, and the files that say so."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tests.unit.runtime.containers.rows import NOON, id_of, row, stray
from tests.unit.runtime.containers.samples import SHIPPED

from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.value import replace
from ds01.runtime.containers.look import read_record, remember
from ds01.runtime.containers.record import Record
from ds01.runtime.telemetry.roster import Roster

TRAIN = row("train", token="t1")


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    made.containers.parent.mkdir(parents=True)
    return made


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.from_document(json.loads(SHIPPED.read_text(encoding="utf-8")))


def test_what_is_put_is_written_and_taken_up_again(paths: HostPaths, policy: Policy) -> None:
    roster = Roster(paths)
    assert roster.recover() is None
    roster.put(TRAIN)
    roster.put(stray("web"))
    roster.drop(id_of("web"))
    roster.write(policy, NOON)
    assert read_record(paths) == Record({TRAIN.id: TRAIN}, {"t1": TRAIN.id}, NOON)
    owners = json.loads(paths.container_owners.read_text())
    assert owners["containers"] == {TRAIN.id: {"owner": "alice", "name": "train", "ds01_managed": True}}
    again = Roster(paths)
    again.recover()
    assert (again.rows, again.spent, again.changed) == ({TRAIN.id: TRAIN}, {"t1": TRAIN.id}, False)


def test_a_used_token_is_forgotten_once_no_page_has_it(paths: HostPaths) -> None:
    """However many others make: none of them frees one that can still be used."""
    roster = Roster(paths)
    for number in range(3):
        roster.put(replace(TRAIN, id=f"{number}" * 64, token=f"t{number}"))
    roster.drop("0" * 64)
    roster.drop("1" * 64)
    roster.changed = False
    roster.keep_spent(None)
    assert (len(roster.spent), roster.changed) == (3, False)
    roster.keep_spent({"t1", "t9"})
    assert (roster.spent, roster.changed) == ({"t1": "1" * 64, "t2": "2" * 64}, True)


def test_a_token_stays_spent_when_its_container_is_gone(paths: HostPaths, policy: Policy) -> None:
    roster = Roster(paths)
    roster.put(TRAIN)
    roster.drop(TRAIN.id)
    roster.write(policy, NOON)
    assert read_record(paths).spent == {"t1": TRAIN.id}


def test_only_what_changed_is_written(paths: HostPaths, policy: Policy) -> None:
    roster = Roster(paths)
    roster.put(TRAIN)
    roster.write(policy, NOON)
    files = (paths.containers, paths.container_owners)
    before = [each.stat().st_ino for each in files]
    roster.put(TRAIN)
    roster.drop(id_of("nobody"))
    assert not roster.changed
    roster.write(policy, NOON)
    assert [each.stat().st_ino for each in files] == before
    roster.put(replace(TRAIN, gpu="2:0"))
    assert roster.changed
    roster.write(policy, NOON)
    after = [each.stat().st_ino for each in files]
    assert (after[0] == before[0], after[1] == before[1]) == (False, True)


def test_both_files_are_there_also_without_any_container(paths: HostPaths, policy: Policy) -> None:
    roster = Roster(paths)
    roster.recover()
    roster.write(policy, NOON)
    assert read_record(paths).rows == {}
    assert json.loads(paths.container_owners.read_text())["containers"] == {}


@pytest.mark.parametrize("text", ["", "{}", "\x00" * 100])
def test_a_record_that_cannot_be_read_is_kept_aside_and_said(paths: HostPaths, policy: Policy, text: str) -> None:
    paths.containers.write_text(text)
    roster = Roster(paths)
    said = roster.recover()
    assert said is not None
    aside = paths.containers.with_name("containers.json.bad")
    assert str(aside) in said
    assert aside.read_text() == text
    roster.write(policy, NOON)
    assert read_record(paths).rows == {}


def test_what_cannot_be_written_is_said_once_and_tried_again(
    tmp_path: Path, policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    paths = HostPaths(tmp_path)
    paths.containers.parent.parent.mkdir(parents=True)
    paths.containers.parent.write_text("no folder")
    roster = Roster(paths)
    roster.put(TRAIN)
    with caplog.at_level(logging.INFO):
        roster.write(policy, NOON)
        roster.write(policy, NOON)
        assert roster.changed
        paths.containers.parent.unlink()
        roster.write(policy, NOON)
    assert read_record(paths).rows == {TRAIN.id: TRAIN}
    said = [each.getMessage().partition(":")[0] for each in caplog.records]
    assert said == [
        "which containers there are cannot be written down",
        "which containers there are is written down again",
    ]


def test_what_is_remembered_is_not_written_before_it_changes(paths: HostPaths) -> None:
    remember(paths, Record({TRAIN.id: TRAIN}), NOON)
    roster = Roster(paths)
    roster.recover()
    assert not roster.changed
