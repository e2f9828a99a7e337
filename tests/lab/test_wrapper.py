"""`docker` as people type it on a host without a gateway: the wrapper, sudo and the kernel, on a deployed machine."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from tests.lab.containers import CLIENT, at_signal, give_signal, hold, mebibytes, states, wait_for
from tests.lab.machine.settings import Suite
from tests.lab.people import (
    ALL,
    HELPER,
    MIB,
    MOST,
    ONE,
    PAGES,
    SLEEP,
    WRAPPER,
    at_terminal,
    cgroup_of,
    docker,
    inspect,
    kernel,
    open_house,
    slice_of_alice,
    started,
    tidy,
    typed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

    from ds01.core.process import Completed

pytestmark = pytest.mark.lab

Evidence = Callable[[str], None] if TYPE_CHECKING else object
BIG, BIG_MIB = "/var/tmp/lab-big", 240
HOG = "lab-hog"


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Machine]:
    """The suite with compose and buildx; test_greeting.py runs docker on the other one."""
    with lab.prepared("wrapper", Suite.TRIXIE) as machine:
        open_house(machine)
        yield machine


@pytest.fixture
def machine(host: Machine) -> Iterator[Machine]:
    yield host
    tidy(host)


def box(done: Completed) -> str:
    """Return the box of a refused `run`."""
    assert (done.code, done.stdout) == (125, ""), done.words
    return done.stderr


def row(text: str, name: str) -> str:
    """Return what a row of a box says."""
    found = re.search(rf"^. +{name}: +(.*?) *.$", text, re.MULTILINE)
    assert found is not None, text
    return found[1]


def test_a_container_is_in_its_owners_slice_with_labels_and_limits(machine: Machine, evidence: Evidence):
    assert machine.script("command -v docker", user="alice").strip() == WRAPPER
    container = started(machine, "--name=own", *SLEEP)

    where = f"{slice_of_alice(machine).path}/docker-{container}.scope"
    evidence(cgroup_of(machine, container).replace(container, container[:12]))
    assert where.startswith("/ds01.slice/ds01-student.slice/ds01-student-alice.slice/")
    assert cgroup_of(machine, container) == where
    found = inspect(machine, container)
    labels = found["Config"]["Labels"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", labels.pop("ds01.created_at"))
    assert labels == {
        "ds01.user": "alice",
        "ds01.managed": "true",
        "ds01.container_type": "docker",
        "ds01.slice": "ds01-student-alice.slice",
        "ds01.protected": "false",
    }
    asked = found["HostConfig"]
    assert {name: asked[name] for name in ("Memory", "MemorySwap", "NanoCpus", "PidsLimit", "ShmSize")} == {
        "Memory": ONE,
        "MemorySwap": ONE,
        "NanoCpus": 500_000_000,
        "PidsLimit": 64,
        "ShmSize": 16 * MIB,
    }
    assert kernel(machine, where, "memory.max", "memory.swap.max", "pids.max", "cpu.max") == {
        "memory.max": str(ONE),
        "memory.swap.max": "0",
        "pids.max": "64",
        "cpu.max": "50000 100000",
    }
    assert slice_of_alice(machine).number("memory.max") == ALL


def test_nobody_says_who_they_are_or_where_they_belong(machine: Machine):
    wants_all = docker(machine, "run", "--env=NVIDIA_VISIBLE_DEVICES=all", "busybox")
    assert (wants_all.code, wants_all.stdout) == (125, "")
    done = docker(
        machine,
        *("run", "--detach", "--name=forged", "--label=ds01.user=bob", "--label=ds01.protected=true"),
        *("--cgroup-parent=system.slice", "--label=mine=1", *SLEEP),
        environment={"SUDO_UID": "0", "SUDO_USER": "root", "USER": "root", "LOGNAME": "root"},
    )
    assert done.code == 0, done.words
    assert "--cgroup-parent is set to ds01-student-alice.slice" in done.stderr
    config = inspect(machine, "forged")["Config"]
    assert {name: config["Labels"].get(name) for name in ("ds01.user", "ds01.protected", "mine")} == {
        "ds01.user": "alice",
        "ds01.protected": "false",
        "mine": "1",
    }
    assert "NVIDIA_VISIBLE_DEVICES=void" in config["Env"]
    assert cgroup_of(machine, "forged").startswith(f"{slice_of_alice(machine).path}/docker-")
    # An administrator would be let.
    above = docker(machine, "run", "--memory=97M", "busybox", environment={"SUDO_UID": "0"})
    assert row(box(above), "Your limit") == "96M a container"


def request(*words: str, pid: str = "$$") -> str:
    """Return a shell command that prints a request for the helper."""
    return f"printf '%s\\0' 1 {pid} C.UTF-8 '' '' '' {' '.join(words)}"


def test_sudo_lets_everybody_ask_and_nothing_else(machine: Machine):
    everything = request("run", "--memory=97M", "busybox")
    for refused in (f"{HELPER} x", f"{HELPER} ''", "true", "ds01 verify", WRAPPER, f"-u bob {HELPER}", f"-E {HELPER}"):
        done = machine.run(["bash", "-c", f"{everything} | sudo -n {refused}"], user="alice")
        assert (done.code, done.stdout) == (1, ""), refused
        assert done.stderr.startswith("sudo: "), refused
    for name in ("SUDO_UID", "PYTHONPATH", "LD_PRELOAD"):
        done = machine.run(["bash", "-c", f"{everything} | sudo -n {name}=0 {HELPER}"], user="alice")
        assert (done.code, "not allowed to set" in done.stderr) == (1, True), name
    # Whoever calls it otherwise is who the kernel says.
    asked = machine.run(["bash", "-c", f"{everything} | sudo -n {HELPER}"], user="alice")
    assert (asked.code, asked.stdout) == (0, "refuse\x00125\x00")
    asked = machine.run(["bash", "-c", f"{everything} | SUDO_UID=0 {HELPER}"], user="alice")
    assert (asked.code, asked.stdout) == (0, "refuse\x00125\x00")


def test_nobody_asks_for_anothers_process_or_without_a_request(machine: Machine):
    of_init = request("run", "busybox", pid="1")
    done = machine.run(["bash", "-c", f"{of_init} | sudo -n {HELPER}"], user="alice")
    assert (done.code, done.stdout) == (0, "refuse\x00125\x00")
    assert "process 1 is not the docker command that asks" in done.stderr
    done = machine.run(["bash", "-c", f"echo run busybox | sudo -n {HELPER}"], user="alice")
    assert (done.code, done.stdout) == (2, "")
    assert "is no request of the docker command" in done.stderr


def test_state_is_roots_and_pages_are_nobody_elses(machine: Machine):
    started(machine, "--name=own", *SLEEP)
    assert machine.must(["ls", PAGES]).split() == ["1001.json", "1001.lock"]
    places = "/etc/ds01 /var/lib/ds01 /run/ds01 /var/log/ds01 /opt/ds01 /etc/sudoers.d"
    writable = f"find {places} {WRAPPER} {HELPER} -not -type l -writable -print 2>/dev/null || :"
    assert machine.script(writable, user="alice") == ""
    for secret in (PAGES, f"{PAGES}/1001.json", "/var/log/ds01/events.jsonl", "/etc/sudoers.d/ds01"):
        done = machine.run(["sh", "-c", f"ls {secret}/ || cat {secret}"], user="alice")
        assert (done.stdout, "Permission denied" in done.stderr) == ("", True), secret
    for public in ("/etc/ds01/policy.json", "/run/ds01/rates.json"):
        assert machine.must(["cat", public], user="alice") != ""


# --- Memory -----------------------------------------------------------------------------------------------------------


def test_what_running_containers_may_use_counts_though_they_use_nothing(machine: Machine):
    for name in ("one", "two"):
        started(machine, f"--name={name}", *SLEEP)
    refused = box(docker(machine, "run", "busybox", "true"))
    assert "DS01 Aggregate Memory Quota Exceeded" in refused
    assert [row(refused, name) for name in ("Current usage", "Requested", "Your limit")] == [
        "192M (your containers may use that much)",
        "96M",
        "256M",
    ]
    assert "ask ds01-help@lab-x.org" in refused
    assert docker(machine, "run", "--rm", "--memory=64M", "busybox", "true").code == 0
    # A stopped one counts for nothing, and comes back by the same rule.
    machine.must(["docker", "stop", "--time=0", "two"], user="alice")
    started(machine, "--name=three", *SLEEP)
    again = docker(machine, "start", "two")
    assert (again.code, again.stdout) == (1, "")
    assert row(again.stderr, "Requested") == "96M"


def test_memory_in_use_refuses_what_would_pass_the_limit(machine: Machine, evidence: Evidence):
    """The one that fills it went round the wrapper and has no limit of its own: the kernel counts it all the same."""
    alice = slice_of_alice(machine)
    aside = [CLIENT, "run", "--detach", f"--cgroup-parent={alice.unit}", "--network=none", "--name=full"]
    machine.must([*aside, "busybox", "sh", "-c", hold(180)], user="alice")
    wait_for("memory in use", lambda: alice.number("memory.current") > 180 * MIB)
    refused = box(docker(machine, "run", "busybox", "true"))
    evidence(f"{mebibytes(alice.number('memory.current'))} in use: {row(refused, 'Current usage')}")
    assert 180 <= float(row(refused, "Current usage").partition("M ")[0]) < 190
    assert docker(machine, "run", "--rm", "--memory=48M", "busybox", "true").code == 0


def test_memory_of_no_container_counts_too(machine: Machine):
    """Only the working set of the slice shows it."""
    alice = slice_of_alice(machine)
    take = "import time; kept = b'x' * (180 << 20); time.sleep(6000)"
    machine.must(["systemd-run", f"--unit={HOG}", f"--slice={alice.unit}", "python3", "-c", take])
    try:
        wait_for("memory in use", lambda: alice.number("memory.current") > 180 * MIB)
        found = re.fullmatch(
            r"([0-9.]+)M \(in use right now\)", row(box(docker(machine, "run", "busybox")), "Current usage")
        )
        assert found is not None
        assert 180 <= float(found[1]) < 200
    finally:
        machine.run(["systemctl", "kill", "--signal=KILL", HOG])
        machine.run(["systemctl", "reset-failed", HOG])


def test_page_cache_refuses_nobody(machine: Machine, evidence: Evidence):
    alice = slice_of_alice(machine)
    machine.script(f"truncate --size={BIG_MIB}M {BIG}; sync; echo 3 >/proc/sys/vm/drop_caches")
    read = at_signal("cat /big >/dev/null; sleep 6000")
    aside = [CLIENT, "run", "--detach", f"--cgroup-parent={alice.unit}", "--network=none", f"--volume={BIG}:/big:ro"]
    machine.must([*aside, "--volume=/run/lab-signal:/signal:ro", "busybox", "sh", "-c", read], user="alice")
    give_signal(machine)
    wait_for("a full page cache", lambda: alice.number("memory.current") > (BIG_MIB - 10) * MIB)
    cache = alice.counters("memory.stat")["inactive_file"]
    evidence(f"memory.current {mebibytes(alice.number('memory.current'))} of 256, inactive_file {mebibytes(cache)}")
    assert cache > (BIG_MIB - 30) * MIB
    assert alice.number("memory.current") + ONE > ALL
    done = docker(machine, "run", "--rm", "busybox", "echo", "admitted")
    assert (done.code, done.stdout) == (0, "admitted\n"), done.words


# --- Number of containers ---------------------------------------------------------------------------------------------


def test_of_many_at_once_no_more_start_than_may(machine: Machine, evidence: Evidence):
    many = 2 * MOST
    run = f"docker run --detach --memory=16M {' '.join(SLEEP)}"
    one = f'code=0; {run} >/dev/null 2>"/tmp/said-$n" || code=$?; echo $code'
    codes = machine.script(f"for n in $(seq {many}); do ({one}) & done; wait", user="alice").split()
    evidence(f"exit codes of {many} at once: {' '.join(codes)}")
    assert sorted(codes) == ["0"] * MOST + ["125"] * (many - MOST)
    assert sum(state.running for state in states(machine).values()) == MOST
    said = machine.script("cat /tmp/said-*", user="alice")
    assert said.count("DS01 Container Quota Exceeded") == many - MOST
    # A paused one counts, a stopped one does not.
    running = machine.script("docker ps --format '{{.Names}}'", user="alice").split()
    machine.must(["docker", "pause", running[0]], user="alice")
    assert "3 containers" in row(box(docker(machine, "run", "--memory=16M", "busybox")), "Current usage")
    machine.must(["docker", "unpause", running[0]], user="alice")
    machine.must(["docker", "rm", "--force", running[0]], user="alice")
    assert docker(machine, "run", "--rm", "--memory=16M", "busybox", "true").code == 0


# --- Others' containers -----------------------------------------------------------------------------------------------


def test_others_see_and_touch_only_what_is_theirs(machine: Machine):
    container = started(machine, "--name=hers", *SLEEP)
    machine.must(["docker", "run", "--detach", "--memory=16M", "--name=his", *SLEEP], user="bob")
    names = ["ps", "--format", "{{.Names}}"]
    assert docker(machine, *names, user="bob").stdout == "his\n"
    assert docker(machine, "container", "ls", "--all", "--format={{.Names}}", user="alice").stdout == "hers\n"
    assert machine.must(["docker", *names]).split() == ["his", "hers"]  # root
    refused = ("stop", "kill", "pause", "rm -f", "logs", "inspect", "top", "commit", "restart", "container stop")
    for line in (
        *(f"{each} hers" for each in refused),
        "exec hers true",
        "cp hers:/etc/passwd /tmp",
        f"stop {container[:8]}",
    ):
        done = docker(machine, *line.split(), user="bob")
        assert (done.code, done.stdout) == (1, ""), line
        assert "Permission denied: container owned by alice (" in done.stderr, line
    joined = docker(machine, "run", "--memory=16M", "--pid=container:hers", "busybox", "true", user="bob")
    assert "Permission denied: container owned by alice (hers)" in box(joined)
    assert docker(machine, "stop", "--time=0", "his", "hers", user="bob").code == 1
    assert {name: each.running for name, each in states(machine).items()} == {"hers": True, "his": True}
    # Their owner, and root.
    assert docker(machine, "exec", "hers", "echo", "mine").stdout == "mine\n"
    assert machine.must(["docker", "exec", "hers", "echo", "root"]) == "root\n"
    assert docker(machine, "stop", "--time=0", "his", user="bob").stdout == "his\n"


# --- What tools and people do -----------------------------------------------------------------------------------------


def test_a_dev_container_works_as_its_editor_expects(machine: Machine):
    folder = "/home/alice/project"
    machine.must(["mkdir", "-p", folder], user="alice")
    label = f"devcontainer.local_folder={folder}"
    words = [
        *("docker", "run", "--sig-proxy=false", "-a", "STDOUT", "-a", "STDERR"),
        *("--mount", f"type=bind,source={folder},target=/workspaces/project", "-l", label),
        *("-l", f"devcontainer.config_file={folder}/.devcontainer/devcontainer.json", "--entrypoint", "/bin/sh"),
        *("busybox", "-c", "echo Container started; while sleep 1 & wait $!; do :; done", "-"),
    ]
    # The editor leaves it running in the foreground, and waits for this line.
    machine.script(
        f"{shlex.join(words)} >/tmp/editor 2>&1 & until grep -q '^Container started' /tmp/editor; do sleep 0.2; done",
        user="alice",
    )
    listed = docker(machine, "ps", "-q", "-a", "--no-trunc", "--filter", f"label={label}").stdout.split()
    assert len(listed) == 1
    labels = inspect(machine, listed[0])["Config"]["Labels"]
    assert (labels["ds01.container_type"], labels["ds01.user"]) == ("devcontainer", "alice")
    assert "Container started" in docker(machine, "logs", listed[0]).stdout
    inside = docker(
        machine, "exec", "-i", "-u", "root", "-e", "A=b c", listed[0], "/bin/sh", stdin='echo "$A"; exit 3\n'
    )
    assert (inside.code, inside.stdout) == (3, "b c\n")
    found = json.loads(docker(machine, "inspect", "--type", "container", listed[0]).stdout)
    assert found[0]["Config"]["Labels"]["devcontainer.local_folder"] == folder


def test_builds_and_compose_pass_through(machine: Machine, evidence: Evidence):
    built = docker(machine, "build", "--network=none", "--tag=lab-built", "-", stdin="FROM busybox\nLABEL made=here\n")
    assert built.code == 0, built.words
    assert docker(machine, "image", "inspect", "--format", "{{.Config.Labels.made}}", "lab-built").stdout == "here\n"
    assert docker(machine, "run", "--rm", "lab-built", "echo", "runs").stdout == "runs\n"
    assert docker(machine, "buildx", "version").code == 0
    file = "services: {web: {image: busybox, network_mode: none, command: [sleep, '6000']}}\n"
    machine.must(["tee", "/home/alice/compose.yaml"], user="alice", stdin=file)
    up = docker(machine, "compose", "--project-name=lab", "up", "--detach")
    assert up.code == 0, up.words
    evidence(f"compose's container: {cgroup_of(machine, 'lab-web-1')}")
    assert docker(machine, "compose", "--project-name=lab", "down", "--timeout=0").code == 0
    assert states(machine) == {}


def test_in_the_foreground_exit_codes_and_streams_are_the_containers(machine: Machine):
    done = docker(machine, "run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo no >&2; exit 7", stdin="in\n")
    assert (done.code, done.stdout, done.stderr) == (7, "in\n", "no\n")
    assert docker(machine, "run", "--rm", "busybox", "no-such-program").code == 127
    # Options after the image belong to the command.
    assert docker(machine, "run", "--rm", "busybox", "echo", "--memory", "1T").stdout == "--memory 1T\n"
    assert docker(machine, "run", "--help").stdout == machine.must([CLIENT, "run", "--help"])
    wrong = docker(machine, "run", "--no-such-option", "busybox")
    assert (wrong.code, "docker run has no option --no-such-option" in wrong.stderr) == (125, True)


def test_ctrl_c_reaches_the_container(machine: Machine):
    waits = "trap 'exit 42' INT; echo ready; while :; do sleep 0.2; done"
    seen = at_terminal(
        machine,
        typed(f'docker run --rm --name=front busybox sh -c "{waits}"; echo "code=$?"'),
        f"until {CLIENT} logs front 2>/dev/null | grep -q ready; do sleep 0.2; done",
        r"printf '\003'",
        f"while {CLIENT} inspect front >/dev/null 2>&1; do sleep 0.2; done",
        typed("exit"),
    )
    assert "^Ccode=42\r\n" in seen.stdout, seen.stdout
    assert states(machine) == {}


def test_verify_proves_the_machine_with_containers_on_it(machine: Machine, evidence: Evidence):
    started(machine, "--name=own", *SLEEP)
    told = json.loads(machine.must(["ds01", "verify", "--json"]))["checks"]
    assert {each["name"]: each["status"] for each in told if each["part"] == "applied" and each["status"] != "ok"} == {}
    assert [each for each in told if each["status"] == "failed"] == []
    found = {each["name"]: (each["status"], each["text"]) for each in told}
    evidence(f"usage: {found['usage']}")
    assert found["containers"] == ("ok", "1 container, each where it belongs")
    assert (found["usage"][0], found["docker client"][0]) == ("ok", "ok")
