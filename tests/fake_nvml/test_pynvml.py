"""What is described is what the real pynvml answers, value by value; the rest fails as on real drivers."""

from __future__ import annotations

from ctypes import byref, c_uint, create_string_buffer
from typing import TYPE_CHECKING, Any

import pynvml
import pytest
from tests.fake_nvml.description import GIB, FakeGpu, FakeInstance, FakeProcess, Host
from tests.fake_nvml.samples import gpu_uuid, host, host_of, instance_uuid, race_host, shipped_host, whole_gpu

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_nvml.fixture import FakeNvml

NOT_SUPPORTED = "NVMLError_NotSupported"

# Every setting has a value of its own, none the default.
WHOLE = FakeGpu(
    uuid="GPU-11111111-2222-3333-4444-555555555555",
    name="NVIDIA A100-PCIE-40GB",
    memory=40 * GIB,
    used=3 * GIB,
    reserved=GIB,
    mig="off",
    pending="on",
    utilisation=37,
    memory_utilisation=12,
    temperature=51,
    fan=30,
    power=187_654,
    power_limit=250_000,
    pci="00000001:C1:1F.0",
    serial="1324220012345",
)
OLD = FakeGpu(uuid="GPU-66666666-0000-0000-0000-000000000000", name="Tesla V100", memory=16 * GIB)
SPLIT = FakeGpu(
    uuid="GPU-77777777-0000-0000-0000-000000000000",
    name="NVIDIA A30",
    memory=24 * GIB,
    slices=4,
    mig="on",
    pending="off",
    utilisation=50,
    instances=(
        FakeInstance("MIG-two", gi=5, ci=0, profile="2g.12gb", memory=12 * GIB, used=GIB, place=2),
        FakeInstance("MIG-half", gi=1, ci=3, profile="1c.2g.12gb", memory=11 * GIB, place=0),
    ),
)
MIXED = Host((WHOLE, OLD, SPLIT), driver="570.133.20", cuda=12080)


@pytest.fixture
def nvml(loaded_nvml: FakeNvml) -> Callable[[Host], None]:
    """Describe a host and begin."""

    def begin(described: Host) -> None:
        loaded_nvml.write(described)
        pynvml.nvmlInit()

    return begin


def answer(function: Callable[..., Any], *words: object) -> object:
    """What a function returns, or the name of the error it raises."""
    try:
        return function(*words)
    except pynvml.NVMLError as error:
        return type(error).__name__


def gpu_at(index: int) -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def unit(uuid: str) -> Any:
    return pynvml.nvmlDeviceGetHandleByUUID(uuid)


def memory(handle: Any) -> tuple[int, int, int]:
    found = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return found.total, found.used, found.free


def newer_memory(handle: Any) -> tuple[int, int, int, int]:
    found = pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2)
    return found.total, found.reserved, found.used, found.free


def rates(handle: Any) -> tuple[int, int]:
    found = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return found.gpu, found.memory


def pci(handle: Any) -> tuple[int, int, int, str]:
    found = pynvml.nvmlDeviceGetPciInfo(handle)
    return found.domain, found.bus, found.device, found.busId


def processes(handle: Any, ask: Callable[..., Any] = pynvml.nvmlDeviceGetComputeRunningProcesses) -> list[object]:
    return [(one.pid, one.usedGpuMemory, one.gpuInstanceId, one.computeInstanceId) for one in ask(handle)]


READINGS: dict[str, Callable[[Any], object]] = {
    "fan": pynvml.nvmlDeviceGetFanSpeed,
    "index": pynvml.nvmlDeviceGetIndex,
    "memory": memory,
    "memory v2": newer_memory,
    "mig": pynvml.nvmlDeviceGetMigMode,
    "minor": pynvml.nvmlDeviceGetMinorNumber,
    "most instances": pynvml.nvmlDeviceGetMaxMigDeviceCount,
    "name": pynvml.nvmlDeviceGetName,
    "pci": pci,
    "power": pynvml.nvmlDeviceGetPowerUsage,
    "power limit": pynvml.nvmlDeviceGetEnforcedPowerLimit,
    "power management": pynvml.nvmlDeviceGetPowerManagementLimit,
    "serial": pynvml.nvmlDeviceGetSerial,
    "temperature": lambda handle: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
    "temperature v1": lambda handle: pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU),
    "utilisation": rates,
    "uuid": pynvml.nvmlDeviceGetUUID,
}


