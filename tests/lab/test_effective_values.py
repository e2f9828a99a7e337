"""What systemd and the kernel have in effect is the policy, for every account; the figures here are the design's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.lab.containers import CGROUP, CLIENT, Slice, remove_all, states
from tests.lab.host import HOST_FILE, INVENTORY, POLICY, UNITS, deploy, edit, override
from tests.lab.machine.accounts import UNLISTED
from tests.lab.machine.prepared import PLACE
from tests.lab.machine.settings import Suite

from ds01.core.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

GIB = 1 << 30
LDAP = "j.doe@lab-x.org"


@dataclass(frozen=True)
class Figures:
    """The limits of an account. `cpu` is the quota for one second, as systemd says it."""

    cpu: str
    cpu_percent: int
    weight: int
    memory_gib: int
    high_gib: int
    tasks: int

    def shown(self) -> dict[str, str]:
        """What `systemctl show` should say."""
        return {
            "CPUQuotaPerSecUSec": self.cpu,
            "CPUWeight": str(self.weight),
            "MemoryMax": str(self.memory_gib * GIB),
            "MemoryHigh": str(self.high_gib * GIB),
            "MemorySwapMax": "0",
            "TasksMax": str(self.tasks),
        }

    def files(self) -> dict[str, str]:
        """What the control group's files should say."""
        return {
            "cpu.max": f"{self.cpu_percent * 1000} 100000",
            "cpu.weight": str(self.weight),
            "memory.max": str(self.memory_gib * GIB),
            "memory.high": str(self.high_gib * GIB),
            "memory.swap.max": "0",
            "pids.max": str(self.tasks),
        }


GROUPS = {
    "student": Figures("1min 36s", 9600, 10, 96, 86, 12288),
    "researcher": Figures("4min", 24000, 50, 320, 288, 327680),
    "faculty": Figures("5min 20s", 32000, 60, 640, 576, 327680),
}
# 96g a container and 5 of them; 90 % of that, down to whole GiB.
OVERRIDDEN = {"m.okafor@lab-x.org": replace(GROUPS["researcher"], memory_gib=480, high_gib=432)}


def members(group: str) -> list[str]:
    lines = (INVENTORY / f"groups/{group}.members").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


ACCOUNTS = {account: group for group in GROUPS for account in members(group)}


@pytest.fixture(scope="module", params=list(Suite))
def machine(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Machine]:
    with lab.prepared(f"values-{request.param}", request.param) as machine:
        deploy(machine, "--restart-docker")
        yield machine
        remove_all(machine)


def shown(machine: Machine, slices: list[Slice]) -> dict[str, dict[str, str]]:
    names = ["Id", "ControlGroup", "DropInPaths", *GROUPS["student"].shown()]
    said = machine.must(["systemctl", "show", f"--property={','.join(names)}", *(each.unit for each in slices)])
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in said.strip().split("\n\n")]
    return {block.pop("Id"): block for block in blocks}


def files(machine: Machine, slices: list[Slice]) -> dict[str, dict[str, str]]:
    paths = [f"{each.path.lstrip('/')}/{name}" for each in slices for name in GROUPS["student"].files()]
    found: dict[str, dict[str, str]] = {}
    for line in machine.must(["grep", "--with-filename", "", *paths], folder=CGROUP).splitlines():
        path, value = line.split(":", 1)
        folder, name = path.rsplit("/", 1)
        found.setdefault(folder.rsplit("/", 1)[1], {})[name] = value
    return found


def test_every_limited_account_has_the_policys_values_in_systemd_and_in_the_kernel(
    machine: Machine, evidence: Callable[[str], None]
):
    assert len(ACCOUNTS) == 79
    slices = {account: Slice.of(machine, group, account) for account, group in ACCOUNTS.items()}
    wanted = {account: OVERRIDDEN.get(account, GROUPS[group]) for account, group in ACCOUNTS.items()}
    machine.must(["systemctl", "start", *(each.unit for each in slices.values())])

    said, found = shown(machine, list(slices.values())), files(machine, list(slices.values()))

    for account, each in slices.items():
        own = f"{UNITS}/{each.unit}.d/10-resource-limits.conf"
        expected = {"ControlGroup": each.path, "DropInPaths": own, **wanted[account].shown()}
        assert said[each.unit] == expected, account
        assert found[each.unit] == wanted[account].files(), account
    for figures, count in Counter(wanted.values()).items():
        values = ", ".join(f"{name}={value}" for name, value in {**figures.shown(), **figures.files()}.items())
        evidence(f"{count} × {values}")


