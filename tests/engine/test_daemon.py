"""An engine of the tests' own: what it honours, that it stays apart from the machine, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.engine.daemon import Daemon, answers
from tests.engine.image import IMAGE
from tests.engine.keeper import below
from tests.engine.packages import EngineMissingError, cache_folder, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.fixture import StartEngine

pytestmark = pytest.mark.root
CHECKOUT = Path(__file__).resolve().parents[2]
WAITING = (IMAGE, "sleep", "6000")
# Its engine has a container, and one whose processes no namespace ends; it tells of both and waits.
OWNER = """
import json, sys
from tests.engine.daemon import Daemon
from tests.engine.packages import cache_folder, unpacked
with Daemon(unpacked(cache_folder())) as engine:
    engine.docker("run", "--detach", "busybox", "sleep", "6000")
    engine.docker("run", "--detach", "--pid=host", "busybox", "sh", "-c", "sleep 6000 & sleep 6000")
    print(json.dumps([engine.keeper, str(engine.folder)]), flush=True)
    sys.stdin.read()
"""
# What an engine that is started by itself makes on a machine.
TRACES = ("/etc/docker", "/opt/containerd", "/run/containerd", "/run/docker", "/var/lib/containerd", "/var/lib/docker")


@pytest.fixture(scope="module")
def engine() -> Iterator[Daemon]:
    with Daemon(unpacked(cache_folder())) as daemon:
        yield daemon


def state_of_machine() -> dict[str, object]:
    """What an engine might change of the machine."""
    traces = [path for trace in TRACES for path in (Path(trace), *Path(trace).rglob("*"))]
    return {
        "mounts": Path("/proc/self/mounts").read_text(),
        "control groups": sorted(path for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir()),
        "network": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "traces": {path: path.lstat().st_mtime_ns for path in traces if path.exists()},
    }


def life(pid: int) -> str | None:
    """What tells a process from others that had or will have its number; None when it is dead.

    Source: man 5 proc_pid_stat, fields 3 and 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def host_config(engine: Daemon, name: str, *wanted: str) -> dict[str, object]:
    found = json.loads(engine.docker("inspect", "--format={{json .HostConfig}}", name))
    return {key: found[key] for key in wanted}


# --- What it honours --------------------------------------------------------------------------------------------------


def test_limits_are_taken_and_told(engine: Daemon) -> None:
    options = (
        "--memory=512m", "--memory-swap=1g", "--cpus=1.5", "--pids-limit=100", "--shm-size=32m",
        "--cgroup-parent=ds01-student-alice.slice", "--label=ds01.user=alice",
    )  # fmt: skip
    said = engine.docker("run", "--name=limits", *options, IMAGE, "df", "-k", "/dev/shm")
    assert said.splitlines()[1].split()[1] == str(32 * 1024)
    told = host_config(
        engine, "limits", "Memory", "MemorySwap", "NanoCpus", "PidsLimit", "ShmSize", "CgroupParent", "Runtime"
    )
    assert told == {
        "Memory": 512 << 20,
        "MemorySwap": 1 << 30,
        "NanoCpus": 1_500_000_000,
        "PidsLimit": 100,
        "ShmSize": 32 << 20,
        "CgroupParent": "ds01-student-alice.slice",
        "Runtime": "runc",
    }
    assert json.loads(engine.docker("inspect", "--format={{json .Config.Labels}}", "limits")) == {"ds01.user": "alice"}


def test_limits_of_a_running_container_are_changed(engine: Daemon) -> None:
    engine.docker("run", "--detach", "--name=changed", "--memory=64m", *WAITING)
    engine.docker("update", "--memory=128m", "--memory-swap=128m", "--cpus=0.5", "changed")
    told = host_config(engine, "changed", "Memory", "MemorySwap", "NanoCpus")
    assert told == {"Memory": 128 << 20, "MemorySwap": 128 << 20, "NanoCpus": 500_000_000}
    engine.docker("rm", "--force", "changed")


def test_a_parent_that_is_no_slice_is_refused_as_on_a_host_with_systemd(engine: Daemon) -> None:
    with pytest.raises(AssertionError, match="should be a valid slice"):
        engine.docker("create", "--cgroup-parent=students", IMAGE)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (("--gpus=device=GPU-1",), "GPU-1"),
        (('--gpus="device=GPU-1,MIG-2"',), "GPU-1,MIG-2"),
        (("--gpus=all",), "all"),
        (("--gpus=2",), "0,1"),
        (("--runtime=nvidia", "--env=NVIDIA_VISIBLE_DEVICES=GPU-1"), "GPU-1"),
        (("--runtime=nvidia",), None),
        ((), None),
    ],
)
def test_a_container_with_gpus_starts_and_sees_what_the_engine_sets(
    engine: Daemon, options: tuple[str, ...], seen: str | None
) -> None:
    lines = engine.docker("run", "--rm", *options, IMAGE, "env").splitlines()
    assert dict(line.split("=", 1) for line in lines).get("NVIDIA_VISIBLE_DEVICES") == seen


