"""`ds01 gpu` on a machine with GPUs and a real Docker: who may do what, and how long something is kept."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.lab.containers import CLIENT
from tests.lab.gpus import ENVIRONMENT, HARDWARE, describe, give_gpus
from tests.lab.host import deploy, leave_to_commands, override

from ds01.core.errors import ExitCode
from ds01.core.value import replace
from ds01.runtime.gpu.reconcile import LAPSE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.lab.machine.machine import Machine

    from ds01.core.process import Completed

pytestmark = pytest.mark.lab

# Far more than it takes; the test fails when it has not come by then.
PATIENCE_SECONDS = 3 * LAPSE_SECONDS
SUDO_RULE = "ALL ALL=(root) NOPASSWD: /usr/local/bin/ds01 gpu *\n"


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Two reservations, made for processes of alice's.

    Attributes:
        gone_at: when the process of `left` was ended, by the machine's clock; the one of `kept` lives.
    """

    gone_at: float


@pytest.fixture(scope="module")
def machine(prepared: Machine) -> Machine:
    """A machine of either suite with GPUs, where everybody may call `ds01 gpu` through sudo."""
    give_gpus(prepared)
    override(prepared, "  bob:\n    reason: the lab has no time\n    gpu_hold_after_stop: 2s\n")
    deploy(prepared, "--restart-docker")
    leave_to_commands(prepared)
    prepared.must(["tee", "/etc/sudoers.d/lab"], stdin=SUDO_RULE)
    prepared.must(["chmod", "0440", "/etc/sudoers.d/lab"])
    prepared.must(["ds01", "gpu", "reconcile"], environment=ENVIRONMENT)
    return prepared


@pytest.fixture(scope="module")
def abandoned(machine: Machine) -> Abandoned:
    """What begins to lapse while the other tests run, since a minute is long."""
    client = "sleep 1000 >/dev/null 2>&1 & echo $!"
    pids = {name: machine.script(client, user="alice").strip() for name in ("kept", "left")}
    for name, pid in pids.items():
        granted(machine, "alice", f"--container={name}", f"--pid={pid}")
    gone_at = float(machine.must(["date", "+%s.%N"]))
    machine.must(["kill", "-KILL", pids["left"]])
    root(machine, "reconcile")
    return Abandoned(gone_at)


@pytest.fixture
def nothing_held(machine: Machine, abandoned: Abandoned) -> Iterator[None]:
    """Take back, after a test, what it had."""
    yield
    machine.script(f"{CLIENT} ps --all --quiet | xargs --no-run-if-empty {CLIENT} rm --force")
    for each in root(machine, "status")["allocations"]:
        if each["container"] not in {"kept", "left"}:
            root(machine, "release", f"--allocation={each['allocation']}")


def root(machine: Machine, *words: str) -> dict[str, Any]:
    """Run `ds01 gpu` as root."""
    said: dict[str, Any] = json.loads(machine.must(["ds01", "gpu", *words, "--json"], environment=ENVIRONMENT))
    return said


def sudo(machine: Machine, user: str, *words: str) -> Completed:
    """Run `ds01 gpu` through sudo, as people do."""
    return machine.run(["sudo", "-n", "ds01", "gpu", *words], user=user)


def granted(machine: Machine, user: str, *words: str) -> dict[str, Any]:
    done = sudo(machine, user, "allocate", *words, "--json")
    assert done.code == ExitCode.DONE, done.words
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def refused(done: Completed) -> str:
    assert (done.code, done.stdout) == (ExitCode.REFUSED, "")
    return done.stderr


