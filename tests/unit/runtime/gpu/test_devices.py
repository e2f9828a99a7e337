"""Looking at the machine: NVML, else nvidia-smi, else both causes; when the cache answers; who computes."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.driver_proc import make_driver
from tests.nvml_library import Library, build

from ds01.core.value import replace
from ds01.runtime.gpu.causes import explain
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuProcess, GpuUuid, Usage

GIB = 1024**3
NO_LIBRARY = "NVML_ERROR_LIBRARY_NOT_FOUND"
WHOLE = ("gpu", "GPU-a", "NVIDIA A100", 80 * GIB, 0, 5, 0, 0, 7)
OTHER = ("gpu", "GPU-b", "NVIDIA A100", 80 * GIB, 0, 5, 0, 0, 7)
A, B = (Gpu(index, GpuUuid(f"GPU-{letter}"), "NVIDIA A100", 80 * GIB) for index, letter in enumerate("ab"))
TOOL_ANSWERS = {
    "-L": (0, "GPU 0: NVIDIA A100 (UUID: GPU-a)\nGPU 1: NVIDIA A100 (UUID: GPU-b)\n", ""),
    "--query-gpu": (0, "GPU-a, 81920, Disabled, Disabled\nGPU-b, 81920, Disabled, Disabled\n", ""),
    "--query-compute-apps": (0, "", ""),
}
LOOKERS = 6
# A tool in a process of its own, which would otherwise take whatever is installed.
TOOL = """
from ds01.core.process import Completed
def tool(argv, **_):
    print(argv[1], file=open({asked!r}, "a"))
    {meanwhile}
    return Completed(tuple(argv), *{answers!r}.get(argv[1].split("=")[0], (127, "", "")))
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    build(folder)
    return folder


class Host:
    """A root with a driver's /proc, a library and a tool."""

    def __init__(self, folder: Path, built: Path) -> None:
        self.root = folder / "root"
        make_driver(self.root / "proc", {"0000:07:00.0": "GPU-a", "0000:47:00.0": "GPU-b"})
        (folder / "lib").mkdir()
        (folder / "lib/libnvidia-ml.so.1").hardlink_to(built / "libnvidia-ml.so.1")
        self.library = Library(folder / "lib")
        self.library.say(WHOLE, OTHER)
        self.asked = folder / "asked"
        self.tool: dict[str, tuple[int, str, str]] = {}
        # What happens to the machine while the tool runs.
        self.meanwhile = "pass"

    def read(self, options: str = "", *, library: bool = True, question: str = "read_devices") -> Any:
        prelude = TOOL.format(asked=str(self.asked), answers=self.tool, meanwhile=self.meanwhile)
        ask = f"devices.{question}(HostPaths(Path({str(self.root)!r})), tool{options})"
        return self.library.ask(ask, prelude=prelude, library=library)

    def add_process(self, pid: int, groups: str) -> None:
        for each in (1, pid):
            folder = self.root / "proc" / str(each)
            folder.mkdir()
            (folder / "stat").write_text(f"{each} (python) S 1 {' '.join(map(str, range(5, 53)))}\n")
            (folder / "comm").write_text("python\n")
            (folder / "status").write_text("Uid:\t54321\t0\t0\t0\n")
            (folder / "cgroup").write_text(groups)

    @property
    def calls(self) -> int:
        return self.library.calls.count("init")


@pytest.fixture
def host(tmp_path: Path, built: Path) -> Host:
    return Host(tmp_path, built)


def test_gpus_and_who_computes_on_them(host: Host) -> None:
    container = "0123456789abcdef" * 4
    host.library.say(WHOLE, OTHER, ("process", "GPU-b", 4711, GIB))
    host.add_process(4711, f"0::/system.slice/docker-{container}.scope\n")
    process = GpuProcess(4711, GpuUuid("GPU-b"), "uid 54321", "python", container, GIB, uid=54321, started=22)
    found = host.read()
    assert replace(found, processes=tuple(replace(each, since=None) for each in found.processes)) == Devices(
        (A, B), (process,)
    )
    assert host.read(question="read_usage") == {"GPU-a": Usage(5, 0), "GPU-b": Usage(5, 0)}
    assert not host.asked.exists()


@pytest.mark.root
def test_a_fresh_cache_answers_without_the_driver(host: Host) -> None:
    assert host.read(", who=False") == Devices((A, B))
    assert host.calls == 1
    assert host.read(", who=False", library=False) == Devices((A, B))
    assert host.calls == 1
    assert host.read(", who=False, live=True") == Devices((A, B))
    assert host.calls == 2


@pytest.mark.root
def test_a_change_is_seen_at_once(host: Host) -> None:
    host.read(", who=False")
    host.library.say(WHOLE)
    (host.root / "proc/driver/nvidia/gpus/0000:47:00.0/information").unlink()
    (host.root / "proc/driver/nvidia/gpus/0000:47:00.0").rmdir()
    assert host.read(", who=False") == Devices((A,))


