"""`ds01 history`: newest first; one that is damaged hides no other, and none at all is no success."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ds01.core.errors import ExitCode
from ds01.core.tree import Tree
from ds01.deployer.commands.history import main
from ds01.deployer.history import Generation, generation_path

if TYPE_CHECKING:
    from pathlib import Path


def remember(root: Path, number: int, text: str | None = None) -> None:
    made = Generation(
        number, "ds01", f"{number}" * 64, "alice", f"2030-01-0{number}T00:00:00Z", f"deploy {number}", TREE
    )
    file = root / str(generation_path(number)).lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made.to_json()) if text is None else text)


TREE = Tree.of("ds01", "hash", ())


def test_without_a_deploy_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == ExitCode.DONE
    assert capsys.readouterr() == ("Nothing was deployed here yet.\n", "")
    assert main(["--root", str(tmp_path), "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == {"version": 1, "generations": []}


def test_it_is_a_table_newest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember(tmp_path, 1)
    remember(tmp_path, 2)
    assert main(["--root", str(tmp_path)]) == ExitCode.DONE
    assert capsys.readouterr() == (
        (
            "GENERATION  WHEN                  WHO    POLICY        WHAT\n"
            "2           2030-01-02T00:00:00Z  alice  222222222222  deploy 2\n"
            "1           2030-01-01T00:00:00Z  alice  111111111111  deploy 1\n"
        ),
        "",
    )


def test_as_json_it_is_the_same_without_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember(tmp_path, 1)
    assert main(["--root", str(tmp_path), "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "generations": [
            {
                "version": 1,
                "generation": 1,
                "host": "ds01",
                "policy_hash": "1" * 64,
                "who": "alice",
                "when": "2030-01-01T00:00:00Z",
                "what": "deploy 1",
            }
        ],
    }


def test_one_that_is_damaged_hides_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember(tmp_path, 1)
    remember(tmp_path, 2, "{")
    assert main(["--root", str(tmp_path)]) == ExitCode.DONE
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == ["GENERATION", "1"]
    damaged = tmp_path / str(generation_path(2)).lstrip("/")
    assert shown.err == f"notice: generation 2 cannot be shown: {damaged} cannot be read\n"


def test_when_none_can_be_shown_it_says_so_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember(tmp_path, 2, "{")
    assert main(["--root", str(tmp_path)]) == ExitCode.FAILED
    shown = capsys.readouterr()
    assert (shown.out, shown.err[:37]) == ("", "notice: generation 2 cannot be shown:")