@pytest.mark.usefixtures("nothing_held")
def test_reading_needs_no_root_and_changing_does(machine: Machine):
    granted(machine, "bob", "--container=train", "--gpu=2:1")
    machine.must(["rm", "-f", "/run/ds01/gpu-topology.json"])
    told = json.loads(machine.must(["ds01", "gpu", "status", "--json"], user="alice"))
    assert [(unit["uuid"], unit["container"]) for unit in told["units"] if unit["user"] == "bob"] == [
        (HARDWARE.units[3], "train")
    ]
    assert [unit["uuid"] for unit in told["units"]] == list(HARDWARE.units)
    assert " bob    train " in machine.must(["ds01", "gpu", "status"], user="alice")
    assert machine.must(["ds01", "gpu", "queue"], user="alice") == "nobody waits for a GPU\n"
    valid = machine.run(["ds01", "gpu", "validate", "--container=train", "--gpu=2:1"], user="alice")
    assert (valid.code, valid.stdout) == (ExitCode.DONE, "train holds GPU 2:1, there and well\n")
    other = machine.run(["ds01", "gpu", "validate", "--container=train", "--gpu=0"], user="alice")
    assert (other.code, other.stdout) == (ExitCode.FAILED, "train does not hold GPU 0\n")
    for action in ("allocate", "release", "mark-stopped", "clear-stopped"):
        done = machine.run(["ds01", "gpu", action, "--container=train"], user="alice")
        assert "who holds which GPU is changed by root alone" in refused(done)


@pytest.mark.usefixtures("nothing_held")
def test_behind_sudo_everybody_acts_for_themselves(machine: Machine):
    own = granted(machine, "alice", "--container=own")
    assert (own["user"], own["priority"], own["profiles"]) == ("alice", 10, ["2g.20gb"])
    assert "alice may not ask for bob" in refused(
        sudo(machine, "alice", "allocate", "--user=bob", "--container=theirs")
    )
    # sudo writes SUDO_UID itself, and takes it from nobody.
    for_bob = ["ds01", "gpu", "allocate", "--user=bob", "--container=theirs"]
    claimed = machine.run(["sudo", "-n", *for_bob], user="alice", environment={"SUDO_UID": "0"})
    assert "alice may not ask for bob" in refused(claimed)
    given = machine.run(["sudo", "-n", "SUDO_UID=0", *for_bob], user="alice")
    assert (given.code, "not allowed to set" in given.stderr) == (1, True)
    for action in ("release", "mark-stopped", "clear-stopped"):
        assert "own is a container of alice" in refused(sudo(machine, "bob", action, "--container=own"))
    assert "ask an administrator" in refused(sudo(machine, "bob", "reconcile"))
    assert granted(machine, "alice", "--container=own") | {"notes": []} == own
    assert sudo(machine, "alice", "release", "--container=own").stdout == f"released GPU {own['gpu_id']} of own\n"
    # By root's own word, anybody: root is an administrator.
    assert root(machine, "allocate", "--user=bob", "--container=theirs")["user"] == "bob"


@pytest.mark.usefixtures("nothing_held")
def test_quota_and_priority_may_be_lowered_and_never_raised(machine: Machine):
    above = refused(sudo(machine, "student01", "allocate", "--container=first", "--max-gpus=4"))
    assert "--max-gpus 4 is more than the policy's 3" in above
    above = refused(sudo(machine, "student01", "allocate", "--container=first", "--priority=11"))
    assert "--priority 11 is more than the policy's 10" in above
    assert granted(machine, "student01", "--container=first", "--max-gpus=1", "--priority=5")["priority"] == 5
    assert "student01 holds 1 of 1 GPU unit" in refused(
        sudo(machine, "student01", "allocate", "--container=second", "--max-gpus=1")
    )
    granted(machine, "student01", "--container=second", "--max-gpus=2")
    assert "one of your own" in refused(sudo(machine, "student01", "allocate", "--container=third", "--pid=1"))


