"""`docker run` through the wrapper: limited without being noticed, or refused with a box; the engine is real."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ADMIN, ALICE, inspected, uid_of

from ds01.runtime.containers.page import admitted_on

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.wrapper_host import WrapperHost

pytestmark = pytest.mark.docker
GIB = 1024**3
SLEEP = (IMAGE, "sleep", "600")


def limits_of(name: str) -> dict[str, object]:
    config = inspected(name)["HostConfig"]
    return {key: config[key] for key in ("Memory", "MemorySwap", "NanoCpus", "PidsLimit", "ShmSize", "IpcMode")}


# --- What a container is made with ------------------------------------------------------------------------------------


def test_a_container_gets_slice_labels_and_the_groups_limits(host: WrapperHost):
    host.must("run", "-d", "--name", "web", *SLEEP)
    found = inspected("web")
    assert found["HostConfig"]["CgroupParent"] == "ds01-student-games.slice"
    labels = found["Config"]["Labels"]
    created_at = labels.pop("ds01.created_at")
    assert time.strptime(created_at.partition(".")[0], "%Y-%m-%dT%H:%M:%S")
    assert labels == {
        "ds01.user": ALICE,
        "ds01.managed": "true",
        "ds01.container_type": "docker",
        "ds01.slice": "ds01-student-games.slice",
        "ds01.protected": "false",
    }
    assert limits_of("web") == {
        "Memory": 32 * GIB,
        "MemorySwap": 32 * GIB,
        "NanoCpus": (os.cpu_count() or 1) * 10**9,
        "PidsLimit": 4096,
        "ShmSize": 16 * GIB,
        "IpcMode": "private",
    }
    assert "NVIDIA_VISIBLE_DEVICES=void" in found["Config"]["Env"]


def test_what_is_asked_for_within_the_limits_is_given(host: WrapperHost):
    host.must("run", "-dm2g", "--name", "web", "--cpus=0.5", "--pids-limit", "64", "--shm-size=1G", *SLEEP)
    assert limits_of("web") == {
        "Memory": 2 * GIB,
        "MemorySwap": 2 * GIB,
        "NanoCpus": 500_000_000,
        "PidsLimit": 64,
        "ShmSize": GIB,
        "IpcMode": "private",
    }


def test_swap_is_never_given(host: WrapperHost):
    host.must("create", "--name", "web", "--memory", "1g", "--memory-swap", "-1", *SLEEP)
    assert limits_of("web")["MemorySwap"] == GIB


def test_cpus_in_the_older_way_are_left_as_they_are(host: WrapperHost):
    host.must("create", "--name", "web", "--cpu-period=50000", "--cpu-quota=25000", *SLEEP)
    config = inspected("web")["HostConfig"]
    assert (config["NanoCpus"], config["CpuPeriod"], config["CpuQuota"]) == (0, 50_000, 25_000)


def test_shared_memory_of_the_host_comes_without_a_size(host: WrapperHost):
    host.override(ipc_mode="host")
    host.must("create", "--name", "web", *SLEEP)
    assert inspected("web")["HostConfig"]["IpcMode"] == "host"
    host.must("create", "--name", "own", "--shm-size=1g", *SLEEP)
    assert (limits_of("own")["IpcMode"], limits_of("own")["ShmSize"]) == ("private", GIB)


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("devcontainer.local_folder=/home/games/thesis", "devcontainer"),
        ("com.docker.compose.project=thesis", "compose"),
        ("purpose=thesis", "docker"),
    ],
)
def test_the_tool_that_makes_a_container_is_told_by_its_labels(host: WrapperHost, label: str, kind: str):
    host.must("create", "--name", "web", "-l", label, *SLEEP)
    labels = inspected("web")["Config"]["Labels"]
    assert labels["ds01.container_type"] == kind
    assert labels[label.partition("=")[0]] == label.partition("=")[2]


def test_what_only_ds01_says_is_not_believed_of_a_user(host: WrapperHost):
    labels = ["-l", "ds01.user=www-data", "--label=ds01.protected=true", "-l", "aime.mlc.USER=www-data", "-lds01.x=1"]
    devices = ["-e", "NVIDIA_VISIBLE_DEVICES=void", "-eCUDA_VISIBLE_DEVICES=0", "--cgroup-parent=ds01-faculty.slice"]
    said = host.docker("create", "--name", "web", *labels, *devices, *SLEEP)
    assert said.code == 0
    assert "--cgroup-parent is set to ds01-student-games.slice" in said.err
    found = inspected("web")
    assert found["HostConfig"]["CgroupParent"] == "ds01-student-games.slice"
    assert set(found["Config"]["Labels"]) == {
        "ds01.user", "ds01.managed", "ds01.container_type", "ds01.created_at", "ds01.slice",
        "ds01.protected",
    }  # fmt: skip
    assert found["Config"]["Labels"]["ds01.protected"] == "false"
    assert found["Config"]["Labels"]["ds01.user"] == ALICE
    assert [each for each in found["Config"]["Env"] if "DEVICES" in each] == ["NVIDIA_VISIBLE_DEVICES=void"]


def test_a_file_of_labels_protects_nothing(host: WrapperHost):
    path = host.folder / "labels"
    path.write_text("ds01.protected=true\nds01.user=www-data\nmine=1\n")
    host.must("create", "--name", "web", f"--label-file={path}", *SLEEP)
    labels = inspected("web")["Config"]["Labels"]
    assert (labels["ds01.protected"], labels["ds01.user"], labels["mine"]) == ("false", ALICE, "1")


def test_an_administrator_may_protect_a_container(host: WrapperHost):
    host.must("create", "--name", "web", "-l", "ds01.protected=true", *SLEEP, account=ADMIN)
    assert inspected("web")["Config"]["Labels"]["ds01.protected"] == "true"


def test_what_was_admitted_is_kept_apart_from_the_promise(host: WrapperHost):
    host.must("create", "--name", "web", *SLEEP)
    token = inspected("web")["Config"]["Labels"]["ds01.created_at"]
    assert host.docker("create", "--memory=1000g", *SLEEP).code == 1
    host.must("ps")
    assert admitted_on(host.paths.pages, uid_of(ALICE)) == (token,)


def test_an_administrator_may_name_a_slice_that_the_policy_lists(host: WrapperHost):
    host.change_policy(access_control={"admin_cgroup_parents": ["lab-services.slice"]})
    host.must("create", "--name", "web", "--cgroup-parent=lab-services.slice", *SLEEP, account=ADMIN)
    assert inspected("web")["HostConfig"]["CgroupParent"] == "lab-services.slice"
    said = host.docker("create", "--cgroup-parent=system.slice", *SLEEP, account=ADMIN)
    assert said.code == 1
    assert "the policy lists no slice 'system.slice'" in said.err
    assert "access_control.admin_cgroup_parents" in said.err


# --- Refused ----------------------------------------------------------------------------------------------------------


def test_more_memory_than_a_container_may_have_is_refused_with_a_box(host: WrapperHost):
    said = host.docker("run", "--memory=1000g", "nginx")
    assert (said.code, said.out) == (125, "")
    assert said.err.splitlines()[0].startswith("+---")
    assert "|  DS01 Container Memory Limit Exceeded  " in said.err
    assert "|  Requested:   --memory 1000G  " in said.err
    assert "|  Your limit:  32G a container  " in said.err
    assert "ask ds01-help@lab-x.org." in said.err
    assert host.docker("create", "--memory=1000g", "nginx").code == 1
    refused = [event for event in host.events() if event.event_type == "admission.refused"]
    assert [(each.user, each.details["rule"], each.details["verb"]) for each in refused] == [
        (ALICE, "limits", "run"),
        (ALICE, "limits", "create"),
    ]
    assert refused[0].details["requested"] == 1000 * GIB


@pytest.mark.parametrize(
    ("option", "title"),
    [
        ("--cpus=1000", "DS01 Container CPU Limit Exceeded"),
        ("--cpu-quota=99000000", "DS01 Container CPU Limit Exceeded"),
        ("--shm-size=17g", "DS01 Container Shared Memory Limit Exceeded"),
        ("--pids-limit=-1", "DS01 Container Process Limit Exceeded"),
        ("--pids-limit=4097", "DS01 Container Process Limit Exceeded"),
        ("--ipc=host", "DS01 Shared Memory Limit Exceeded"),
    ],
)
def test_whatever_is_above_a_containers_limits_is_refused(host: WrapperHost, option: str, title: str):
    said = host.docker("run", option, IMAGE, "true")
    assert said.code == 125
    assert f"|  {title}  " in said.err


def test_a_box_is_plain_where_no_terminal_is(host: WrapperHost):
    said = host.docker("run", "--memory=1000g", IMAGE, LANG="C.UTF-8")
    assert said.err.isascii()
    assert said.err.splitlines()[0].startswith("+---")


def on_a_terminal(host: WrapperHost, *words: str, **more: str) -> str:
    """Return what docker writes to a terminal that is its stderr."""
    ours, theirs = pty.openpty()
    subprocess.run(host.argv(*words), env=host.env(**more), stderr=theirs, check=False, timeout=60)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    return said.decode()


@pytest.mark.parametrize(
    ("more", "corner", "colours"),
    [
        ({}, "┌", 1),
        ({"NO_COLOR": "1"}, "┌", 0),
        ({"LANG": "C"}, "+", 1),
        ({"LC_ALL": "C"}, "+", 1),
    ],
)
def test_a_terminal_gets_what_it_can_show_and_colour_unless_it_wants_none(
    host: WrapperHost, more: dict[str, str], corner: str, colours: int
):
    said = on_a_terminal(host, "run", "--memory=1000g", IMAGE, **more)
    assert "DS01 Container Memory Limit Exceeded" in said
    assert (said[0], said.isascii(), said.count("\x1b[1;31m")) == (corner, corner == "+", colours)


def test_an_option_that_the_client_does_not_have_is_refused_by_name(host: WrapperHost):
    said = host.docker("run", "--gpu=all", IMAGE)
    assert said.code == 125
    assert "--gpu" in said.err
    assert "docker run" in said.err


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_a_rule_that_is_not_enforced_refuses_nobody(host: WrapperHost, mode: str):
    host.rule("limits", mode)
    said = host.docker("create", "--name", "web", "--memory=40g", IMAGE)
    assert said.code == 0
    assert ("warning: DS01 Container Memory Limit Exceeded" in said.err) is (mode == "warn")
    assert limits_of("web")["Memory"] == 40 * GIB
    assert [each.event_type for each in host.events()].count("admission.overruled") == (mode == "warn")


def test_an_administrator_is_refused_nothing_and_counted(host: WrapperHost):
    host.override(ADMIN, max_containers=0)
    host.must("run", "-d", "--name", "web", "--memory=1000g", *SLEEP, account=ADMIN)
    assert inspected("web")["Config"]["Labels"]["ds01.user"] == ADMIN
    assert (host.paths.pages / f"{uid_of(ADMIN)}.json").exists()


def test_ten_refusals_an_hour_are_told_in_full(host: WrapperHost):
    said = [host.docker("run", "--memory=1000g", IMAGE).err for _ in range(13)]
    assert [text.startswith("+---") for text in said] == [True] * 10 + [False] * 3
    assert said[12] == (
        "ds01: run refused: DS01 Container Memory Limit Exceeded (refusal 13 within an hour; check-limits says more)\n"
    )
    refused = [event for event in host.events() if event.event_type == "admission.refused"]
    assert len(refused) == 11
    assert refused[10].details == {"text": "more refusals of this hour are only counted"}


# --- Nothing else is changed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "--rm", IMAGE, "true"), 0),
        (("run", "--rm", IMAGE, "sh", "-c", "exit 3"), 3),
        # Which code of its own a program that cannot start has is for the engine's runtime to say.
        (("run", "--rm", IMAGE, "no-such-program"), None),
        (("run", "--rm", IMAGE, "/etc"), None),
        (("run", "--network=no-such", IMAGE), 125),
        (("rm", "no-such-container"), 1),
        (("no-such-verb",), 1),
        (("run", "--help"), 0),
        (("--version",), 0),
    ],
)
def test_exit_codes_and_words_are_the_clients(host: WrapperHost, words: tuple[str, ...], code: int | None):
    plain = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=60)
    said = host.docker(*words)
    assert (said.code, said.out) == (plain.returncode, plain.stdout)
    assert said.code == (plain.returncode if code is None else code)
    assert len(said.err) == len(plain.stderr)  # names that Docker makes up have one length in neither


def test_standard_input_goes_through(host: WrapperHost):
    said = host.docker("run", "-i", "--rm", IMAGE, "cat", data="one\ntwo\n")
    assert (said.code, said.out) == (0, "one\ntwo\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_container(host: WrapperHost, number: signal.Signals):
    script = "trap 'exit 41' INT TERM; echo ready; while :; do sleep 0.1; done"
    argv = host.argv("run", "--name", "web", IMAGE, "sh", "-c", script)
    with subprocess.Popen(argv, env=host.env(), stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        client.send_signal(number)
        assert client.wait(60) == 41


def test_plugins_and_completion_pass_untouched(host: WrapperHost):
    for words in (("__complete", "run", "--memo"), ("compose", "version"), ("buildx", "version"), ("info", "-f", "x")):
        plain = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=60)
        said = host.docker(*words)
        assert (said.code, said.out, said.err) == (plain.returncode, plain.stdout, plain.stderr)


# --- When DS01 is out of order ----------------------------------------------------------------------------------------


def test_without_a_policy_containers_start_and_no_gpu_is_given(host: WrapperHost):
    host.paths.policy.unlink()
    host.must("create", "--name", "ds01-test-open", IMAGE)
    docker("rm", "ds01-test-open")
    assert [(each.event_type, each.user) for each in host.events()] == [("admission.fail_open", ALICE)]
    assert str(host.events()[0].details["text"]).startswith("FAIL-OPEN: there is no compiled policy")
    said = host.docker("run", "--gpus=1", IMAGE)
    assert said.code == 125
    assert "no GPU can be given: the policy cannot be read" in said.err


@pytest.mark.parametrize("broken", ["#!/bin/sh\nexit 1\n", "#!/bin/false\n", None])
def test_without_its_helper_containers_start_and_nothing_is_guessed(host: WrapperHost, broken: str | None):
    host.helper.unlink()
    if broken is not None:
        host.helper.write_text(broken)
        host.helper.chmod(0o755)
    said = host.docker("run", "--rm", IMAGE, "echo", "hello")
    assert (said.code, said.out) == (0, "hello\n")
    assert "DS01 is out of order; the container starts without its checks. Please tell ds01-help@lab-x.org" in said.err
    for words, code in ((("run", "--gpus", "all", IMAGE), 125), (("rm", "-f", "x"), 1), (("exec", "x", "true"), 1)):
        said = host.docker(*words)
        assert said.code == code
        assert "docker: DS01 is out of order and " in said.err


def test_without_its_helper_what_has_no_gpu_starts_again(host: WrapperHost, tmp_path: Path):
    """DS01's label of a GPU is there and empty where a file of labels could have said one."""
    labels = tmp_path / "labels"
    labels.write_text("team=vision\n")
    made = host.must("create", "--label-file", os.fspath(labels), IMAGE)
    assert inspected(made)["Config"]["Labels"]["ds01.allocation"] == ""
    other = docker("create", "--label", "ds01.allocation=abc", "--label", f"ds01.user={ALICE}", IMAGE)
    host.helper.unlink()
    assert host.docker("start", made).code == 0
    for line in (("start", other), ("restart", made, other), ("start", "--detach-keys", "ctrl-x", other)):
        said = host.docker(*line)
        assert (said.code, "no GPU can be handed out" in said.err) == (1, True)


def test_a_container_on_a_terminal_has_it(host: WrapperHost):
    pid, terminal = pty.fork()
    if pid == 0:
        script = "test -t 0 && test -t 1 && exit 7"
        os.execve(host.wrapper, host.argv("run", "--rm", "-it", IMAGE, "sh", "-c", script), host.env())
    shown = b""
    with contextlib.suppress(OSError):  # its other side is closed
        while piece := os.read(terminal, 65536):
            shown += piece
    os.close(terminal)
    assert (os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown) == (7, b"")


def test_an_annotation_gives_no_gpu(host: WrapperHost) -> None:
    said = host.docker("create", "--annotation", "cdi.k8s.io/mine=nvidia.com/gpu=all", IMAGE)
    assert said.code == 1
    assert said.err.startswith("docker: the annotation 'cdi.k8s.io/mine' is not given to containers\n")
