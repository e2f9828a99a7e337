"""Lost GPUs: named by the kernel's driver, by the last look, or not at all; never left out."""

from __future__ import annotations

import pytest

from ds01.core.value import replace
from ds01.runtime.gpu.driver import Listed
from ds01.runtime.gpu.hardware import Devices, DevicesError, Gpu, GpuUuid, MigInstance
from ds01.runtime.gpu.naming import all_gpus
from ds01.runtime.gpu.sighting import Lost, Sighting

GIB = 1024**3
A, B, C = (Gpu(index, GpuUuid(f"GPU-{letter}"), "A100", 80 * GIB) for index, letter in enumerate("abc"))
LISTED = tuple(
    Listed(f"0000:{bus}:00.0", gpu.uuid, "A100") for bus, gpu in zip(("07", "47", "87"), (A, B, C), strict=True)
)
GONE = "fell off the bus"


def lost(index: int, uuid: str, name: str = "A100", problem: str = GONE) -> Gpu:
    return Gpu(index, GpuUuid(uuid), name, 0, problem=problem)


def test_what_is_all_there_stays_as_it_is() -> None:
    assert all_gpus(Sighting((C, A, B)), LISTED, ()) == (A, B, C)
    assert all_gpus(Sighting((A,)), (), (A, B)) == (A,)
    assert all_gpus(Sighting(()), (), ()) == ()


@pytest.mark.parametrize(
    "one",
    [
        Lost(GONE, index=1),
        Lost(GONE, bus="0000:47:00.0"),
        Lost(GONE, bus="00000000:47:00.0"),
        Lost(GONE, index=1, bus="0000:47:00.0"),
    ],
)
def test_the_kernels_driver_names_a_lost_gpu(one: Lost) -> None:
    assert all_gpus(Sighting((A, C), (one,)), LISTED, ()) == (A, lost(1, "GPU-b"), C)


def test_the_last_look_names_what_the_driver_cannot() -> None:
    unnamed = tuple(Listed(each.bus, None, "unknown") for each in LISTED)
    for listed in ((), unnamed):
        assert all_gpus(Sighting((A, C), (Lost(GONE, 1),)), listed, (A, B, C)) == (A, replace(B, problem=GONE), C)


def test_a_gpu_that_does_not_tell_its_parts_has_those_of_the_last_look() -> None:
    split = replace(B, mig=True, instances=(MigInstance(GpuUuid("MIG-a"), 3, 0, "2g.20gb", 2, 20 * GIB),))
    silent = Gpu(0, B.uuid, "unknown", 0, problem=GONE)
    for seen in (Sighting((silent,)), Sighting((), (Lost(GONE, 0),))):
        (found,) = all_gpus(seen, (), (split,))
        assert found == replace(split, index=0, problem=GONE)
        assert [(unit.slot, unit.uuid, unit.problem) for unit in Devices((found,)).units] == [("0:0", "MIG-a", GONE)]
    # One that is well tells all it has.
    assert all_gpus(Sighting((B,)), (), (split,)) == (B,)


def test_a_gpu_that_was_taken_out_lends_its_name_to_no_other() -> None:
    seen = Sighting((A,), (Lost(GONE, 1),))
    assert all_gpus(seen, (), (A, B, C)) == (A, lost(1, "GPU-unknown-1", "unknown"))


def test_a_lost_gpu_that_nothing_names_is_there_all_the_same_and_no_unit_to_hand_out() -> None:
    found = all_gpus(Sighting((), (Lost(GONE, 0), Lost(GONE, 1))), (), ())
    assert found == (lost(0, "GPU-unknown-0", "unknown"), lost(1, "GPU-unknown-1", "unknown"))
    assert [unit.problem for unit in Devices(found).units] == [GONE, GONE]


def test_a_gpu_that_only_the_kernels_driver_lists_is_shown() -> None:
    # Where one is missing, the indices of the others have moved up.
    moved = Gpu(1, C.uuid, "A100", 80 * GIB)
    found = all_gpus(Sighting((A, moved)), LISTED, ())
    assert [(gpu.index, gpu.uuid) for gpu in found] == [(0, "GPU-a"), (1, "GPU-c"), (2, "GPU-b")]
    assert "0000:47:00.0" in (found[2].problem or "")
    assert len(all_gpus(Sighting(()), LISTED, ())) == 3


def test_a_gpu_that_an_admin_excluded_is_not_missing() -> None:
    excluded = (LISTED[0], Listed("0000:47:00.0", B.uuid, "A100", excluded=True))
    assert all_gpus(Sighting((A,)), excluded, ()) == (A,)


def test_a_list_without_names_takes_none_for_missing() -> None:
    unnamed = tuple(Listed(each.bus, None, "A100") for each in LISTED)
    assert all_gpus(Sighting((A, B, C)), unnamed, ()) == (A, B, C)


@pytest.mark.parametrize(
    "gpus",
    [
        (A, Gpu(1, A.uuid, "A100", 80 * GIB)),
        (A, Gpu(0, B.uuid, "A100", 80 * GIB)),
        tuple(
            Gpu(
                each.index,
                each.uuid,
                "A100",
                1,
                mig=True,
                instances=(MigInstance(GpuUuid("MIG-a"), 3, 0, "1g.10gb", 1, 1),),
            )
            for each in (A, B)
        ),
    ],
)
def test_two_of_one_name_cannot_be(gpus: tuple[Gpu, ...]) -> None:
    with pytest.raises(DevicesError, match="cannot be"):
        all_gpus(Sighting(gpus), (), ())
