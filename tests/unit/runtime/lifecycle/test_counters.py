"""What a container has used: read from files as the kernel has them, and a reason where there is no answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ds01.runtime.lifecycle.counters import Counters

ID = "ab" * 32
PID = 77
GROUP = f"ds01.slice/ds01-student.slice/ds01-student-alice.slice/docker-{ID}.scope"
NET_DEV = """Inter-|   Receive                          |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 99999999 100 0 0 0 0 0 0 99999999 100 0 0 0 0 0 0
  eth0:    1000   10 0 0 0 0 0 0      200   2 0 0 0 0 0 0
eth1.20:     30    1 0 0 0 0 0 0        4   1 0 0 0 0 0 0
"""


class Machine:
    """Files as /proc and /sys/fs/cgroup have them, of one container."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroup = root / "proc", root / "cgroup"
        self.process = self.proc / str(PID)
        for pid in ("1", str(PID)):
            (self.proc / pid / "ns").mkdir(parents=True)
            (self.proc / pid / "ns/net").touch()
        (self.process / "net").mkdir()
        (self.process / "net/dev").write_text(NET_DEV)
        self.in_group(GROUP)
        self.stat(GROUP, "usage_usec 123456\nuser_usec 1\n")
        self.mounts()
        self.work = root / "container/work"
        self.work.mkdir(parents=True)
        (self.process / "cwd").symlink_to(self.work)
        (self.process / "root").symlink_to(root / "container")

    def in_group(self, path: str) -> None:
        (self.process / "cgroup").write_text(f"0::/{path}\n")

    def stat(self, path: str, content: str) -> None:
        (self.cgroup / path).mkdir(parents=True, exist_ok=True)
        (self.cgroup / path / "cpu.stat").write_text(content)

    def mounts(self, *points: tuple[str, str]) -> None:
        lines = (f"9 8 0:1 / {point} rw shared:1 - {kind} none rw" for point, kind in (("/", "overlay"), *points))
        (self.process / "mountinfo").write_text("".join(f"{line}\n" for line in lines))

    @property
    def counters(self) -> Counters:
        return Counters(self.proc, self.cgroup, PID, ID, look_seconds=0.2)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# --- CPU --------------------------------------------------------------------------------------------------------------


def test_cpu_time_is_that_of_the_containers_group(machine: Machine):
    assert machine.counters.cpu_usec() == 123456


def test_a_group_that_it_made_itself_hides_none_of_it(machine: Machine):
    machine.in_group(f"{GROUP}/init.scope")
    machine.stat(f"{GROUP}/init.scope", "usage_usec 1\n")
    assert machine.counters.cpu_usec() == 123456


def test_the_cgroupfs_driver_names_groups_otherwise(machine: Machine):
    machine.in_group(f"ds01.slice/docker/{ID}/sub")
    machine.stat(f"ds01.slice/docker/{ID}", "usage_usec 9\n")
    assert machine.counters.cpu_usec() == 9


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ("0::/\n", "its first process is in no group of its own"),
        (f"0::/ds01.slice/docker-{'cd' * 32}.scope\n", "its first process is in no group of its own"),
        (f"4:cpuacct:/docker/{ID}\n0::/\n", "it is in no control group of version 2"),
        (f"4:cpuacct:/docker/{ID}\n", "it is in no control group of version 2"),
    ],
)
def test_without_a_group_of_its_own_it_cannot_be_told(machine: Machine, groups: str, why: str):
    (machine.process / "cgroup").write_text(groups)
    assert machine.counters.cpu_usec() == why


@pytest.mark.parametrize("content", ["", "user_usec 1\n", "usage_usec -1\n"])
def test_a_counter_that_is_none_is_no_number(machine: Machine, content: str):
    machine.stat(GROUP, content)
    assert isinstance(machine.counters.cpu_usec(), str)


def test_a_process_that_is_gone_used_nothing_that_can_be_told(machine: Machine):
    gone = Counters(machine.proc, machine.cgroup, 4711, ID)
    assert gone.cpu_usec() == "its first process is gone"
    assert gone.network_bytes() == "whose network it uses cannot be told"
    assert gone.keep_alive() is False


# --- Network ----------------------------------------------------------------------------------------------------------


