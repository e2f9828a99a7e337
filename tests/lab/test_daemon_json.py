"""Docker's own file: what others wrote stays, Docker lives through it, and a file it refuses takes nothing down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.lab.containers import CLIENT, remove_all, states
from tests.lab.host import UNITS, deploy, inv
from tests.lab.machine.settings import Suite

from ds01.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

FILE = "/etc/docker/daemon.json"
# As hands leave it: keys of their own in their own order, tabs, odd blanks, values on several lines.
BY_HAND = """\
{ "log-opts": {"max-size":"10m",
      "max-file": "3" },
\t"labels":["rack=4"],   "exec-opts" : [ "native.cgroupdriver=systemd" ],
  "storage-driver":"overlay2","max-concurrent-downloads":   5,
  "registry-mirrors": [ "http://127.0.0.1:5000" ]

}
"""


@pytest.fixture(scope="module", params=list(Suite))
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine that nothing was deployed to: the tests that must fail come first and leave it so."""
    with lab.prepared(f"daemon-{request.param}", request.param) as machine:
        yield machine


@pytest.fixture
def machine(host: Machine) -> Iterator[Machine]:
    """The machine with Docker on the file that hands wrote, and a container that was there before."""
    write(host, BY_HAND)
    host.script("systemctl reset-failed docker.service; systemctl restart docker.service")
    host.must([CLIENT, "run", "--detach", "--name=before", "busybox", "sleep", "6000"])
    yield host
    remove_all(host)


def write(machine: Machine, text: str) -> None:
    machine.must(["tee", FILE], stdin=text)


def with_key(text: str, key: str, value: object) -> str:
    """Put a key first, as a hand would that is in a hurry."""
    return text.replace("{", f"{{ {json.dumps(key)}: {json.dumps(value)},", 1)


@dataclass(frozen=True)
class Docker:
    """What is running: the daemon, and the container that was there before."""

    daemon: int
    container: int


def running(machine: Machine) -> Docker:
    """Return both; that one of them does not run is a failure of the test."""
    assert machine.must(["systemctl", "is-active", "docker.service"]) == "active\n"
    daemon = int(machine.must(["systemctl", "show", "--value", "--property=MainPID", "docker.service"]))
    before = states(machine)["before"]
    assert before.running
    return Docker(daemon, before.pid)


def nothing_deployed(machine: Machine) -> bool:
    return machine.script(f"ls -d {UNITS}/ds01* {FILE}*~ /etc/ds01 2>/dev/null || true") == ""


# --- a file that was bad before the deploy ------------------------------------------------------------------------


def test_an_unknown_key_is_refused_before_anything_is_changed(machine: Machine, evidence: Callable[[str], None]):
    bad = with_key(BY_HAND, "max-gpus", 3)
    write(machine, bad)
    before = running(machine)
    done = inv(machine, "deploy", "--yes", "--restart-docker")
    evidence(f"exit {done.code}: {error(done.stderr)}")
    assert done.code == ExitCode.FAILED
    assert "nothing was changed" in done.stderr
    assert "max-gpus" in done.stderr
    assert machine.must(["cat", FILE]) == bad
    assert nothing_deployed(machine)
    assert running(machine) == before


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("max-concurrent-uploads", "five", "cannot unmarshal string"),
        ("default-runtime", "nvidia", "specified default runtime 'nvidia' does not exist"),
    ],
)
def test_a_value_that_docker_refuses_restarts_nothing(
    machine: Machine, evidence: Callable[[str], None], key: str, value: str, words: str
):
    """No list of keys knows what the values must be; the running engine does, or its `--validate`."""
    bad = with_key(BY_HAND, key, value)
    write(machine, bad)
    before = running(machine)
    done = inv(machine, "deploy", "--yes", "--restart-docker")
    evidence(f"exit {done.code}: {error(done.stderr)}")
    assert done.code == ExitCode.FAILED
    assert words in done.stderr
    assert f"To fix: mend {FILE}" in done.stderr
    assert machine.must(["cat", FILE]) == bad
    assert nothing_deployed(machine)
    assert running(machine) == before


