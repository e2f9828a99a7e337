"""The docker command on a real engine: it ends, speaks and listens as the client does; words, exit codes, terminals."""

from __future__ import annotations

import os
import pty
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from tests.engine.image import IMAGE
from tests.integration.wrapper_host import ADMIN, ALICE, WrapperHost, inspected, make_host, until

pytestmark = pytest.mark.docker
SLICE = f"ds01-student-{ALICE}.slice"


@pytest.fixture
def host(tmp_path: Path, docker_host: str) -> WrapperHost:
    return make_host(tmp_path)


def test_exit_codes_are_the_containers_and_the_clients(host: WrapperHost) -> None:
    lines = {
        "done": (IMAGE, "true"),
        "its own": (IMAGE, "sh", "-c", "exit 3"),
        "a folder": (IMAGE, "/etc"),
        "no command": (IMAGE, "no-such-command"),
        "no image": ("no-such-image-here",),
        "by the client": ("--name=a", "--restart=always", IMAGE),
    }
    words = {what: ("run", "--rm", "--pull=never", *line) for what, line in lines.items()}
    plain = {what: subprocess.run(["docker", *line], capture_output=True, check=False) for what, line in words.items()}
    wrapped = {what: host.docker(*line) for what, line in words.items()}
    assert {what: each.code for what, each in wrapped.items()} == {
        what: each.returncode for what, each in plain.items()
    }
    assert (wrapped["done"].code, wrapped["its own"].code, wrapped["no image"].code) == (0, 3, 125)
    assert wrapped["no image"].err == plain["no image"].stderr.decode()


