"""Hosts, accounts and ledgers that the tests of the allocator share."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from ds01.runtime.gpu.hardware import Devices, Gpu, GpuProcess, GpuUuid, MigInstance
from ds01.runtime.gpu.ledger import Allocation, Ledger, Waiter
from ds01.runtime.gpu.request import AccountLimits, GpuUnit, Limits, Request, parse_wanted
from ds01.runtime.identity import ProcessRef

GIB: Final = 1024**3
NOON: Final = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PROCESS: Final = ProcessRef(4711, 123_456, "boot-1")

# A student, a researcher and so on as the shipped policy has them, and one with a quota by size.
STUDENT: Final = AccountLimits(max_units=3, max_per_container=1, priority=10, hold_seconds=900)
RESEARCHER: Final = AccountLimits(
    GpuUnit.ANY, max_units=6, max_per_container=2, allow_full=True, priority=50, hold_seconds=1800
)
FULL: Final = AccountLimits(GpuUnit.FULL, max_units=4, max_per_container=2, allow_full=True, priority=60)
BY_SIZE: Final = AccountLimits(GpuUnit.ANY, allow_full=True, max_equivalents=Fraction("1.3"), priority=20)
ADMIN: Final = AccountLimits(GpuUnit.ANY, priority=100, exempt=True)
ACCOUNTS: Final = {
    "alice": STUDENT,
    "student01": STUDENT,
    "bob": RESEARCHER,
    "carol": FULL,
    "dan": BY_SIZE,
    "root": ADMIN,
}
LIMITS: Final = Limits(ACCOUNTS)


def whole(index: int, **changes: object) -> Gpu:
    """A whole A100; changes are fields of Gpu."""
    return Gpu(index, GpuUuid(f"GPU-{index}"), "NVIDIA A100-SXM4-80GB", 80 * GIB, **changes)  # type: ignore[arg-type] # fields by name


def split(index: int, *profiles: int, **changes: object) -> Gpu:
    """An A100 in MIG mode, with an instance for each number of slices."""
    instances = tuple(
        MigInstance(GpuUuid(f"MIG-{index}{number}"), number, 0, f"{slices}g.{slices * 10}gb", slices, slices * 10 * GIB)
        for number, slices in enumerate(profiles)
    )
    return whole(index, mig=True, instances=instances, **changes)


LAB: Final = Devices((whole(0), whole(1), split(2, 2, 2, 2), split(3, 2, 2, 2)))
RACE: Final = Devices((whole(0), whole(1), *(split(index, 2, 2, 2) for index in range(2, 6))))

# An A30 has four slices; a host with instances of several profiles has odd places for everything.
A30: Final = Devices(
    (
        Gpu(
            0,
            GpuUuid("GPU-0"),
            "NVIDIA A30",
            24 * GIB,
            slices=4,
            mig=True,
            instances=tuple(
                MigInstance(GpuUuid(f"MIG-0{number}"), number, 0, f"{slices}g.{slices * 6}gb", slices, slices * 6 * GIB)
                for number, slices in enumerate((2, 1, 1))
            ),
        ),
    )
)
MIXED: Final = Devices((split(0, 3, 1, 1), split(1, 3, 2), whole(2)))


def outside(devices: Devices, uuid: str, user: str = "alice", pid: int = 4711) -> Devices:
    """The same host with a process on a unit outside any container."""
    return Devices(devices.gpus, (*devices.processes, GpuProcess(pid, GpuUuid(uuid), user, "python")))


def ask(user: str, wanted: str = "1", name: str = "new", **changes: object) -> Request:
    """A request for a container of that name; its id is the name's too."""
    settings = {"priority": ACCOUNTS[user].priority, "container": name} | changes
    return Request(f"id-{name}", user, parse_wanted(wanted), **settings)  # type: ignore[arg-type] # fields by name


def held(
    user: str | None, *slots: str, name: str | None = None, devices: Devices = LAB, **changes: object
) -> Allocation:
    """What a running container holds; its name is the user's and the first slot's."""
    called = name or f"{user}-{slots[0]}"
    uuids = tuple(unit.uuid for slot in slots if (unit := devices.find(slot)) is not None)
    return Allocation(called, f"id-{called}", user, slots, uuids, NOON, 10, container_id=f"{called:0<64}", **changes)  # type: ignore[arg-type] # fields by name


def ledger(*allocations: Allocation, queue: tuple[Waiter, ...] = ()) -> Ledger:
    """A ledger with these."""
    made = Ledger(boot="boot-1")
    for each in allocations:
        made = made.granted(each)
    for waiter in queue:
        made = made.waiting(waiter)
    return made


def waiting(user: str, wanted: str = "1", name: str = "w", **changes: object) -> Waiter:
    """Somebody in the line."""
    settings = {"priority": ACCOUNTS[user].priority} | changes
    return Waiter(f"id-{name}", user, name, parse_wanted(wanted), since=NOON, process=PROCESS, **settings)  # type: ignore[arg-type] # fields by name
