"""What the rules of lifecycle need to see of a host: containers with their limits, clocks, GPU holders. Only reads.

What cannot be seen is a text that says why, and never a value that looks idle, old or free.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import read_json
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.value import dataclass, field, replace
from ds01.runtime.accounts import is_admin, limits_of
from ds01.runtime.containers.scan import type_of
from ds01.runtime.containers.seen import Seen
from ds01.runtime.gpu.activity import UnitActivity, from_document
from ds01.runtime.gpu.devices import read_devices
from ds01.runtime.gpu.found import present
from ds01.runtime.gpu.hardware import Devices, GpuUuid
from ds01.runtime.gpu.host import account_reader
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.state import NoGpuStateError, read_ledger
from ds01.runtime.lifecycle import memory, runtime_limit, stale_containers
from ds01.runtime.lifecycle.counters import Counters
from ds01.runtime.lifecycle.decision import Moment, Subject
from ds01.runtime.lifecycle.due import MAX_RUNTIME, STALE_CONTAINERS, Memories, Timers
from ds01.runtime.lifecycle.idle import IdleSight
from ds01.runtime.lifecycle.idle_memory import GpuSign
from ds01.runtime.lifecycle.runtime_limit import RuntimeMemory
from ds01.runtime.lifecycle.settings import Account, LifecycleRules, account_times, read_rules
from ds01.runtime.lifecycle.stale_containers import KeptMemory
from ds01.runtime.machine import Machine


def awake_seconds() -> float:
    """Return how long the machine has been awake since its boot. Source: clock_gettime(2), CLOCK_MONOTONIC."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(slots=True)
