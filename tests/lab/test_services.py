"""DS01's services and jobs on a real machine: shut in as their units say, started by systemd and cron, seen by health.

And what an administrator does there at 3 a.m.: `ds01 emergency-stop`, also with paused containers, also without Docker.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.lab.containers import CLIENT, states, wait_for
from tests.lab.gpus import give_gpus
from tests.lab.host import POLICY, deploy, edit
from tests.lab.people import SLEEP, inspect, open_house, slice_of_alice, started, tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine
    from tests.lab.machine.settings import Suite

pytestmark = pytest.mark.lab

Evidence = Callable[[str], None] if TYPE_CHECKING else object
SERVICES = ("ds01-sampler", "ds01-eventsd", "ds01-gpuwatch")
JOBS = ("idle", "max-runtime", "stale-gpu", "stale-containers", "unmanaged")
# What each may do as root besides owning files: everything else is taken from it. Source: capabilities(7).
CAPABILITIES = {
    "ds01-sampler": {"cap_chown"},
    "ds01-eventsd": {"cap_chown", "cap_sys_ptrace"},
    "ds01-gpuwatch": {"cap_chown", "cap_kill", "cap_sys_ptrace"},
}
# Where each may write.
WRITES = {
    "ds01-sampler": ("/run/ds01", "/var/lib/ds01/notices", "/var/log/ds01"),
    "ds01-eventsd": ("/run/ds01", "/var/lib/ds01", "/var/log/ds01"),
    "ds01-gpuwatch": ("/run/ds01", "/var/lib/ds01", "/var/log/ds01"),
}
# cron looks at its tables once a minute, and at a new one when the next begins.
TWO_MINUTES = 150


@pytest.fixture(scope="module")
def machine(lab: Lab, suite: Suite) -> Iterator[Machine]:
    """A machine on which cron starts every job every minute."""
    with lab.prepared(f"services-{suite}", suite) as machine:
        every_minute = ", ".join(f'{job.replace("-", "_")}: "* * * * *"' for job in JOBS)
        give_gpus(machine)
        edit(machine, POLICY, "\npolicies:\n", f"\npolicies:\n  schedule: {{{every_minute}}}\n")
        open_house(machine)
        yield machine


def properties(machine: Machine, service: str, *names: str) -> dict[str, str]:
    listed = [f"--property={name}" for name in names]
    shown = machine.must(["systemctl", "show", *listed, f"{service}.service"])
    return dict(line.split("=", 1) for line in shown.splitlines())


def checks(machine: Machine, *words: str, user: str | None = None) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return how health ended, and status and text of each check by its name."""
    done = machine.run(["ds01", "health", "--json", *words], user=user)
    assert done.code in {0, 1}, done.words
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["ok"] == (done.code == 0)
    return done.code, {each["name"]: (each["status"], each["text"]) for each in said["checks"]}


def ill(machine: Machine) -> dict[str, str]:
    return {name: text for name, (status, text) in checks(machine)[1].items() if status == "failed"}


