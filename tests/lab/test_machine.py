"""The lab's machine is a real one: what the tests of DS01 rely on is proved here first, in both suites."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.lab.machine.errors import LabError
from tests.lab.machine.jobs import Command
from tests.lab.machine.settings import Suite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab


CGROUP = "/sys/fs/cgroup"
ALICE = "ds01-student-alice.slice"
ALICE_CGROUP = f"{CGROUP}/ds01.slice/ds01-student.slice/{ALICE}"


@pytest.fixture(scope="module", params=list(Suite))
def machine(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Machine]:
    with lab.machine(request.param, request.param) as machine:
        yield machine


@pytest.fixture
def alice(machine: Machine) -> Iterator[Machine]:
    """The machine with a slice of alice's that has no limits yet."""
    machine.must(["systemctl", "start", ALICE])
    yield machine
    machine.script(f"docker ps -aq | xargs -r docker rm -f; systemctl stop {ALICE}; systemctl revert {ALICE}")


def limit(machine: Machine, *settings: str) -> None:
    machine.must(["systemctl", "set-property", "--runtime", ALICE, *settings])


def in_slice(*words: str) -> list[str]:
    return ["docker", "run", f"--cgroup-parent={ALICE}", *words]


def counters(machine: Machine, name: str) -> dict[str, int]:
    """Read a flat keyed file of alice's cgroup."""
    lines = machine.must(["cat", f"{ALICE_CGROUP}/{name}"]).splitlines()
    return {key: int(value) for key, value in map(str.split, lines)}


def stall_usec(machine: Machine, name: str) -> int:
    return int(machine.must(["cat", f"{ALICE_CGROUP}/{name}"]).split("total=")[1].split()[0])


# --- what the machine is -----------------------------------------------------------------------------------------


def test_systemd_is_process_one_and_every_service_runs(machine: Machine):
    assert machine.must(["cat", "/proc/1/comm"]) == "systemd\n"
    assert machine.must(["systemctl", "is-system-running"]) == "running\n"


def test_cgroup_v2_alone_is_there_with_all_controllers(machine: Machine):
    assert machine.must(["stat", "-fc", "%T", CGROUP]) == "cgroup2fs\n"
    controllers = set(machine.must(["cat", f"{CGROUP}/cgroup.controllers"]).split())
    assert controllers >= {"cpuset", "cpu", "io", "memory", "pids"}
    assert machine.must(["cat", "/proc/pressure/memory"]).startswith("some avg10=")


def test_docker_answers_with_the_systemd_driver(machine: Machine):
    template = "{{.CgroupDriver}} {{.CgroupVersion}} {{.Driver}}"
    assert machine.must(["docker", "info", "--format", template]) == "systemd 2 overlay2\n"
    assert machine.must(["docker", "run", "--rm", "busybox", "echo", "hello"]) == "hello\n"


def test_what_tests_and_deploys_need_is_installed(machine: Machine):
    machine.must(["python3", "-m", "venv", "/tmp/venv"])
    machine.must(["sh", "-c", "echo 'int main(void) { return 0; }' | gcc -x c -o /tmp/a.out - && /tmp/a.out"])
    machine.must(["sh", "-c", "command -v curl logrotate sudo visudo busybox setfacl iptables"])
    assert machine.must(["systemctl", "is-active", "cron"]) == "active\n"


def test_trixie_has_compose_and_buildx(machine: Machine):
    plugins = machine.must(["docker", "info", "--format", "{{json .ClientInfo.Plugins}}"])
    names = {plugin["Name"] for plugin in json.loads(plugins) or []}
    suite = machine.must(["sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME"]).strip()
    assert names == ({"buildx", "compose"} if suite == Suite.TRIXIE else set())


# --- commands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"), [("true", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("exec /no/such/thing", 127)]
)
def test_exit_codes_are_the_commands_own(machine: Machine, script: str, code: int):
    assert machine.run(["sh", "-c", script]).code == code


def test_a_missing_program_is_127_and_named(machine: Machine):
    done = machine.run(["no-such-program"])
    assert (done.code, done.stderr) == (127, "lab: no-such-program: No such file or directory\n")


