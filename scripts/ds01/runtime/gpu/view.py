"""The units of a machine beside who holds them, and a refusal's words for what is in the way. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ds01.runtime.gpu.answer import Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuProcess, GpuUuid, Unit
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.request import Limits

_WHEN_FREE = "wait for one (--wait), or see ds01 gpu status for who holds them"


@dataclass(frozen=True, slots=True)
class View:
    """Units, holders and the processes that keep a unit from being given.

    Attributes:
        held: by UUID; a whole GPU's holder holds its MIG instances too.
        busy: processes outside containers by unit, empty where policy ignores them.
    """

    gpus: tuple[Gpu, ...]
    units: tuple[Unit, ...]
    held: Mapping[GpuUuid, Allocation]
    busy: Mapping[GpuUuid, tuple[GpuProcess, ...]]

    @classmethod
    def of(cls, devices: Devices, ledger: Ledger, limits: Limits) -> View:
        """Bring hardware and ledger together."""
        return cls(devices.gpus, devices.units, ledger.holders(), devices.outside if limits.avoid_busy else {})

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

    def no_such(self, name: str) -> str:
        """Return why a name is no unit."""
        gpu = next((gpu for gpu in self.gpus if name in {str(gpu.index), gpu.uuid}), None)
        if gpu is None:
            return f"this machine has no GPU {name} now"
        parts = ", ".join(unit.slot for unit in self.units if unit.gpu_uuid == gpu.uuid)
        return f"GPU {name} is in MIG mode: name one of its instances ({parts or 'it has none'})"

    def broken(self, pool: Sequence[Unit]) -> Refusal:
        """Return the refusal when the hardware is in the way."""
        problems = dict.fromkeys(f"GPU {unit.gpu_index}: {unit.problem}" for unit in pool if unit.problem is not None)
        return Refusal(Reason.BROKEN, "; ".join(problems), "tell an administrator", tuple(self._holdings(pool)))

    def in_use(self, pool: Sequence[Unit], free: Sequence[Unit], *, named: bool, number: int) -> Refusal:
        """Return the refusal when not enough of a pool is to be had now."""
        holdings = tuple(self._holdings(pool))
        if len(free) >= number:
            text = f"{', '.join(unit.slot for unit in free)} would do, but others in the line come first"
            return Refusal(Reason.IN_LINE, text, "wait in the line (--wait)", holdings, waitable=True)
        outside = [each for each in holdings if each.process is not None]
        if outside and (named or len(outside) == len(holdings)):
            text = "; ".join(f"GPU {each.slot} is used by {each.process} outside a container" for each in outside)
            return Refusal(Reason.BUSY_OUTSIDE, text, _WHEN_FREE, holdings, waitable=True)
        if named:
            text = "; ".join(f"GPU {each.slot} is held by {_whose(each)}" for each in holdings)
            return Refusal(Reason.TAKEN, text, _WHEN_FREE, holdings, waitable=True)
        text = f"{len(free)} of {len(pool)} GPU units are free, {number} {'is' if number == 1 else 'are'} asked for"
        return Refusal(Reason.TAKEN, text, _WHEN_FREE, holdings, waitable=True)

    def _holdings(self, pool: Sequence[Unit]) -> Iterator[Holding]:
        for unit in pool:
            holder = self.holder(unit)
            if holder is not None:
                yield Holding(unit.slot, holder.user, holder.container, holder.allocated_at, holder.stopped_at)
            else:
                for process in self.processes(unit)[:1]:
                    words = f"{process.user}'s {process.command} (pid {process.pid})"
                    yield Holding(unit.slot, process.user, None, process=words)


def _whose(holding: Holding) -> str:
    kept = "stopped " if holding.stopped_at is not None else ""
    return f"{holding.user}'s {kept}{holding.container}" if holding.user else f"{kept}container {holding.container}"
