"""`ds01 recover`: clears up after a deploy that was cut off, alone, and removes what nothing needs."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from tests.releases import put_in_force

from ds01.core.errors import ExitCode
from ds01.core.jsonstate import exclusive
from ds01.core.paths import HostPaths
from ds01.deployer.apply import Write, stage
from ds01.deployer.commands.recover import main


def cut_off(root: Path) -> None:
    """Leave what a deploy leaves that dies before its files are in place."""
    stage(HostPaths(root), [Write(PurePosixPath("/etc/a"), b"new\n", 0o644)], context={"generation": 7})


@pytest.mark.parametrize("more", [[], ["--boot"]])
def test_what_was_cut_off_is_cleared_up_once(
    tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(tmp_path)
    assert main(["--root", str(tmp_path), *more]) == ExitCode.DONE
    assert capsys.readouterr() == ("", "An interrupted deploy (generation 7) was undone: the host is as before it.\n")
    assert main(["--root", str(tmp_path), *more]) == ExitCode.DONE
    assert capsys.readouterr() == ("", "Nothing to do: no deploy was interrupted.\n")
    assert [path.name for path in (tmp_path / "var/lib/ds01/deploy").iterdir()] == [".lock"]


def test_a_release_half_built_goes_too(tmp_path: Path) -> None:
    for name in (".new-xyz", "in-force"):
        (tmp_path / "opt/ds01/releases" / name).mkdir(parents=True)
    put_in_force(tmp_path, "in-force")
    assert main(["--root", str(tmp_path)]) == ExitCode.DONE
    assert [path.name for path in (tmp_path / "opt/ds01/releases").iterdir()] == ["in-force"]


def test_a_deploy_at_work_is_not_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut_off(tmp_path)
    with exclusive(HostPaths(tmp_path).deploy / ".lock"):
        assert main(["--root", str(tmp_path)]) == ExitCode.BUSY
    assert capsys.readouterr().err.startswith(f"error: another deploy is at work (pid {os.getpid()})\n")


def test_a_journal_that_cannot_be_read_is_left_with_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut_off(tmp_path)
    journal = tmp_path / "var/lib/ds01/deploy/journal.json"
    journal.write_text("{")
    assert main(["--root", str(tmp_path), "--boot"]) == ExitCode.FAILED
    assert capsys.readouterr().err.startswith("error: the journal of an interrupted deploy cannot be read: ")
    assert journal.read_text() == "{"


@pytest.mark.root
def test_the_machine_itself_is_roots(capsys: pytest.CaptureFixture[str]) -> None:
    os.seteuid(65534)
    try:
        assert main([]) == ExitCode.REFUSED
    finally:
        os.seteuid(0)
    assert capsys.readouterr() == ("", "error: deploy writes to /etc and must be root\nTo fix: sudo ds01 recover\n")