def readings(handle: Any) -> dict[str, object]:
    return {name: answer(read, handle) for name, read in READINGS.items()}


def test_the_driver_is_the_described_one(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)
    assert (pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlSystemGetCudaDriverVersion()) == ("570.133.20", 12080)
    assert (pynvml.nvmlSystemGetCudaDriverVersion_v2(), pynvml.nvmlDeviceGetCount()) == (12080, 3)


def test_a_whole_gpu_has_every_value_described(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)
    assert readings(gpu_at(0)) == {
        "fan": 30,
        "index": 0,
        # The older form counts what the driver keeps as used.
        "memory": (40 * GIB, 4 * GIB, 36 * GIB),
        "memory v2": (40 * GIB, GIB, 3 * GIB, 36 * GIB),
        "mig": [0, 1],
        "minor": 0,
        "most instances": 0,
        "name": WHOLE.name,
        "pci": (1, 0xC1, 0x1F, "00000001:C1:1F.0"),
        "power": 187_654,
        "power limit": 250_000,
        "power management": 250_000,
        "serial": "1324220012345",
        "temperature": 51,
        "temperature v1": 51,
        "utilisation": (37, 12),
        "uuid": WHOLE.uuid,
    }


def test_what_is_not_described_is_not_supported(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)
    lacking = {name for name, value in readings(gpu_at(1)).items() if value == NOT_SUPPORTED}
    assert lacking == {
        *("fan", "mig", "power", "power limit", "power management", "temperature", "temperature v1", "utilisation")
    }


def test_an_instance_has_its_own_values_and_none_of_the_card(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)
    card = ("fan", "minor", "pci", "power", "power limit", "power management", "serial", "temperature")
    assert readings(unit("MIG-two")) == {
        **dict.fromkeys((*card, "temperature v1", "mig", "utilisation"), NOT_SUPPORTED),
        "index": 2,
        "memory": (12 * GIB, GIB, 11 * GIB),
        "memory v2": (12 * GIB, 0, GIB, 11 * GIB),
        "most instances": "NVMLError_InvalidArgument",
        "name": "NVIDIA A30 MIG 2g.12gb",
        "uuid": "MIG-two",
    }


def test_a_gpu_in_mig_mode_has_no_utilisation_though_one_is_described(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)
    seen = readings(gpu_at(2))
    assert (seen["mig"], seen["most instances"], seen["utilisation"]) == ([1, 0], 4, NOT_SUPPORTED)


def test_instances_are_found_at_their_places_and_gaps_stay(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)

    def at(index: int) -> str:
        return pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu_at(2), index))

    none, invalid = "NVMLError_NotFound", "NVMLError_InvalidArgument"
    assert [answer(at, index) for index in range(5)] == ["MIG-half", none, "MIG-two", none, invalid]
    below = [answer(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu_at(index), 0) for index in (0, 1)]
    assert below == [none, NOT_SUPPORTED]