def test_output_streams_stay_apart(machine: Machine):
    done = machine.run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_output_comes_while_the_command_runs(machine: Machine):
    arrived: list[tuple[bytes, float]] = []

    def note(data: bytes) -> None:
        arrived.append((data, time.monotonic()))

    machine.stream(Command(["sh", "-c", "echo one; sleep 1; echo two"]), note, note)
    (first, early), (second, late) = arrived
    assert (first, second) == (b"one\n", b"two\n")
    assert late - early > 0.5


def test_standard_input_arrives_byte_by_byte(machine: Machine):
    data = bytes(range(256)) * 4096
    received = bytearray()
    machine.stream(Command(["cat"], stdin=data), received.extend, received.extend)
    assert bytes(received) == data
    assert machine.must(["cat"]) == ""


def test_folder_and_environment_reach_the_command(machine: Machine):
    done = machine.must(["sh", "-c", 'pwd; echo "$A"'], folder="/usr/lib", environment={"A": "x y"})
    assert done == "/usr/lib\nx y\n"


def test_a_command_that_takes_too_long_is_ended(machine: Machine):
    begin = time.monotonic()
    done = machine.run(["sh", "-c", "echo begun; sleep 4321"], timeout_seconds=1)
    assert (done.code, done.stdout) == (124, "begun\n")
    assert time.monotonic() - begin < 20
    assert machine.run(["pgrep", "-f", "sleep 4321"]).code == 1


def test_a_command_whose_caller_gives_up_is_ended(machine: Machine):
    def give_up(_: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.stream(Command(["sh", "-c", "echo begun; exec sleep 4322"]), give_up, give_up)
    machine.must(["timeout", "10", "sh", "-c", "while pgrep -f 'sleep 4322$'; do sleep 0.1; done"])


def test_commands_run_side_by_side(machine: Machine):
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda code: machine.run(["sh", "-c", f"sleep 2; exit {code}"]).code, range(8)))
    assert codes == list(range(8))
    assert time.monotonic() - begin < 12


def test_a_users_command_runs_in_a_login_shell(machine: Machine):
    machine.script("useradd --create-home --shell /bin/bash alice")
    machine.script("echo 'export FROM_PROFILE=seen' >/etc/profile.d/test.sh")
    script = 'echo "$(id -un) $PWD $FROM_PROFILE $A"; cat /proc/self/cgroup'
    words, cgroup = machine.must(["sh", "-c", script], user="alice", environment={"A": "'quoted'"}).splitlines()
    assert words == "alice /home/alice seen 'quoted'"
    assert "user.slice/user-" in cgroup
    assert machine.must(["pwd"], user="alice", folder="/usr/lib") == "/usr/lib\n"
    assert machine.run(["sh", "-c", "exit 7"], user="alice").code == 7


def test_a_socket_knows_who_calls(machine: Machine):
    uid = machine.script("id -u carol 2>/dev/null || { useradd -m carol; id -u carol; }").strip()
    server = """
import os, socket, struct, subprocess
listener = socket.socket(socket.AF_UNIX)
listener.bind("/tmp/who")
os.chmod("/tmp/who", 0o666)
listener.listen()
subprocess.Popen(["su", "carol", "-c", "curl --silent --unix-socket /tmp/who http://x"])
peer = listener.accept()[0]
print(struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
"""
    assert machine.must(["python3", "-c", server], timeout_seconds=30).strip() == uid


# --- files -------------------------------------------------------------------------------------------------------


def test_files_and_folders_travel_both_ways(machine: Machine, tmp_path: Path):
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/data").write_bytes(bytes(range(256)))
    (tree / "tool").write_text("#!/bin/sh\necho works\n")
    (tree / "tool").chmod(0o755)
    (tree / "link").symlink_to("sub/data")
    (tree / "left-out").mkdir()

    machine.push(tree, "/srv/new/tree", exclude=["left-out"])
    machine.push(tree / "tool", "/srv/other/tool")
    machine.pull("/srv/new/tree", tmp_path / "back")
    machine.pull("/srv/other/tool", tmp_path / "tool")

    assert machine.must(["/srv/new/tree/tool"]) == machine.must(["/srv/other/tool"]) == "works\n"
    assert machine.must(["stat", "-c", "%U %a", "/srv/new/tree/tool"]) == "root 755\n"
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["link", "sub", "tool"]
    assert (tmp_path / "back/link").readlink() == Path("sub/data")
    assert (tmp_path / "back/sub/data").read_bytes() == bytes(range(256))
    assert (tmp_path / "tool").stat().st_mode & 0o777 == 0o755


