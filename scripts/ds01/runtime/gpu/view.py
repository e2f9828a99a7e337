"""The units of a machine beside who holds them, and a refusal's words for what is in the way. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from ds01.core.value import dataclass, replace
from ds01.runtime.gpu.answer import Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuProcess, GpuUuid, Unit
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.request import Limits

_WHEN_BROKEN = "tell an administrator"


@dataclass(frozen=True, slots=True)
class View:
    """Units, holders and the processes that keep a unit from being given.

    Attributes:
        held: by UUID; a whole GPU's holder holds its MIG instances too.
        busy: by unit, processes outside any container, and those in containers that were not given the unit; empty
            where policy ignores them.
        at_work: by unit, the processes of the container that was given it.
        outside: processes on the host that count in their accounts' quotas; none where policy does not count them.
        now: for words alone: of today the time will do.
    """

    gpus: tuple[Gpu, ...]
    units: tuple[Unit, ...]
    held: Mapping[GpuUuid, Allocation]
    busy: Mapping[GpuUuid, tuple[GpuProcess, ...]]
    at_work: Mapping[GpuUuid, tuple[GpuProcess, ...]]
    outside: tuple[GpuProcess, ...] = ()
    now: datetime | None = None

    @classmethod
    def of(cls, devices: Devices, ledger: Ledger, limits: Limits, now: datetime | None = None) -> View:
        """Bring hardware and ledger together."""
        held = ledger.holders()
        at_work, strangers = _apart(devices, held)
        outside = tuple(each for each in devices.processes if each.is_on_host) if limits.count_outside else ()
        return cls(devices.gpus, devices.units, held, strangers if limits.avoid_busy else {}, at_work, outside, now)

    def taken(self, allocation: Allocation) -> View:
        """Return what it is once an allocation more is there."""
        return replace(self, held={**self.held, **dict.fromkeys(allocation.uuids, allocation)})

    def holder(self, unit: Unit) -> Allocation | None:
        """Return who holds a unit."""
        return self.held.get(unit.uuid) or self.held.get(unit.gpu_uuid)

    def processes(self, unit: Unit) -> tuple[GpuProcess, ...]:
        """Return what runs outside containers on a unit, or on the whole GPU that it is a part of."""
        whole = () if unit.is_whole else self.busy.get(unit.gpu_uuid, ())
        return (*self.busy.get(unit.uuid, ()), *whole)

    def command(self, unit: Unit) -> GpuProcess | None:
        """Return what computes on a unit in its holder's container; of several that which was started first."""
        holder = self.holder(unit)
        found = (*self.at_work.get(unit.uuid, ()), *self.at_work.get(unit.gpu_uuid, ()))
        mine = [each for each in found if holder is not None and each.container_id == holder.container_id]
        return min(mine, key=lambda each: (each.since is None, each.since, each.pid), default=None)

    def is_free(self, unit: Unit) -> bool:
        """Whether a unit is well and nobody's."""
        return unit.problem is None and self.holder(unit) is None and not self.processes(unit)

    @property
    def held_units(self) -> tuple[Unit, ...]:
        """The units that somebody holds."""
        return tuple(unit for unit in self.units if self.holder(unit) is not None)

    def find(self, name: str) -> Unit | None:
        """Return the unit with a slot or UUID."""
        return next((unit for unit in self.units if name in {unit.slot, unit.uuid}), None)

    # --- Words --------------------------------------------------------------------------------------------------------

    @property
    def ill(self) -> tuple[Gpu, ...]:
        """GPUs with a problem; of what is on them nothing is certain."""
        return tuple(gpu for gpu in self.gpus if gpu.problem is not None)

    def missing(self, name: str) -> Refusal:
        """Return the refusal when a name is no unit; what may be on a GPU with a problem is not said to be absent."""
        index = name.partition(":")[0]
        if index.isdecimal():
            suspects = tuple(gpu for gpu in self.ill if str(gpu.index) == index)
        else:
            suspects = tuple(gpu for gpu in self.ill if gpu.uuid == name) or self.ill
        if suspects:
            return Refusal(Reason.BROKEN, f"GPU {name} cannot be given: {problems(suspects)}", _WHEN_BROKEN)
        return Refusal(Reason.NO_SUCH_GPU, self._no_such(name), "see ds01 gpu status for what there is")

    def _no_such(self, name: str) -> str:
        gpu = next((gpu for gpu in self.gpus if name in {str(gpu.index), gpu.uuid}), None)
        if gpu is None:
            return f"this machine has no GPU {name} now"
        parts = ", ".join(unit.slot for unit in self.units if unit.gpu_uuid == gpu.uuid)
        return f"GPU {name} is in MIG mode: name one of its instances ({parts or 'it has none'})"

    def broken(self, pool: Sequence[Unit]) -> Refusal:
        """Return the refusal when the hardware is in the way."""
        parts = {unit.gpu_index for unit in pool}
        ill = tuple(gpu for gpu in self.ill if gpu.index in parts)
        return Refusal(Reason.BROKEN, problems(ill), _WHEN_BROKEN, tuple(self._holdings(pool)))

    def in_use(self, pool: Sequence[Unit], free: Sequence[Unit], *, named: bool, number: int) -> Refusal:
        """Return the refusal when not enough of a pool is to be had now."""
        holdings = tuple(self._holdings(pool))
        if len(free) >= number:
            text = f"{', '.join(unit.slot for unit in free)} would do, but others in the line come first"
            return Refusal(Reason.IN_LINE, text, None, holdings, waitable=True)
        strangers = [each for each in holdings if each.process is not None]
        if named or (strangers and len(strangers) == len(holdings)):
            reason = Reason.BUSY_OUTSIDE if len(strangers) == len(holdings) else Reason.TAKEN
            return Refusal(reason, "; ".join(map(self._in_the_way, holdings)), None, holdings, waitable=True)
        are = "is" if len(free) == 1 else "are"
        text = f"{len(free)} of {len(pool)} GPU units {are} free, {number} {'is' if number == 1 else 'are'} asked for"
        return Refusal(Reason.TAKEN, text, None, holdings, waitable=True)

    def _holdings(self, pool: Sequence[Unit]) -> Iterator[Holding]:
        for unit in pool:
            holder, at_work = self.holder(unit), self.command(unit)
            if holder is not None:
                yield Holding(
                    slot=unit.slot,
                    user=holder.user,
                    container=holder.container,
                    since=holder.allocated_at,
                    stopped_at=holder.stopped_at,
                    command=None if at_work is None else at_work.command,
                    command_since=None if at_work is None else at_work.since,
                )
            else:
                for process in self.processes(unit)[:1]:
                    yield Holding(unit.slot, process.user, None, process.since, process=describe(process))

    def _in_the_way(self, holding: Holding) -> str:
        gpu = f"GPU {holding.slot}"
        if holding.process is not None:
            return f"{gpu} is used by {holding.process}{self._since(holding.since)}"
        if holding.command is None or holding.user is None:
            return f"{gpu} is held by {_whose(holding)}"
        what = f"{gpu} is in use by {holding.user}'s {holding.command}{self._since(holding.command_since)}"
        return f"{what}, in container {holding.container}"

    def _since(self, instant: datetime | None) -> str:
        """As people of this machine read times."""
        if instant is None:
            return ""
        local = instant.astimezone()
        today = self.now is not None and local.date() == self.now.astimezone().date()
        return f" since {local:%H:%M}" if today else f" since {local:%Y-%m-%d %H:%M}"


