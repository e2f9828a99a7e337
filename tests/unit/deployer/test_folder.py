"""What can be done inside one opened folder, and what a link in it cannot bring about."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ds01.deployer.folder import LARGEST_BYTES, drop, is_there, link_new, names_in, read_at, sync_folder, write_new


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000])
@pytest.mark.parametrize("hint", [0, 4096, 100_000])
def test_file_is_read_whole_whatever_size_was_expected(folder: int, tmp_path: Path, size: int, hint: int) -> None:
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert read_at(folder, "a", hint) == content


def test_reading_stops_at_the_largest_size(folder: int, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as out:
        out.truncate(LARGEST_BYTES + 5)
    assert len(read_at(folder, "big")) == LARGEST_BYTES


def test_link_is_not_followed_when_reading(folder: int, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("secret")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is what is asserted
        read_at(folder, "link")
    assert caught.value.errno == errno.ELOOP


def test_pipe_that_nobody_writes_to_does_not_hang(folder: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_at(folder, "pipe") == b""


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o440])
def test_new_file_has_its_mode_whatever_the_umask(folder: int, tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        write_new(folder, "new", b"text", mode)
    finally:
        os.umask(before)
    found = (tmp_path / "new").stat()
    assert ((tmp_path / "new").read_bytes(), found.st_mode & 0o7777) == (b"text", mode)


def test_new_link_leads_where_it_should_and_takes_no_name_that_is_taken(folder: int, tmp_path: Path) -> None:
    link_new(folder, "new", "../no where\n")
    assert (tmp_path / "new").readlink() == Path("../no where\n")
    with pytest.raises(FileExistsError):
        link_new(folder, "new", "elsewhere")
    assert (tmp_path / "new").readlink() == Path("../no where\n")


def test_taken_name_is_never_opened_not_even_through_a_link(folder: int, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("old")
    (tmp_path / "new").symlink_to("victim")
    with pytest.raises(FileExistsError):
        write_new(folder, "new", b"text", 0o644)
    assert (tmp_path / "victim").read_text() == "old"


@pytest.mark.root
def test_new_file_can_be_given_to_another_owner(folder: int, tmp_path: Path) -> None:
    write_new(folder, "new", b"", 0o640, (12345, 23456))
    found = (tmp_path / "new").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (12345, 23456, 0o640)


def test_drop_removes_files_and_links_and_leaves_folders(folder: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    for name in ("file", "link", "folder", "absent"):
        drop(folder, name)
    assert names_in(folder) == {"folder"}


def test_dangling_link_is_there(folder: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert (is_there(folder, "link"), is_there(folder, "other")) == (True, False)


def test_folder_opened_as_a_mere_path_can_be_synced(folder: int) -> None:
    sync_folder(folder)
    assert names_in(folder) == frozenset()
