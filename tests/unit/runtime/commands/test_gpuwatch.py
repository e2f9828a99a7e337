"""`ds01-gpuwatch` from its command line; tests/integration/test_gpuwatch.py has it at work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.samples import shipped_host

from ds01.core.paths import HostPaths
from ds01.runtime.commands.gpuwatch import main

if TYPE_CHECKING:
    from tests.fake_nvml.fixture import FakeNvml

SHIPPED = Path(__file__).parents[3] / "golden/shipped/expected/root/etc/ds01/policy.json"


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    for folder in ("etc/ds01", "run/ds01", "var/lib/ds01", "var/log/ds01"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc").symlink_to("/proc")
    document = json.loads(SHIPPED.read_text())
    # Nobody listens there: it is no port that programs are given by themselves.
    document["host"]["ports"]["dcgm"] = 9
    made.policy.write_text(json.dumps(document))
    return made


def test_once_writes_both_files_and_ends(paths: HostPaths, loaded_nvml: FakeNvml) -> None:
    loaded_nvml.write(shipped_host())
    # Without an exporter nothing is lacking on a host on which no instance has a process, but its silence is said.
    assert main(["--root", str(paths.root), "--once"]) == 1
    units = json.loads(paths.gpu_activity.read_text())["units"]
    assert [each["percent"] for each in units.values()] == [0.0] * 8
    assert json.loads(paths.host_processes.read_text())["processes"] == []


def test_without_a_policy_nothing_is_written(paths: HostPaths, caplog: pytest.LogCaptureFixture) -> None:
    paths.policy.unlink()
    assert main(["--root", str(paths.root), "--once"]) == 1
    assert not paths.gpu_activity.exists()
    assert "there is no compiled policy" in caplog.text


@pytest.mark.root
def test_an_ordinary_account_watches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    os.seteuid(65534)
    try:
        code = main(["--once"])
    finally:
        os.seteuid(0)
    assert (code, capsys.readouterr().err.splitlines()[0]) == (4, "error: GPUs are watched by root alone")


@pytest.mark.parametrize("option", ["--interval", "--limit"])
@pytest.mark.parametrize("pause", ["0", "61", "-1", "soon", "nan", ""])
def test_a_pause_that_makes_no_sense_is_bad_input(option: str, pause: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option, pause])
    assert ended.value.code == 2
    assert f"{pause!r} is no pause; write 0.1 to 60 seconds" in capsys.readouterr().err