def test_what_is_written_and_read_goes_through(host: WrapperHost, prefix: str) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    said = host.docker("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo word >&2", data=text)
    assert (said.code, said.out, said.err) == (0, text, "word\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_container(host: WrapperHost, prefix: str, number: signal.Signals) -> None:
    script = "trap 'exit 40' INT; trap 'exit 41' TERM; echo ready; while :; do sleep 0.1; done"
    argv = host.argv("run", "--name", prefix, IMAGE, "sh", "-c", script)
    with subprocess.Popen(argv, env=host.env(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(timeout=60) == {signal.SIGINT: 40, signal.SIGTERM: 41}[number]


def on_terminal(host: WrapperHost, *words: str, **more: str) -> tuple[int, str]:
    """Run docker on a terminal of its own; return exit code and all that it shows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(host.wrapper, host.argv(*words), host.env(**more))
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:  # its other side is closed
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_a_container_on_a_terminal_has_it(host: WrapperHost) -> None:
    assert on_terminal(host, "run", "--rm", "-it", IMAGE, "sh", "-c", "test -t 0 && test -t 1 && exit 7") == (7, "")


def test_an_option_that_the_client_does_not_know_is_refused_by_name(host: WrapperHost) -> None:
    said = host.docker("run", "--no-such", IMAGE)
    assert (said.code, said.out) == (125, "")
    assert said.err.startswith("docker: docker run has no option --no-such (docker 2")
    assert host.docker("create", "--no-such", IMAGE).code == 1


def test_more_memory_than_one_container_may_have_is_refused_with_a_box(host: WrapperHost) -> None:
    refused = host.docker("run", "--memory=1000g", "nginx")
    assert (refused.code, refused.out) == (125, "")
    assert refused.err.splitlines()[0][0] == "┌"
    for text in ("DS01 Container Memory Limit Exceeded", "--memory 1000G", "32G a container", "ds01-help@lab-x.org"):
        assert text in refused.err
    assert "\x1b" not in refused.err
    assert host.docker("create", "--memory=1000g", "nginx").code == 1
    assert [(each.event_type, each.details["rule"]) for each in host.events()] == [("admission.refused", "limits")] * 2


def test_a_box_is_as_its_terminal_can_show_it(host: WrapperHost) -> None:
    line = ("run", "--memory=1000g", "nginx")
    ascii_only = host.docker(*line, LANG="C", LC_ALL="").err
    assert ascii_only.isascii()
    assert ascii_only.startswith("+--")
    assert host.docker(*line, LANG="C", LC_ALL="C.UTF-8").err.startswith("┌")
    code, shown = on_terminal(host, *line)
    assert (code, "\x1b[1;31m" in shown) == (125, True)
    code, shown = on_terminal(host, *line, NO_COLOR="1")
    assert (code, "\x1b" in shown) == (125, False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ipc=host"], "--ipc=host"),
        (["--pids-limit", "-1"], "--pids-limit unlimited"),
        (["--pids-limit=0"], "--pids-limit unlimited"),
        (["--pids-limit=5000"], "--pids-limit 5000"),
        (["--cpus=999"], "--cpus 999"),
        (["--cpu-quota=99900000"], "--cpus 999"),
        (["--shm-size=17g"], "--shm-size 17G"),
    ],
)
def test_more_than_one_container_may_have_is_refused(host: WrapperHost, options: list[str], words: str) -> None:
    host.override(max_cpus=1)
    said = host.docker("run", "--rm", *options, IMAGE, "true")
    assert (said.code, said.out) == (125, "")
    assert words in said.err


def test_limits_are_filled_in_and_smaller_ones_stay(host: WrapperHost, prefix: str) -> None:
    host.override(max_cpus=1)
    host.must("create", "--name", f"{prefix}-a", IMAGE)
    host.must("create", "--name", f"{prefix}-b", "-m1g", "--cpu-quota=5000", "--cpu-period=10000", IMAGE)
    host.must("create", "--name", f"{prefix}-c", "--cpu-period=10000", "--ipc=private", "--shm-size=1g", IMAGE)
    names = ("Memory", "MemorySwap", "NanoCpus", "CpuQuota", "CpuPeriod", "PidsLimit", "ShmSize", "CgroupParent")
    made = [inspected(f"{prefix}-{each}")["HostConfig"] for each in "abc"]
    gib = 2**30
    assert [tuple(each[name] for name in names) for each in made] == [
        (32 * gib, 32 * gib, 10**9, 0, 0, 4096, 16 * gib, SLICE),
        (gib, gib, 0, 5000, 10000, 4096, 16 * gib, SLICE),
        (32 * gib, 32 * gib, 0, 10000, 10000, 4096, gib, SLICE),
    ]


def test_the_machines_shared_memory_is_given_where_the_policy_says_so(host: WrapperHost, prefix: str) -> None:
    host.override(ipc_mode="host")
    host.must("create", "--name", f"{prefix}-a", IMAGE)
    host.must("create", "--name", f"{prefix}-b", "--shm-size=1g", IMAGE)
    host.must("create", "--name", f"{prefix}-c", "--ipc=host", IMAGE)
    made = [inspected(f"{prefix}-{each}")["HostConfig"] for each in "abc"]
    assert [each["IpcMode"] for each in made] == ["host", "private", "host"]
    assert made[1]["ShmSize"] == 2**30


def test_a_slice_is_chosen_by_administrators_alone_among_those_listed(host: WrapperHost, prefix: str) -> None:
    host.change_policy(access_control={"admin_cgroup_parents": ["ds01-maintenance.slice"]})
    said = host.docker("create", "--name", f"{prefix}-a", "--cgroup-parent=evil.slice", IMAGE)
    assert (said.code, "--cgroup-parent is set to" in said.err) == (0, True)
    host.must("create", "--name", f"{prefix}-b", "--cgroup-parent", "ds01-maintenance.slice", IMAGE, account=ADMIN)
    refused = host.docker("create", "--cgroup-parent=evil.slice", IMAGE, account=ADMIN)
    assert (refused.code, "lists no slice 'evil.slice'" in refused.err) == (1, True)
    parents = [inspected(f"{prefix}-{each}")["HostConfig"]["CgroupParent"] for each in "ab"]
    assert parents == [SLICE, "ds01-maintenance.slice"]


def test_what_a_user_says_of_our_labels_and_of_visible_gpus_is_not_believed(
    host: WrapperHost, prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "labels").write_text("ds01.user=www-data\nds01.gpu.uuids=GPU-1\nteam=a\n")
    (tmp_path / "env").write_text("NVIDIA_VISIBLE_DEVICES=all\nB=2\n")
    files = (f"--label-file={tmp_path}/labels", f"--env-file={tmp_path}/env")
    host.must("create", "--name", prefix, *files, "-l", "ds01.user=daemon", "-lds01.protected=true", IMAGE)
    config = inspected(prefix)["Config"]
    labels = config["Labels"]
    assert labels.pop("ds01.created_at")
    assert {name: text for name, text in labels.items() if text} == {
        "ds01.container_type": "docker",
        "ds01.managed": "true",
        "ds01.protected": "false",
        "ds01.slice": SLICE,
        "ds01.user": ALICE,
        "team": "a",
    }
    visible = [each for each in config["Env"] if each.startswith("NVIDIA_VISIBLE_DEVICES=")]
    assert visible[-1] == "NVIDIA_VISIBLE_DEVICES=void"


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("devcontainer.local_folder=/home/x/y", "devcontainer"),
        ("com.docker.compose.project=x", "compose"),
        ("a", "docker"),
    ],
)
def test_the_tool_that_makes_a_container_is_told_by_its_labels(
    host: WrapperHost, prefix: str, label: str, kind: str
) -> None:
    host.must("create", "--name", prefix, "--label", label, IMAGE)
    labels = inspected(prefix)["Config"]["Labels"]
    assert (labels["ds01.container_type"], labels["ds01.user"]) == (kind, ALICE)


def test_ten_runs_that_fail_or_end_at_once_leave_nothing_that_counts(host: WrapperHost, prefix: str) -> None:
    host.override(max_containers=1)
    for _ in range(10):
        assert host.docker("run", "--rm", IMAGE, "true").code == 0
        assert host.docker("run", "--pull=never", "no-such-image-here").code == 125
        assert host.docker("run", "--rm", IMAGE, "no-such-command").code in {125, 127}
    assert host.events() == []


@pytest.mark.parametrize("limit", ["umask 0777", "ulimit -S -n 8", "ulimit -S -v 60000", "ulimit -S -f 0"])
def test_what_a_caller_hands_down_to_the_helper_changes_nothing(host: WrapperHost, limit: str) -> None:
    real = host.helper.rename(host.helper.with_name("real"))
    host.helper.write_text(f'#!/bin/bash\n{limit}\nexec "{real}"\n')
    host.helper.chmod(0o755)
    said = host.docker("create", "--memory=900g", IMAGE)
    assert (said.code, "DS01 Container Memory Limit Exceeded" in said.err) == (1, True), said.err
    assert [each.event_type for each in host.events()] == ["admission.refused"]
    assert stat.S_IMODE(host.paths.events.stat().st_mode) == 0o640


def test_a_terminal_does_not_stop_the_helper(host: WrapperHost) -> None:
    """A stopped one would keep what it has locked."""
    argv = [os.fspath(host.helper)]
    with subprocess.Popen(argv, env=host.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        ignored = Path(f"/proc/{process.pid}/status")
        stops = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
        mask = sum(1 << (number - 1) for number in stops)
        until(lambda: int(ignored.read_text().partition("SigIgn:")[2].split()[0], 16) & mask == mask)
        for number in stops:
            process.send_signal(number)
        fields = ("1", str(os.getpid()), "C", "", "", "", "run", "--help")
        out, _ = process.communicate("".join(f"{each}\0" for each in fields).encode(), timeout=60)
    assert out == b"run\0run\0--help\0"
