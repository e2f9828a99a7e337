"""What one look at the driver gave, before lost GPUs are named and processes have an owner. Pure.

Whatever a driver or its tool says is text from outside: a UUID has the form of one, a name can be printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ds01.core.typed import Final
from ds01.core.units import GIB
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.gpu.hardware import USUAL_SLICES, Gpu, GpuUuid, MigInstance

# `GPU-…`, `MIG-…`, and `MIG-GPU-…/7/0` before R470. Source: NVIDIA MIG user guide, "CUDA device enumeration".
_UUID: Final = re.compile(r"(GPU|MIG)-[0-9A-Za-z]+(-[0-9A-Za-z]+)*(/\d{1,4}/\d{1,4})?", re.ASCII)
_LONGEST_UUID: Final = 96
_PROFILE: Final = re.compile(
    r"(?:(?P<compute>[1-9]\d?)c\.)?(?P<slices>[1-9]\d?)g\.(?P<gigabytes>[1-9]\d{0,3})gb(?:[+-][a-z]+(?:\.[a-z]+)*)?",
    re.ASCII,
)
_SHORT: Final = 64
# Products by the instances that they have at most, one a compute slice, for where the driver does not say.
# Source: NVIDIA MIG user guide, "Supported GPUs", Max Number of Instances.
_PRODUCTS: Final = {
    7: re.compile(r"\b(?:A100|H20|H100|H200|GH200|B200|GB200)\b", re.ASCII),
    4: re.compile(r"\b(?:A30|RTX PRO 6000 Blackwell)\b", re.ASCII),
    2: re.compile(r"\bRTX PRO (?:4500|5000) Blackwell\b", re.ASCII),
}


@dataclass(frozen=True, slots=True)
class Lost:
    """A GPU that is there and does not even say its UUID.

    Attributes:
        problem: why, in words with the usual cause.
        index: its place among the others, None when that is not told.
        bus: its PCI address such as `0000:07:00.0`, None when that is not told.
    """

    problem: str
    index: int | None = None
    bus: str | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A process that the driver sees on a unit.

    Attributes:
        memory_bytes: None when the driver does not say.
    """

    pid: int
    uuid: GpuUuid
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look.

    Attributes:
        unknown: why `running` may lack some; None when it is complete.
    """

    gpus: tuple[Gpu, ...]
    lost: tuple[Lost, ...] = ()
    running: tuple[Running, ...] = ()
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """The parts of a name such as `2g.20gb` or `1c.2g.20gb+me`.

    Attributes:
        compute_slices: of the compute instance.
        memory_bytes: nominal, a little more than what the instance has.
    """

    name: str
    compute_slices: int
    memory_bytes: int


def read_uuid(text: str) -> GpuUuid:
    """Accept a UUID.

    Raises:
        ValueError: it has not the form of one; says so in words.
    """
    if len(text) > _LONGEST_UUID or not _UUID.fullmatch(text):
        raise ValueError(f"the driver gives it the UUID {visible(text, _SHORT)}, which has not the form of one")
    return GpuUuid(text)


def read_profile(name: str) -> Profile:
    """Take the name of a MIG profile apart.

    Raises:
        ValueError: it is none; says so in words.
    """
    found = _PROFILE.fullmatch(name)
    if found is None:
        raise ValueError(f"the driver names a MIG profile {visible(name, _SHORT)}, which has not the form of one")
    return Profile(name, int(found["compute"] or found["slices"]), int(found["gigabytes"]) * GIB)


def slices_of_product(name: str) -> int | None:
    """Return the compute slices of a GPU by its name; None for a product that is not known here."""
    return next((slices for slices, product in _PRODUCTS.items() if product.search(name)), None)


def count_slices(told: int | None, instances: Iterable[MigInstance]) -> tuple[int, bool]:
    """Return how many compute slices a GPU has, and whether that is known.

    Args:
        told: by the driver or the product's name, None when neither does.
        instances: those it has; none can be larger than the GPU.
    """
    return max([told or USUAL_SLICES, *(each.compute_slices for each in instances)]), told is not None