@pytest.mark.parametrize(
    ("uuid", "identity", "slices", "megabytes"),
    [("MIG-two", (5, 0), (2, 2), 12 * 1024), ("MIG-half", (1, 3), (2, 1), 11 * 1024)],
)
def test_an_instance_says_what_it_is_part_of(
    nvml: Callable[[Host], None], uuid: str, identity: tuple[int, int], slices: tuple[int, int], megabytes: int
) -> None:
    nvml(MIXED)
    handle = unit(uuid)
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    attributes = pynvml.nvmlDeviceGetAttributes(handle)
    assert pynvml.nvmlDeviceGetUUID(parent) == SPLIT.uuid
    assert (pynvml.nvmlDeviceGetGpuInstanceId(handle), pynvml.nvmlDeviceGetComputeInstanceId(handle)) == identity
    assert (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount) == slices
    assert attributes.memorySizeMB == megabytes
    assert [bool(pynvml.nvmlDeviceIsMigDeviceHandle(each).value) for each in (handle, parent)] == [True, False]


def test_a_whole_gpu_is_part_of_nothing(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)
    assert [
        answer(ask, gpu_at(2))
        for ask in (
            pynvml.nvmlDeviceGetGpuInstanceId,
            pynvml.nvmlDeviceGetComputeInstanceId,
            pynvml.nvmlDeviceGetAttributes,
            pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle,
        )
    ] == [NOT_SUPPORTED, NOT_SUPPORTED, NOT_SUPPORTED, "NVMLError_InvalidArgument"]


def test_profiles_are_those_of_the_card(nvml: Callable[[Host], None]) -> None:
    nvml(Host((whole_gpu(0), SPLIT, OLD)))

    def profiles(index: int) -> list[object]:
        found = []
        for number in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
            new = answer(pynvml.nvmlDeviceGetGpuInstanceProfileInfo, gpu_at(index), number)
            old = answer(pynvml.nvmlDeviceGetGpuInstanceProfileInfo, gpu_at(index), number, 1)
            if isinstance(new, str):
                assert (new, old) == (NOT_SUPPORTED, NOT_SUPPORTED)
                continue
            values = [(each.id, each.sliceCount, each.instanceCount, each.memorySizeMB) for each in (new, old)]
            assert values[0] == values[1]
            found.append((new.name, *values[0]))
        return found

    assert profiles(0) == [
        ("MIG 1g.10gb", 19, 1, 7, 10240),
        ("MIG 2g.20gb", 14, 2, 3, 20480),
        ("MIG 3g.40gb", 9, 3, 2, 40960),
        ("MIG 4g.40gb", 5, 4, 1, 40960),
        ("MIG 7g.80gb", 0, 7, 1, 81920),
    ]
    assert profiles(1) == [
        ("MIG 1g.6gb", 14, 1, 4, 6144),
        ("MIG 2g.12gb", 5, 2, 2, 12288),
        ("MIG 4g.24gb", 0, 4, 1, 24576),
    ]
    assert profiles(2) == []


def test_processes_are_on_their_unit_and_on_the_gpu_it_is_part_of(nvml: Callable[[Host], None]) -> None:
    none = 2**32 - 1
    nvml(
        MIXED.with_processes(
            FakeProcess(11, WHOLE.uuid, GIB),
            FakeProcess(12, WHOLE.uuid),
            FakeProcess(13, WHOLE.uuid, 5, graphics=True),
            FakeProcess(21, "MIG-two", 7),
            FakeProcess(22, "MIG-half", 8),
        )
    )
    assert processes(gpu_at(0)) == [(11, GIB, none, none), (12, None, none, none)]
    assert processes(gpu_at(0), pynvml.nvmlDeviceGetComputeRunningProcesses_v2) == processes(gpu_at(0))
    assert processes(gpu_at(0), pynvml.nvmlDeviceGetGraphicsRunningProcesses) == [(13, 5, none, none)]
    assert processes(gpu_at(1)) == []
    assert processes(gpu_at(2)) == [(21, 7, 5, 0), (22, 8, 1, 3)]
    assert processes(unit("MIG-half")) == [(22, 8, 1, 3)]


