"""The units of a machine beside who holds them, and a refusal's words for what is in the way. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ds01.core.value import dataclass, replace
from ds01.runtime.gpu.answer import Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuProcess, GpuUuid, Unit
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.request import Limits

_WHEN_BROKEN = "tell an administrator"
_WHEN_FREE = "wait for one (--wait), or see ds01 gpu status for who holds them"


@dataclass(frozen=True, slots=True)
class View:
    """Units, holders and the processes that keep a unit from being given.

    Attributes:
        held: by UUID; a whole GPU's holder holds its MIG instances too.
        busy: by unit, processes outside any container, and those in containers that were not given the unit; empty
            where policy ignores them.
    """

    gpus: tuple[Gpu, ...]
    units: tuple[Unit, ...]
    held: Mapping[GpuUuid, Allocation]
    busy: Mapping[GpuUuid, tuple[GpuProcess, ...]]

    @classmethod
    def of(cls, devices: Devices, ledger: Ledger, limits: Limits) -> View:
        """Bring hardware and ledger together."""
        held = ledger.holders()
        busy = _strangers(devices, held) if limits.avoid_busy else {}
        return cls(devices.gpus, devices.units, held, busy)

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
            return Refusal(Reason.IN_LINE, text, "wait in the line (--wait)", holdings, waitable=True)
        strangers = [each for each in holdings if each.process is not None]
        if named or (strangers and len(strangers) == len(holdings)):
            reason = Reason.BUSY_OUTSIDE if len(strangers) == len(holdings) else Reason.TAKEN
            return Refusal(reason, "; ".join(map(_in_the_way, holdings)), _WHEN_FREE, holdings, waitable=True)
        are = "is" if len(free) == 1 else "are"
        text = f"{len(free)} of {len(pool)} GPU units {are} free, {number} {'is' if number == 1 else 'are'} asked for"
        return Refusal(Reason.TAKEN, text, _WHEN_FREE, holdings, waitable=True)

    def _holdings(self, pool: Sequence[Unit]) -> Iterator[Holding]:
        for unit in pool:
            holder = self.holder(unit)
            if holder is not None:
                yield Holding(unit.slot, holder.user, holder.container, holder.allocated_at, holder.stopped_at)
            else:
                for process in self.processes(unit)[:1]:
                    yield Holding(unit.slot, process.user, None, process=describe(process))


def problems(gpus: Sequence[Gpu]) -> str:
    """Return what is wrong with GPUs, in one line."""
    return "; ".join(f"GPU {gpu.index}: {gpu.problem}" for gpu in gpus)


def describe(process: GpuProcess) -> str:
    """Return a process that was given no GPU and uses one, in words."""
    where = "outside a container"
    if process.container_id is not None:
        where = f"in container {process.container_id[:12]}, which was given no GPU"
    return f"{process.user}'s {process.command} (pid {process.pid}) {where}"


def _strangers(devices: Devices, held: Mapping[GpuUuid, Allocation]) -> Mapping[GpuUuid, tuple[GpuProcess, ...]]:
    """Return processes on units that their container does not hold, or that are in none."""
    found: dict[GpuUuid, tuple[GpuProcess, ...]] = {}
    # Of a process on an instance some drivers name the whole GPU.
    parents = {unit.uuid: unit.gpu_uuid for unit in devices.units}
    given = {(each.container_id, name) for uuid, each in held.items() for name in (uuid, parents.get(uuid, uuid))}
    for process in devices.processes:
        if process.container_id is None or (process.container_id, process.uuid) not in given:
            found[process.uuid] = (*found.get(process.uuid, ()), process)
    return found


def _in_the_way(holding: Holding) -> str:
    if holding.process is not None:
        return f"GPU {holding.slot} is used by {holding.process}"
    return f"GPU {holding.slot} is held by {_whose(holding)}"


def _whose(holding: Holding) -> str:
    kept = "stopped " if holding.stopped_at is not None else ""
    return f"{holding.user}'s {kept}{holding.container}" if holding.user else f"{kept}container {holding.container}"
