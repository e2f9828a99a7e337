"""The real pynvml on a library that says what each test wants: what is seen, and each failure by NVML's name for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.nvml_library import Library, build

from ds01.runtime.gpu.causes import explain, in_words
from ds01.runtime.gpu.hardware import Gpu, GpuUuid, MigInstance, Usage
from ds01.runtime.gpu.sighting import Lost, Running, Sighting

if TYPE_CHECKING:
    from pathlib import Path

GIB, MIB = 1024**3, 1024**2
NAME = "NVIDIA A100-SXM4-80GB"
WHOLE = ("gpu", "GPU-a", NAME, 80 * GIB, 3 * GIB, 42, 0, 0, 7)
SPLIT = ("gpu", "GPU-b", NAME, 80 * GIB, 1 * GIB, 0, 1, 1, 7)
LATE = ("mig", 1, 0, 5, 0, "MIG-5", f"{NAME} MIG 2g.20gb", 2, 2, 19968, 5 * MIB)
EARLY = ("mig", 1, 2, 3, 0, "MIG-3", f"{NAME} MIG 2g.20gb", 2, 2, 19968, 7 * MIB)
LOOK = "nvml.look(who=True)"
SEEN_A = Gpu(0, GpuUuid("GPU-a"), NAME, 80 * GIB)
SEEN_B = Gpu(
    1,
    GpuUuid("GPU-b"),
    NAME,
    80 * GIB,
    mig=True,
    instances=tuple(
        MigInstance(GpuUuid(f"MIG-{each}"), each, 0, "2g.20gb", 2, 19968 * MIB)
        # The library lists them in another order.
        for each in (3, 5)
    ),
)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    build(folder)
    return folder


@pytest.fixture
def library(built: Path, tmp_path: Path) -> Library:
    (tmp_path / "libnvidia-ml.so.1").hardlink_to(built / "libnvidia-ml.so.1")
    return Library(tmp_path)


def test_gpus_instances_and_what_runs_on_them(library: Library) -> None:
    library.say(
        WHOLE,
        SPLIT,
        LATE,
        EARLY,
        ("process", "GPU-a", 4711, 2 * GIB),
        ("process", "GPU-a", 4712, -1),
        ("mps", "GPU-a", 4713, GIB),
        ("mps", "GPU-a", 4711, 2 * GIB),
        ("process", "MIG-5", 4714, GIB),
    )
    assert library.ask(LOOK) == Sighting(
        (SEEN_A, SEEN_B),
        running=(
            Running(4711, GpuUuid("GPU-a"), 2 * GIB),
            Running(4712, GpuUuid("GPU-a"), None),
            Running(4713, GpuUuid("GPU-a"), GIB),
            Running(4714, GpuUuid("MIG-5"), GIB),
        ),
    )
    assert library.calls == ["init", "shutdown"]


def test_usage_by_unit_without_utilisation_for_instances(library: Library) -> None:
    library.say(WHOLE, SPLIT, LATE)
    assert library.ask("nvml.read_usage()") == {"GPU-a": Usage(42, 3 * GIB), "MIG-5": Usage(None, 5 * MIB)}


def test_a_machine_without_gpus_has_none(library: Library) -> None:
    assert library.ask(LOOK) == Sighting(())


def test_drivers_before_r510_are_asked_the_older_way(library: Library) -> None:
    new = ("GetComputeRunningProcesses_v3", "GetMPSComputeRunningProcesses_v3", "GetMPSComputeRunningProcesses_v2")
    missing = (*new, "GetGpuInstanceProfileInfoV", "GetMemoryInfo_v2")
    library.say(WHOLE, SPLIT, LATE, EARLY, ("process", "GPU-a", 4711, GIB), *_each_fails(missing, 13))
    assert library.ask(LOOK) == Sighting((SEEN_A, SEEN_B), running=(Running(4711, GpuUuid("GPU-a"), GIB),))
    assert library.ask("nvml.read_usage()")["GPU-a"] == Usage(42, 3 * GIB + MIB)


@pytest.mark.parametrize("code", [3, 13])
def test_a_gpu_that_knows_no_mig_is_whole(library: Library, code: int) -> None:
    library.say(WHOLE, ("fail", "nvmlDeviceGetMigMode", code, -1, 1, 0))
    assert library.ask(LOOK).gpus == (SEEN_A,)


def test_names_of_instances_before_r470_are_made_from_their_parts(library: Library) -> None:
    library.say(
        WHOLE,
        SPLIT,
        ("mig", 1, 0, 3, 0, "MIG-GPU-b/3/0", NAME, 2, 2, 19968, 0),
        ("mig", 1, 1, 4, 1, "MIG-GPU-b/4/1", NAME, 3, 1, 40192, 0),
    )
    split = library.ask(LOOK).gpus[1]
    assert [(each.profile, each.compute_slices) for each in split.instances] == [("2g.20gb", 2), ("1c.3g.40gb", 1)]


@pytest.mark.parametrize(
    ("name", "slices", "expected"),
    [("A30", 4, (4, True)), ("A30", 0, (4, True)), ("X1", 3, (3, True)), ("X1", 0, (7, False))],
)
def test_slices_are_the_largest_instances_then_the_products_and_seven_when_unknown(
    library: Library, name: str, slices: int, expected: tuple[int, bool]
) -> None:
    library.say(("gpu", "GPU-b", f"NVIDIA {name}", 24 * GIB, 0, 0, 1, 1, slices))
    assert [(gpu.slices, gpu.slices_known) for gpu in library.ask(LOOK).gpus] == [expected]


def _each_fails(functions: tuple[str, ...], code: int) -> list[tuple[object, ...]]:
    return [("fail", f"nvmlDevice{function}", code, -1, 1, 0) for function in functions]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (4, "NVML_ERROR_NO_PERMISSION"),
        (9, "NVML_ERROR_DRIVER_NOT_LOADED"),
        (10, "NVML_ERROR_TIMEOUT"),
        (17, "NVML_ERROR_OPERATING_SYSTEM"),
        (18, "NVML_ERROR_LIB_RM_VERSION_MISMATCH"),
        (999, "NVML_ERROR_UNKNOWN"),
        (4711, "NVML error 4711"),
    ],
)
def test_a_driver_that_does_not_start_is_no_machine_without_gpus(library: Library, code: int, name: str) -> None:
    library.say(WHOLE, ("fail", "nvmlInitWithFlags", code, -1, 1, 0))
    cause = explain(name)
    answer = ("DevicesError", f"NVML does not start: {name}", f"the usual cause: {cause.cause}", cause.fix)
    assert library.ask(LOOK) == [answer]
    assert library.ask("nvml.read_usage()") == [answer]
    assert library.calls == []


def test_a_driver_that_fails_later_is_ended_all_the_same(library: Library) -> None:
    library.say(WHOLE, ("fail", "nvmlDeviceGetCount_v2", 999, -1, 1, 0))
    ((kind, brief, _, _),) = library.ask(LOOK)
    assert (kind, brief) == ("DevicesError", "NVML gives no answer: NVML_ERROR_UNKNOWN")
    assert library.calls == ["init", "shutdown"]


def test_without_the_library_it_is_named(library: Library) -> None:
    ((kind, brief, _, fix),) = library.ask(LOOK, library=False)
    assert (kind, brief) == ("NoToolError", "NVML does not start: NVML_ERROR_LIBRARY_NOT_FOUND")
    assert "libnvidia-ml1" in fix


def test_without_pynvml_it_is_named(library: Library) -> None:
    ((kind, brief, details, _),) = library.ask(LOOK, prelude="sys.modules['pynvml'] = None")
    assert (kind, brief) == ("NoToolError", "NVML cannot be asked: this Python has no pynvml")
    assert "pynvml" in details


@pytest.mark.parametrize("code", [4, 15, 16, 999])
@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
def test_a_gpu_that_says_nothing_hides_no_other(library: Library, function: str, code: int) -> None:
    library.say(WHOLE, SPLIT, LATE, EARLY, ("fail", function, code, 0, 1, 0))
    names = {4: "NO_PERMISSION", 15: "GPU_IS_LOST", 16: "RESET_REQUIRED", 999: "UNKNOWN"}
    lost = Lost(in_words(f"NVML_ERROR_{names[code]}"), 0)
    assert library.ask(LOOK) == Sighting((SEEN_B,), (lost,))
    assert set(library.ask("nvml.read_usage()")) == {"MIG-3", "MIG-5"}


@pytest.mark.parametrize("uuid", ["GPU-a b", "\x1b[2J", "~~~", "GPU-????????-????-????-????-????????????"])
def test_a_gpu_with_a_uuid_that_is_none_is_lost(library: Library, uuid: str) -> None:
    library.say(("gpu", uuid, *WHOLE[2:]), SPLIT, LATE, EARLY)
    seen = library.ask(LOOK)
    assert seen.gpus == (SEEN_B,)
    assert [each.index for each in seen.lost] == [0]
    assert seen.lost[0].problem.isprintable()


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetName",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetMaxMigDeviceCount",
        "nvmlDeviceGetAttributes_v2",
        "nvmlDeviceGetGpuInstanceId",
        "nvmlDeviceGetComputeInstanceId",
        "nvmlDeviceGetGpuInstanceProfileInfoV",
    ],
)
def test_a_gpu_that_is_lost_while_it_is_read_has_a_problem(library: Library, function: str) -> None:
    library.say(WHOLE, SPLIT, LATE, EARLY, ("process", "GPU-a", 4711, 1), ("fail", function, 15, 1, 1, 0))
    seen = library.ask(LOOK)
    assert (seen.gpus[0], seen.running, seen.unknown) == (SEEN_A, (Running(4711, GpuUuid("GPU-a"), 1),), None)
    assert (seen.gpus[1].uuid, seen.gpus[1].problem) == ("GPU-b", in_words("NVML_ERROR_GPU_IS_LOST"))


@pytest.mark.parametrize(
    "name", [f"{NAME} MIG what", f"{NAME} MIG \x1b[2J", f"{NAME} MIG 2g.20gb~", f"{NAME} MIG 2g.20gb; reboot"]
)
def test_an_instance_with_a_profile_that_is_none_is_a_problem(library: Library, name: str) -> None:
    library.say(WHOLE, SPLIT, (*LATE[:6], name, *LATE[7:]))
    problem = library.ask(LOOK).gpus[1].problem
    assert problem
    assert problem.isprintable()


@pytest.mark.parametrize(
    ("now", "pending", "words"),
    [
        (0, 1, "it is off, and on once the GPU is reset"),
        (1, 0, "it is on, and off once the GPU is reset"),
    ],
)
def test_a_mig_mode_between_two_states_is_a_problem(library: Library, now: int, pending: int, words: str) -> None:
    library.say(("gpu", "GPU-a", NAME, 80 * GIB, 0, 0, now, pending, 7))
    (gpu,) = library.ask(LOOK).gpus
    assert gpu.mig is bool(now)
    assert words in gpu.problem
    assert f"nvidia-smi -i 0 -mig {now}" in gpu.problem


def test_instances_that_change_under_the_look_are_read_again(library: Library) -> None:
    second = (*EARLY[:2], 1, *EARLY[3:])
    library.say(WHOLE, SPLIT, LATE, second, ("restless", 1, 2))
    assert library.ask(LOOK).gpus == (SEEN_A, SEEN_B)
    library.say(WHOLE, SPLIT, LATE, second, ("restless", 1, 99))
    whole, split = library.ask(LOOK).gpus
    assert (whole.problem, split.instances) == (None, ())
    assert "MIG instances are being changed" in split.problem


def test_an_instance_that_goes_between_two_questions_is_looked_for_again(library: Library) -> None:
    library.say(WHOLE, SPLIT, LATE, EARLY, ("fail", "nvmlDeviceGetAttributes_v2", 6, 1, 1, 1))
    assert library.ask(LOOK).gpus == (SEEN_A, SEEN_B)


def test_processes_that_cannot_be_told_are_said_and_hide_nothing(library: Library) -> None:
    library.say(
        WHOLE,
        SPLIT,
        LATE,
        EARLY,
        ("process", "GPU-a", 4711, 1),
        ("fail", "nvmlDeviceGetComputeRunningProcesses_v3", 4, 1, 1, 0),
    )
    seen = library.ask(LOOK)
    assert (seen.gpus, seen.running) == ((SEEN_A, SEEN_B), (Running(4711, GpuUuid("GPU-a"), 1),))
    denied = in_words("NVML_ERROR_NO_PERMISSION")
    assert seen.unknown == f"what runs on a unit cannot be told: MIG-3: {denied} (and 1 more)"


def test_a_list_that_grows_while_it_is_read_is_read_again(library: Library) -> None:
    # The binding asks twice: for the length, then for the list.
    library.say(WHOLE, ("process", "GPU-a", 4711, 1), ("fail", "nvmlDeviceGetComputeRunningProcesses_v3", 7, 0, 2, 2))
    assert library.ask(LOOK).running == (Running(4711, GpuUuid("GPU-a"), 1),)


def test_a_figure_that_is_not_told_is_none(library: Library) -> None:
    library.say(WHOLE, *_each_fails(("GetUtilizationRates", "GetMemoryInfo_v2"), 999))
    assert library.ask("nvml.read_usage()") == {"GPU-a": Usage(None, None)}
