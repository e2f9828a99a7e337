"""One file prepared, put in place and taken back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from ds01.core.tree import sha256
from ds01.deployer import swap
from ds01.deployer.files import FilesError, ObstacleError
from ds01.deployer.folder import names_in, write_new
from ds01.deployer.journal import Entry

PATH = PurePosixPath("/etc/a")
NEW, OLD = ".a.ds01-new~", ".a.ds01-old~"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def entry(content: bytes | None, *, existed: bool) -> Entry:
    return Entry(PATH, None if content is None else sha256(content), existed)


def prepared(folder: int, content: bytes | None, *, existed: bool) -> tuple[Entry, swap.Identity | None]:
    made = entry(content, existed=existed)
    if content is None:
        return made, swap.prepare(folder, made, None)
    return made, swap.prepare(folder, made, lambda place, name: write_new(place, name, content, 0o644))


def contents(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(tmp_path.iterdir())}


def test_prepared_change_leaves_the_target_as_it_is(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    prepared(folder, b"new", existed=True)
    assert contents(tmp_path) == {NEW: "new", OLD: "old", "a": "old"}


def test_change_in_place_keeps_the_old_file(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    made, _ = prepared(folder, b"new", existed=True)
    swap.put_in_place(folder, made)
    assert contents(tmp_path) == {OLD: "old", "a": "new"}
    swap.forget(folder, made)
    assert contents(tmp_path) == {"a": "new"}


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("old", "new"), [("old", b"new"), (None, b"new"), ("old", None)])
def test_taking_back_restores_what_was_there_and_may_be_repeated(
    *, folder: int, tmp_path: Path, old: str | None, new: bytes | None, times: int, placed: bool
) -> None:
    if old is not None:
        (tmp_path / "a").write_text(old)
    made, _ = prepared(folder, new, existed=old is not None)
    if placed:
        swap.put_in_place(folder, made)
    assert [swap.take_back(folder, made) for _ in range(times)] == [True] * times
    assert contents(tmp_path) == ({} if old is None else {"a": old})


def test_edit_made_after_the_change_is_never_taken_back(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    made, _ = prepared(folder, b"new", existed=True)
    swap.put_in_place(folder, made)
    (tmp_path / "a").write_text("by hand")
    assert swap.take_back(folder, made) is False
    assert contents(tmp_path) == {OLD: "old", "a": "by hand"}


def test_target_that_changed_since_it_was_prepared_is_refused(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    made, identity = prepared(folder, b"new", existed=True)
    swap.refuse_changed(folder, made, identity)
    (tmp_path / "a").write_text("longer than before")
    with pytest.raises(FilesError) as caught:
        swap.refuse_changed(folder, made, identity)
    assert caught.value.render() == (
        "/etc/a was changed by somebody else while it was being deployed\n"
        "To fix: run ./inv plan to see the file as it is now, then deploy again"
    )


def test_file_that_appeared_since_it_was_prepared_is_refused(folder: int, tmp_path: Path) -> None:
    made, identity = prepared(folder, b"new", existed=False)
    (tmp_path / "a").write_text("somebody's")
    with pytest.raises(FilesError, match="changed by somebody else"):
        swap.refuse_changed(folder, made, identity)


def test_leftovers_of_an_older_crash_are_replaced_and_links_among_them_not_followed(
    folder: int, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / NEW).symlink_to("victim")
    (tmp_path / OLD).symlink_to("victim")
    (tmp_path / "a").write_text("old")
    prepared(folder, b"new", existed=True)
    assert contents(tmp_path) == {NEW: "new", OLD: "old", "a": "old", "victim": "untouched"}


def test_sweeping_leaves_only_the_target(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    made, _ = prepared(folder, b"new", existed=True)
    swap.sweep(folder, made)
    assert contents(tmp_path) == {"a": "old"}


def test_only_files_and_links_count_as_there(folder: int, tmp_path: Path) -> None:
    assert swap.exists(folder, PATH) is False
    (tmp_path / "a").mkdir()
    with pytest.raises(ObstacleError):
        swap.exists(folder, PATH)
    (tmp_path / "a").rmdir()
    (tmp_path / "a").touch()
    assert swap.exists(folder, PATH) is True
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("nowhere")
    assert swap.exists(folder, PATH) is True
    assert names_in(folder) == {"a"}