def problems(gpus: Sequence[Gpu]) -> str:
    """Return what is wrong with GPUs, in one line."""
    return "; ".join(f"GPU {gpu.index}: {gpu.problem}" for gpu in gpus)


def describe(process: GpuProcess) -> str:
    """Return a process that was given no GPU and uses one, in words."""
    where = "outside a container"
    if process.container_id is not None:
        where = f"in container {process.container_id[:12]}, which was given no GPU"
    return f"{process.user}'s {process.command} (pid {process.pid}) {where}"


_ByUnit = dict[GpuUuid, tuple[GpuProcess, ...]]


def _apart(devices: Devices, held: Mapping[GpuUuid, Allocation]) -> tuple[_ByUnit, _ByUnit]:
    """Return processes on units that their container was given, and those on units it was not or that are in none."""
    # Of a process on an instance some drivers name the whole GPU.
    parents = {unit.uuid: unit.gpu_uuid for unit in devices.units}
    given = {(each.container_id, name) for uuid, each in held.items() for name in (uuid, parents.get(uuid, uuid))}
    at_work: _ByUnit = {}
    strangers: _ByUnit = {}
    for process in devices.processes:
        is_stranger = process.container_id is None or (process.container_id, process.uuid) not in given
        found = strangers if is_stranger else at_work
        found[process.uuid] = (*found.get(process.uuid, ()), process)
    return at_work, strangers


def _whose(holding: Holding) -> str:
    kept = "stopped " if holding.stopped_at is not None else ""
    return f"{holding.user}'s {kept}{holding.container}" if holding.user else f"{kept}container {holding.container}"
