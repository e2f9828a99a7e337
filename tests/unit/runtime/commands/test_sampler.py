"""`ds01-sampler` from its command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cgroups import make_mount, make_slice

from ds01.core.paths import HostPaths
from ds01.runtime.commands.sampler import main


def test_once_writes_the_file_and_ends(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path)
    make_slice(make_mount(paths.cgroup), "ds01-student-alice.slice")
    paths.rates.parent.mkdir(parents=True)
    assert main(["--root", str(tmp_path), "--once"]) == 0
    assert json.loads(paths.rates.read_text())["slices"] == {}
    paths.rates.unlink()
    paths.rates.parent.rmdir()
    assert main(["--root", str(tmp_path), "--once"]) == 1


@pytest.mark.parametrize("pause", ["0", "61", "-1", "soon", "nan", ""])
def test_a_pause_that_makes_no_sense_is_bad_input(pause: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--interval", pause])
    assert ended.value.code == 2
    assert f"{pause!r} is no pause; write 0.1 to 60 seconds" in capsys.readouterr().err
