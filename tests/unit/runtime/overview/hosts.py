"""A host below a folder on which alice uses something of everything: real files in their real places."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from tests.cgroups import DATA

from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation
from ds01.runtime.gpu.record import format_ledger
from ds01.runtime.identity import ProcessRef
from ds01.runtime.overview.figures import Overview
from ds01.runtime.overview.reader import read_overview
from ds01.runtime.telemetry.rates import Rates, to_document

POLICY = Path(__file__).resolve().parents[4] / "tests/golden/shipped/expected/root/etc/ds01/policy.json"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STUDENT, LAB = "ds01-student-alice.slice", "ds01-research_lab-alice.slice"
FIRST, SECOND, THIRD = "a" * 64, "b" * 64, "e" * 64
RATES = Rates({STUDENT: 312.5, LAB: 100.0, "ds01-student-bob.slice": 50.0}, {FIRST: 300.0, SECOND: 12.5, THIRD: 99.9})


def allocation(container: str, *slots: str, user: str | None = "alice", stopped: int | None = None) -> Allocation:
    """An allocation whose container has been stopped for so many minutes."""
    return Allocation(
        container=container,
        id=f"id-{container}",
        user=user,
        slots=slots,
        uuids=tuple(GpuUuid(f"MIG-{slot}") for slot in slots),
        allocated_at=NOW - timedelta(hours=2),
        priority=10,
        stopped_at=None if stopped is None else NOW - timedelta(minutes=stopped),
    )


RESERVED = Allocation(
    container="?soon",
    id="soon",
    user="alice",
    slots=("1:0",),
    uuids=(GpuUuid("MIG-1:0"),),
    allocated_at=NOW,
    priority=10,
    reservation=Reservation(ProcessRef(4711, 1, "boot")),
)


def make_host(root: Path) -> HostPaths:
    """Make the policy and the control groups, and the folders of the rest."""
    paths = HostPaths(root)
    for path in (paths.policy, paths.rates, paths.notices(0), paths.cgroup):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(POLICY, paths.policy)
    shutil.copytree(DATA / "full", paths.cgroup)
    return paths


def put_gpus(paths: HostPaths, *allocations: Allocation) -> None:
    ledger = Ledger(MappingProxyType({each.container: each for each in allocations}), boot="boot")
    paths.gpu_state.write_bytes(format_ledger(ledger, NOW))


def put_rates(paths: HostPaths, rates: Rates = RATES, at: datetime = NOW) -> None:
    paths.rates.write_text(json.dumps(to_document(rates, at)))


def put_notices(paths: HostPaths, uid: int, notices: Sequence[object]) -> None:
    paths.notices(uid).write_text(json.dumps(notices))


def policy_of(paths: HostPaths) -> Policy:
    return read_policy(paths.policy)


def overview_of(paths: HostPaths, account: str = "alice") -> Overview:
    return read_overview(paths, policy_of(paths), account, NOW)