def test_a_container_from_start_to_removal(engine: Daemon) -> None:
    made = engine.docker("run", "--detach", "--name=before", IMAGE, "sh", "-c", "echo said; sleep 6000")
    engine.docker("rename", "before", "after")
    pid = int(engine.docker("inspect", "--format={{.State.Pid}}", "after"))
    assert engine.docker("exec", "after", "readlink", "/proc/1/ns/mnt") == str(Path(f"/proc/{pid}/ns/mnt").readlink())
    engine.docker("kill", "after")
    assert engine.docker("wait", "after") == "137"
    assert engine.docker("logs", "after") == "said"
    engine.docker("start", "after")
    engine.docker("stop", "--time=0", "after")
    engine.docker("rm", "after")
    options = ("--since=1h", f"--until={time.time():.6f}", f"--filter=container={made}", "--format={{.Status}}")
    events = [line.partition(":")[0] for line in engine.docker("events", *options).splitlines()]
    assert [event for event in events if event != "kill"] == [
        "create", "start", "rename", "exec_create", "exec_start", "exec_die", "die", "start", "die", "stop", "destroy",
    ]  # fmt: skip


def test_networks_have_addresses_and_reach_each_other(engine: Daemon) -> None:
    engine.docker("network", "create", "course")
    page = "mkdir /tmp/w; echo served >/tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"
    engine.docker("run", "--detach", "--name=web", "--network=course", "--publish=8080:80", IMAGE, "sh", "-c", page)
    assert engine.docker("port", "web", "80").splitlines()[0] == "0.0.0.0:8080"
    address = engine.docker("inspect", "--format={{.NetworkSettings.Networks.course.IPAddress}}", "web")
    for network, place in (("course", address), ("host", "127.0.0.1:8080")):
        ask = f"for _ in $(seq 300); do wget -q -O - http://{place} && exit; sleep 0.1; done; exit 1"
        assert engine.docker("run", "--rm", f"--network={network}", IMAGE, "sh", "-c", ask) == "served"


@pytest.mark.parametrize("words", [("pause",), ("top",)])
def test_what_takes_a_control_group_fails_and_harms_nothing(engine: Daemon, words: tuple[str, ...]) -> None:
    made = engine.docker("run", "--detach", *WAITING)
    with pytest.raises(AssertionError, match="cgroup"):
        engine.docker(*words, made)
    assert engine.docker("inspect", "--format={{.State.Status}}", made) == "running"
    engine.docker("rm", "--force", made)


# --- Apart from the machine -------------------------------------------------------------------------------------------


def test_the_machine_stays_as_it_is() -> None:
    before = state_of_machine()
    with Daemon(unpacked(cache_folder())) as engine:
        engine.docker("run", "--detach", "--name=one", "--memory=64m", "--publish=80:80", *WAITING)
        pid = int(engine.docker("inspect", "--format={{.State.Pid}}", "one"))
        assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
        assert state_of_machine() == before
        mounts = [line.split() for line in Path(f"/proc/{engine.pid}/mounts").read_text().splitlines()]
        kinds = {(kind, options.split(",")[0]) for _, _, kind, options, *_ in mounts if kind.startswith("cgroup")}
        assert kinds in ({("cgroup", "ro")}, {("cgroup2", "ro")}, set())
        assert len(os.fspath(engine.socket)) < 108
    assert state_of_machine() == before


def test_two_at_once_know_nothing_of_each_other(another_engine: StartEngine) -> None:
    one, other = another_engine(), another_engine()
    for engine in (one, other):
        engine.docker("run", "--detach", "--name=same", "--network=host", *WAITING)
    one.docker("rm", "--force", "same")
    one.close()
    assert other.docker("ps", "--format={{.Names}} {{.State}}") == "same running"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_its_owner_ends(number: signal.Signals) -> None:
    before = state_of_machine()
    environment = os.environ | {"PYTHONPATH": f"{CHECKOUT}/scripts:{CHECKOUT}"}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as owner:
        assert owner.stdout is not None
        keeper, folder = json.loads(owner.stdout.readline())
        alive = {pid: life(pid) for pid in [keeper, *below(keeper)]}
        assert len(alive) >= 7, "keeper, dockerd, containerd, two shims and two containers"
        owner.send_signal(number)
        owner.wait(60)
    deadline = time.monotonic() + 60
    while left := {pid: begun for pid, begun in alive.items() if begun is not None and life(pid) == begun}:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    assert not Path(folder).exists()
    assert state_of_machine() == before


# --- Its own life -----------------------------------------------------------------------------------------------------


def test_it_is_killed_and_comes_back_with_what_it_had(another_engine: StartEngine) -> None:
    engine = another_engine({"live-restore": True})
    engine.docker("run", "--detach", "--name=runs", "--network=none", *WAITING)
    engine.docker("create", "--name=made", IMAGE)
    pid = engine.docker("inspect", "--format={{.State.Pid}}", "runs")
    first = engine.pid
    engine.stop()
    assert (answers(engine.socket), life(first)) == (False, None)
    assert life(int(pid)) is not None
    engine.start()
    assert engine.pid != first
    assert engine.docker("inspect", "--format={{.State.Pid}} {{.State.Status}}", "runs") == f"{pid} running"
    assert engine.docker("inspect", "--format={{.State.Status}}", "made") == "created"
    engine.stop(signal.SIGTERM)
    engine.start()
    engine.docker("rm", "--force", "runs", "made")


def test_one_that_cannot_start_says_why_and_leaves_nothing() -> None:
    engine = Daemon(unpacked(cache_folder()), {"storage-driver": "no-such-driver"})
    with pytest.raises(EngineMissingError, match=r"does not come up: failed to start daemon: .* not supported"):
        engine.__enter__()
    assert not engine.folder.exists()
