"""Hold the GPUs that are there against what the host file says. Pure; DS01 never repartitions, it says what differs.

Either side may be wrong: a fix names the commands that change the machine, and the file that describes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ds01.core.typed import Final
from ds01.core.units import GIB
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.core.words import count
from ds01.runtime.gpu.hardware import Devices, DevicesError, Gpu, NoToolError

# A model's size is a round number; what the driver leaves of it is a little less (80G: 81251 to 81920 MiB).
_TOLERANCE: Final = 0.05
_CORRECT: Final = "or correct gpus in inventory/hosts/<host>.yaml and deploy"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the host file says.

    Attributes:
        about: `gpus`, or `gpu 2`.
    """

    about: str
    text: str
    fix: str


@dataclass(frozen=True, slots=True)
class StatedGpu:
    """One GPU of the host file.

    Attributes:
        mig: profiles of its instances by GPU instance id; empty when it is not split.
    """

    model: str
    memory_bytes: int
    mig: tuple[str, ...]


def stated_gpus(policy: Mapping[str, object]) -> tuple[StatedGpu, ...]:
    """Return the GPUs of a compiled policy, by index.

    Raises:
        ValueError: the section is not one that a deploy writes.
    """
    host = policy.get("host")
    listed = host.get("gpus") if isinstance(host, Mapping) else None
    if not isinstance(listed, list):
        raise ValueError("the compiled policy lists no gpus")  # noqa: TRY004 - a file that is wrong, no mistake of code
    return tuple(_stated(entry) for entry in listed)


def _stated(entry: object) -> StatedGpu:
    if isinstance(entry, Mapping):
        model, memory, mig = entry.get("model"), entry.get("memory_bytes"), entry.get("mig")
        if isinstance(model, str) and isinstance(memory, int) and isinstance(mig, list):
            return StatedGpu(visible(model), memory, tuple(visible(str(each)) for each in mig))
    raise ValueError("the compiled policy describes a GPU in a way that this release does not know")


def compare(stated: tuple[StatedGpu, ...], devices: Devices) -> tuple[Finding, ...]:
    """Return everything about the GPUs that is not as the host file says, by index."""
    found = list(_count(len(stated), devices))
    by_index = {gpu.index: gpu for gpu in devices.gpus}
    for index, gpu in by_index.items():
        if gpu.problem is not None:
            found.append(Finding(f"gpu {index}", f"{gpu.name} is not usable", gpu.problem))
        elif index < len(stated):
            found += _differences(stated[index], gpu)
    return tuple(found)


def cannot_tell(error: DevicesError, stated: tuple[StatedGpu, ...]) -> Finding | None:
    """Return what to say when nobody could look; None on a machine where there is nothing to look with, nor at."""
    if isinstance(error, NoToolError) and not stated:
        return None
    text = ": ".join(filter(None, (error.brief, error.details))).replace("\n", "; ")
    return Finding("gpus", text, error.resolution or "see journalctl -k for NVRM")


def fits(devices: Devices) -> str:
    """Return in words what is there, for a machine that is as it should be."""
    return f"{count(len(devices.gpus), 'GPU')} in {count(len(devices.units), 'unit')}, as the host file says"


def _count(stated: int, devices: Devices) -> Iterator[Finding]:
    there = len(devices.gpus)
    if there < stated:
        text = f"the host file lists {stated} GPUs, the driver shows {there}"
        fix = f"look for NVRM and Xid in journalctl -k -b, and for the cards in lspci -d 10de:; {_CORRECT}"
        yield Finding("gpus", text, fix)
    elif there > stated:
        text = f"the driver shows {there} GPUs, the host file lists {stated}"
        yield Finding("gpus", text, "add them to gpus in inventory/hosts/<host>.yaml and deploy")


def _differences(stated: StatedGpu, gpu: Gpu) -> Iterator[Finding]:
    about = f"gpu {gpu.index}"
    if _plain(gpu.name) != _plain(stated.model):
        text = f"the host file says {stated.model}, the driver {gpu.name}"
        yield Finding(about, text, "correct model in inventory/hosts/<host>.yaml and deploy; or the order has changed")
    elif abs(gpu.memory_bytes - stated.memory_bytes) > _TOLERANCE * stated.memory_bytes:
        text = f"the host file says {_gib(stated.memory_bytes)}, the driver {_gib(gpu.memory_bytes)}"
        yield Finding(about, text, "correct memory in inventory/hosts/<host>.yaml and deploy")
    profiles = tuple(each.profile for each in gpu.instances)
    if gpu.mig and not stated.mig:
        text = "MIG mode is on, the host file does not split it"
        clear = f"nvidia-smi mig -i {gpu.index} -dci, then -dgi"
        fix = f"with nothing running on it: {clear}, then nvidia-smi -i {gpu.index} -mig 0"
        yield Finding(about, text, f"{fix}; {_CORRECT}")
    elif stated.mig and not gpu.mig:
        text = f"MIG mode is off, the host file splits it into {', '.join(stated.mig)}"
        fix = f"with nothing running on it: nvidia-smi -i {gpu.index} -mig 1, then {_make(gpu.index, stated.mig)}"
        yield Finding(about, text, f"{fix}; {_CORRECT}")
    elif profiles != stated.mig:
        yield _other_profiles(stated, gpu, profiles)


def _other_profiles(stated: StatedGpu, gpu: Gpu, profiles: tuple[str, ...]) -> Finding:
    about = f"gpu {gpu.index}"
    text = f"the host file says {', '.join(stated.mig)}, the driver shows {', '.join(profiles) or 'no instance'}"
    if not profiles:
        fix = f"{_make(gpu.index, stated.mig)} (a GPU instance without a compute instance needs -cci; see mig -lgi)"
    elif sorted(profiles) == sorted(stated.mig):
        return Finding(about, text, "list them in that order in inventory/hosts/<host>.yaml and deploy")
    else:
        clear = f"nvidia-smi mig -i {gpu.index} -dci, then -dgi"
        fix = f"with nothing running on it: {clear}, then {_make(gpu.index, stated.mig)}"
    return Finding(about, text, f"{fix}; {_CORRECT}")


def _make(index: int, profiles: tuple[str, ...]) -> str:
    return f"nvidia-smi mig -i {index} -cgi {','.join(profiles)} -C"


def _plain(model: str) -> str:
    """Return a product name without its maker, which drivers from R470 on put before it."""
    return model.casefold().removeprefix("nvidia ").strip()


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
