"""Pressure and memory events of a group: as the kernel writes them, in every version of it, and when it does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cgroups import DATA, events_text, pressure_text

from ds01.runtime.cgroup.pressure import MemoryEvents, Pressure, Resource, Stall, read_memory_events, read_pressure
from ds01.runtime.cgroup.tree import CannotTell, Cause

ALICE = DATA / "full/ds01.slice/ds01-student.slice/ds01-student-alice.slice"
QUIET = Stall(0.0, 0.0, 0.0, 0)


def test_pressure_is_read_for_each_resource() -> None:
    assert {each: read_pressure(ALICE, each) for each in Resource} == {
        Resource.MEMORY: Pressure(Stall(14.21, 12.5, 4.07, 81733240), Stall(9.8, 8.25, 2.91, 60192803)),
        Resource.CPU: Pressure(Stall(1.62, 1.48, 0.93, 48201938), Stall(0.0, 0.0, 0.0, 1803311)),
        Resource.IO: Pressure(Stall(0.0, 0.02, 0.11, 9028177), Stall(0.0, 0.02, 0.1, 8812034)),
    }


def test_a_kernel_without_full_for_the_cpu_tells_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "cpu.pressure"
    file.write_text("some avg10=100.00 avg60=0.00 avg300=0.00 total=18446744073709551615\n")
    assert read_pressure(tmp_path, Resource.CPU) == Pressure(
        Stall(100.0, 0.0, 0.0, 2**64 - 1), CannotTell(Cause.GARBAGE, file, "has no line `full`")
    )


def test_without_psi_nothing_is_told_and_never_0(tmp_path: Path) -> None:
    found = read_pressure(tmp_path, Resource.MEMORY)
    assert found == CannotTell(
        Cause.NO_FILE,
        tmp_path / "memory.pressure",
        "there is no such file; its controller may be off; the kernel tells of pressure when booted with psi=1",
    )


def test_a_group_that_is_gone_is_no_kernel_without_psi(tmp_path: Path) -> None:
    found = read_pressure(tmp_path / "gone", Resource.IO)
    assert isinstance(found, CannotTell)
    assert "psi" not in found.reason


def test_a_file_that_refuses_is_told(tmp_path: Path) -> None:
    # As kernels before 6.1 answer with psi=0, the file is there and cannot be read.
    (tmp_path / "memory.pressure").mkdir()
    found = read_pressure(tmp_path, Resource.MEMORY)
    assert isinstance(found, CannotTell)
    assert found.cause is Cause.UNREADABLE
    assert found.reason == f"{os.strerror(errno.EISDIR)}; the kernel tells of pressure when booted with psi=1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "some\n",
        "some avg10=nan avg60=0.00 avg300=0.00 total=0\n",
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        "some avg10=0.00 avg60=0.00 total=0\n",
        "some avg10=0,00 avg60=0,00 avg300=0,00 total=0\n",
        "\xff\n",
    ],
)
def test_what_is_no_pressure_is_garbage(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.pressure").write_bytes(text.encode("latin-1"))
    found = read_pressure(tmp_path, Resource.MEMORY)
    assert isinstance(found, CannotTell)
    assert found.cause is Cause.GARBAGE
    assert found.reason.startswith("expected pressure, found ")


@given(st.floats(0, 100), st.floats(0, 100))
def test_what_the_tests_write_is_what_the_kernel_writes(some: float, full: float) -> None:
    """Only so do tests on such files say anything."""
    lines = pressure_text(some, full, some10=full).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["some", "full"]
    for line, (first, second) in zip(lines, ((full, some), (full, full)), strict=True):
        parts = dict(part.split("=") for part in line.split()[1:])
        assert (float(parts["avg10"]), float(parts["avg60"])) == (round(first, 2), round(second, 2))


def test_events_are_read_over_all_and_at_the_groups_own_limits() -> None:
    assert read_memory_events(ALICE) == MemoryEvents(0, 1289, 34, 2, 2, 0)
    assert read_memory_events(ALICE, own=True) == MemoryEvents(0, 1289, 0, 0, 0, 0)


def test_a_counter_that_the_kernel_lacks_is_not_0(tmp_path: Path) -> None:
    file = tmp_path / "memory.events"
    file.write_text(events_text(oom_kill=3).replace("\noom_group_kill 0", ""))
    assert read_memory_events(tmp_path) == MemoryEvents(
        0, 0, 0, 0, 3, CannotTell(Cause.GARBAGE, file, "has no oom_group_kill")
    )


def test_a_counter_of_a_later_kernel_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text(f"{events_text(high=1)}\nsock_throttled 4\n")
    assert read_memory_events(tmp_path) == MemoryEvents(0, 1, 0, 0, 0, 0)


def test_no_file_or_another_is_told(tmp_path: Path) -> None:
    assert read_memory_events(tmp_path) == CannotTell(
        Cause.NO_FILE, tmp_path / "memory.events", "there is no such file; its controller may be off"
    )
    (tmp_path / "memory.events").write_text("low zero\n")
    assert read_memory_events(tmp_path) == CannotTell(
        Cause.GARBAGE, tmp_path / "memory.events", "expected a number, found b'zero'"
    )