def test_a_list_that_is_too_short_says_how_long_it_must_be(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED.with_processes(*(FakeProcess(pid, WHOLE.uuid) for pid in (11, 12, 13))))
    ask = pynvml._nvmlGetFunctionPointer("nvmlDeviceGetComputeRunningProcesses_v3")
    count, room = c_uint(2), (pynvml.c_nvmlProcessInfo_v3_t * 2)()
    assert (ask(gpu_at(0), byref(count), room), count.value) == (pynvml.NVML_ERROR_INSUFFICIENT_SIZE, 3)


def test_a_text_that_does_not_fit_is_not_cut(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)
    ask = pynvml._nvmlGetFunctionPointer("nvmlDeviceGetUUID")
    room = create_string_buffer(len(WHOLE.uuid))
    assert ask(gpu_at(0), room, c_uint(len(room))) == pynvml.NVML_ERROR_INSUFFICIENT_SIZE


@pytest.mark.parametrize(
    ("structure", "function"),
    [
        (pynvml.c_nvmlMemory_v2_t, "nvmlDeviceGetMemoryInfo_v2"),
        (pynvml.c_nvmlTemperature_v1_t, "nvmlDeviceGetTemperatureV"),
    ],
)
def test_a_structure_of_another_version_is_refused(
    nvml: Callable[[Host], None], structure: type, function: str
) -> None:
    nvml(MIXED)
    asked = structure()
    asked.version = 0x03000008
    ask = pynvml._nvmlGetFunctionPointer(function)
    assert ask(gpu_at(0), byref(asked)) == pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH


def test_devices_are_found_by_uuid_and_place_on_the_bus(nvml: Callable[[Host], None]) -> None:
    nvml(MIXED)
    by_bus = pynvml.nvmlDeviceGetHandleByPciBusId
    assert pynvml.nvmlDeviceGetUUID(by_bus("00000001:c1:1f.0")) == WHOLE.uuid
    assert pynvml.nvmlDeviceGetUUID(unit(SPLIT.uuid)) == SPLIT.uuid
    assert [answer(unit, "GPU-other"), answer(by_bus, "00000009:01:00.0"), answer(gpu_at, 3)] == [
        *("NVMLError_NotFound", "NVMLError_NotFound", "NVMLError_InvalidArgument")
    ]


def test_nothing_is_answered_before_the_beginning_and_after_the_end(loaded_nvml: FakeNvml) -> None:
    loaded_nvml.write(MIXED)
    before = "NVMLError_Uninitialized"
    pynvml.nvmlInit()  # pynvml finds functions only once it has begun
    pynvml.nvmlInit()
    handle = gpu_at(0)
    pynvml.nvmlShutdown()
    assert pynvml.nvmlDeviceGetUUID(handle) == WHOLE.uuid  # as often ended as begun, no earlier
    pynvml.nvmlShutdown()
    closed = [answer(pynvml.nvmlDeviceGetCount), answer(pynvml.nvmlDeviceGetUUID, handle), answer(pynvml.nvmlShutdown)]
    assert closed == [before, before, before]


@pytest.mark.parametrize(
    ("sample", "gpus", "units"),
    [
        (shipped_host(), 4, 8),
        (race_host(), 6, 14),
        (host(whole=0, split=1), 1, 3),
        *((host_of(units), (units - 2) // 3 + units - (units - 2) // 3 * 3, units) for units in (2, 8, 64, 512)),
    ],
)
def test_samples_have_the_units_they_are_named_for(
    nvml: Callable[[Host], None], sample: Host, gpus: int, units: int
) -> None:
    nvml(sample)
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = gpu_at(index)
        places = range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle))
        below = [answer(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place) for place in places]
        found += [pynvml.nvmlDeviceGetUUID(each) for each in below if not isinstance(each, str)]
        found += [] if places else [pynvml.nvmlDeviceGetUUID(handle)]
    assert (pynvml.nvmlDeviceGetCount(), len(found), tuple(found)) == (gpus, units, sample.units)


def test_sample_names_say_which_unit_it_is() -> None:
    assert shipped_host().units[0] == gpu_uuid(0)
    assert shipped_host().units[-1] == instance_uuid(3, 2)
