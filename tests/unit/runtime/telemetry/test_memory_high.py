"""memory.high of a slice is written as people write it, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cgroups import make_group, make_mount

from ds01.core.names import SliceName, cgroup_path
from ds01.runtime.cgroup.tree import read_limit
from ds01.runtime.telemetry.memory_high import write_high

ALICE = SliceName("ds01-student-alice.slice")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return make_group(make_mount(tmp_path) / cgroup_path(ALICE), memory_high=f"{86 * 2**30}") / "memory.high"


@pytest.mark.parametrize("value", [None, 0, 5 * 2**30])
def test_a_limit_is_written(tmp_path: Path, file: Path, value: int | None) -> None:
    write_high(tmp_path, ALICE, value)
    assert read_limit(file) == value


def test_what_cannot_be_written_is_named(tmp_path: Path, file: Path) -> None:
    file.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        write_high(tmp_path, ALICE, None)
    assert caught.value.filename == os.fspath(file)
    assert not file.exists()


def test_nothing_is_written_through_a_link(tmp_path: Path, file: Path) -> None:
    target = tmp_path / "target"
    file.rename(target)
    file.symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        write_high(tmp_path, ALICE, None)
    assert read_limit(target) == 86 * 2**30


def test_a_kernel_that_refuses_the_value_is_named(tmp_path: Path, file: Path) -> None:
    file.unlink()
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(file, os.O_WRONLY | os.O_NONBLOCK)
    try:
        # Full, so that a write fails as one that the kernel refuses.
        os.write(writer, b"x" * 65536)
        with pytest.raises(OSError, match="unavailable") as caught:
            write_high(tmp_path, ALICE, None)
        assert caught.value.filename == os.fspath(file)
    finally:
        os.close(writer)
        os.close(reader)
