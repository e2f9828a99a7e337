"""`ds01 verify` with the GPUs joined: only on the host itself, warnings at most."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ds01.core.errors import ExitCode
from ds01.core.paths import HostPaths
from ds01.deployer.verify import Check, Status
from ds01.verify import look_at_gpus, main, verify

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHIPPED = Path(__file__).parents[1] / "golden/shipped/expected/root/etc/ds01/policy.json"


class Live(HostPaths):
    """A folder that passes for the machine itself."""

    @property
    def is_live(self) -> bool:
        return True


def write_policy(root: Path, document: object) -> HostPaths:
    (root / "etc/ds01").mkdir(parents=True)
    (root / "etc/ds01/policy.json").write_text(json.dumps(document))
    return Live(root)


def test_below_a_folder_nobody_looks_at_gpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for look in (lambda: main(["--root", str(tmp_path)]), lambda: verify(tmp_path, as_json=False)):
        assert look() == ExitCode.FAILED
        assert capsys.readouterr().out.splitlines() == [
            "applied  FAILED  deploy: nothing was deployed here yet; sudo ./inv deploy",
            f"host     skipped host: {tmp_path} is a folder, not the running machine",
            "2 checks: 1 failed, 0 warnings",
        ]


def test_without_a_policy_there_is_nothing_to_hold_them_against(tmp_path: Path) -> None:
    text = "no policy was deployed to hold the GPUs against"
    assert look_at_gpus(Live(tmp_path)) == (Check("host", "gpus", Status.SKIPPED, text),)


def test_a_policy_that_cannot_be_read_is_said_elsewhere(tmp_path: Path) -> None:
    paths = write_policy(tmp_path, [])
    assert look_at_gpus(paths) == ()


def test_a_policy_without_gpus_is_a_warning(tmp_path: Path) -> None:
    (found,) = look_at_gpus(write_policy(tmp_path, {"version": 1}))
    assert (found.part, found.name, found.status) == ("host", "gpus", Status.WARNING)


def look_in_a_process_of_its_own(root: Path) -> Check:
    """Nothing that another test loaded is in there; PATH has no tool, and no library is where one is looked for."""
    code = (
        f"import sys; sys.path.insert(0, {os.fspath(SCRIPTS)!r})\n"
        "import pickle, pathlib, ds01.verify, ds01.core.paths as paths\n"
        "class Live(paths.HostPaths):\n    is_live = True\n"
        f"sys.stdout.buffer.write(pickle.dumps(ds01.verify.look_at_gpus(Live(pathlib.Path({os.fspath(root)!r})))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={})
    (found,) = pickle.loads(done.stdout)
    assert isinstance(found, Check)
    return found


def test_a_machine_that_cannot_tell_is_a_warning_with_a_fix(tmp_path: Path) -> None:
    """This machine has no GPU; the shipped policy lists four."""
    write_policy(tmp_path, json.loads(SHIPPED.read_text()))
    found = look_in_a_process_of_its_own(tmp_path)
    assert (found.status, found.text.split(":")[0]) == (
        Status.WARNING,
        "what GPUs this machine has cannot be told",
    )
    assert found.fix


def test_a_machine_without_gpus_that_should_have_none_is_left_alone(tmp_path: Path) -> None:
    write_policy(tmp_path, {"host": {"gpus": []}})
    found = look_in_a_process_of_its_own(tmp_path)
    assert found == Check("host", "gpus", Status.SKIPPED, "there are none, and the host file lists none")
