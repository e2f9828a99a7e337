"""The house's rules that no compiler holds: who may import whom, how long things may be, that everything is tested."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = CHECKOUT / "scripts"
TESTS = CHECKOUT / "tests"
MODULES = sorted(SCRIPTS.rglob("*.py"))
SOURCES = sorted([*MODULES, *TESTS.rglob("*.py"), CHECKOUT / "tasks.py"])
PACKAGED = [path for path in MODULES if path.is_relative_to(SCRIPTS / "ds01") and path.name != "__init__.py"]
LONGEST_MODULE, LONGEST_FUNCTION = 400, 50
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")


def shown(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function with its length in lines, decorators left out."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_module_is_too_long() -> None:
    long = {shown(path): length for path in MODULES if (length := len(path.read_text().splitlines())) > LONGEST_MODULE}
    assert long == {}


def test_no_function_is_too_long() -> None:
    long = {
        f"{shown(path)}:{name}": length
        for path in [*MODULES, CHECKOUT / "tasks.py"]
        for name, length in functions(path)
        if length > LONGEST_FUNCTION
    }
    assert long == {}


def test_every_module_says_in_its_first_line_what_it_is_for() -> None:
    silent = []
    for path in SOURCES:
        if path.name == "__init__.py" and not path.read_text().strip():
            continue
        first = (ast.get_docstring(parsed(path)) or "").split("\n", maxsplit=1)[0]
        if not first.endswith((".", ":")):
            silent.append(shown(path))
    assert silent == []


@pytest.mark.parametrize("package", sorted({path.parent.name for path in PACKAGED}))
def test_every_module_has_its_test(package: str) -> None:
    untested = []
    for path in PACKAGED:
        if path.parent.name != package:
            continue
        folder = TESTS / "unit" / path.parent.relative_to(SCRIPTS / "ds01")
        if not (folder / f"test_{path.stem}.py").exists():
            untested.append(shown(path))
    assert untested == []


def test_every_unit_test_has_its_module() -> None:
    modules = {Path("tasks"), *(path.relative_to(SCRIPTS / "ds01").with_suffix("") for path in PACKAGED)}
    orphans = [
        shown(path)
        for path in sorted((TESTS / "unit").rglob("test_*.py"))
        if path.relative_to(TESTS / "unit").with_name(path.stem.removeprefix("test_")) not in modules
    ]
    assert orphans == []


def test_nothing_is_left_unfinished() -> None:
    marked = [
        f"{shown(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    assert marked == []


def test_only_one_module_starts_other_programs() -> None:
    starters = [
        shown(path)
        for path in PACKAGED
        if any(
            isinstance(node, ast.Import) and any(name.name == "subprocess" for name in node.names)
            for node in ast.walk(parsed(path))
        )
    ]
    assert starters == ["scripts/ds01/core/process.py"]
