"""`ds01 rollback`: to the one before or a number, with the options a deploy has."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pytest
from tests.integration.machine import inv, write_inventory

from ds01.core.errors import ExitCode
from ds01.deployer.commands.rollback import main

ALICE = "etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with generations 1 to 3, whose MemoryMax of alice is 2G, 4G, 6G."""
    folder = tmp_path_factory.mktemp("three")
    (folder / "root").mkdir()
    for number in (1, 2, 3):
        inventory = write_inventory(folder / "inventory", memory=f"{number}g")
        assert inv("deploy", "--yes", "--root", str(folder / "root"), "--inventory", str(inventory)).code == 0
    return folder / "root"


@pytest.fixture
def root(three: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three, tmp_path / "root"))


def memory(root: Path) -> str:
    found = re.search(r"^MemoryMax=(.*)$", (root / ALICE).read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_it_goes_back_to_the_one_before_and_says_what_is_left_to_do(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(root), "--yes"]) == ExitCode.DONE
    shown = capsys.readouterr()
    assert memory(root) == "4G"
    assert shown.out.startswith("Rollback to generation 2 (")
    assert shown.err.endswith(
        "The inventory still says otherwise: revert the change there too, or the next deploy brings it back.\n"
    )


def test_it_goes_to_a_number(root: Path) -> None:
    assert main(["--root", str(root), "--yes", "--to", "1"]) == ExitCode.DONE
    assert memory(root) == "2G"


def test_it_asks_and_an_edit_needs_force(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["--root", str(root)]) == ExitCode.REFUSED
    assert "Roll back? [y/N] " in capsys.readouterr().err
    (root / ALICE).write_text("mine\n")
    assert main(["--root", str(root), "--yes"]) == ExitCode.REFUSED
    assert main(["--root", str(root), "--yes", "--force"]) == ExitCode.DONE
    assert memory(root) == "4G"


def test_to_where_it_is_there_is_nothing_to_do(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(root), "--yes", "--to", "3", "--no-runtime"]) == ExitCode.DONE
    assert capsys.readouterr().err == "Nothing to do: the host is as the policy says.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "9"], "error: there is no generation 9\nTo fix: kept are: 1, 2, 3; see ./inv history\n"),
        (["--to", "-1"], "error: there is no generation -1\nTo fix: kept are: 1, 2, 3; see ./inv history\n"),
    ],
)
def test_an_unknown_number_is_bad_input(
    root: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(root), "--yes", *words]) == ExitCode.BAD_INPUT
    assert capsys.readouterr() == ("", said)
    with pytest.raises(SystemExit) as caught:
        main(["--root", str(root), "--to", "x"])
    assert caught.value.code == ExitCode.BAD_INPUT


def test_before_a_second_deploy_there_is_nowhere_to_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err == (
        "error: there is no earlier generation to go back to\nTo fix: see ./inv history\n"
    )
