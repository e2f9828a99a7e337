"""A whole life of a server, on a real one: first deploy, proof, second deploy, hand edit, rollback, reboot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from tests.lab.containers import CLIENT
from tests.lab.machine.settings import Suite

if TYPE_CHECKING:
    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

INV = "/srv/ds01/inv"
POLICY = "/srv/ds01/inventory/resource-limits.yaml"
ALICE = "/etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"
CGROUP = "/sys/fs/cgroup/ds01.slice/ds01-student.slice/ds01-student-alice.slice"
SLICE = "ds01-student-alice.slice"
SERVICES = ("ds01-sampler.service", "ds01-eventsd.service", "ds01-gpuwatch.service")
Evidence = Callable[[str], None]


@pytest.fixture(scope="module", params=list(Suite))
def fresh(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Machine]:
    with lab.prepared("life", request.param) as machine:
        yield machine


def checks(machine: Machine, *argv: str) -> dict[str, list[tuple[str, str]]]:
    """Return what verify says, (name, status) by part."""
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(machine.run([*argv, "--json"]).stdout)["checks"]:
        found.setdefault(each["part"], []).append((each["name"], each["status"]))
    return found


def effective(machine: Machine) -> tuple[str, str]:
    """Return alice's memory limit as systemd holds it and as the kernel does."""
    machine.must(["systemctl", "start", SLICE])
    shown = machine.must(["systemctl", "show", "--value", "--property=MemoryMax", SLICE]).strip()
    return shown, machine.must(["cat", f"{CGROUP}/memory.max"]).strip()


def test_a_servers_life(fresh: Machine, evidence: Evidence) -> None:  # noqa: PLR0915 - one story, told in its order
    # A fresh machine, one command.
    first = fresh.run([INV, "deploy", "--yes", "--restart-docker"], timeout_seconds=300)
    assert first.code == 0, first.stderr
    assert "Deployed generation 1: " in first.stderr
    evidence(first.stderr.splitlines()[-2])

    # All that was applied holds, and what the machine lacks is said, each with its fix.
    for command in ([INV, "verify"], ["ds01", "verify"]):
        proof = checks(fresh, *command)
        assert {name: status for name, status in proof["applied"] if status != "ok"} == {}
        assert {name for name, _ in proof["applied"]} == {"files", "runtime", "slices", *SERVICES}
        assert {status for _, status in proof["host"]} == {"ok", "warning"}
        assert ("/home", "warning") in proof["host"]  # its mount allows setuid files
    evidence(fresh.must(["ds01", "verify"]))
    assert effective(fresh) == (str(96 << 30), str(96 << 30))

    # A second deploy finds nothing to do, and so does a plan.
    second = fresh.run([INV, "deploy", "--yes"])
    assert (second.code, second.stderr) == (0, "Nothing to do: the host is as the policy says.\n")
    assert fresh.run([INV, "plan", "--check"]).code == 0
    assert fresh.run(["ds01-generate-limits"]).code == 0
    evidence("second deploy: nothing to do; plan --check: 0")

    # A hand edit is drift, everywhere it is looked for, and is not lost.
    fresh.script(f"sed -i 's/^MemoryMax=.*/MemoryMax=512G/' {ALICE}")
    plan = fresh.run([INV, "plan", "--check"])
    assert plan.code == 3
    assert f"~ change {ALICE} [drift]: edited by hand since generation 1" in plan.stdout
    refused = fresh.run([INV, "deploy", "--yes"])
    assert refused.code == 4
    assert "1 file changed by hand since the last deploy; nothing was deployed" in refused.stderr
    assert fresh.run(["ds01", "verify"]).code == 1
    assert fresh.run(["ds01-generate-limits", "--user", "alice"]).code == 3
    forced = fresh.run([INV, "deploy", "--yes", "--force"])
    assert forced.code == 0, forced.stderr
    kept = f"/var/lib/ds01/deploy/kept/000002{ALICE}"
    assert "MemoryMax=512G" in fresh.must(["cat", kept])
    evidence("hand edit: plan 3, deploy 4, verify 1, ds01-generate-limits 3; --force keeps a copy")

    # A changed policy, and back.
    fresh.script(f"sed -i 's/memory_max: 96G/memory_max: 144G/' {POLICY}; grep -q 'memory_max: 144G' {POLICY}")
    changed = fresh.run([INV, "deploy", "--yes"])
    assert changed.code == 0, changed.stderr
    assert effective(fresh) == (str(144 << 30), str(144 << 30))
    back = fresh.run(["ds01", "rollback", "--yes"])
    assert back.code == 0, back.stderr
    assert effective(fresh) == (str(96 << 30), str(96 << 30))
    assert fresh.run(["ds01", "verify"]).code == 0
    evidence("rollback: alice 144G -> 96G, in systemd and in memory.max")

    # And all of it still holds after a reboot.
    fresh.reboot()
    assert effective(fresh) == (str(96 << 30), str(96 << 30))
    assert checks(fresh, "ds01", "verify") == proof
    assert fresh.must(["systemctl", "is-system-running"]) == "running\n"
    where = fresh.must([CLIENT, "run", "--rm", "--cgroupns=host", "busybox", "cat", "/proc/self/cgroup"])
    assert where.startswith("0::/ds01.slice/ds01-other.slice/docker-")
    limit = "/sys/fs/cgroup/ds01.slice/memory.max"
    evidence(f"after a reboot: verify as before, ds01.slice memory.max {fresh.must(['cat', limit]).strip()}")