# --- Services ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_since_the_deploy_and_was_started_once(machine: Machine, service: str):
    names = ("ActiveState", "SubState", "NRestarts", "NeedDaemonReload", "UnitFileState")
    assert properties(machine, service, *names) == {
        "ActiveState": "active",
        "SubState": "running",
        "NRestarts": "0",
        "NeedDaemonReload": "no",
        "UnitFileState": "enabled",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_shut_in_as_its_unit_says(machine: Machine, service: str):
    names = ("MainPID", "CapabilityBoundingSet", "NoNewPrivileges", "ProtectSystem", "DevicePolicy", "PrivateNetwork")
    shown = properties(machine, service, *names)
    pid = shown.pop("MainPID")
    assert set(shown.pop("CapabilityBoundingSet").split()) == CAPABILITIES[service]
    assert shown == {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "DevicePolicy": "closed",
        "PrivateNetwork": "no" if service == "ds01-gpuwatch" else "yes",
    }
    status = machine.must(["cat", f"/proc/{pid}/status"])
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    inside = ["nsenter", f"--target={pid}", "--mount", "--"]
    for folder in WRITES[service]:
        machine.must([*inside, "sh", "-c", f"touch {folder}/.lab && rm {folder}/.lab"])
    for folder in ("/etc", "/usr", "/var/lib/docker", "/opt/ds01"):
        done = machine.run([*inside, "touch", f"{folder}/.lab"])
        assert (done.code, "Read-only file system" in done.stderr) == (1, True), done.words


def test_a_service_that_dies_is_started_again(machine: Machine):
    for service in SERVICES:
        machine.must(["systemctl", "kill", "--signal=KILL", f"{service}.service"])
    for service in SERVICES:
        wait_for(
            f"{service} again",
            lambda service=service: (
                properties(machine, service, "SubState", "NRestarts") == {"SubState": "running", "NRestarts": "1"}
            ),
        )
    assert machine.must(["systemctl", "is-active", *SERVICES]).split() == ["active"] * len(SERVICES)


def test_a_service_says_nothing_that_somebody_would_have_to_look_into(machine: Machine, evidence: Evidence):
    for service in SERVICES:
        said = machine.must(["journalctl", "--no-pager", "--output=cat", f"--unit={service}.service"])
        evidence("\n".join(f"{service}: {line}" for line in said.splitlines()[:10]))
        for word in ("Traceback", "Permission denied", "Operation not permitted", "Read-only file system"):
            assert word not in said, service


# --- Jobs -------------------------------------------------------------------------------------------------------------


def stamp(machine: Machine, job: str) -> dict[str, Any]:
    done = machine.run(["cat", f"/var/lib/ds01/jobs/{job}.json"])
    return json.loads(done.stdout) if done.code == 0 else {}


def test_cron_takes_the_file_and_starts_every_job(machine: Machine, evidence: Evidence):
    end = time.monotonic() + TWO_MINUTES
    while not all(stamp(machine, job).get("ok") for job in JOBS):
        assert time.monotonic() < end, {job: stamp(machine, job) for job in JOBS}
        time.sleep(2)
    # By whom, not from which unit: what jobs print is in cron's unit too.
    said = machine.must(["journalctl", "--no-pager", "--identifier=cron", "--identifier=CRON"])
    assert "ds01 lifecycle idle)" in said
    # What Debian's cron says of a table that it does not take. Source: cron(8), "DEBIAN SPECIFIC"; database.c.
    for word in ("Error:", "WRONG", "ORPHAN", "NUMBER OF HARD LINKS", "INSECURE MODE", "bad "):
        assert word not in said
    for job in JOBS:
        lines = machine.must(["journalctl", "--no-pager", "--output=cat", f"--identifier=ds01-{job}"]).splitlines()
        evidence(f"{job}: {lines[-1] if lines else '(nothing)'}; {stamp(machine, job)['summary']}")
        assert not any("Traceback" in line for line in lines)


# --- Health -----------------------------------------------------------------------------------------------------------


def test_all_is_well_for_root_and_for_everybody_else(machine: Machine, evidence: Evidence):
    evidence(machine.run(["ds01", "health"]).stdout)
    code, found = checks(machine)
    assert {name: each for name, each in found.items() if each[0] == "failed"} == {}
    assert code == 0
    assert {name for name, (status, _) in found.items() if status == "ok"} >= {
        "policy", "docker", "cron", *SERVICES, *(f"job {job}" for job in JOBS)
    }  # fmt: skip
    code, found = checks(machine, user="alice")
    assert code == 0
    unknown = {name for name, (status, _) in found.items() if status == "unknown"}
    assert "/var/lib/ds01/containers.json" in unknown


def test_a_docker_that_is_away_is_named_and_when_it_is_back_all_is_well(machine: Machine):
    machine.must(["systemctl", "stop", "docker.socket", "docker.service"])
    assert set(ill(machine)) == {"docker"}
    for service in SERVICES:
        assert properties(machine, service, "SubState") == {"SubState": "running"}
    machine.must(["systemctl", "start", "docker.socket", "docker.service"])
    assert ill(machine) == {}


def test_what_is_missing_is_named(machine: Machine):
    machine.must(["systemctl", "stop", "cron.service", "ds01-sampler.service"])
    assert set(ill(machine)) == {"cron", "ds01-sampler"}
    verify = machine.run(["ds01", "verify"]).stdout
    assert "no cron daemon runs" in verify
    machine.must(["systemctl", "start", "cron.service", "ds01-sampler.service"])
    wait_for("all is well", lambda: ill(machine) == {})


# --- 3 a.m. -----------------------------------------------------------------------------------------------------------


def test_an_emergency_stop_ends_paused_ones_too_and_they_stay_down(machine: Machine, evidence: Evidence):
    started(machine, "--name=paused", "--memory=16M", *SLEEP)
    started(machine, "--name=always", "--memory=16M", "--restart=always", *SLEEP)
    machine.must(["docker", "pause", "paused"], user="alice")
    machine.must([CLIENT, "run", "--detach", "--name=roots", "--cgroup-parent=system.slice", *SLEEP])
    done = machine.run(["ds01", "emergency-stop", "--user", "alice", "--yes"])
    evidence(done.words)
    assert done.code == 0, done.words
    assert {name: each.running for name, each in states(machine).items()} == {
        "paused": False, "always": False, "roots": True
    }  # fmt: skip
    # Only a start of Docker brings such a one back, as the command says.
    machine.script("sleep 5")
    assert not states(machine)["always"].running
    assert "docker update --restart=no always" in done.stderr
    tidy(machine)


def test_without_docker_the_slice_is_what_ends_processes(machine: Machine):
    """What `ds01 emergency-stop` says when Docker does not answer."""
    pids = []
    for name in ("one", "two"):
        started(machine, f"--name={name}", "--memory=16M", *SLEEP)
        pids.append(inspect(machine, name)["State"]["Pid"])
    # Containers outlive their engine: live-restore.
    machine.must(["systemctl", "stop", "docker.socket", "docker.service"])
    done = machine.run(["ds01", "emergency-stop", "--user", "alice", "--yes"])
    assert done.code == 1
    found = re.search(r"sudo (systemctl kill --signal=KILL \S+) ends what runs there", done.stderr)
    assert found is not None, done.stderr
    assert found[1].endswith(slice_of_alice(machine).unit)
    machine.must(found[1].split())
    for pid in pids:
        wait_for(f"the end of {pid}", lambda pid=pid: machine.run(["test", "-d", f"/proc/{pid}"]).code == 1)
    machine.must(["systemctl", "start", "docker.socket", "docker.service"])
    assert not any(each.running for each in states(machine).values())
    tidy(machine)


def test_a_second_deploy_changes_nothing_and_restarts_nothing(machine: Machine):
    before = {each: properties(machine, each, "MainPID") for each in SERVICES}
    deploy(machine)
    assert {each: properties(machine, each, "MainPID") for each in SERVICES} == before
