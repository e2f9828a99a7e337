"""What a slice shows, read from files as the kernel writes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.cgroups import DATA, GIB, events_text, make_group, make_mount, make_slice

from ds01.core.names import SliceName, cgroup_path
from ds01.runtime.cgroup.pressure import MemoryEvents, Pressure, Resource, Stall
from ds01.runtime.cgroup.tree import CannotTell
from ds01.runtime.telemetry.growth import Totals
from ds01.runtime.telemetry.oom import ContainerCounters, Counters, SliceCounters
from ds01.runtime.telemetry.pressure import Figures
from ds01.runtime.telemetry.pressure_read import Look, look_at

ALICE = SliceName("ds01-student-alice.slice")
FOLDER = DATA / "full" / cgroup_path(ALICE)
FIRST, SECOND = "a" * 64, "b" * 64


def number(path: Path) -> int:
    return path.stat().st_ino


def test_a_slice_is_read_with_its_containers() -> None:
    memory = Pressure(Stall(14.21, 12.5, 4.07, 81733240), Stall(9.8, 8.25, 2.91, 60192803))
    current = int((FOLDER / "memory.current").read_text())
    inactive = next(
        int(line.split()[1]) for line in (FOLDER / "memory.stat").read_text().splitlines() if "inactive_file" in line
    )
    cpu = Pressure(Stall(1.62, 1.48, 0.93, 48201938), Stall(0.0, 0.0, 0.0, 1803311))
    disk = Pressure(Stall(0.0, 0.02, 0.11, 9028177), Stall(0.0, 0.02, 0.1, 8812034))
    usage = next(int(line.split()[1]) for line in (FOLDER / "cpu.stat").read_text().splitlines() if "usage" in line)
    first, second = FOLDER / f"docker-{FIRST}.scope", FOLDER / f"docker-{SECOND}.scope"
    assert look_at(DATA / "full", ALICE) == Look(
        ALICE,
        Figures(memory, current, current - inactive, 86 * GIB, 96 * GIB, {Resource.CPU: cpu, Resource.IO: disk}),
        {Resource.MEMORY: memory, Resource.CPU: cpu, Resource.IO: disk},
        MemoryEvents(0, 1289, 34, 2, 2, 0),
        MemoryEvents(0, 1289, 0, 0, 0, 0),
        SliceCounters(
            Counters(number(FOLDER), 2, 2, 0),
            {
                FIRST: ContainerCounters(Counters(number(first), 2, 2, 2), 32 * GIB),
                SECOND: ContainerCounters(Counters(number(second), 0, 0, 0), None),
            },
        ),
        pids_current=int((FOLDER / "pids.current").read_text()),
        pids_max=int((FOLDER / "pids.max").read_text()),
        cpu_usec=usage,
    )


def test_a_slice_that_is_gone_shows_nothing(tmp_path: Path) -> None:
    assert look_at(make_mount(tmp_path), ALICE) is None


def test_what_is_missing_is_left_open(tmp_path: Path) -> None:
    folder = make_slice(make_mount(tmp_path), ALICE)
    make_group(folder / f"docker-{FIRST}.scope")
    for file in {*folder.rglob("*.*")} - {*folder.rglob("*.scope")}:
        file.unlink()
    found = look_at(tmp_path, ALICE)
    assert found is not None
    assert found.counters == SliceCounters(
        Counters(number(folder), None, None, None),
        {FIRST: ContainerCounters(Counters(number(folder / f"docker-{FIRST}.scope"), None, None, None), None)},
    )
    unknown = (found.events, found.own_events, found.pids_current, found.pids_max, found.cpu_usec)
    assert all(isinstance(each, CannotTell) for each in (*found.pressures.values(), *unknown))
    assert found.totals == Totals(number(folder))


@pytest.mark.parametrize("without", ["memory.events", "memory.events.local"])
def test_the_kernels_two_files_are_told_apart(tmp_path: Path, without: str) -> None:
    folder = make_group(
        make_mount(tmp_path) / cgroup_path(ALICE),
        memory_events=events_text(oom=3, oom_kill=2),
        memory_events_local=events_text(oom=1, oom_kill=1),
    )
    (folder / without).unlink()
    found = look_at(tmp_path, ALICE)
    assert found is not None
    group = number(folder)
    assert found.counters.counters == (
        Counters(group, None, None, 1) if without == "memory.events" else Counters(group, 2, 3, None)
    )


def test_a_container_that_goes_meanwhile_is_left_out(tmp_path: Path) -> None:
    folder = make_slice(make_mount(tmp_path), ALICE)
    make_group(folder / f"docker-{FIRST}.scope")
    shutil.rmtree(make_group(folder / f"docker-{SECOND}.scope"))
    found = look_at(tmp_path, ALICE)
    assert found is not None
    assert found.counters.containers is not None
    assert [*found.counters.containers] == [FIRST]