class Sights:
    """One look at a host; accounts, GPUs and their holders are looked up once for all containers.

    Attributes:
        machine: its clocks and processes.
        awake: see awake_seconds().
    """

    paths: HostPaths
    policy: Policy
    machine: Machine = field(default_factory=Machine)
    awake: Callable[[], float] = awake_seconds
    _rules: LifecycleRules | None = None
    _accounts: dict[str, Account | None] = field(default_factory=dict)
    _devices: Devices | str | None = None
    _ledger: Ledger | str | None = None
    _activity: Mapping[GpuUuid, UnitActivity] | str | None = None

    def __post_init__(self) -> None:
        if self.paths.proc.is_dir():
            self.machine = replace(self.machine, proc=self.paths.proc)

    @property
    def rules(self) -> LifecycleRules:
        """What the policy says of lifecycle.

        Raises:
            PolicyError: it cannot be used.
        """
        if self._rules is None:
            self._rules = read_rules(self.policy)
        return self._rules

    def moment(self) -> Moment:
        """Return the present, by all clocks."""
        machine = self.machine
        return Moment(machine.now(), machine.boot_id(), machine.boot_seconds(), self.awake())

    # --- Containers ---------------------------------------------------------------------------------------------------

    def subjects(self, seen: Iterable[Seen]) -> tuple[Subject, ...]:
        """Return containers as the rules see them."""
        return tuple(map(self.subject, seen))

    def subject(self, seen: Seen) -> Subject:
        """Return one container as the rules see it."""
        container = seen.container
        account = None if seen.charged is None else self._account(seen.charged)
        times = None if account is None else self.rules.times(account, type_of(seen.kind, container.labels))
        # Anybody can write that label; only what DS01 let come to be, and what is claimed for an administrator, is.
        may_ask = seen.admitted or seen.of_site or (account is not None and account.is_admin)
        age = None if container.pid is None else self._age_seconds(container.pid)
        return Subject(seen, times, container.is_protected and may_ask, age)

    def _account(self, name: str) -> Account | None:
        """Return what holds for an account; None when no account can be called so."""
        if name not in self._accounts:
            try:
                times = account_times(limits_of(self.policy, name))
                self._accounts[name] = Account(times, is_admin(self.policy, name))
            except Ds01Error:
                self._accounts[name] = None
        return self._accounts[name]

    def _age_seconds(self, pid: int) -> float | None:
        """Source: proc_pid_stat(5), starttime: clock ticks since boot, sleep included."""
        process = self.machine.process(pid)
        if process is None:
            return None
        return max(0.0, self.machine.boot_seconds() - process.started / os.sysconf("SC_CLK_TCK"))

    # --- Idle ---------------------------------------------------------------------------------------------------------

    def idle_sights(self, seen: Iterable[Seen]) -> tuple[IdleSight, ...]:
        """Return what containers have used up to now."""
        return tuple(self.idle_sight(self.subject(each)) for each in seen)

    def idle_sight(self, subject: Subject) -> IdleSight:
        """Return what one container has used up to now; of one that has no timeout nobody looks."""
        pid, none = subject.seen.container.pid, "it has no process"
        if subject.times is None or subject.times.idle_timeout is None:
            return IdleSight(subject, none, none, {})
        if subject.is_coming_back:
            # It has its GPUs all the same.
            return IdleSight(subject, none, none, self._signs(subject), keep_alive=None)
        if pid is None:
            return IdleSight(subject, none, none, {})
        counters = Counters(self.machine.proc, self.paths.cgroup, pid, subject.id)
        return IdleSight(
            subject=subject,
            cpu_usec=counters.cpu_usec(),
            network_bytes=counters.network_bytes(),
            gpus=self._signs(subject),
            keep_alive=counters.keep_alive(),
        )

    def _signs(self, subject: Subject) -> Mapping[str, GpuSign] | str:
        units = self._units(subject)
        if isinstance(units, str) or not units:
            return units if isinstance(units, str) else {}
        activity = self.activity()
        if isinstance(activity, str):
            return activity
        now = self.machine.now()
        unwatched = GpuSign(None, now, "nobody watches it")
        found = {uuid: activity.get(uuid) for uuid in units}
        return {
            uuid: unwatched if each is None else GpuSign(each.busy_at, each.since, each.unknown)
            for uuid, each in found.items()
        }

    def _units(self, subject: Subject) -> Sequence[GpuUuid] | str:
        """Return which units a container has: those in the ledger, else those that Docker gave it."""
        container = subject.seen.container
        ledger = self.ledger()
        if not isinstance(ledger, str):
            held = next((each for each in ledger.allocations.values() if each.container_id == container.id), None)
            if held is not None:
                return held.uuids
        if container.gpu is None:
            return ()
        devices = self.devices()
        if isinstance(devices, str):
            return f"which GPUs it has cannot be told: {devices}"
        return present(container, devices).uuids or "it cannot be told which GPUs it has"

    # --- GPUs ---------------------------------------------------------------------------------------------------------

    def demand(self) -> float | None:
        """Return which share of the machine's units is allocated; None when that cannot be told."""
        devices, ledger = self.devices(), self.ledger()
        if isinstance(devices, str) or isinstance(ledger, str) or not devices.units:
            return None
        taken = ledger.holders().keys()
        return sum(unit.uuid in taken for unit in devices.units) / len(devices.units)

    def devices(self) -> Devices | str:
        """Return the GPUs that there are, or why that cannot be told."""
        if self._devices is None:
            try:
                self._devices = read_devices(self.paths, who=False)
            except Ds01Error as error:
                self._devices = error.brief
        return self._devices

    def ledger(self) -> Ledger | str:
        """Return who holds which GPU, or why that cannot be told."""
        if self._ledger is None:
            try:
                self._ledger = read_ledger(self.paths, self.machine)
            except NoGpuStateError:
                self._ledger = Ledger()
            except Ds01Error as error:
                self._ledger = error.brief
        return self._ledger

    def activity(self) -> Mapping[GpuUuid, UnitActivity] | str:
        """Return when each unit was last busy, or why that cannot be told."""
        if self._activity is None:
            try:
                document = read_json(self.paths.gpu_activity, of_root=True)
            except Ds01Error as error:
                self._activity = error.brief
            else:
                self._activity = (
                    f"there is no {self.paths.gpu_activity}; systemctl status ds01-gpuwatch says why"
                    if document is None
                    else from_document(document, self.machine.now(), self.machine.boot_id())
                )
        return self._activity

    # --- Timers -------------------------------------------------------------------------------------------------------

    def timers(self, seen: Iterable[Seen]) -> Timers:
        """Return everything that due.next_due() goes by."""
        ledger = self.ledger()
        runtime, _ = memory.recall(self.paths, MAX_RUNTIME, runtime_limit.from_document, RuntimeMemory())
        kept, _ = memory.recall(self.paths, STALE_CONTAINERS, stale_containers.from_document, KeptMemory())
        return Timers(
            subjects=self.subjects(seen),
            ledger=Ledger() if isinstance(ledger, str) else ledger,
            rules=self.rules,
            account_of=account_reader(self.policy),
            memories=Memories(runtime, kept),
        )