def test_traffic_is_both_ways_of_all_interfaces_but_loopback(machine: Machine):
    assert machine.counters.network_bytes() == 1000 + 200 + 30 + 4


def test_a_container_without_interfaces_moves_nothing(machine: Machine):
    (machine.process / "net/dev").write_text("".join(NET_DEV.splitlines(keepends=True)[:3]))
    assert machine.counters.network_bytes() == 0


def test_on_the_hosts_network_nothing_can_be_told_apart(machine: Machine):
    (machine.process / "ns/net").unlink()
    os.link(machine.proc / "1/ns/net", machine.process / "ns/net")
    assert machine.counters.network_bytes() is None


@pytest.mark.parametrize(
    ("name", "why"),
    [("1/ns/net", "whose network it uses cannot be told"), (f"{PID}/ns/net", "whose network it uses cannot be told"),
     (f"{PID}/net/dev", "its first process is gone")],
)  # fmt: skip
def test_a_network_that_cannot_be_seen_is_a_reason(machine: Machine, name: str, why: str):
    (machine.proc / name).unlink()
    assert machine.counters.network_bytes() == why


@pytest.mark.parametrize("row", ["  eth0: 1 2 3", "  eth0: x 0 0 0 0 0 0 0 1", "eth0"])
def test_a_row_that_is_not_understood_is_a_reason(machine: Machine, row: str):
    (machine.process / "net/dev").write_text(f"{NET_DEV}{row}\n")
    assert machine.counters.network_bytes() == "what /proc/PID/net/dev says is not understood"


# --- .keep-alive ------------------------------------------------------------------------------------------------------


def test_a_file_in_the_folder_that_it_works_in_keeps_it(machine: Machine):
    assert machine.counters.keep_alive() is False
    (machine.work / ".keep-alive").touch()
    assert machine.counters.keep_alive() is True


@pytest.mark.parametrize("point", ["/data", "/some where", "/deep/er"])
def test_a_file_at_the_top_of_a_mounted_folder_keeps_it(machine: Machine, tmp_path: Path, point: str):
    machine.mounts(("/proc", "proc"), (point.replace(" ", "\\040"), "ext4"))
    folder = tmp_path / "container" / point[1:]
    folder.mkdir(parents=True)
    (folder / "sub").mkdir()
    (folder / "sub/.keep-alive").touch()
    assert machine.counters.keep_alive() is False
    (folder / ".keep-alive").touch()
    assert machine.counters.keep_alive() is True


def test_a_link_with_that_name_keeps_it_wherever_it_leads(machine: Machine):
    (machine.work / ".keep-alive").symlink_to("/nowhere")
    assert machine.counters.keep_alive() is True


def test_what_is_mounted_for_dockers_own_purpose_is_no_workspace(machine: Machine, tmp_path: Path):
    shm = tmp_path / "container/dev/shm"
    shm.mkdir(parents=True)
    (shm / ".keep-alive").touch()
    machine.mounts(("/dev/shm", "tmpfs"), ("/etc/hosts", "ext4"))
    (tmp_path / "container/etc").mkdir()
    (tmp_path / "container/etc/hosts").touch()
    assert machine.counters.keep_alive() is False


def test_what_cannot_be_looked_at_is_a_reason(machine: Machine):
    (machine.process / "cwd").unlink()
    # Too many links: one of the ways in which a folder gives no answer also to root.
    (machine.process / "cwd").symlink_to("cwd")
    assert str(machine.counters.keep_alive()).startswith("Too many levels of symbolic links in ")


def test_a_file_elsewhere_counts_although_one_folder_gives_no_answer(machine: Machine, tmp_path: Path):
    (machine.process / "cwd").unlink()
    (machine.process / "cwd").symlink_to("cwd")
    machine.mounts(("/work", "ext4"))
    (machine.work / ".keep-alive").touch()
    assert machine.counters.keep_alive() is True


def test_a_file_system_that_does_not_answer_holds_nobody_up(machine: Machine):
    (machine.process / "mountinfo").unlink()
    # Whoever opens a pipe for reading waits for somebody who writes.
    os.mkfifo(machine.process / "mountinfo")
    assert machine.counters.keep_alive() == "its file systems did not answer within 0.2 s"
    with (machine.process / "mountinfo").open("w"):
        pass
