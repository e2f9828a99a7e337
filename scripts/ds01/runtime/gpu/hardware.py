"""GPUs and their MIG instances as values, and the units that can be handed out. Pure; devices.py looks at the machine.

Two names for one thing: the UUID is what a unit is, the slot (`0`, or `0:1` for the second MIG instance of GPU 0) is
what people call it. Indices may have another order after a reboot or a repair: nothing is ever decided by a slot.
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from ds01.core.errors import Ds01Error
from ds01.core.typed import Final, NewType
from ds01.core.value import dataclass

GpuUuid = NewType("GpuUuid", str)

# Compute slices of an A100 or H100. Source: NVIDIA MIG user guide, "GPU instance profiles".
USUAL_SLICES: Final = 7


class DevicesError(Ds01Error):
    """What GPUs there are cannot be told; never the same as that there are none."""


class NoToolError(DevicesError):
    """Nothing is installed that could tell what GPUs there are, as on a machine that has none."""


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One MIG device: a compute instance inside a GPU instance.

    Attributes:
        uuid: `MIG-…`.
        profile: as nvidia-smi names it, such as `2g.20gb` or `1c.2g.20gb`.
        compute_slices: of the GPU's, so many are its own.
    """

    uuid: GpuUuid
    gpu_instance_id: int
    compute_instance_id: int
    profile: str
    compute_slices: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU.

    Attributes:
        index: NVML's, which nvidia-smi shows too.
        slices: compute slices it can be split into; 7 on an A100, 4 on an A30.
        mig: whether it is in MIG mode; then it is no unit itself, only its instances are.
        instances: ordered by GPU instance id, then compute instance id.
        problem: why nothing on it can be handed out, in words with the usual cause; None when it is well.
        slices_known: False when nothing tells how many, so that the usual number stands there.
    """

    index: int
    uuid: GpuUuid
    name: str
    memory_bytes: int
    slices: int = USUAL_SLICES
    mig: bool = False
    instances: tuple[MigInstance, ...] = ()
    problem: str | None = None
    slices_known: bool = True


@dataclass(frozen=True, slots=True)
class Unit:
    """What one container can be given: a whole GPU or one MIG instance.

    Attributes:
        slot: `0` or `0:1`.
        gpu_uuid: of the physical GPU it is or is part of.
        profile: None for a whole GPU.
        share: of a whole GPU; 1 for one, 2/7 for a `2g.20gb` instance.
        problem: as the GPU's.
    """

    slot: str
    uuid: GpuUuid
    gpu_index: int
    gpu_uuid: GpuUuid
    profile: str | None
    share: Fraction
    memory_bytes: int
    problem: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole GPU."""
        return self.profile is None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a unit.

    Attributes:
        user: account that owns it; nameless() when that has no name.
        command: short name of its program, safe to print.
        container_id: of the Docker container it runs in; None on the host itself.
        memory_bytes: GPU memory it uses; None when the driver does not say.
        uid: the host's.
        started: clock ticks since boot; with the pid it is this process and no other, as long as the machine is up.
        since: the same as a time.
        doubt: why it is not certain that it runs on the host itself; None when it is, and in a Docker container.
    """

    pid: int
    uuid: GpuUuid
    user: str
    command: str
    container_id: str | None = None
    memory_bytes: int | None = None
    uid: int | None = None
    started: int | None = None
    since: datetime | None = None
    doubt: str | None = None

    @property
    def is_on_host(self) -> bool:
        """Whether it certainly runs outside any container."""
        return self.container_id is None and self.doubt is None

    @property
    def has_account(self) -> bool:
        """Whether it is known which account it belongs to."""
        return self.uid is not None and self.user != nameless(self.uid)


def nameless(uid: int) -> str:
    """Return what a uid without an account is called; no account can be called so."""
    return f"uid {uid}"


@dataclass(frozen=True, slots=True)
class Usage:
    """How busy a unit is.

    Attributes:
        utilisation_percent: None where the driver has no such figure, as for MIG instances.
    """

    utilisation_percent: int | None
    memory_used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Devices:
    """The hardware as it was when somebody looked.

    Attributes:
        gpus: in the order of their index.
        processes: everything that computes on them, inside containers and outside.
        unknown: why `processes` may lack some, in words with the usual cause; None when it is complete.
        gone: numbers that the driver names and no process has: what forked from such a one may hold the GPU still.
    """

    gpus: tuple[Gpu, ...]
    processes: tuple[GpuProcess, ...] = ()
    unknown: str | None = None
    gone: frozenset[int] = frozenset()

    @property
    def units(self) -> tuple[Unit, ...]:
        """Everything that can be handed out, by index, then by instance."""
        return tuple(unit for gpu in self.gpus for unit in _units_of(gpu))

    def find(self, name: str) -> Unit | None:
        """Return the unit with a slot or a UUID; None when there is none now."""
        return next((unit for unit in self.units if name in {unit.slot, unit.uuid}), None)


def _units_of(gpu: Gpu) -> tuple[Unit, ...]:
    if not gpu.mig:
        whole = Unit(str(gpu.index), gpu.uuid, gpu.index, gpu.uuid, None, Fraction(1), gpu.memory_bytes, gpu.problem)
        return (whole,)
    return tuple(
        Unit(
            slot=f"{gpu.index}:{number}",
            uuid=instance.uuid,
            gpu_index=gpu.index,
            gpu_uuid=gpu.uuid,
            profile=instance.profile,
            share=Fraction(instance.compute_slices, gpu.slices),
            memory_bytes=instance.memory_bytes,
            problem=gpu.problem,
        )
        for number, instance in enumerate(gpu.instances)
    )
