"""Cron on the real clock: an idle container is warned and stopped, its GPU goes on to others, and it is removed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.lab.containers import CLIENT, SPIN, states
from tests.lab.gpus import ENVIRONMENT, HARDWARE, give_gpus
from tests.lab.host import POLICY, deploy, edit, override
from tests.lab.machine.settings import Suite
from tests.lab.people import SLEEP, at_terminal, docker, inspect, started, typed

from ds01.core.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

Evidence = Callable[[str], None] if TYPE_CHECKING else object
EVENTS = "/var/log/ds01/events.jsonl"
# Sweeps come each minute, and several have to agree.
PATIENCE_SECONDS = 600
PEOPLE = """\
  alice:
    {reason: the lab has no time, gpu_unit: any, allow_full_gpu: true, memory: 96M, shm_size: 16M, max_cpus: 0.5,
     idle_timeout: 1m, gpu_hold_after_stop: 1m, container_hold_after_stop: 2m, sigterm_grace: 2s}
  bob: {reason: the lab has no time, gpu_unit: any, allow_full_gpu: true, memory: 96M, shm_size: 16M, max_cpus: 0.5}
"""
TIMES = """policies:
  idle_window: 2
  start_grace: 5s
  never_started_hold: 1m
  schedule:
    {idle: "* * * * *", max_runtime: "* * * * *", stale_gpu: "* * * * *", stale_containers: "* * * * *"}
"""


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    """A machine whose GPUs say that they are idle, with every-minute schedules."""
    with lab.prepared("lifecycle", Suite.BOOKWORM) as machine:
        machine.script("for name in alice bob; do gpasswd --add $name docker; done")
        give_gpus(machine, replace(HARDWARE, gpus=tuple(replace(gpu, utilisation=0) for gpu in HARDWARE.gpus)))
        override(machine, PEOPLE)
        edit(machine, POLICY, "policies:\n", TIMES)
        deploy(machine, "--restart-docker")
        yield machine


def events(machine: Machine, name: str) -> list[dict[str, Any]]:
    """Return what the log says of a container."""
    log = [json.loads(line) for line in machine.must(["cat", EVENTS]).splitlines()]
    return [each for each in log if name in {each["details"].get("container"), each["details"].get("name")}]


def types(machine: Machine, name: str) -> list[str]:
    return [each["event_type"] for each in events(machine, name)]


def wait_until(what: str, come: Callable[[], bool], machine: Machine) -> None:
    """Look until something is true; shows the journal of jobs when it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not come():
        if time.monotonic() > deadline:
            journal = machine.run(["journalctl", "--no-pager", "--lines=60"]).stdout
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}\n{journal}")
        time.sleep(2)


def units(machine: Machine) -> dict[str, str]:
    """Return who holds which slot, by the container's name."""
    said = json.loads(machine.must(["ds01", "gpu", "status", "--json"], environment=ENVIRONMENT))
    return {each["container"]: each["gpu_id"] for each in said["allocations"]}


def test_an_idle_container_is_warned_stopped_and_removed_and_its_gpu_goes_on(machine: Machine, evidence: Evidence):
    begin = time.monotonic()
    started(machine, "--gpus=1", "--name=train", *SLEEP)
    started(machine, "--name=busy", "busybox", "sh", "-c", SPIN)
    docker(machine, "create", "--name=never", *SLEEP)
    slot = units(machine)["train"]

    wait_until("a warning", lambda: "lifecycle.warned" in types(machine, "train"), machine)
    evidence(f"warned after {time.monotonic() - begin:.0f} s")
    assert states(machine)["train"].running
    assert "train" in at_terminal(machine, typed("exit")).stdout
    wait_until("its end", lambda: not states(machine)["train"].running, machine)
    evidence(f"stopped after {time.monotonic() - begin:.0f} s")
    wait_until("the hold", lambda: "gpu.held" in types(machine, "train"), machine)
    wait_until("the end of the hold", lambda: "train" not in units(machine), machine)
    evidence(f"its GPU was free after {time.monotonic() - begin:.0f} s")

    # The same unit, by name: it is given to somebody else.
    machine.must(["docker", "run", "--detach", f"--gpus=device={slot}", "--name=next", *SLEEP], user="bob")
    assert units(machine)["next"] == slot
    wait_until("its removal", lambda: "train" not in states(machine), machine)
    wait_until("that of one never started", lambda: "never" not in states(machine), machine)
    evidence(f"removed after {time.monotonic() - begin:.0f} s")

    said = types(machine, "train")
    acts = ["lifecycle.warned", "lifecycle.stopped", "lifecycle.warned", "lifecycle.removed"]
    assert [each for each in said if each in acts] == acts
    assert said.index("gpu.held") < said.index("gpu.expired")
    stopped = next(each for each in events(machine, "train") if each["event_type"] == "lifecycle.stopped")
    assert (stopped["user"], stopped["details"]["rule"]) == ("alice", "idle")
    assert states(machine)["busy"].running
    assert "lifecycle.warned" not in types(machine, "busy")
    assert inspect(machine, "next")["State"]["Running"]


def test_every_job_ran_by_cron_and_left_its_mark(machine: Machine):
    jobs = ("idle", "max-runtime", "stale-gpu", "stale-containers")
    wait_until(
        "all stamps",
        lambda: all(machine.run(["test", "-e", f"/var/lib/ds01/jobs/{job}.json"]).code == 0 for job in jobs),
        machine,
    )
    for job in jobs:
        stamp = json.loads(machine.must(["cat", f"/var/lib/ds01/jobs/{job}.json"]))
        assert (stamp["job"], stamp["ok"]) == (job, True), stamp
    journal = machine.must(["journalctl", "--no-pager", "--unit=cron"])
    assert "Error" not in journal
    machine.must([CLIENT, "rm", "--force", "busy", "next"])
