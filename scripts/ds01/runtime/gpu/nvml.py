"""Ask the driver through NVML. The only module that imports pynvml, and only once it is called.

Every error of NVML becomes words that name it, with its usual cause and a fix. One GPU that fails hides no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Final, NewType

from ds01.core.value import dataclass, field
from ds01.core.visible import visible
from ds01.runtime.gpu.causes import explain, in_words
from ds01.runtime.gpu.hardware import DevicesError, Gpu, GpuUuid, MigInstance, NoToolError, Usage
from ds01.runtime.gpu.sighting import (
    Lost,
    Running,
    Sighting,
    count_slices,
    read_profile,
    read_uuid,
    slices_of_product,
)

# What pynvml hands out for a GPU or a MIG device.
Handle = NewType("Handle", object)

_MIB: Final = 1024**2
_ATTEMPTS: Final = 3
_SHIFTING = (
    "its MIG instances are being changed: they were different each time they were read; wait until"
    " nvidia-smi mig has ended, then try again"
)


@dataclass(slots=True)
class _Look:
    """What is found while NVML runs.

    Attributes:
        handles: of every unit that can be asked, by UUID.
    """

    nvml: ModuleType
    gpus: list[Gpu] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    handles: dict[GpuUuid, Handle] = field(default_factory=dict)


def look(*, who: bool) -> Sighting:
    """See all GPUs, and with `who` what runs on them.

    Raises:
        DevicesError: NVML cannot be asked; says which of its errors, the usual cause and a fix.
    """
    with _started() as nvml:
        return look_through(nvml, who=who)


def look_through(nvml: ModuleType, *, who: bool) -> Sighting:
    """As look(), through what start() returned.

    Raises:
        DevicesError: as look().
    """
    with _answering(nvml):
        seen = _see(nvml)
        running, unknown = _running(seen) if who else ((), None)
        return Sighting(tuple(seen.gpus), tuple(seen.lost), running, unknown)


def read_usage() -> dict[GpuUuid, Usage]:
    """Return how busy each unit is; a GPU with a problem has no entry.

    Raises:
        DevicesError: as look().
    """
    with _started() as nvml:
        seen = _see(nvml)
        return {
            uuid: Usage(_figure(nvml, _utilisation, handle), _figure(nvml, _memory_used, handle))
            for uuid, handle in seen.handles.items()
        }


@contextmanager
def _started() -> Iterator[ModuleType]:
    """Start NVML, and end it whatever happens between."""
    nvml = start()
    try:
        with _answering(nvml):
            yield nvml
    finally:
        end(nvml)


def start() -> ModuleType:
    """Start NVML, for look_through() until end().

    Raises:
        DevicesError: it does not start, as look().
    """
    try:
        import pynvml  # noqa: PLC0415 - large, and missing where only nvidia-smi is there
    except ImportError as error:
        raise NoToolError(
            "NVML cannot be asked: this Python has no pynvml",
            str(error),
            "use the installed command (sudo ds01 …), whose release has it, or install nvidia-ml-py",
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _failed("NVML does not start", _code(pynvml, error)) from error
    nvml: ModuleType = pynvml
    return nvml


def end(nvml: ModuleType) -> None:
    """End NVML; what it says to that changes nothing."""
    with suppress(nvml.NVMLError):
        nvml.nvmlShutdown()


@contextmanager
def _answering(nvml: ModuleType) -> Iterator[None]:
    try:
        yield
    except nvml.NVMLError as error:
        raise _failed("NVML gives no answer", _code(nvml, error)) from error


def _failed(brief: str, code: str) -> DevicesError:
    cause = explain(code)
    kind = NoToolError if code == "NVML_ERROR_LIBRARY_NOT_FOUND" else DevicesError
    return kind(f"{brief}: {code}", f"the usual cause: {cause.cause}", cause.fix)


def _code(nvml: ModuleType, error: Exception) -> str:
    """Return NVML's own name of an error."""
    value = getattr(error, "value", None)
    named = (name for name, each in vars(nvml).items() if name.startswith("NVML_ERROR_") and each == value)
    return next(named, f"NVML error {value}")


def _see(nvml: ModuleType) -> _Look:
    seen = _Look(nvml)
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = read_uuid(nvml.nvmlDeviceGetUUID(handle))
        except nvml.NVMLError as error:
            seen.lost.append(Lost(in_words(_code(nvml, error)), index))
        except ValueError as error:
            # Bytes that are no text are one too.
            seen.lost.append(Lost(visible(str(error), 200), index))
        else:
            _see_one(seen, index, uuid, handle)
    return seen


def _see_one(seen: _Look, index: int, uuid: GpuUuid, handle: Handle) -> None:
    """Add one GPU, with as much of it as can be read."""
    nvml, name, memory_bytes, problem = seen.nvml, "unknown", 0, None
    try:
        name = visible(nvml.nvmlDeviceGetName(handle)) or "unknown"
        memory_bytes = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
        mode, wanted = _mig_mode(nvml, handle)
        if mode != wanted:
            problem = _between(index, mode=mode)
        if not mode:
            seen.gpus.append(Gpu(index, uuid, name, memory_bytes, problem=problem))
            seen.handles[uuid] = handle
            return
        instances = _settled(nvml, handle)
        slices, known = count_slices(_slices(nvml, handle) or slices_of_product(name), instances)
    except nvml.NVMLError as error:
        problem = in_words(_code(nvml, error))
    except (ValueError, _ShiftingError) as error:
        problem = visible(str(error), 200)
    else:
        listed = tuple(sorted(instances, key=lambda each: (each.gpu_instance_id, each.compute_instance_id)))
        seen.gpus.append(
            Gpu(
                index, uuid, name, memory_bytes, slices, mig=True, instances=listed, problem=problem, slices_known=known
            )
        )
        seen.handles |= {each.uuid: instances[each] for each in listed}
        return
    seen.gpus.append(Gpu(index, uuid, name, memory_bytes, problem=problem))


