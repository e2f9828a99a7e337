"""Name the GPUs that do not say who they are, so that none is missing from what is shown. Pure.

A GPU that is lost has a name all the same: the kernel's driver may know it, or the last look had it. Without either
it stands there with a made-up one, which no unit can have.
"""

from __future__ import annotations

from collections.abc import Sequence

from ds01.core.value import replace
from ds01.runtime.gpu.driver import Listed
from ds01.runtime.gpu.hardware import DevicesError, Gpu, GpuUuid
from ds01.runtime.gpu.sighting import Lost, Sighting

_UNSEEN = (
    "the kernel's driver lists it at {bus}, but it could not be started; see NVRM and Xid in journalctl -k -b;"
    " a reboot or a power cycle may bring it back"
)


def all_gpus(seen: Sighting, listed: Sequence[Listed], remembered: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return every GPU, seen or lost, by index.

    Args:
        listed: what the kernel's driver lists, in the order of the index.
        remembered: GPUs of an earlier look; their indices may have had another order.

    Raises:
        DevicesError: two of them have the same name.
    """
    there = [each for each in listed if not each.excluded]
    gpus = [*seen.gpus]
    nameless = []
    for lost in seen.lost:
        index = lost.index if lost.index is not None else _free(gpus, there, lost)
        known = _by_driver(lost, index, there, gpus)
        gpus.append(_without_answer(index, lost.problem, known))
        nameless += [index] if known is None else []
    have = {gpu.uuid for gpu in gpus}
    unseen = [each for each in there if each.uuid not in have][: max(0, len(there) - len(gpus))]
    for each in unseen:
        problem = _UNSEEN.format(bus=each.bus)
        gpus.append(_without_answer(_free(gpus, there, Lost(problem, bus=each.bus)), problem, each))
    named = _as_remembered(gpus, nameless, remembered)
    return _distinct([_as_it_was(gpu, remembered) for gpu in named])


def _without_answer(index: int, problem: str, known: Listed | None) -> Gpu:
    uuid = None if known is None else known.uuid
    name = "unknown" if known is None else known.name
    return Gpu(index, uuid or _made_up(index), name, 0, problem=problem)


def _made_up(index: int) -> GpuUuid:
    return GpuUuid(f"GPU-unknown-{index}")


def _as_remembered(gpus: Sequence[Gpu], nameless: Sequence[int], remembered: Sequence[Gpu]) -> Sequence[Gpu]:
    """Give lost GPUs the names of those that the last look had and this one has not.

    Only where they are as many: a GPU that was taken out since must not lend its name to another.
    """
    have = {gpu.uuid for gpu in gpus}
    earlier = [gpu for gpu in remembered if gpu.uuid not in have]
    if len(earlier) != len(nameless):
        return gpus
    names = dict(zip(sorted(nameless), earlier, strict=True))
    return [
        replace(gpu, uuid=names[gpu.index].uuid, name=names[gpu.index].name) if gpu.index in names else gpu
        for gpu in gpus
    ]


def _as_it_was(gpu: Gpu, remembered: Sequence[Gpu]) -> Gpu:
    """Give a GPU that does not tell its parts those of the last look: unusable is not the same as gone."""
    before = next((each for each in remembered if each.uuid == gpu.uuid), None)
    if gpu.problem is None or gpu.instances or before is None:
        return gpu
    return replace(before, index=gpu.index, problem=gpu.problem)


def _by_driver(lost: Lost, index: int, there: Sequence[Listed], gpus: Sequence[Gpu]) -> Listed | None:
    """Find a lost GPU in the driver's list by its address, else by its place."""
    have = {gpu.uuid for gpu in gpus}
    for place, each in enumerate(there):
        at = _same_bus(lost.bus, each.bus) if lost.bus is not None else place == index
        if at and each.uuid is not None and each.uuid not in have:
            return each
    return None


def _free(gpus: Sequence[Gpu], there: Sequence[Listed], lost: Lost) -> int:
    """Return the index of a GPU that is known by its address alone: its place, unless another GPU has that now."""
    taken = {gpu.index for gpu in gpus}
    place = next((number for number, each in enumerate(there) if _same_bus(lost.bus, each.bus)), None)
    if place is not None and place not in taken:
        return place
    return max(taken, default=-1) + 1


def _same_bus(one: str | None, other: str) -> bool:
    """Compare PCI addresses; nvidia-smi writes the domain with eight digits, the kernel with four."""
    return one is not None and one.lower().lstrip("0") == other.lower().lstrip("0")


def _distinct(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    names = [name for gpu in gpus for name in (gpu.uuid, *(each.uuid for each in gpu.instances))]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or len({gpu.index for gpu in gpus}) != len(gpus):
        what = f"two GPUs or instances have the UUID {twice[0]}" if twice else "two GPUs have the same index"
        raise DevicesError(f"what the driver says cannot be: {what}", None, "try again; see journalctl -k for NVRM")
    return tuple(sorted(gpus, key=lambda gpu: gpu.index))