@pytest.mark.usefixtures("nothing_held")
def test_a_stopped_container_keeps_its_gpu_for_its_hold_and_no_longer(machine: Machine):
    for user in ("student01", "bob"):
        options = granted(machine, user, f"--container={user}")["docker_args"]
        machine.must(
            [CLIENT, "run", "--detach", f"--name={user}", "--network=none", *options, "busybox", "sleep", "1000"]
        )
    assert corrections(machine) == []
    assert "runs and uses GPU" in refused(sudo(machine, "bob", "release", "--container=bob"))

    # Within the hold it has the same ones again.
    had = stopped(machine, "student01")
    again = json.loads(sudo(machine, "student01", "clear-stopped", "--container=student01", "--json").stdout)
    assert (again["granted"], again["gpu_uuids"]) == (True, had)
    machine.must([CLIENT, "start", "student01"])

    # After it they are free. Who is first has them.
    had = stopped(machine, "bob")
    assert until_freed(machine, "bob")["details"]["reason"] == "its container stopped and the hold is over"
    back = json.loads(sudo(machine, "bob", "clear-stopped", "--container=bob", "--json").stdout)
    assert (back["granted"], back["gpu_uuids"]) == (True, had)
    assert stopped(machine, "bob") == had
    until_freed(machine, "bob")
    assert granted(machine, "alice", "--container=quick", f"--gpu={had[0]}")["gpu_uuids"] == had
    late = refused(sudo(machine, "bob", "clear-stopped", "--container=bob"))
    assert "its hold is over" in late
    assert "re-create it" in late
    assert corrections(machine) == []


def corrections(machine: Machine) -> list[str]:
    """Return what reconcile says, of all but what lapses meanwhile."""
    return [each for each in root(machine, "reconcile")["corrections"] if not each.startswith("left: ")]


def stopped(machine: Machine, name: str) -> list[str]:
    """Stop a container, say so, and return what it holds."""
    machine.run([CLIENT, "stop", "--time=0", name])
    done = json.loads(sudo(machine, name, "mark-stopped", f"--container={name}", "--json").stdout)
    assert done["held"]["stopped_at"] is not None
    uuids: list[str] = done["held"]["gpu_uuids"]
    return uuids


def until_freed(machine: Machine, container: str) -> Mapping[str, Any]:
    """Reconcile until a container holds nothing any more; return the event that says so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while container in {each["container"] for each in root(machine, "status")["allocations"]}:
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {container} is freed"
        time.sleep(0.5)
        root(machine, "reconcile")
    events = [json.loads(line) for line in machine.must(["cat", "/var/log/ds01/events.jsonl"]).splitlines()]
    event: Mapping[str, Any] = [each for each in events if each["details"].get("container") == container][-1]
    assert event["event_type"] == "gpu.expired"
    return event


def test_verify_holds_the_real_layout_against_the_host_file(machine: Machine):
    assert findings(machine) == [("gpus", "ok", "4 GPUs in 8 units, as the host file says")]
    *others, last = HARDWARE.gpus
    describe(machine, replace(HARDWARE, gpus=(*others, replace(last, instances=last.instances[:2]))))
    try:
        assert findings(machine) == [
            ("gpu 3", "warning", "the host file says 2g.20gb, 2g.20gb, 2g.20gb, the driver shows 2g.20gb, 2g.20gb")
        ]
    finally:
        describe(machine, HARDWARE)


def findings(machine: Machine) -> list[tuple[str, str, str]]:
    """Return what verify says of GPUs."""
    told = json.loads(machine.run(["ds01", "verify", "--json"], environment=ENVIRONMENT).stdout)["checks"]
    return [(each["name"], each["status"], each["text"]) for each in told if each["name"].startswith("gpu")]


def test_a_reservation_lasts_as_long_as_its_process_and_a_minute(
    machine: Machine, abandoned: Abandoned, evidence: Callable[[str], None]
):
    event = until_freed(machine, "left")
    assert event["details"]["reason"] == "no container came of it"
    lasted = datetime.fromisoformat(event["timestamp"]).timestamp() - abandoned.gone_at
    evidence(f"freed {lasted:.1f} s after its process was gone, when somebody looked")
    assert lasted >= LAPSE_SECONDS
    assert [each["container"] for each in root(machine, "status")["allocations"]] == ["kept"]
