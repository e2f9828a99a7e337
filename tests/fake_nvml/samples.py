"""Hosts that tests and benches describe often: A100 cards with 80 GB, some of them split in three."""

from __future__ import annotations

from tests.fake_nvml.description import GIB, FakeGpu, FakeInstance, Host

A100_NAME = "NVIDIA A100-SXM4-80GB"
A100_MEMORY = 80 * GIB
MIB = 1 << 20
# What NVML reports for a 2g.20gb on this card.
MEMORY_2G = 19968 * MIB
SPLIT = 3


def gpu_uuid(index: int) -> str:
    """Return a UUID that says which GPU it is."""
    return f"GPU-a1000000-0000-4000-8000-{index:012x}"


def instance_uuid(gpu: int, number: int) -> str:
    """Return a UUID that says which instance of which GPU it is."""
    return f"MIG-b1000000-0000-5000-8000-{gpu:08x}{number:04x}"


def whole_gpu(index: int) -> FakeGpu:
    """An A100 that is not split."""
    return FakeGpu(
        uuid=gpu_uuid(index),
        name=A100_NAME,
        memory=A100_MEMORY,
        mig="off",
        utilisation=0,
        memory_utilisation=0,
        temperature=34,
        power=61_000,
        power_limit=400_000,
    )


def split_gpu(index: int, instances: int = SPLIT) -> FakeGpu:
    """An A100 in MIG mode with so many 2g.20gb; three of them leave a seventh unused, as in life."""
    return FakeGpu(
        uuid=gpu_uuid(index),
        name=A100_NAME,
        memory=A100_MEMORY,
        mig="on",
        temperature=36,
        power=72_000,
        power_limit=400_000,
        instances=tuple(
            # GPU instance ids of this profile begin at 3 on an A100, after the ones of larger profiles.
            FakeInstance(uuid=instance_uuid(index, number), gi=3 + number, profile="2g.20gb", memory=MEMORY_2G)
            for number in range(instances)
        ),
    )


def host(*, whole: int, split: int) -> Host:
    """A host of so many whole GPUs, and after them so many split in three."""
    return Host((*map(whole_gpu, range(whole)), *map(split_gpu, range(whole, whole + split))))


def shipped_host() -> Host:
    """The host the inventory describes: 2 whole GPUs and 2 split in three, 8 units."""
    return host(whole=2, split=2)


def race_host() -> Host:
    """2 whole GPUs and 4 split in three: 14 units."""
    return host(whole=2, split=4)


def host_of(units: int) -> Host:
    """A host of exactly so many units, at least 2: the first ones whole GPUs, the more by far instances."""
    split = (units - 2) // SPLIT
    return host(whole=units - split * SPLIT, split=split)