def test_pulling_what_is_not_there_is_an_error(machine: Machine, tmp_path: Path):
    with pytest.raises(LabError):
        machine.pull("/no/such/file", tmp_path / "file")


# --- what systemd and the kernel enforce -------------------------------------------------------------------------


def test_a_container_lands_in_the_nested_slice(alice: Machine):
    cgroup = alice.must(in_slice("--rm", "--cgroupns=host", "busybox", "cat", "/proc/self/cgroup"))
    assert cgroup.startswith(f"0::{ALICE_CGROUP.removeprefix(CGROUP)}/docker-")


def test_a_users_drop_in_replaces_the_groups_of_the_same_name(machine: Machine):
    machine.script("""
        cd /etc/systemd/system
        mkdir -p ds01-lab-.slice.d ds01-lab-bob.slice.d
        printf '[Slice]\\nTasksMax=50\\nMemoryMax=64M\\n' >ds01-lab-.slice.d/10-resource-limits.conf
        printf '[Slice]\\nTasksMax=70\\n' >ds01-lab-bob.slice.d/10-resource-limits.conf
        systemctl daemon-reload
        systemctl start ds01-lab-bob.slice ds01-lab-eve.slice
    """)
    shown = ["systemctl", "show", "--value", "--property=TasksMax,MemoryMax"]
    assert sorted(machine.must([*shown, "ds01-lab-bob.slice"]).split()) == ["70", "infinity"]
    assert sorted(machine.must([*shown, "ds01-lab-eve.slice"]).split()) == ["50", "67108864"]
    assert machine.must(["cat", f"{CGROUP}/ds01.slice/ds01-lab.slice/ds01-lab-eve.slice/pids.max"]) == "50\n"


def test_tasks_max_stops_a_fork_bomb(alice: Machine):
    limit(alice, "TasksMax=50")
    bomb = "i=0; while [ $i -lt 80 ]; do sleep 5 & i=$((i+1)); done; wait"
    done = alice.run(in_slice("--rm", "busybox", "sh", "-c", bomb))
    assert "can't fork" in done.stderr
    assert counters(alice, "pids.events")["max"] >= 1


def test_memory_max_kills_in_the_slice_alone(alice: Machine):
    limit(alice, "MemoryMax=64M")
    alice.must(["docker", "run", "--detach", "--name=bystander", "busybox", "sleep", "600"])
    done = alice.run(in_slice("--name=hog", "busybox", "tail", "/dev/zero"))
    assert done.code == 137
    assert counters(alice, "memory.events")["oom_kill"] >= 1
    state = ["docker", "inspect", "--format", "{{.State.Running}}"]
    assert alice.must([*state, "bystander"]) == "true\n"


def test_memory_high_without_swap_stalls_and_shows_as_pressure(alice: Machine):
    limit(alice, "MemoryHigh=32M")
    before = stall_usec(alice, "memory.pressure")
    # Everything in the slice crawls by now, so it is measured and ended from outside.
    alice.must(in_slice("--detach", "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=48M", "count=200"))
    time.sleep(4)
    assert stall_usec(alice, "memory.pressure") - before > 500_000
    events = counters(alice, "memory.events")
    assert events["high"] >= 1
    assert events["oom_kill"] == 0


def test_cpu_quota_throttles(alice: Machine):
    limit(alice, "CPUQuota=20%")
    before = counters(alice, "cpu.stat")
    spin = "(while :; do :; done) & sleep 4; kill -KILL $!"
    alice.must(in_slice("--rm", "busybox", "sh", "-c", spin))
    after = counters(alice, "cpu.stat")
    assert after["nr_throttled"] > before["nr_throttled"]
    assert after["usage_usec"] - before["usage_usec"] < 2_000_000
