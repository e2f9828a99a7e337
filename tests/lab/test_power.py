"""A machine's power and its life: cuts, reboots, kept disks, several at once. What crash tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.lab.machine import processes
from tests.lab.machine.errors import MachineStoppedError
from tests.lab.machine.jobs import Command
from tests.lab.machine.settings import Hardware, Share, Suite

if TYPE_CHECKING:
    from tests.lab.machine.lab import Lab

pytestmark = pytest.mark.lab

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("suite", Suite)
def test_what_was_synced_survives_a_power_cut(lab: Lab, suite: Suite):
    with lab.machine("cut", suite) as machine:
        machine.must(["docker", "run", "--detach", "--restart=always", "--name=stays", "busybox", "sleep", "9999"])
        machine.script("echo safe >/root/synced; sync; echo lost >/root/not-synced")
        machine.cut()
        assert not machine.is_alive()
        with pytest.raises(MachineStoppedError):
            machine.run(["true"])
        machine.up()
        assert machine.must(["cat", "/root/synced"]) == "safe\n"
        assert machine.must(["docker", "inspect", "--format", "{{.State.Running}}", "stays"]) == "true\n"
        assert machine.must(["systemctl", "is-system-running"]) == "running\n"


def test_a_power_cut_comes_in_the_middle_of_a_command(lab: Lab):
    """Each line is synced before it is said: afterwards all that were said are there, and no hole before the last."""
    with lab.machine("middle") as machine, ThreadPoolExecutor(1) as pool:
        script = "i=0; while :; do i=$((i+1)); echo $i >>/root/log; sync /root/log; echo $i; done"
        said = bytearray()
        running = pool.submit(machine.stream, Command(["sh", "-c", script]), said.extend, said.extend)
        while said.count(b"\n") < 20:
            time.sleep(0.05)
        machine.cut()
        with pytest.raises(MachineStoppedError):
            running.result(30)
        machine.up()
        kept = machine.must(["cat", "/root/log"]).split()
        assert kept == [str(number + 1) for number in range(len(kept))]
        assert len(kept) >= said.count(b"\n")


def test_a_reboot_stops_services_first_and_starts_them_again(lab: Lab):
    with lab.machine("reboot") as machine:
        machine.script("""
            printf '%s\\n' '[Service]' 'Type=oneshot' 'RemainAfterExit=yes' \
                'ExecStart=/bin/sh -c "echo start >>/root/trace"' 'ExecStop=/bin/sh -c "echo stop >>/root/trace"' \
                '[Install]' 'WantedBy=multi-user.target' >/etc/systemd/system/trace.service
            systemctl enable --now trace.service
        """)
        machine_id = machine.must(["cat", "/etc/machine-id"])
        machine.reboot()
        assert machine.must(["cat", "/root/trace"]).split() == ["start", "stop", "start"]
        assert machine.must(["cat", "/etc/machine-id"]) == machine_id


def test_a_kept_disk_outlives_the_machine_and_another_does_not(lab: Lab):
    kept = lab.machine("kept", hardware=Hardware(keeps_disk=True))
    try:
        with kept as machine:
            machine.script("echo here >/root/mark")
        with kept as machine:
            assert machine.must(["cat", "/root/mark"]) == "here\n"
    finally:
        kept.erase()
    with lab.machine("kept") as fresh:
        assert fresh.run(["cat", "/root/mark"]).code == 1
    assert not fresh.folder.path.exists()


def test_machines_run_side_by_side_and_know_nothing_of_each_other(lab: Lab):
    with lab.machine("left") as left, lab.machine("right", Suite.TRIXIE) as right:
        left.script("echo left >/root/who")
        right.script("echo right >/root/who")
        both = [left, right]
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda one: one.must(["cat", "/root/who"]), both)) == ["left\n", "right\n"]
        left.cut()
        assert right.must(["cat", "/root/who"]) == "right\n"


def test_more_memory_and_cpus_and_a_live_folder(lab: Lab, tmp_path: Path):
    (tmp_path / "file").write_text("seen\n")
    shares = (Share.parse(f"{tmp_path}:/mnt/ours"), Share.parse(f"{tmp_path}:/mnt/writable:rw"))
    with lab.machine("big", hardware=Hardware(memory="3G", cpus=2, shares=shares)) as machine:
        assert machine.must(["nproc"]) == "2\n"
        assert int(machine.script("awk '/^MemTotal/ { print $2 }' /proc/meminfo")) > 2_800_000
        assert machine.must(["cat", "/mnt/ours/file"]) == "seen\n"
        assert machine.run(["touch", "/mnt/ours/new"]).code == 1
        machine.script("echo back >/mnt/writable/new; sync")
    assert (tmp_path / "new").read_text() == "back\n"


def test_a_machine_goes_with_the_process_that_started_it(lab: Lab):
    machine = lab.machine("orphan")
    bootable = lab.bootable(Suite.BOOKWORM)
    program = f"""
import time
from pathlib import Path
from tests.lab.machine.machine import Machine
from tests.lab.machine.settings import Bootable, Cache
bootable = Bootable(Path({str(bootable.kernel)!r}), Path({str(bootable.image)!r}))
with Machine({machine.name!r}, bootable, cache=Cache(Path({str(machine.folder.path.parents[1])!r}))):
    print("up", flush=True)
    time.sleep(600)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        group = processes.group_of(machine.folder)
        assert group is not None
        assert machine.is_alive()
        owner.send_signal(signal.SIGKILL)
    assert processes.wait_gone(machine.folder, 10)
    machine.cut()
    assert not any(processes.members(group))
    machine.erase()
    assert not os.path.lexists(machine.folder.path)