@pytest.mark.root
def test_without_the_drivers_proc_nothing_is_kept(host: Host) -> None:
    (host.root / "proc/driver/nvidia/version").unlink()
    host.read(", who=False")
    assert not (host.root / "run/ds01/gpu-topology.json").exists()


@pytest.mark.root
def test_a_lost_gpu_keeps_its_name_and_is_never_kept(host: Host) -> None:
    host.read(", who=False")
    cache = host.root / "run/ds01/gpu-topology.json"
    before = cache.read_text()
    host.library.say(WHOLE, OTHER, ("fail", "nvmlDeviceGetHandleByIndex_v2", 15, 1, 1, 0))
    found = host.read(", live=True")
    assert [(gpu.uuid, gpu.problem is None) for gpu in found.gpus] == [("GPU-a", True), ("GPU-b", False)]
    assert cache.read_text() == before


def test_a_driver_that_counts_none_where_the_kernel_lists_two(host: Host) -> None:
    host.library.say()
    found = host.read()
    # Without these NVML would say that there are none.
    assert [(gpu.uuid, gpu.problem is None) for gpu in found.gpus] == [("GPU-a", False), ("GPU-b", False)]


def test_the_tool_answers_where_the_library_is_missing(host: Host) -> None:
    host.tool = TOOL_ANSWERS
    assert host.read(library=False) == Devices((A, B))
    assert host.asked.read_text().split("\n")[0] == "-L"


@pytest.mark.root
@pytest.mark.parametrize("change", [False, True])
def test_a_look_during_which_something_changed_is_not_kept(host: Host, *, change: bool) -> None:
    host.tool = TOOL_ANSWERS
    if change:
        folder = host.root / "proc/driver/nvidia/capabilities/gpu1/mig/gi3"
        host.meanwhile = f"Path({str(folder)!r}).mkdir(exist_ok=True)"
    assert host.read(", who=False", library=False) == Devices((A, B))
    assert (host.root / "run/ds01/gpu-topology.json").exists() is not change


@pytest.mark.root
def test_many_who_look_at_once_leave_one_whole_cache_and_say_nothing(host: Host) -> None:
    with ThreadPoolExecutor(LOOKERS) as pool:
        found = list(pool.map(lambda _: host.read(", who=False, live=True"), range(2 * LOOKERS)))
    assert found == [Devices((A, B))] * (2 * LOOKERS)
    assert host.read(", who=False", library=False) == Devices((A, B))
    assert {each.name for each in (host.root / "run/ds01").iterdir()} == {"gpu-topology.json", "gpu-topology.lock"}


@pytest.mark.root
def test_the_tool_is_asked_for_processes_alone_while_nothing_changed(host: Host) -> None:
    host.read(", who=False")
    host.tool = {"--query-compute-apps": (0, "", "")}
    assert host.read(library=False) == Devices((A, B))
    assert host.asked.read_text() == "--query-compute-apps=gpu_uuid,pid,used_memory\n"


def test_without_either_both_causes_are_said(host: Host) -> None:
    ((kind, brief, details, fix),) = host.read(library=False)
    assert (kind, brief) == ("NoToolError", "what GPUs this machine has cannot be told")
    assert details.split("\n") == [
        "NVML does not start: NVML_ERROR_LIBRARY_NOT_FOUND. the usual cause: " + explain(NO_LIBRARY).cause,
        "nvidia-smi is not installed",
    ]
    assert fix == f"{explain(NO_LIBRARY).fix}; or: install the driver's tools (nvidia-utils-<version>)"
    host.library.say(("fail", "nvmlInitWithFlags", 9, -1, 1, 0))
    ((kind, _, details, _),) = host.read(question="read_usage")
    assert kind == "DevicesError"
    assert details.startswith("NVML does not start: NVML_ERROR_DRIVER_NOT_LOADED")


@pytest.mark.root
def test_somebody_else_reads_the_cache_and_writes_none(host: Host, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    host.read(", who=False")
    cache = host.root / "run/ds01/gpu-topology.json"
    before = cache.stat().st_mtime_ns
    as_other = "import os, pynvml; os.setuid(54321)"
    ask = f"devices.read_devices(HostPaths(Path({str(host.root)!r})), who=False)"
    assert host.library.ask(ask, prelude=as_other, library=False) == Devices((A, B))
    assert host.library.ask(ask.replace("who=False", "live=True"), prelude=as_other) == Devices((A, B))
    assert cache.stat().st_mtime_ns == before


def test_a_fresh_cache_loads_no_pynvml(host: Host) -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.fspath(Path(__file__).parents[4] / 'scripts')!r})\n"
        "import ds01.runtime.gpu.devices; print('pynvml' in sys.modules, 'docker' in sys.modules)"
    )
    done = subprocess.run(["python3", "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
