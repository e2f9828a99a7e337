"""Generations: stored, listed, read back, and refused when they are broken."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path, PurePosixPath

import pytest

from ds01.core.errors import BadInputError
from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.tree import Merge, Tree, TreeFile
from ds01.deployer.history import Generation, generation_path, numbers, read_generation, stamp, who_runs

TREE = Tree.of(
    "ds01",
    "hash",
    [
        TreeFile(PurePosixPath("/etc/a"), "ä\n", 0o755, "root", "adm", "a.j2", None, ("bash", "-n"), ("tmpfiles",)),
        TreeFile(PurePosixPath("/etc/docker/daemon.json"), "{}\n", merge=Merge.JSON, account="alice"),
    ],
)
GENERATION = Generation(3, "ds01", "hash", "alice", "2030-01-02T03:04:05Z", "1 to add", TREE)


def store(root: Path, number: int, text: str) -> HostPaths:
    paths = HostPaths(root)
    file = paths.at(generation_path(number))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return paths


def test_a_generation_is_read_back_as_it_was_stored(tmp_path: Path) -> None:
    assert read_generation(store(tmp_path, 3, json.dumps(GENERATION.to_json())), 3) == GENERATION


def test_a_listing_leaves_the_files_out() -> None:
    assert GENERATION.to_json(files=False) == {
        "version": 1,
        "generation": 3,
        "host": "ds01",
        "policy_hash": "hash",
        "who": "alice",
        "when": "2030-01-02T03:04:05Z",
        "what": "1 to add",
    }


def test_numbers_are_those_of_generations_alone_in_order(tmp_path: Path) -> None:
    assert numbers(HostPaths(tmp_path)) == ()
    for number in (10, 9, 1_000_000):
        paths = store(tmp_path, number, "{}")
    for other in (".000011.json.ds01-new~", "note.json", "12.json", "000013.json.bad", "²00014.json"):
        (paths.deploy / "generations" / other).write_text("{}")
    assert numbers(paths) == (9, 10, 1_000_000)


def test_generations_that_may_not_be_listed_are_an_error_not_an_empty_list(tmp_path: Path) -> None:
    paths = store(tmp_path, 1, "{}")
    folder = paths.deploy / "generations"
    (folder / "000001.json").unlink()
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(StateError) as caught:
        numbers(paths)
    assert caught.value.brief == f"{folder} may not be read"


@pytest.mark.parametrize(("kept", "words"), [([], "none"), ([4, 5], "4, 5")])
def test_an_unknown_generation_says_which_are_kept(tmp_path: Path, kept: list[int], words: str) -> None:
    for number in kept:
        store(tmp_path, number, "{}")
    with pytest.raises(BadInputError) as caught:
        read_generation(HostPaths(tmp_path), 9)
    assert caught.value.render() == f"there is no generation 9\nTo fix: kept are: {words}; see ./inv history"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"version": 7}, "ValueError: version 7"),
        ({"files": []}, "TypeError: files is not an object"),
        ({"generation": "x"}, "ValueError: invalid literal for int() with base 10: 'x'"),
        ({"files": {"/etc/a": {"content": ""}}}, "KeyError: 'merge'"),
    ],
)
def test_a_broken_generation_is_refused(tmp_path: Path, change: dict[str, object], cause: str) -> None:
    paths = store(tmp_path, 3, json.dumps(GENERATION.to_json() | change))
    with pytest.raises(StateError) as caught:
        read_generation(paths, 3)
    assert caught.value.render() == f"{paths.at(generation_path(3))} is not a generation of DS01\n{cause}"


def test_time_is_utc_to_the_second() -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert stamp(moment) == "2030-01-02T03:04:05Z"
    assert stamp(moment.astimezone(timezone(timedelta(hours=2)))) == "2030-01-02T03:04:05Z"


@pytest.mark.root
@pytest.mark.parametrize(
    ("uid", "who"),
    [
        ("0", "root"),
        ("4242424", "uid 4242424"),
        ("9999999999", "uid 9999999999"),
        *((nonsense, "root") for nonsense in ("", "-1", "1; id", "²", "9" * 30)),
    ],
)
def test_root_is_who_called_sudo(uid: str, who: str) -> None:
    assert who_runs({"SUDO_UID": uid, "SUDO_USER": "nobody", "USER": "nobody"}) == who
