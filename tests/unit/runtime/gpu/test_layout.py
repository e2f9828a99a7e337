"""The GPUs that are there against the host file: what differs, in words, with what an admin would type."""

from __future__ import annotations

import pytest

from ds01.core.value import replace
from ds01.runtime.gpu.hardware import Devices, DevicesError, Gpu, GpuUuid, MigInstance, NoToolError
from ds01.runtime.gpu.layout import Finding, StatedGpu, cannot_tell, compare, fits, stated_gpus

GIB, MIB = 1024**3, 1024**2
IDLE = "with nothing running on it"
MAKE = "nvidia-smi mig -i 1 -cgi 3g.40gb,2g.20gb -C"
CORRECT = "or correct gpus in inventory/hosts/<host>.yaml and deploy"


def instance(number: int, profile: str) -> MigInstance:
    return MigInstance(GpuUuid(f"MIG-{number}"), number, 0, profile, int(profile[0]), GIB)


WHOLE = Gpu(0, GpuUuid("GPU-a"), "NVIDIA A100-SXM4-80GB", 81251 * MIB)
SPLIT = Gpu(
    1,
    GpuUuid("GPU-b"),
    "A100-SXM4-80GB",
    80 * GIB,
    mig=True,
    instances=(instance(1, "3g.40gb"), instance(5, "2g.20gb")),
)
STATED = (
    StatedGpu("A100-SXM4-80GB", 80 * GIB, ()),
    StatedGpu("A100-SXM4-80GB", 80 * GIB, ("3g.40gb", "2g.20gb")),
)


def test_a_machine_as_the_host_file_says() -> None:
    devices = Devices((WHOLE, SPLIT))
    assert compare(STATED, devices) == ()
    assert fits(devices) == "2 GPUs in 3 units, as the host file says"
    assert compare((), Devices(())) == ()


@pytest.mark.parametrize(
    ("gpu", "findings"),
    [
        (
            replace(SPLIT, mig=False, instances=()),
            [
                (
                    "gpu 1",
                    "MIG mode is off, the host file splits it into 3g.40gb, 2g.20gb",
                    f"{IDLE}: nvidia-smi -i 1 -mig 1, then {MAKE}; {CORRECT}",
                )
            ],
        ),
        (
            replace(SPLIT, instances=()),
            [
                (
                    "gpu 1",
                    "the host file says 3g.40gb, 2g.20gb, the driver shows no instance",
                    f"{MAKE} (a GPU instance without a compute instance needs -cci; see mig -lgi); {CORRECT}",
                )
            ],
        ),
        (
            replace(SPLIT, instances=SPLIT.instances[:1]),
            [
                (
                    "gpu 1",
                    "the host file says 3g.40gb, 2g.20gb, the driver shows 3g.40gb",
                    f"{IDLE}: nvidia-smi mig -i 1 -dci, then -dgi, then {MAKE}; {CORRECT}",
                )
            ],
        ),
        (
            replace(SPLIT, instances=(instance(1, "2g.20gb"), instance(5, "3g.40gb"))),
            [
                (
                    "gpu 1",
                    "the host file says 3g.40gb, 2g.20gb, the driver shows 2g.20gb, 3g.40gb",
                    "list them in that order in inventory/hosts/<host>.yaml and deploy",
                )
            ],
        ),
        (
            replace(SPLIT, name="NVIDIA H100 80GB HBM3"),
            [
                (
                    "gpu 1",
                    "the host file says A100-SXM4-80GB, the driver NVIDIA H100 80GB HBM3",
                    "correct model in inventory/hosts/<host>.yaml and deploy; or the order has changed",
                )
            ],
        ),
        (
            replace(SPLIT, memory_bytes=40 * GIB),
            [
                (
                    "gpu 1",
                    "the host file says 80.0 GiB, the driver 40.0 GiB",
                    "correct memory in inventory/hosts/<host>.yaml and deploy",
                )
            ],
        ),
        (
            replace(SPLIT, problem="NVML_ERROR_GPU_IS_LOST: it fell off the bus", mig=False),
            [("gpu 1", "A100-SXM4-80GB is not usable", "NVML_ERROR_GPU_IS_LOST: it fell off the bus")],
        ),
    ],
)
def test_a_gpu_that_is_otherwise(gpu: Gpu, findings: list[tuple[str, str, str]]) -> None:
    assert compare(STATED, Devices((WHOLE, gpu))) == tuple(Finding(*each) for each in findings)


def test_a_gpu_that_is_split_against_the_host_file() -> None:
    (found,) = compare((STATED[0], replace(STATED[1], mig=())), Devices((WHOLE, SPLIT)))
    assert found == Finding(
        "gpu 1",
        "MIG mode is on, the host file does not split it",
        "with nothing running on it: nvidia-smi mig -i 1 -dci, then -dgi, then nvidia-smi -i 1 -mig 0; " + CORRECT,
    )


def test_more_or_fewer_gpus_than_stated() -> None:
    (fewer,) = compare(STATED, Devices((WHOLE,)))
    assert fewer.text == "the host file lists 2 GPUs, the driver shows 1"
    assert "journalctl -k" in fewer.fix
    (more,) = compare(STATED[:1], Devices((WHOLE, SPLIT)))
    assert more.text == "the driver shows 2 GPUs, the host file lists 1"


def test_the_policys_gpus() -> None:
    entry = {"model": "A100-SXM4-80GB", "memory_bytes": 80 * GIB, "mig": ["3g.40gb", "2g.20gb"]}
    assert stated_gpus({"host": {"gpus": [entry]}}) == STATED[1:]
    assert stated_gpus({"host": {"gpus": []}}) == ()


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"host": []},
        {"host": {}},
        {"host": {"gpus": {}}},
        {"host": {"gpus": [1]}},
        {"host": {"gpus": [{"model": "A100", "memory_bytes": "80G", "mig": []}]}},
        {"host": {"gpus": [{"model": None, "memory_bytes": 1, "mig": []}]}},
        {"host": {"gpus": [{"model": "A100", "memory_bytes": 1}]}},
    ],
)
def test_a_policy_of_another_kind_is_refused(policy: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="compiled policy"):
        stated_gpus(policy)


def test_nobody_looks_where_there_is_nothing_to_look_at() -> None:
    tool, driver = NoToolError("cannot be told", "a\nb", "install it"), DevicesError("cannot be told")
    assert cannot_tell(tool, ()) is None
    assert cannot_tell(tool, STATED) == Finding("gpus", "cannot be told: a; b", "install it")
    assert cannot_tell(driver, ()) == Finding("gpus", "cannot be told", "see journalctl -k for NVRM")