def test_all_users_together_leave_the_hosts_reserve(machine: Machine, evidence: Callable[[str], None]):
    """2G and one CPU less the 256M and 0.1 CPUs that the host file keeps."""
    root = Slice(machine, "ds01.slice")
    found = {name: root.read(name) for name in ("cpu.max", "memory.max", "memory.swap.max")}
    assert found == {"cpu.max": "90000 100000", "memory.max": str((2048 - 256) << 20), "memory.swap.max": "0"}
    evidence(f"ds01.slice: {found}")


def test_an_account_that_nobody_listed_has_its_groups_values(machine: Machine, evidence: Callable[[str], None]):
    guest = Slice.of(machine, "student", UNLISTED)
    machine.must(["systemctl", "start", guest.unit])
    said, found = shown(machine, [guest])[guest.unit], files(machine, [guest])[guest.unit]
    general = f"{UNITS}/ds01-student-.slice.d/10-resource-limits.conf"
    assert said == {"ControlGroup": guest.path, "DropInPaths": general, **GROUPS["student"].shown()}
    assert found == GROUPS["student"].files()
    evidence(f"{UNLISTED}: {guest.unit} from {general}")


@pytest.mark.parametrize(("group", "account"), [("researcher", LDAP), ("student", UNLISTED)])
def test_a_container_lands_one_level_below_its_accounts_group(
    machine: Machine, evidence: Callable[[str], None], group: str, account: str
):
    """With the very options that DS01 gives for the account, as its own user or as root."""
    account_slice = Slice.of(machine, group, account)
    tool = f"{PLACE}/scripts/get_resource_limits.py"
    options = machine.must([tool, account, "--docker-args"], user=account).split()
    assert f"--cgroup-parent={account_slice.unit}" in options
    container = machine.must([CLIENT, "run", "--detach", *options, "busybox", "sleep", "600"]).strip()
    pid = machine.must([CLIENT, "inspect", "--format", "{{.State.Pid}}", container]).strip()
    cgroup = machine.must(["cat", f"/proc/{pid}/cgroup"]).strip()
    assert cgroup == f"0::/ds01.slice/ds01-{group}.slice/{account_slice.unit}/docker-{container}.scope"
    evidence(f"{account}: docker run {' '.join(options)}: {cgroup.replace(container, container[:12])}")


@pytest.fixture(scope="module")
def changed(machine: Machine) -> Machine:
    """The machine after a second deploy, of other limits, while alice has a container and every slice is in use.

    With an idle one beside them, systemd 257 would read that one anew and so come by the others.
    """
    machine.must(["systemctl", "start", *(Slice.of(machine, group, name).unit for name, group in ACCOUNTS.items())])
    Slice.of(machine, "student", "alice").start("before", "exec sleep 6000")
    # Two containers of 20g and 1000 processes, one CPU each; 90 % of 40G down to whole GiB.
    override(machine, "  alice: {max_containers: 2, memory: 20g, pids_limit: 1000, max_cpus: 1}\n")
    limits = ["io_weight: 50", "io_read_bw_max: 100M", "io_write_bw_max: 1.5G"]
    limits += ["io_read_iops_max: 20000", "io_write_iops_max: 10000"]
    line = "      tasks_max: 12288 "
    edit(machine, POLICY, line, "".join(f"      {limit}\n" for limit in limits) + line)
    edit(machine, HOST_FILE, "gpus:\n", "disks: [{device: /dev/ubda, mount: /, scheduler: bfq}]\ngpus:\n")
    deploy(machine)
    return machine


def test_changed_limits_hold_at_once_where_a_container_runs(changed: Machine, evidence: Callable[[str], None]):
    wanted = Figures("2s", 200, 10, 40, 36, 2000)
    alice, bob = (Slice.of(changed, "student", name) for name in ("alice", "bob"))
    assert states(changed)["before"].running
    found = files(changed, [alice, bob])
    said = shown(changed, [alice])[alice.unit]
    assert {name: said[name] for name in wanted.shown()} == wanted.shown()
    assert found == {alice.unit: wanted.files(), bob.unit: GROUPS["student"].files()}
    evidence(f"alice, with a container that runs since before: {found[alice.unit]}")


def test_disk_limits_reach_the_kernel(changed: Machine, evidence: Callable[[str], None]):
    number = changed.must(["lsblk", "--noheadings", "--nodeps", "--output=MAJ:MIN", "/dev/ubda"]).strip()
    alice = Slice.of(changed, "student", "alice")
    found = {name: alice.read(name) for name in ("io.max", "io.weight", "io.bfq.weight")}
    assert found["io.max"] == f"{number} rbps=100000000 wbps=1500000000 riops=20000 wiops=10000"
    assert found["io.weight"] == "default 50"
    evidence(f"alice: {found}")
