"""`ds01-generate-limits`: the slices against the deployed generation; says and changes nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.machine import inv, write_inventory

from ds01.core.errors import ExitCode
from ds01.deployer.commands.generate_limits import main

UNITS = "etc/systemd/system"
ALICE = f"{UNITS}/ds01-student-alice.slice.d/10-resource-limits.conf"
BOB = ALICE.replace("alice", "bob")
PUT_BACK = "To put them back: sudo ./inv deploy --force in the checkout (a copy of hand edits is kept)\n"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "root").mkdir()
    inventory = write_inventory(folder / "inventory")
    assert inv("deploy", "--yes", "--root", str(folder / "root"), "--inventory", str(inventory)).code == 0
    return folder / "root"


@pytest.fixture
def root(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "root"))


def compared(root: Path, *words: str) -> int:
    return main(["--root", str(root), *words])


def test_slices_as_deployed_are_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert compared(root) == ExitCode.DONE
    assert capsys.readouterr() == ("generation 1: 0 to add, 0 to change, 0 to remove, 8 unchanged\n", "")
    assert compared(root, "--user", "alice", "--dry-run") == ExitCode.DONE
    assert capsys.readouterr() == ("generation 1: 0 to add, 0 to change, 0 to remove, 1 unchanged\n", "")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_what_differs_is_a_line_each_and_waits_for_a_deploy(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ALICE).write_text("[Slice]\nMemoryMax=1T\n")
    (root / f"{UNITS}/ds01.slice").unlink()
    (root / "etc/ds01/policy.json").write_text("{}\n")  # no slice, so no business of this command
    assert compared(root) == ExitCode.CHANGES_PENDING
    assert capsys.readouterr() == (
        (
            f"/{UNITS}/ds01-student-alice.slice.d/10-resource-limits.conf: edited by hand since generation 1\n"
            f"/{UNITS}/ds01.slice: deleted by hand since generation 1\n"
            "generation 1: 1 to add, 1 to change, 0 to remove, 6 unchanged\n"
        ),
        PUT_BACK,
    )
    assert (root / ALICE).read_text() == "[Slice]\nMemoryMax=1T\n"


def test_something_in_a_slices_place_differs_too(root: Path) -> None:
    (root / ALICE).unlink()
    (root / ALICE).mkdir()
    assert compared(root) == ExitCode.CHANGES_PENDING


def test_an_account_is_compared_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / BOB).write_text("mine\n")
    assert compared(root, "--user", "alice") == ExitCode.DONE
    assert compared(root, "--user", "bob") == ExitCode.CHANGES_PENDING
    assert capsys.readouterr().out.splitlines() == [
        "generation 1: 0 to add, 0 to change, 0 to remove, 1 unchanged",
        f"/{BOB}: edited by hand since generation 1",
        "generation 1: 0 to add, 1 to change, 0 to remove, 0 unchanged",
    ]


def test_verbose_and_json_show_the_lines_that_differ(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / ALICE).write_text((root / ALICE).read_text().replace("MemoryMax=8G", "MemoryMax=1T"))
    assert compared(root, "--verbose") == ExitCode.CHANGES_PENDING
    shown = capsys.readouterr().out
    assert shown.startswith(
        f"Slices of generation 1 for ds01 on {root}: 0 to add, 1 to change, 0 to remove, 7 unchanged\n"
    )
    assert "    -MemoryMax=1T\n    +MemoryMax=8G\n" in shown
    assert compared(root, "--json") == ExitCode.CHANGES_PENDING
    (action,) = json.loads(capsys.readouterr().out)["actions"]
    assert (action["path"], action["drift"]) == (f"/{ALICE}", True)


@pytest.mark.parametrize("account", ["eve", "operator"])
def test_an_account_without_a_slice_of_its_own_is_bad_input(
    root: Path, account: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(root, "--user", account) == ExitCode.BAD_INPUT
    assert capsys.readouterr() == (
        "",
        (
            f"error: account {account!r} has no slice of its own\n"
            "it is not listed, or its group has no limits over all containers\n"
            f"To fix: ds01 limits {account} shows what holds for it\n"
        ),
    )


def test_without_a_deploy_there_is_nothing_to_compare_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(tmp_path) == ExitCode.BAD_INPUT
    assert capsys.readouterr() == (
        "",
        "error: nothing was deployed here yet\nTo fix: sudo ./inv deploy, in the checkout\n",
    )


def test_a_generation_that_cannot_be_read_is_an_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "var/lib/ds01/deploy/generations/000001.json").write_text("{")
    assert compared(root) == ExitCode.FAILED
    assert "000001.json cannot be read" in capsys.readouterr().err
