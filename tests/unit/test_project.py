"""The tasks that look after the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds01 import project
from ds01.core.errors import ExitCode
from ds01.generator.build import validate
from ds01.generator.inventory import load_inventory
from ds01.generator.schema import load_schemas

# The two tests of the checkout's own inventory, which is its admins' to change; all others bring one of their own.


def test_inventory_of_the_checkout_is_right_for_each_of_its_hosts() -> None:
    documents, schemas = load_inventory(project.CHECKOUT / "inventory"), load_schemas(project.CHECKOUT / "schemas")
    problems = {problem for host in documents.hosts or ("",) for problem in validate(documents, host, schemas)[0]}
    assert [str(problem) for problem in sorted(problems) if not problem.notice] == []


def test_committed_tree_and_pages_are_what_their_sources_give(capfd: pytest.CaptureFixture[str]) -> None:
    assert (project.fresh(), capfd.readouterr().err) == (ExitCode.DONE, "")


def test_docs_that_are_fresh_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert (project.docs(), capsys.readouterr().out) == (ExitCode.DONE, "docs are fresh\n")


def test_tests_that_fail_fail_the_task(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_red.py").write_text("def test_red():\n    assert 1 == 2\n")
    assert project.run_tests(["--quiet", "-p", "no:cacheprovider", str(tmp_path)]) == 1
    assert "1 failed" in capfd.readouterr().out


def test_verdict_names_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert project.verdict("lint", ["ruff", "mypy"]) == ExitCode.FAILED
    assert project.verdict("lint", []) == ExitCode.DONE
    assert capsys.readouterr().err == "lint: failed in ruff, mypy\nlint: passed\n"


def test_tool_that_is_not_in_the_environment_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run_tool("no-such-tool") == 127
    assert capsys.readouterr().err == "no-such-tool is not in .venv; remove .venv and run ./inv again\n"


def test_every_shell_file_that_lint_looks_at_is_there() -> None:
    assert [name for name in project.SHELL_FILES if not (project.CHECKOUT / name).is_file()] == []
