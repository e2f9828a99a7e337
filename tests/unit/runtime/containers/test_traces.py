"""What the kernel shows of a container's processes, in a procfs and a cgroup tree in folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.runtime.gpu.test_processes import put

from ds01.runtime.containers.traces import Traces, read_traces
from ds01.runtime.machine import Machine

ID = "0123456789abcdef" * 4
PATH = f"/ds01.slice/ds01-student.slice/ds01-student-alice.slice/docker-{ID}.scope"
GROUPS = f"0::{PATH}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "proc")


def test_its_group_and_as_whom_its_processes_run(tmp_path: Path, machine: Machine) -> None:
    put(machine.proc, 10, groups=GROUPS, uid=0)
    put(machine.proc, 11, groups=GROUPS, uid=1001)
    scope = tmp_path / f"cgroup{PATH}"
    scope.mkdir(parents=True)
    (scope / "cgroup.procs").write_text("10\n11\n12\n")
    assert read_traces(machine, tmp_path / "cgroup", 10, ID) == Traces(GROUPS, frozenset({0, 1001}))


@pytest.mark.parametrize("groups", [GROUPS, f"5:pids:/docker/{ID}\n0::/\n"])
def test_without_a_list_of_processes_the_first_one_tells(tmp_path: Path, machine: Machine, groups: str) -> None:
    put(machine.proc, 10, groups=groups, uid=1001)
    assert read_traces(machine, tmp_path / "cgroup", 10, ID) == Traces(groups, frozenset({1001}))


@pytest.mark.parametrize(
    "groups",
    [
        "0::/user.slice/user-1001.slice/session-3.scope\n",
        GROUPS.replace("0123", "3210", 1),
        f"0::/user.slice/user-1001.slice/user@1001.service/docker-{ID}.scope\n",
        "",
    ],
)
def test_a_process_that_is_not_this_containers_tells_nothing(tmp_path: Path, machine: Machine, groups: str) -> None:
    put(machine.proc, 10, groups=groups, uid=1001)
    assert read_traces(machine, tmp_path / "cgroup", 10, ID) is None


def test_a_process_that_is_gone_tells_nothing(tmp_path: Path, machine: Machine) -> None:
    assert read_traces(machine, tmp_path / "cgroup", 10, ID) is None
    (machine.proc / "11").mkdir(parents=True)
    (machine.proc / "11/cgroup").write_text(GROUPS)
    assert read_traces(machine, tmp_path / "cgroup", 11, ID) == Traces(GROUPS, frozenset())


def test_of_thousands_of_processes_the_first_ones_are_looked_at(tmp_path: Path, machine: Machine) -> None:
    for pid in range(10, 100):
        put(machine.proc, pid, groups=GROUPS, uid=pid)
    scope = tmp_path / f"cgroup{PATH}"
    scope.mkdir(parents=True)
    (scope / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in range(10, 100)))
    found = read_traces(machine, tmp_path / "cgroup", 99, ID)
    assert found == Traces(GROUPS, frozenset({*range(10, 74), 99}))
