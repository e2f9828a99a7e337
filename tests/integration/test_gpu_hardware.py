"""Whole hosts, seen by the real pynvml: the shipped one, failures by name, hardware that changes meanwhile."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.description import FakeGpu, FakeProcess, Host
from tests.fake_nvml.samples import host, instance_uuid, race_host, shipped_host, split_gpu

from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.core.value import replace
from ds01.deployer.verify import Check, Status
from ds01.runtime.gpu.devices import read_devices, read_usage
from ds01.runtime.gpu.hardware import DevicesError, Usage
from ds01.verify import look_at_gpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fake_nvml.fixture import FakeNvml

SHIPPED = Path(__file__).parents[1] / "golden/shipped/expected/root/etc/ds01/policy.json"
LOOKS, AT_MOST = 300, 100_000


class Live(HostPaths):
    """A folder that passes for the machine itself."""

    @property
    def is_live(self) -> bool:
        return True


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    """A root whose /proc is the machine's own."""
    (tmp_path / "root/etc/ds01").mkdir(parents=True)
    (tmp_path / "root/etc/ds01/policy.json").write_text(SHIPPED.read_text())
    (tmp_path / "root/proc").symlink_to("/proc")
    return Live(tmp_path / "root")


def no_tool(argv: Sequence[str], **_: object) -> Completed:
    return Completed(tuple(argv), 127, "", "nvidia-smi is not installed")


def test_the_shipped_host_is_as_the_shipped_policy_says(loaded_nvml: FakeNvml, paths: HostPaths) -> None:
    loaded_nvml.write(shipped_host())
    text = "4 GPUs in 8 units, as the host file says"
    assert look_at_gpus(paths) == (Check("host", "gpus", Status.OK, text),)


def test_a_host_that_is_split_otherwise_is_a_warning_with_the_commands(loaded_nvml: FakeNvml, paths: HostPaths) -> None:
    loaded_nvml.write(replace(shipped_host(), gpus=(*shipped_host().gpus[:3], split_gpu(3, instances=2))))
    (found,) = look_at_gpus(paths)
    assert (found.name, found.status) == ("gpu 3", Status.WARNING)
    assert found.text == "the host file says 2g.20gb, 2g.20gb, 2g.20gb, the driver shows 2g.20gb, 2g.20gb"
    assert "nvidia-smi mig -i 3 -cgi 2g.20gb,2g.20gb,2g.20gb -C" in found.fix


def test_fourteen_units_and_a_real_process_on_one(loaded_nvml: FakeNvml, paths: HostPaths) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        unit = instance_uuid(2, 1)
        loaded_nvml.write(race_host().with_processes(FakeProcess(child.pid, unit, 1 << 30)))
        devices = read_devices(paths, no_tool)
        child.kill()
    slots = ["0", "1", *(f"{gpu}:{number}" for gpu in (2, 3, 4, 5) for number in range(3))]
    assert [unit.slot for unit in devices.units] == slots
    (process,) = devices.processes
    assert (process.pid, process.uuid, process.command, process.memory_bytes) == (child.pid, unit, "sleep", 1 << 30)
    assert devices.unknown is None
    assert read_usage(paths, no_tool)[devices.units[0].uuid] == Usage(0, 0)


@pytest.mark.parametrize(
    "name", ["NVML_ERROR_DRIVER_NOT_LOADED", "NVML_ERROR_LIB_RM_VERSION_MISMATCH", "NVML_ERROR_NO_PERMISSION"]
)
def test_a_driver_that_does_not_start_is_named(loaded_nvml: FakeNvml, paths: HostPaths, name: str) -> None:
    loaded_nvml.write(shipped_host().with_rules(f"fail nvmlInitWithFlags {name.removeprefix('NVML_ERROR_')}"))
    with pytest.raises(DevicesError, match="cannot be told") as caught:
        read_devices(paths, no_tool)
    assert name in (caught.value.details or "")
    (found,) = look_at_gpus(paths)
    assert (found.status, name in found.text) == (Status.WARNING, True)


@pytest.mark.parametrize("name", ["NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_UNKNOWN", "NVML_ERROR_RESET_REQUIRED"])
def test_a_gpu_that_fails_hides_no_other(loaded_nvml: FakeNvml, paths: HostPaths, name: str) -> None:
    loaded_nvml.write(shipped_host().with_rules(f"fail * 2 {name.removeprefix('NVML_ERROR_')}"))
    devices = read_devices(paths, no_tool)
    assert [(gpu.index, name in (gpu.problem or "")) for gpu in devices.gpus] == [
        (0, False),
        (1, False),
        (2, True),
        (3, False),
    ]
    assert [unit.slot for unit in devices.units if unit.problem is None] == ["0", "1", "3:0", "3:1", "3:2"]


def test_instances_that_come_and_go_meanwhile_are_never_half_seen(loaded_nvml: FakeNvml, paths: HostPaths) -> None:
    whole = (host(whole=1, split=1), Host(_fewer()))
    swap = (
        "import os, sys, json, time\n"
        "texts = json.loads(sys.argv[2])\n"
        "while True:\n"
        "    for text in texts:\n"
        "        open(sys.argv[1] + '.new', 'w').write(text); os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
        "        time.sleep(0.004)\n"
    )
    texts = json.dumps([str(each) for each in whole])
    loaded_nvml.write(whole[0])
    both = {(3, True), (1, True)}
    seen, since = set(), 0
    with subprocess.Popen(["python3", "-I", "-S", "-c", swap, loaded_nvml.file, texts]) as changing:
        for _ in range(AT_MOST):
            _, split = read_devices(paths, no_tool, live=True, who=False).gpus
            seen.add((len(split.instances), split.problem is None))
            # The other process takes its time to begin.
            since += both <= seen
            if since == LOOKS:
                break
        changing.kill()
    assert both <= seen <= {*both, (0, False)}


def _fewer() -> tuple[FakeGpu, ...]:
    first, second = host(whole=1, split=1).gpus
    return (first, replace(second, instances=second.instances[:1]))
