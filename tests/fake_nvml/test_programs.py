"""Programs that nobody here wrote see the described hardware through the real binding: gpustat and nvitop."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.description import GIB, FakeProcess
from tests.fake_nvml.programs import NoProgramsError, ensure_programs
from tests.fake_nvml.samples import gpu_uuid, instance_uuid, shipped_host

from ds01.core.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fake_nvml.description import Host
    from tests.fake_nvml.fixture import FakeNvml


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that the driver can be said to see."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has the programs; skipped (in strict runs: failed) where they cannot be installed."""
    try:
        return ensure_programs()
    except NoProgramsError as error:
        pytest.skip(f"gpustat and nvitop cannot be installed: {error}")


def run(python: Path, fake: FakeNvml, *words: str) -> str:
    done = subprocess.run(
        [python, "-m", *words],
        env={**os.environ, **fake.environment, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # Programs tell on stderr what they miss in a driver.
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def described(child: subprocess.Popen[bytes]) -> Host:
    """The shipped host with GPU 1 at work and a process on it and on an instance."""
    host = shipped_host()
    busy = replace(host.gpus[1], used=40 * GIB, utilisation=93, memory_utilisation=50)
    gpus = (host.gpus[0], busy, *host.gpus[2:])
    return replace(host, gpus=gpus).with_processes(
        FakeProcess(child.pid, gpu_uuid(1), 40 * GIB), FakeProcess(child.pid, instance_uuid(2, 1), GIB)
    )


def test_gpustat_shows_every_gpu_its_load_and_its_process(
    python: Path, fake_nvml: FakeNvml, child: subprocess.Popen[bytes]
) -> None:
    fake_nvml.write(described(child))
    seen = json.loads(run(python, fake_nvml, "gpustat", "--json"))["gpus"]
    assert [(each["index"], each["uuid"], each["memory.total"]) for each in seen] == [
        (index, gpu_uuid(index), 81920) for index in range(4)
    ]
    assert (seen[1]["utilization.gpu"], seen[1]["memory.used"], seen[2]["utilization.gpu"]) == (93, 40960, None)
    assert [each["pid"] for each in seen[1]["processes"]] == [child.pid]


def test_nvitop_shows_mig_instances_and_the_process(
    python: Path, fake_nvml: FakeNvml, child: subprocess.Popen[bytes]
) -> None:
    fake_nvml.write(described(child))
    seen = run(python, fake_nvml, "nvitop", "-1", "--no-unicode")
    assert re.findall(r"(\d:\d) +(\S+) @ GI/CI: *(\d)/(\d)", seen) == [
        (f"{gpu}:{number}", "2g.20gb", str(3 + number), "0") for gpu in (2, 3) for number in range(3)
    ]
    assert len(re.findall(r"A100-SXM4-80GB", seen)) == 4
    assert str(child.pid) in seen
    assert "93%" in seen
