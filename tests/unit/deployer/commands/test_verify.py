"""`ds01 verify`: a line a check and a sum; what was cut off is a failure with its fix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.integration.machine import inv, write_inventory

from ds01.core.errors import ExitCode
from ds01.deployer.commands.verify import main, report_checks
from ds01.deployer.verify import Check, Status

if TYPE_CHECKING:
    from pathlib import Path

CHECKS = (
    Check("applied", "files", Status.OK, "fine"),
    Check("host", "docker", Status.WARNING, "down", "start it"),
    Check("applied", "a.slice", Status.FAILED, "wrong", "mend it"),
)


@pytest.mark.parametrize(
    ("checks", "code", "last"),
    [
        (CHECKS, ExitCode.FAILED, "3 checks: 1 failed, 1 warning"),
        (CHECKS[:2], ExitCode.DONE, "2 checks: 0 failed, 1 warning"),
        (CHECKS[:1], ExitCode.DONE, "1 check: 0 failed, 0 warnings"),
    ],
)
def test_checks_are_a_line_each_and_a_sum(
    checks: tuple[Check, ...], code: ExitCode, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_checks(checks, as_json=False) == code
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("applied  ok      files: fine", last, len(checks) + 1)
    assert report_checks(checks, as_json=True) == code
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "ok": code is ExitCode.DONE,
        "checks": [each.to_json() for each in checks],
    }


def test_a_host_without_a_deploy_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == ExitCode.FAILED
    assert capsys.readouterr() == (
        (
            "applied  FAILED  deploy: nothing was deployed here yet; sudo ./inv deploy\n"
            f"host     skipped host: {tmp_path} is a folder, not the running machine\n"
            "2 checks: 1 failed, 0 warnings\n"
        ),
        "",
    )


def test_a_deploy_that_was_cut_off_fails_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, inventory = tmp_path / "root", write_inventory(tmp_path / "inventory")
    root.mkdir()
    assert inv("deploy", "--yes", "--root", str(root), "--inventory", str(inventory)).code == 0
    assert main(["--root", str(root)]) == ExitCode.DONE
    (root / "var/lib/ds01/deploy/journal.json").write_text('{"version": 1, "state": "applied", "list": "x"}\n')
    capsys.readouterr()
    assert main(["--root", str(root), "--json"]) == ExitCode.FAILED
    first, second, *_ = json.loads(capsys.readouterr().out)["checks"]
    assert (first, second["name"]) == (
        {
            "part": "applied",
            "name": "deploy",
            "status": "failed",
            "text": "an earlier deploy was interrupted with all its files in place; the next deploy finishes it first",
            "fix": "sudo ds01 recover",
        },
        "files",
    )
