"""Whose processes compute: real ones, and a procfs in a folder for containers and for what is not there any more."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ds01.core.value import replace
from ds01.runtime.gpu.hardware import GpuProcess, GpuUuid, nameless
from ds01.runtime.gpu.owners import Owners
from ds01.runtime.gpu.processes import Identified, container_in, identify, is_foreign, is_on_host
from ds01.runtime.gpu.sighting import Running
from ds01.runtime.machine import Machine

UNIT = GpuUuid("GPU-a")
ID, INNER = "0123456789abcdef" * 4, "f" * 64
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TICKS = os.sysconf("SC_CLK_TCK")
SLICE = "/ds01.slice/ds01-student.slice/ds01-student-alice.slice"


def look(running: list[Running], proc: Path) -> Identified:
    """At noon, 1000 seconds after boot."""
    return identify(running, Machine(proc, lambda: NOON, lambda: 1000.0), nameless)


def live(*pids: int) -> Identified:
    return identify([Running(pid, UNIT) for pid in pids], Machine(), Owners(Path("/etc/subuid")))


def put(proc: Path, pid: int, *, comm: str = "python", groups: str = "0::/init.scope\n", uid: int = 1234) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (proc / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (proc / "sys/kernel/random/boot_id").write_text("boot\n")
    (folder / "comm").write_text(f"{comm}\n")
    (folder / "stat").write_text(f"{pid} ({comm}) S 1 {' '.join(map(str, range(5, 53)))}\n")
    (folder / "status").write_text(f"Name:\t{comm}\nState:\tS (sleeping)\nUid:\t{uid}\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
    (folder / "cgroup").write_text(groups)


@pytest.mark.parametrize(
    ("groups", "container"),
    [
        (f"0::{SLICE}/docker-{ID}.scope\n", ID),
        (f"0::/system.slice/docker-{ID}.scope/init\n", ID),
        (f"0::/docker/{ID}\n", ID),
        (f"12:memory:/docker/{ID}\n11:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n", ID),
        (f"2:cpu:{SLICE}/docker-{ID}.scope\n0::/system.slice/containerd.service\n", ID),
        (f"0::/docker-{ID}.scope/docker/{INNER}\n", ID),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope\n", None),
        (f"0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker/{ID}\n", None),
        (f"0::/user@1000.service/docker-{ID}.scope\n", None),
        (f"0::/machine.slice/libpod-{ID}.scope\n", None),
        (f"0::/docker-{ID[:-1]}.scope\n", None),
        (f"0::/docker-{ID.upper()}.scope\n", None),
        (f"0::/docker-{ID}.scopes\n", None),
        (f"0::/x-docker-{ID}.scope\n", None),
        (f"0::/docker/{ID}0\n", None),
        ("0::/\n", None),
        ("", None),
        ("garbage\n", None),
    ],
)
def test_the_container_is_the_hosts_own(groups: str, container: str | None) -> None:
    assert container_in(groups) == container


def test_a_process_has_account_command_and_container(tmp_path: Path) -> None:
    put(tmp_path, 1, comm="systemd", uid=0)
    put(tmp_path, 4711, groups=f"0::{SLICE}/docker-{ID}.scope\n")
    (tmp_path / "4711/stat").write_text(f"4711 (python) S 1 {' '.join(map(str, [*range(5, 22), 400 * TICKS]))} 0\n")
    machine = Machine(tmp_path, lambda: NOON, lambda: 1000.0)
    found = identify([Running(4711, UNIT, 5)], machine, {1234: "alice"}.__getitem__)
    since = NOON - timedelta(seconds=600)
    one = GpuProcess(4711, UNIT, "alice", "python", ID, 5, uid=1234, started=400 * TICKS, since=since)
    assert found == Identified((one,))
    assert (one.is_on_host, one.has_account, replace(one, user="uid 1234").has_account) == (False, True, False)


@pytest.mark.parametrize(
    ("groups", "foreign"),
    [
        ("0::/user.slice/user-1000.slice/session-3.scope\n", False),
        ("0::/system.slice/ssh.service\n", False),
        ("0::/system.slice/machine-learning.service\n", False),
        ("0::/system.slice/slurmstepd.scope/job_123/step_0/user/task_0\n", False),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container\n", False),
        (f"0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker-{ID}.scope\n", False),
        ("0::/\n", False),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", True),
        ("0::/machine.slice/machine-build.scope/payload/user.slice/user-1000.slice/session-1.scope\n", True),
        ("0::/lxc.payload.lab/user.slice/user-1000.slice/session-1.scope\n", True),
        ("0::/kubepods.slice/kubepods-burstable.slice/x\n", True),
        (f"0::/system.slice/nerdctl-{ID}.scope\n", True),
        (f"0::/ds01.slice/{ID}\n", True),
        (f"0::/system.slice/docker-{ID}.scope (deleted)\n", True),
        (f"1:name=systemd:/user.slice/session.scope\n2:cpu:/default/{ID}\n", True),
    ],
)
def test_containers_of_other_kinds_that_root_runs_are_told_from_an_accounts_own(
    groups: str, *, foreign: bool, tmp_path: Path
) -> None:
    assert is_foreign(groups) is foreign
    put(tmp_path, 1)
    put(tmp_path, 4711, groups=groups)
    (found,) = look([Running(4711, UNIT)], tmp_path).processes
    assert (found.container_id, found.is_on_host, found.doubt is None) == (None, not foreign, not foreign)
    assert is_on_host(Machine(tmp_path), 4711) is not foreign


def test_one_that_is_gone_or_in_a_container_is_not_on_the_host(tmp_path: Path) -> None:
    put(tmp_path, 4711, groups=f"0::{SLICE}/docker-{ID}.scope\n")
    assert (is_on_host(Machine(tmp_path), 4711), is_on_host(Machine(tmp_path), 4712)) == (False, False)


def test_without_a_control_group_it_is_not_certain_where_it_runs(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 4711, groups="")
    (found,) = look([Running(4711, UNIT)], tmp_path).processes
    assert (found.is_on_host, found.doubt) == (False, "the kernel does not say in which control group it is")


@pytest.mark.parametrize(
    ("comm", "shown"),
    [
        ("a) S (b", "a) S (b"),
        ("\x1b[2J", r"\x1b[2J"),
        ("two\nlines", r"two\nlines"),
        ("", "?"),
        ("x" * 99, "x" * 31 + "…"),
    ],
)
def test_a_command_is_safe_to_print(comm: str, shown: str, tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 4711, comm=comm)
    assert [each.command for each in look([Running(4711, UNIT)], tmp_path).processes] == [shown]


def test_one_that_has_ended_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 4711)
    fields = [*range(5, 20), 1, *range(21, 53)]
    (tmp_path / "4711/stat").write_text(f"4711 (python) Z 1 {' '.join(map(str, fields))}\n")
    assert look([Running(4711, UNIT), Running(4712, UNIT)], tmp_path) == Identified((), gone=frozenset({4711, 4712}))


def test_one_whose_number_was_given_again_meanwhile_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 4711)
    # What is read between the two looks at its start: a pipe, whose reader waits until somebody has written to it.
    (tmp_path / "4711/cgroup").unlink()
    os.mkfifo(tmp_path / "4711/cgroup")
    successor = (
        f"import pathlib; f = pathlib.Path({str(tmp_path)!r}) / '4711'; p = open(f / 'cgroup', 'w')\n"
        "fields = (f / 'stat').read_text().split(); fields[21] = '999999'\n"
        "(f / 'stat').write_text(' '.join(fields)); p.write('0::/\\n'); p.close()"
    )
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", successor]) as writer:
        found = look([Running(4711, UNIT)], tmp_path)
        assert writer.wait() == 0
    assert found == Identified((), gone=frozenset({4711}))


def test_where_others_processes_are_hidden_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    assert look([Running(4712, UNIT), Running(4711, UNIT)], tmp_path) == Identified(
        (), "whose process 4711, 4712 is may not be seen by this account; run the command as root (sudo)"
    )
    assert look([], tmp_path) == Identified(())


def test_a_real_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            (found,) = live(child.pid).processes
        finally:
            child.kill()
    own = pwd.getpwuid(os.getuid()).pw_name
    assert (found.pid, found.user, found.command, found.uid) == (child.pid, own, "sleep", os.getuid())
    assert found.since is not None
    assert timedelta(seconds=-2) < datetime.now(UTC) - found.since < timedelta(minutes=2)
    assert live(child.pid) == Identified((), gone=frozenset({child.pid}))


@pytest.mark.root
def test_a_process_that_hides_its_memory_is_still_its_owners() -> None:
    # A program that changed its uid belongs to root in /proc until its next exec.
    code = "import os, sys; os.setuid(54321); print('there', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        (found,) = live(child.pid).processes
        child.kill()
    assert found.user == "uid 54321"
