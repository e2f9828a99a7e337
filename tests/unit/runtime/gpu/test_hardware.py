"""GPUs as values: which units there are, what they are called, what share of a GPU they are."""

from __future__ import annotations

from fractions import Fraction

from ds01.runtime.gpu.hardware import Devices, Gpu, GpuUuid, MigInstance, Unit

GIB = 1024**3


def instance(number: int, slices: int = 2) -> MigInstance:
    return MigInstance(GpuUuid(f"MIG-{number}"), number, 0, f"{slices}g.{slices * 10}gb", slices, slices * 10 * GIB)


WHOLE = Gpu(0, GpuUuid("GPU-a"), "NVIDIA A100-SXM4-80GB", 80 * GIB)
SPLIT = Gpu(1, GpuUuid("GPU-b"), "NVIDIA A100-SXM4-80GB", 80 * GIB, mig=True, instances=(instance(3), instance(5)))
EMPTY = Gpu(2, GpuUuid("GPU-c"), "NVIDIA A100-SXM4-80GB", 80 * GIB, mig=True)


def test_a_gpu_is_one_unit_and_a_split_one_is_as_many_as_it_has_instances() -> None:
    assert Devices((WHOLE, SPLIT)).units == (
        Unit("0", GpuUuid("GPU-a"), 0, GpuUuid("GPU-a"), None, Fraction(1), 80 * GIB),
        Unit("1:0", GpuUuid("MIG-3"), 1, GpuUuid("GPU-b"), "2g.20gb", Fraction(2, 7), 20 * GIB),
        Unit("1:1", GpuUuid("MIG-5"), 1, GpuUuid("GPU-b"), "2g.20gb", Fraction(2, 7), 20 * GIB),
    )
    assert [unit.is_whole for unit in Devices((WHOLE, SPLIT)).units] == [True, False, False]


def test_a_gpu_in_mig_mode_without_instances_is_no_unit() -> None:
    assert Devices((EMPTY,)).units == ()


def test_a_share_is_of_the_slices_that_this_model_has() -> None:
    small = Gpu(0, GpuUuid("GPU-d"), "NVIDIA A30", 24 * GIB, slices=4, mig=True, instances=(instance(1, slices=1),))
    assert [unit.share for unit in Devices((small,)).units] == [Fraction(1, 4)]


def test_a_gpu_with_a_problem_passes_it_on_to_all_its_units() -> None:
    lost = Gpu(1, GpuUuid("GPU-b"), "A100", 80 * GIB, mig=True, instances=(instance(3),), problem="fell off the bus")
    assert [unit.problem for unit in Devices((lost,)).units] == ["fell off the bus"]


def test_a_unit_is_found_by_slot_and_by_uuid() -> None:
    devices = Devices((WHOLE, SPLIT))
    assert devices.find("1:1") == devices.find("MIG-5") == devices.units[2]
    assert devices.find("1") is None
    assert devices.find("GPU-b") is None
