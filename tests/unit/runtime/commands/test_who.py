"""`ds01 who` on a described host with real processes; what cannot be read is said and hides nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.fake_nvml.description import FakeProcess
from tests.fake_nvml.samples import shipped_host
from tests.unit.runtime.gpu.hosts import NOON, held, ledger

from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.commands import who
from ds01.runtime.gpu.activity import Activity, UnitActivity, to_document
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.record import format_ledger
from ds01.runtime.machine import Machine

if TYPE_CHECKING:
    from tests.fake_nvml.fixture import FakeNvml

SHIPPED = Path(__file__).parents[3] / "golden/shipped/expected/root/etc/ds01/policy.json"
UNITS = shipped_host().units


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    for folder in ("etc/ds01", "run/ds01", "var/lib/ds01"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc").symlink_to("/proc")
    made.policy.write_text(SHIPPED.read_text())
    return made


def run(paths: HostPaths, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = who.main([*argv, "--root", str(paths.root)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def hold(paths: HostPaths, slot: str, place: int, **changes: Any) -> None:
    mine = replace(held("student01", slot, name="nb", **changes), uuids=(GpuUuid(UNITS[place]),))
    paths.gpu_state.write_bytes(format_ledger(ledger(mine), NOON))


def watch(paths: HostPaths, units: dict[str, UnitActivity], age: float = 0) -> None:
    now = datetime.now(UTC) - timedelta(seconds=age)
    seen = Activity({GpuUuid(uuid): each for uuid, each in units.items()})
    found = to_document(seen, now, Machine().boot_id(), 5.0, {})
    paths.gpu_activity.write_text(json.dumps(found))


def test_who_is_what_the_driver_and_the_record_say(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    hold(paths, "2:0", 2)
    figures = {uuid: 64.4 if uuid == UNITS[1] else 0.0 for uuid in UNITS}
    watch(paths, {uuid: UnitActivity(each, None, NOON, known_at=NOON) for uuid, each in figures.items()})
    with subprocess.Popen(["sleep", "60"]) as child:
        loaded_nvml.write(shipped_host().with_processes(FakeProcess(child.pid, UNITS[1], 1 << 30)))
        code, out, err = run(paths, capsys)
        document = json.loads(run(paths, capsys, "--json")[1])
        child.kill()
    assert (code, err) == (0, "")
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()]
    assert [line[1] for line in lines[1:]] == ["0", "1", "2:0", "2:1", "2:2", "3:0", "3:1", "3:2"]
    assert [line[4] for line in lines[1:4]] == ["free", f"sleep (pid {child.pid}) on the host", "nb"]
    assert [line[6] for line in lines[1:3]] == ["0%", "64%"]
    assert (document["version"], document["known"], document["lacking"]) == (1, True, [])
    assert [each["uses"][0]["kind"] if each["uses"] else None for each in document["units"]] == [
        None, "host", "container", None, None, None, None, None,
    ]  # fmt: skip
    assert document["units"][1]["uses"][0]["processes"][0]["pid"] == child.pid
    assert document["units"][1]["busy_percent"] == 64.4


def test_that_nobody_watches_is_said_and_is_no_failure(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host())
    hold(paths, "2:0", 2)
    code, _, err = run(paths, capsys)
    assert (code, err) == (
        0,
        "notice: how busy MIG instances are is not known: nobody watches them (systemctl status ds01-gpuwatch)\n",
    )
    watch(paths, {}, age=600)
    assert "systemctl status ds01-gpuwatch says why nobody writes it" in run(paths, capsys)[2]
    paths.gpu_activity.write_text("{")
    assert "gpu-activity.json cannot be read" in run(paths, capsys)[2]


def test_why_the_busyness_of_a_used_unit_is_not_known_is_said_once(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host())
    hold(paths, "2:0", 2)
    watch(paths, {uuid: UnitActivity(None, None, NOON, "only DCGM can tell") for uuid in UNITS})
    assert run(paths, capsys)[2] == "notice: how busy a unit is may not be known: only DCGM can tell\n"


def test_a_driver_that_does_not_answer_hides_no_holder(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host().with_rules("fail nvmlInit DRIVER_NOT_LOADED"))
    hold(paths, "2:0", 2)
    code, out, err = run(paths, capsys)
    assert (code, out) == (
        1,
        "which GPUs there are cannot be told\nstudent01's nb holds GPU 2:0, which is not seen\n",
    )
    assert "NVML_ERROR_DRIVER_NOT_LOADED" in err
    document = json.loads(run(paths, capsys, "--json")[1])
    assert (document["known"], document["units"]) == (False, [])
    assert document["not_seen"] == [{"user": "student01", "container": "nb", "slots": ["2:0"]}]


def test_a_unit_that_is_gone_is_told_with_its_holder(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_nvml.write(shipped_host())
    mine = replace(held("student01", "2:0", name="n\x1bb"), uuids=(GpuUuid("MIG-gone"),))
    paths.gpu_state.write_bytes(format_ledger(ledger(mine), NOON))
    assert run(paths, capsys)[1].endswith("student01's n\\x1bb holds GPU 2:0, which is no more\n")


@pytest.mark.root
def test_processes_that_may_not_be_seen_come_from_the_record(
    loaded_nvml: FakeNvml, paths: HostPaths, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A procfs without process 1, as hidepid makes it for others."""
    (tmp_path / "proc").unlink()
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text(Path("/proc/sys/kernel/random/boot_id").read_text())
    loaded_nvml.write(shipped_host().with_processes(FakeProcess(4711, UNITS[0], 1 << 30)))
    row = {
        "pid": 4711, "started": 5, "uid": 1000, "user": "student01", "command": "jupyter", "gpu_uuids": [UNITS[0]],
        "slots": ["0"], "memory_bytes": 1, "container_id": None, "since": "2026-03-01T12:00:00Z", "sightings": 2,
        "verdict": "warned", "warned_at": None, "ends_at": None, "ends_seconds": None, "granted_until": None,
        "note": None,
    }  # fmt: skip
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z"
    record = {"version": 1, "updated_at": now, "boot": "b", "processes": [row], "quiet": [], "unknown": None}
    paths.host_processes.write_text(json.dumps(record))
    code, out, err = run(paths, capsys)
    assert code == 1
    assert "student01  jupyter (pid 4711) on the host" in out
    assert "may not be seen by this account" in err
    assert "are shown as ds01-gpuwatch saw them" in err


def test_it_is_shown_again_and_again(loaded_nvml: FakeNvml, paths: HostPaths) -> None:
    loaded_nvml.write(shipped_host())
    scripts = os.fspath(Path(__file__).parents[4] / "scripts")
    argv = [sys.executable, "-P", "-m", "ds01.cli", "who", "--watch", "0.2", "--root", str(paths.root)]
    environment = {**loaded_nvml.environment, "PYTHONPATH": scripts, "PATH": os.environ["PATH"]}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as shown:
        assert shown.stdout is not None
        heads = 0
        while heads < 3:
            heads += shown.stdout.readline().startswith("GPU ")
        shown.kill()
