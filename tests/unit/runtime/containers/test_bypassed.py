"""The word to an account whose containers run without DS01."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.runtime.containers.rows import NOON, row, stray

from ds01.core.paths import HostPaths
from ds01.runtime.containers.bypassed import bypassed_words
from ds01.runtime.containers.container import State
from ds01.runtime.containers.look import remember
from ds01.runtime.containers.record import Record, Row
from ds01.runtime.containers.seen import Attribution, Evidence, Kind

ALICE = Attribution("alice", Evidence.CLAIM)
SAID = Attribution("alice", Evidence.LABEL, asserted=True)


def words(folder: Path, *rows: Row, user: str = "alice") -> str | None:
    paths = HostPaths(folder)
    remember(paths, Record({each.id: each for each in rows}), NOON)
    return bypassed_words(paths, user)


def test_one_container(tmp_path: Path) -> None:
    assert words(tmp_path, row("train"), stray("web", owner=ALICE)) == (
        "a container of yours runs without DS01: web; it has no GPU of yours and may be stopped."
        " Make it anew with docker run or docker create"
    )


@pytest.mark.parametrize("evidence", [Evidence.LABEL, Evidence.SLICE, Evidence.PROCESS])
def test_whom_only_its_maker_named_is_not_told_that_it_is_theirs(tmp_path: Path, evidence: Evidence) -> None:
    assert words(tmp_path, stray("web", owner=Attribution("alice", evidence, asserted=True))) == (
        "a container in your name runs without DS01: web; it has no GPU of yours and may be stopped."
        " If it is yours, make it anew with docker run or docker create"
    )


def test_of_many_three_are_named(tmp_path: Path) -> None:
    said = words(tmp_path, *(stray(f"c{number}", owner=SAID) for number in range(5)))
    assert said is not None
    assert said == (
        "containers in your name run without DS01: c0, c1, c2 and 2 more; they have no GPU of yours and may be stopped."
        " If they are yours, make them anew with docker run or docker create"
    )
    three = words(tmp_path, *(stray(f"c{number}", owner=ALICE) for number in range(3)))
    assert three is not None
    assert "c0, c1, c2;" in three


@pytest.mark.parametrize(
    "other",
    [
        row("train"),
        stray("nobodys"),
        stray("bobs", owner=Attribution("bob", Evidence.CLAIM)),
        stray("ended", owner=ALICE, state=State.EXITED),
        stray("made", owner=ALICE, state=State.CREATED),
        stray("site", owner=ALICE, of_site=True),
    ],
)
def test_of_others_nothing_is_said(tmp_path: Path, other: Row) -> None:
    assert words(tmp_path, other) is None


@pytest.mark.parametrize("kind", [Kind.DEVCONTAINER, Kind.COMPOSE, Kind.DOCKER, Kind.UNKNOWN])
def test_whatever_way_they_came(tmp_path: Path, kind: Kind) -> None:
    assert words(tmp_path, stray("web", owner=SAID, kind=kind)) is not None


def test_names_move_no_terminal(tmp_path: Path) -> None:
    said = words(tmp_path, stray("\x1b[2J" + "x" * 500, owner=ALICE))
    assert said is not None
    assert "\x1b" not in said
    assert len(said) < 250


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"containers": []}', '{"containers": {"a": {}}}', "\x00"])
def test_what_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    paths = HostPaths(tmp_path)
    assert bypassed_words(paths, "alice") is None
    paths.containers.parent.mkdir(parents=True)
    paths.containers.write_text(text)
    assert bypassed_words(paths, "alice") is None