def _between(index: int, *, mode: bool) -> str:
    state, other = ("on", "off") if mode else ("off", "on")
    return (
        f"its MIG mode is being reconfigured: it is {state}, and {other} once the GPU is reset; end what runs on it,"
        f" then: nvidia-smi --gpu-reset -i {index} (or go back: nvidia-smi -i {index} -mig {int(mode)})"
    )


def _mig_mode(nvml: ModuleType, handle: Handle) -> tuple[bool, bool]:
    """Return whether MIG is on now, and whether it will be after a reset."""
    try:
        now, pending = nvml.nvmlDeviceGetMigMode(handle)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return False, False
    return now == nvml.NVML_DEVICE_MIG_ENABLE, pending == nvml.NVML_DEVICE_MIG_ENABLE


class _ShiftingError(Exception):
    """A GPU's instances were different each time they were read."""


def _settled(nvml: ModuleType, handle: Handle) -> dict[MigInstance, Handle]:
    """Return the instances as two looks in a row saw them; an instance may come or go between two questions."""
    before: dict[MigInstance, Handle] | None = None
    for _ in range(_ATTEMPTS + 1):
        try:
            after = _instances(nvml, handle)
        except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
            before = None
            continue
        if before is not None and before.keys() == after.keys():
            return after
        before = after
    raise _ShiftingError(_SHIFTING)


def _instances(nvml: ModuleType, handle: Handle) -> dict[MigInstance, Handle]:
    found = {}
    for place in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
            # Places are not filled from the front.
            continue
        found[_instance(nvml, device)] = Handle(device)
    return found


def _instance(nvml: ModuleType, device: Handle) -> MigInstance:
    has = nvml.nvmlDeviceGetAttributes_v2(device)
    compute, slices = int(has.computeInstanceSliceCount), int(has.gpuInstanceSliceCount)
    _, named, name = nvml.nvmlDeviceGetName(device).rpartition("MIG ")
    if not named:
        # Before R470 it is called like the GPU. Source: NVIDIA MIG user guide, "Profile names": memory is rounded up.
        gigabytes = -(-int(has.memorySizeMB) // 1024)
        name = f"{slices}g.{gigabytes}gb" if compute == slices else f"{compute}c.{slices}g.{gigabytes}gb"
    return MigInstance(
        uuid=read_uuid(nvml.nvmlDeviceGetUUID(device)),
        gpu_instance_id=int(nvml.nvmlDeviceGetGpuInstanceId(device)),
        compute_instance_id=int(nvml.nvmlDeviceGetComputeInstanceId(device)),
        profile=read_profile(name.strip()).name,
        compute_slices=compute,
        memory_bytes=int(has.memorySizeMB) * _MIB,
    )


def _slices(nvml: ModuleType, handle: Handle) -> int | None:
    """Return the compute slices of the largest instance that the GPU can have; None when NVML does not say."""
    counts = []
    for profile in range(nvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        for version in (2, 1):
            try:
                counts.append(int(nvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, profile, version).sliceCount))
                break
            except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_ArgumentVersionMismatch):
                continue
            except (nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument, nvml.NVMLError_NoPermission):
                break
    return max(counts, default=None)


def _running(seen: _Look) -> tuple[tuple[Running, ...], str | None]:
    """Return what runs on each unit, and of which units that cannot be told."""
    nvml, found, dark = seen.nvml, {}, []
    for uuid, handle in seen.handles.items():
        try:
            for each in (*_compute(nvml, handle), *_mps(nvml, handle)):
                used = each.usedGpuMemory
                found[uuid, each.pid] = Running(int(each.pid), uuid, None if used is None else int(used))
        except nvml.NVMLError as error:
            dark.append(f"{uuid}: {in_words(_code(nvml, error))}")
    if not dark:
        return tuple(found.values()), None
    more = f" (and {len(dark) - 1} more)" if len(dark) > 1 else ""
    return tuple(found.values()), f"what runs on a unit cannot be told: {dark[0]}{more}"


def _compute(nvml: ModuleType, handle: Handle) -> Iterable[Any]:
    for _ in range(_ATTEMPTS):
        # The binding asks for the length first; the list may have grown beyond its margin since.
        with suppress(nvml.NVMLError_InsufficientSize):
            return _processes(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    return _processes(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)


def _mps(nvml: ModuleType, handle: Handle) -> Iterable[Any]:
    """Return the clients of an MPS server, where the driver tells them apart."""
    try:
        return _processes(nvml, "nvmlDeviceGetMPSComputeRunningProcesses", handle)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, nvml.NVMLError_InvalidArgument):
        return ()


def _processes(nvml: ModuleType, question: str, handle: Handle) -> Iterable[Any]:
    """Ask in the newest way that the driver knows; one before R510 knows only the older."""
    try:
        answer: Iterable[Any] = getattr(nvml, f"{question}_v3")(handle)
    except nvml.NVMLError_FunctionNotFound:
        answer = getattr(nvml, f"{question}_v2")(handle)
    return answer


def _figure(nvml: ModuleType, read: Callable[[ModuleType, Handle], int], handle: Handle) -> int | None:
    try:
        return read(nvml, handle)
    except nvml.NVMLError:
        return None


def _utilisation(nvml: ModuleType, handle: Handle) -> int:
    return int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def _memory_used(nvml: ModuleType, handle: Handle) -> int:
    """Return the bytes in use as nvidia-smi shows them: without what the driver keeps for itself, if it can tell."""
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2).used)
    except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_ArgumentVersionMismatch):
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
