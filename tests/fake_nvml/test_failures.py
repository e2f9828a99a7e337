"""Described failures, delays and changes: what pynvml sees is always the file as it is now, or a loud no."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pynvml
import pytest
from tests.fake_nvml.build import build
from tests.fake_nvml.description import FakeProcess
from tests.fake_nvml.samples import gpu_uuid, host, instance_uuid, shipped_host

from ds01.core.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fake_nvml.fixture import FakeNvml

ERRORS = {
    name.removeprefix("NVML_ERROR_"): value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")
}
GPU = 'gpu 0 uuid=GPU-0 name="NVIDIA A30" memory=100 slices=4 mig=on\n'


def failure(function: Callable[..., Any], *words: object) -> int:
    """The number of the error that a function raises; 0 when it raises none."""
    try:
        function(*words)
    except pynvml.NVMLError as error:
        return int(error.value)
    return pynvml.NVML_SUCCESS


def gpu_at(index: int) -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(index)


@pytest.mark.parametrize("name", ERRORS)
def test_any_error_can_be_described(loaded_nvml: FakeNvml, name: str) -> None:
    loaded_nvml.write(shipped_host().with_rules(f"fail nvmlDeviceGetCount {name}"))
    pynvml.nvmlInit()
    assert failure(pynvml.nvmlDeviceGetCount) == ERRORS[name]
    # A driver has words of its own for each; what it does not know it calls unknown.
    assert (pynvml.nvmlErrorString(ERRORS[name]) == "Unknown Error") == (name == "UNKNOWN")


@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlInit", "*"])
def test_a_driver_that_is_not_loaded_fails_the_beginning(loaded_nvml: FakeNvml, function: str) -> None:
    loaded_nvml.write(shipped_host().with_rules(f"fail {function} DRIVER_NOT_LOADED"))
    assert failure(pynvml.nvmlInit) == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    loaded_nvml.write(shipped_host())
    assert failure(pynvml.nvmlInit) == pynvml.NVML_SUCCESS


def test_a_lost_gpu_fails_alone_with_all_its_instances(loaded_nvml: FakeNvml) -> None:
    loaded_nvml.write(shipped_host())
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in shipped_host().units]
    loaded_nvml.write(shipped_host().with_rules("fail * 2 GPU_IS_LOST"))
    lost, well = pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_SUCCESS
    assert [failure(pynvml.nvmlDeviceGetMemoryInfo, each) for each in handles] == [
        *(well, well, lost, lost, lost, well, well, well)
    ]
    assert [failure(gpu_at, index) for index in range(4)] == [well, well, lost, well]
    assert pynvml.nvmlDeviceGetCount() == 4


def test_one_unit_can_fail_alone(loaded_nvml: FakeNvml) -> None:
    rule = f"fail nvmlDeviceGetMemoryInfo {instance_uuid(2, 1)} NO_PERMISSION"
    loaded_nvml.write(shipped_host().with_rules(rule))
    pynvml.nvmlInit()
    units = (gpu_uuid(2), instance_uuid(2, 0), instance_uuid(2, 1))
    handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in units]
    assert [failure(pynvml.nvmlDeviceGetMemoryInfo, each) for each in handles] == [
        0,
        0,
        pynvml.NVML_ERROR_NO_PERMISSION,
    ]
    newer = pynvml.nvmlMemory_v2
    assert failure(pynvml.nvmlDeviceGetMemoryInfo, handles[2], newer) == pynvml.NVML_ERROR_NO_PERMISSION
    assert failure(pynvml.nvmlDeviceGetUUID, handles[2]) == pynvml.NVML_SUCCESS


def test_a_delay_is_kept(loaded_nvml: FakeNvml) -> None:
    loaded_nvml.write(shipped_host().with_rules("delay nvmlInit 150"))
    begin = monotonic()
    pynvml.nvmlInit()
    assert monotonic() - begin >= 0.15


def test_everything_that_changes_is_seen_at_once(loaded_nvml: FakeNvml) -> None:
    loaded_nvml.write(shipped_host())
    pynvml.nvmlInit()
    first = gpu_at(0)
    gpu, *others = shipped_host().gpus
    # Each is as long as the one before.
    for percent in range(10, 99):
        loaded_nvml.write(replace(shipped_host(), gpus=(replace(gpu, utilisation=percent), *others)))
        assert pynvml.nvmlDeviceGetUtilizationRates(first).gpu == percent
    loaded_nvml.write(shipped_host().with_processes(FakeProcess(4711, gpu_uuid(0))))
    assert [one.pid for one in pynvml.nvmlDeviceGetComputeRunningProcesses(first)] == [4711]
    with loaded_nvml.file.open("a") as file:
        file.write("fail nvmlDeviceGetUtilizationRates UNKNOWN\n")
    assert failure(pynvml.nvmlDeviceGetUtilizationRates, first) == pynvml.NVML_ERROR_UNKNOWN


def test_another_file_of_the_same_size_and_time_is_another(loaded_nvml: FakeNvml, tmp_path: Path) -> None:
    loaded_nvml.write(shipped_host())
    pynvml.nvmlInit()
    now, seen = loaded_nvml.file.stat(), []
    # Three, so that the third could be given the inode number of the first, which is gone by then.
    for driver in ("580.95.01", "580.95.02", "580.95.03"):
        other = tmp_path / driver
        other.write_text(str(replace(shipped_host(), driver=driver)))
        os.utime(other, ns=(now.st_atime_ns, now.st_mtime_ns))
        assert other.stat().st_size == now.st_size
        other.rename(loaded_nvml.file)
        seen.append(pynvml.nvmlSystemGetDriverVersion())
    assert seen == ["580.95.01", "580.95.02", "580.95.03"]


def test_compute_instances_of_one_gpu_instance_share_its_slices(loaded_nvml: FakeNvml) -> None:
    halves = [f"instance 0 gi=1 ci={ci} uuid=MIG-{ci} profile=2c.4g.24gb memory=1\n" for ci in range(2)]
    loaded_nvml.write(GPU + "".join(halves))
    pynvml.nvmlInit()
    found = [pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu_at(0), place) for place in range(2)]
    assert [pynvml.nvmlDeviceGetUUID(each) for each in found] == ["MIG-0", "MIG-1"]


def test_handles_follow_the_uuid_when_gpus_change_places(loaded_nvml: FakeNvml) -> None:
    sample = shipped_host()
    loaded_nvml.write(sample)
    pynvml.nvmlInit()
    first, instance = gpu_at(0), pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu_at(3), 0)
    loaded_nvml.write(replace(sample, gpus=tuple(reversed(sample.gpus))))
    assert (pynvml.nvmlDeviceGetUUID(first), pynvml.nvmlDeviceGetIndex(first)) == (gpu_uuid(0), 3)
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)
    assert (pynvml.nvmlDeviceGetUUID(parent), pynvml.nvmlDeviceGetIndex(parent)) == (gpu_uuid(3), 0)


def test_a_gpu_that_is_gone_is_lost_and_an_instance_that_is_gone_is_invalid(loaded_nvml: FakeNvml) -> None:
    loaded_nvml.write(shipped_host())
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in (gpu_uuid(3), instance_uuid(3, 0), gpu_uuid(0))]
    loaded_nvml.write(host(whole=2, split=0))
    assert [failure(pynvml.nvmlDeviceGetUUID, each) for each in handles] == [
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_SUCCESS,
    ]


def test_who_looks_while_it_changes_sees_the_old_or_the_new(loaded_nvml: FakeNvml) -> None:
    two, many = host(whole=2, split=0), host(whole=0, split=200)
    loaded_nvml.write(two)
    pynvml.nvmlInit()
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(pynvml.nvmlDeviceGetCount())

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for each in lookers:
        each.start()
    for _ in range(100):
        loaded_nvml.write(many)
        loaded_nvml.write(two)
    done.set()
    for each in lookers:
        each.join()
    assert seen <= {2, 200}
    assert seen


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("grafik 0\n", "1: no line begins with 'grafik'"),
        ("name=x\n", "1: the line begins with a setting"),
        ("\n# a comment\ngpu 1 uuid=GPU-0 name=x memory=1\n", "3: GPU 0 must come next, not 1"),
        ("gpu 0 uuid=GPU-0 name=x memory=1 colour=red\n", "1: 'gpu' has no setting 'colour'"),
        ("gpu 0 uuid=GPU-0 name=x memory=1 memory=2\n", "1: 'memory' is given twice"),
        ("gpu 0 uuid=GPU-0 name=x\n", "1: memory= is missing"),
        ("gpu 0 uuid=0 name=x memory=1\n", "1: uuid=0 must begin with GPU-"),
        ("gpu 0 uuid=GPU-0 name=x memory=-1\n", "1: memory must be a whole number up to"),
        ("gpu 0 uuid=GPU-0 name=x memory=1GiB\n", "1: memory must be a whole number up to"),
        ("gpu 0 uuid=GPU-0 name=x memory=10 used=11\n", "1: used must be a whole number up to 10, not '11'"),
        ("gpu 0 uuid=GPU-0 name=x memory=1 utilisation=101\n", "1: utilisation must be a whole number up to 100"),
        ("gpu 0 uuid=GPU-0 name=x memory=1 mig=maybe\n", "1: mig= must be none, off or on, not 'maybe'"),
        ("gpu 0 uuid=GPU-0 name=x memory=1 pending=on\n", "1: pending= must be off or on, and needs mig="),
        ("gpu 0 uuid=GPU-0 name=x memory=1 pci=1:2\n", "1: pci= must look like 00000000:01:00.0, not '1:2'"),
        ('gpu 0 uuid=GPU-0 name="x memory=1\n', "1: a quote is not closed"),
        ("gpu 0 uuid=GPU-0 name=NVIDIA A30 memory=1\n", "1: 'A30' has no = though it stands among settings"),
        (GPU + "gpu 1 uuid=GPU-0 name=x memory=1\n", "2: uuid=GPU-0 is described twice"),
        (GPU + "instance 1 gi=1 uuid=MIG-1 profile=1g.6gb memory=1\n", "2: there is no GPU 1 with mig=on before this"),
        (GPU + "instance 0 gi=1 uuid=MIG-1 profile=big memory=1\n", "2: profile= must look like 2g.20gb"),
        (GPU + "instance 0 gi=1 uuid=MIG-1 profile=3c.2g.6gb memory=1\n", "2: profile=3c.2g.6gb cannot be"),
        (
            GPU
            + "instance 0 gi=1 uuid=MIG-1 profile=4g.6gb memory=1\n"
            + "instance 0 gi=2 uuid=MIG-2 profile=1g.6gb memory=1\n",
            "3: GPU 0 has not so many slices",
        ),
        (
            GPU
            + "instance 0 gi=1 uuid=MIG-1 profile=1g.6gb memory=1\n"
            + "instance 0 gi=1 uuid=MIG-2 profile=1g.6gb memory=1\n",
            "3: gi=1 ci=0 is taken on GPU 0",
        ),
        (
            GPU
            + "instance 0 gi=1 uuid=MIG-1 profile=1g.6gb memory=1\n"
            + "instance 0 gi=2 uuid=MIG-2 profile=1g.6gb memory=1 place=0\n",
            "3: place=0 is taken on GPU 0",
        ),
        (GPU + "process 1 unit=GPU-9\n", "2: unit=GPU-9 is not described before this line"),
        (GPU + "process 1 unit=GPU-0\n", "2: unit=GPU-0 is in MIG mode"),
        ("fail nvmlDeviceGetNothing UNKNOWN\n", "1: the library has no function 'nvmlDeviceGetNothing'"),
        ("fail malloc UNKNOWN\n", "1: the library has no function 'malloc'"),
        ("fail nvmlInit BROKEN\n", "1: NVML has no error 'BROKEN'"),
        ("fail nvmlInit SUCCESS\n", "1: NVML has no error 'SUCCESS'"),
        ("fail nvmlDeviceGetUUID 7 UNKNOWN\n", "1: GPU '7' is not described before this line"),
        ("fail nvmlInit\n", "1: 'fail' takes 2 to 3 words, not 1"),
        ("delay nvmlInit soon\n", "1: the delay must be a whole number up to"),
    ],
)
def test_a_wrong_line_is_told_and_nothing_is_answered(
    loaded_nvml: FakeNvml, capfd: pytest.CaptureFixture[str], lines: str, said: str
) -> None:
    loaded_nvml.write(shipped_host())
    pynvml.nvmlInit()
    capfd.readouterr()
    loaded_nvml.write(lines)
    assert [failure(pynvml.nvmlDeviceGetCount) for _ in range(2)] == [pynvml.NVML_ERROR_UNKNOWN] * 2
    error = capfd.readouterr().err
    assert error.startswith(f"fake_nvml: {loaded_nvml.file}:{said}")
    assert error.count("\n") == 1, "told once, not at each call"
    assert failure(pynvml.nvmlInit) == pynvml.NVML_ERROR_UNKNOWN


def test_without_a_description_there_is_no_answer(
    loaded_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.file.unlink()
    assert failure(pynvml.nvmlInit) == pynvml.NVML_ERROR_UNKNOWN
    assert capfd.readouterr().err == f"fake_nvml: {loaded_nvml.file}: No such file or directory\n"
    monkeypatch.delenv("FAKE_NVML_FILE")
    assert failure(pynvml.nvmlInit) == pynvml.NVML_ERROR_UNKNOWN
    assert capfd.readouterr().err == "fake_nvml: FAKE_NVML_FILE names no description\n"


def test_another_program_finds_it_by_its_environment(fake_nvml: FakeNvml) -> None:
    fake_nvml.write(shipped_host())
    code = "import pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **fake_nvml.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


def test_the_library_is_built_once(tmp_path: Path) -> None:
    library = build(tmp_path)
    built = library.stat().st_mtime_ns
    assert (build(tmp_path), library.stat().st_mtime_ns) == (library, built)
    assert [path.name for path in library.parent.iterdir()] == ["libnvidia-ml.so.1"]