def test_a_value_that_only_a_start_finds_is_named_and_containers_outlive_it(
    machine: Machine, evidence: Callable[[str], None]
):
    """The one file nobody can try out before: it was bad already, so Docker does not start with the old one either."""
    bad = with_key(BY_HAND.replace('"storage-driver":"overlay2",', ""), "storage-driver", "no-such-driver")
    write(machine, bad)
    before = running(machine)
    done = inv(machine, "deploy", "--yes", "--restart-docker")
    evidence(f"exit {done.code}: {error(done.stderr)}")
    assert done.code == ExitCode.FAILED
    assert "driver not supported" in done.stderr
    assert "docker-restart failed again with the old files" in done.stderr
    assert machine.must(["cat", FILE]) == bad
    assert nothing_deployed(machine)
    machine.must(["kill", "-0", str(before.container)])

    # What the message says to do.
    write(machine, with_key(BY_HAND, "live-restore", value=True))
    machine.script("systemctl reset-failed docker.service; systemctl restart docker.service")
    after = running(machine)
    evidence(f"container's process before {before.container}, after Docker was mended {after.container}")
    assert after.container == before.container


def error(said: str) -> str:
    """Return the message of a failed task, in one line."""
    return said[said.index("error: ") :].strip().replace("\n", " | ")


# --- a good one ---------------------------------------------------------------------------------------------------


def test_a_deploy_keeps_what_others_wrote_and_containers_go_on(machine: Machine, evidence: Callable[[str], None]):
    """In one step: live-restore is switched on, and in effect, before the restart."""
    plan = inv(machine, "plan")
    shown = plan.stdout[plan.stdout.index(f"~ change {FILE}") :].split("\n\n", 1)[0]
    evidence(shown)
    assert "DS01's keys are merged in; foreign keys stay" in shown
    before = running(machine)

    deploy(machine, "--restart-docker")

    after, text = running(machine), machine.must(["cat", FILE])
    end = BY_HAND.index("\n\n}")
    ours = text.removeprefix(BY_HAND[:end]).removesuffix(BY_HAND[end:])
    assert text == BY_HAND[:end] + ours + BY_HAND[end:]
    assert json.loads(f"{{{ours.lstrip(',')}}}") == {
        "cgroup-parent": "ds01-other.slice",
        "live-restore": True,
        "builder": {"entitlements": {"network-host": False, "security-insecure": False}},
    }
    evidence(f"daemon {before.daemon} -> {after.daemon}, container {before.container} -> {after.container}")
    assert after.daemon != before.daemon
    assert after.container == before.container
    in_effect = machine.must([CLIENT, "info", "--format", "{{.CgroupDriver}} {{.LiveRestoreEnabled}} {{.Labels}}"])
    assert in_effect == "systemd true [rack=4]\n"
    container = machine.must([CLIENT, "run", "--detach", "busybox", "sleep", "600"]).strip()
    form = "{{.State.Pid}} {{json .HostConfig.LogConfig.Config}}"
    pid, options = machine.must([CLIENT, "inspect", "--format", form, container]).split()
    assert json.loads(options) == {"max-size": "10m", "max-file": "3"}
    cgroup = machine.must(["cat", f"/proc/{pid}/cgroup"]).strip()
    evidence(f"without a parent: {cgroup}")
    assert cgroup == f"0::/ds01.slice/ds01-other.slice/docker-{container}.scope"
    assert inv(machine, "plan", "--check").code == ExitCode.DONE


def test_a_hand_edit_between_deploy_and_restart_is_found_before_the_restart(
    machine: Machine, evidence: Callable[[str], None]
):
    """Nothing of DS01's is left to write by then, so no check of a file looks at it: the running engine does."""
    deploy(machine, "--force")  # whatever an earlier test deployed, the file is as hands wrote it
    deployed, before = machine.must(["cat", FILE]), running(machine)
    write(machine, with_key(deployed, "default-runtime", "nvidia"))
    done = inv(machine, "deploy", "--yes", "--restart-docker")
    evidence(f"exit {done.code}: {error(done.stderr)}")
    assert done.code == ExitCode.FAILED
    assert "specified default runtime 'nvidia' does not exist" in done.stderr
    assert running(machine) == before

    write(machine, deployed)
    deploy(machine, "--restart-docker")
    after = running(machine)
    assert after.daemon != before.daemon
    assert after.container == before.container
