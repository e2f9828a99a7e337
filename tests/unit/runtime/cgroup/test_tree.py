"""Single files of a cgroup tree: what they say, and every way in which they say nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cgroups import DATA

from ds01.runtime.cgroup.tree import (
    CannotTell,
    Cause,
    check_mount,
    folders,
    group_id,
    is_folder,
    read_cpu_limit,
    read_entries,
    read_entry,
    read_limit,
    read_lines,
    read_number,
)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("tree", "cause"), [("v1", Cause.VERSION_1), ("hybrid", Cause.HYBRID)])
def test_a_mount_that_is_not_version_2_is_told_with_its_kind(tree: str, cause: Cause) -> None:
    why = check_mount(DATA / tree)
    assert why is not None
    assert (why.cause, why.path) == (cause, DATA / tree)


@pytest.mark.parametrize("tree", ["full", "empty", "missing"])
def test_a_mount_of_version_2_is_accepted(tree: str) -> None:
    assert check_mount(DATA / tree) is None


def test_no_mount_at_all_is_its_own_cause(tmp_path: Path) -> None:
    expected = CannotTell(Cause.NOT_MOUNTED, tmp_path, "no control groups are mounted here")
    assert check_mount(tmp_path) == expected
    assert expected.words == f"{tmp_path}: no control groups are mounted here"


@pytest.mark.parametrize(("text", "value"), [("0\n", 0), ("42", 42), (f"{2**64 - 1}\n", 2**64 - 1)])
def test_a_number_is_read(tmp_path: Path, text: str, value: int) -> None:
    assert read_number(write(tmp_path, text)) == value


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"max\n", b"-1\n", b"1 2\n", b"1e3\n", b"0x10\n", b"\xff\n", "١\n".encode(), b"9" * 21]
)
def test_what_is_no_number_is_garbage_with_what_was_found(tmp_path: Path, text: bytes) -> None:
    path = write(tmp_path, text)
    assert read_number(path) == CannotTell(Cause.GARBAGE, path, f"expected a number, found {text.strip()[:40]!r}")


def test_a_limit_of_max_is_none() -> None:
    alice = DATA / "full/ds01.slice/ds01-student.slice/ds01-student-alice.slice"
    assert (read_limit(alice / "memory.max"), read_limit(alice.parent / "memory.max")) == (96 * 2**30, None)


@pytest.mark.parametrize(
    ("text", "percent"),
    [("max 100000\n", None), ("9600000 100000\n", 9600), ("50000 100000\n", 50), ("1001 100000\n", 2), ("0 1000\n", 0)],
)
def test_a_cpu_limit_is_in_percent_of_one_cpu(tmp_path: Path, text: str, percent: int | None) -> None:
    assert read_cpu_limit(write(tmp_path, text)) == percent


@pytest.mark.parametrize("text", ["", "max", "max max", "100000", "1 0", "max -1", "1 2 3"])
def test_a_cpu_limit_that_cannot_be_read_is_garbage(tmp_path: Path, text: str) -> None:
    found = read_cpu_limit(write(tmp_path, text))
    assert isinstance(found, CannotTell)
    assert found.cause is Cause.GARBAGE


def test_an_entry_is_found_by_its_whole_name(tmp_path: Path) -> None:
    path = write(tmp_path, "total_inactive_file 1\ninactive_file_x 2\ninactive_file 3\ninactive_file 4\n")
    assert read_entry(path, "inactive_file") == 3
    assert read_entry(path, "active_file") == CannotTell(Cause.GARBAGE, path, "has no active_file")


def test_a_long_file_is_read_to_its_end(tmp_path: Path) -> None:
    text = "".join(f"line_{number} {number}\n" for number in range(50_000))
    assert read_entry(write(tmp_path, text), "line_49999") == 49_999


@pytest.mark.parametrize("reader", [read_number, read_limit, read_cpu_limit, lambda path: read_entry(path, "x")])
def test_a_file_that_is_not_there_or_is_none_is_told_apart(tmp_path: Path, reader) -> None:
    missing, folder = tmp_path / "missing", tmp_path / "folder"
    folder.mkdir()
    assert [reader(missing).cause, reader(missing / "below").cause] == [Cause.NO_FILE, Cause.NO_FILE]
    assert reader(folder) == CannotTell(Cause.UNREADABLE, folder, "Is a directory")


def test_a_pipe_in_a_files_place_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_number(tmp_path / "pipe") == CannotTell(
        Cause.GARBAGE, tmp_path / "pipe", "expected a number, found b''"
    )


def test_folders_are_groups_and_links_are_none(tmp_path: Path) -> None:
    (tmp_path / "b.slice").mkdir()
    (tmp_path / "a.slice").mkdir()
    (tmp_path / "cpu.stat").write_text("")
    (tmp_path / "link.slice").symlink_to(tmp_path / "a.slice")
    assert folders(tmp_path) == ("a.slice", "b.slice")
    assert (folders(tmp_path / "gone"), folders(tmp_path / "cpu.stat")) == ((), ())
    assert [is_folder(tmp_path / name) for name in ("a.slice", "cpu.stat", "gone")] == [True, False, False]


def test_a_group_made_again_has_another_number(tmp_path: Path) -> None:
    group = tmp_path / "group"
    group.mkdir()
    first = group_id(group)
    assert first == group_id(group) == group.stat().st_ino
    group.rmdir()
    assert group_id(group) == CannotTell(Cause.NO_FILE, group, "there is no such group any more")


def test_entries_are_read_all_at_once(tmp_path: Path) -> None:
    assert read_entries(write(tmp_path, "low 0\nhigh 12\n")) == {"low": 0, "high": 12}
    assert read_entries(write(tmp_path, "")) == {}


@pytest.mark.parametrize("text", ["low\n", "low x\n", "low 1 2\n", "\n"])
def test_entries_that_are_no_numbers_are_garbage(tmp_path: Path, text: str) -> None:
    found = read_entries(write(tmp_path, text))
    assert isinstance(found, CannotTell)
    assert found.cause is Cause.GARBAGE


def test_lines_are_read_as_they_are(tmp_path: Path) -> None:
    assert read_lines(write(tmp_path, b"some x\n\xff\n")) == ("some x", "\ufffd")
    found = read_lines(tmp_path / "none")
    assert isinstance(found, CannotTell)
    assert found.cause is Cause.NO_FILE
