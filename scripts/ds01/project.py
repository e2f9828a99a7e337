"""The tasks that look after the checkout itself: lint, test, golden, docs, bench. Not used on a host."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ds01.core.errors import ExitCode
from ds01.core.process import NOT_FOUND, run, stream
from ds01.core.terminal import say
from ds01.generator.build import build, host_names
from ds01.generator.generated import left_over, stale_reason
from ds01.generator.reference import stale_pages, write_pages
from ds01.runtime.client.realclient import write_table
from ds01.runtime.client.tables import FOLDER
from ds01.workflow import CHECKOUT

_BIN: Final = Path(sys.executable).parent
_LINTERS: Final = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports", "--no-logo"),
)
SHELL_FILES: Final = (
    "inv",
    ".ci/run",
    "tests/golden/shipped/expected/root/usr/local/sbin/ds01-verify-cgroup",
    "tests/lab/machine/guest/first-boot.sh",
    "tests/lab/machine/guest/prepare.sh",
)
_SHELL_LINTERS: Final = (("shellcheck",), ("shfmt", "--diff", "--indent", "4", "--case-indent=false"))


def lint() -> int:
    """Run every linter; all of them, so that one run shows everything."""
    failed = [tool[0] for tool in _LINTERS if run_tool(*tool)]
    for tool in _SHELL_LINTERS:
        if shutil.which(tool[0]) is None:
            say(f"notice: {tool[0]} is not installed, shell files were not checked (apt-get install {tool[0]})")
            failed += [tool[0]] if _strict() else []
        elif stream([*tool, *SHELL_FILES], folder=os.fspath(CHECKOUT)):
            failed.append(tool[0])
    return verdict("lint", failed)


def run_tests(arguments: Sequence[str] = ()) -> int:
    """Run the tests that need nothing beyond the virtual environment and the engines that are there."""
    return run_tool("pytest", *arguments)


def check() -> int:
    """Run what a change must pass: lint, fresh pictures and pages, tests."""
    steps = {"lint": lint, "generated/ and docs/": fresh, "test": run_tests}
    failed = []
    for name, step in steps.items():
        say(f"check: {name}")
        if step() != ExitCode.DONE:
            failed.append(name)
    return verdict("check", failed)


def fresh() -> int:
    """Tell whether generated/ and the made parts of docs/ are what their sources give."""
    inventory = CHECKOUT / "inventory"
    trees = [build(CHECKOUT, inventory, host)[0] for host in host_names(inventory)]
    stale = [reason for tree in trees if (reason := stale_reason(CHECKOUT, tree))]
    stale += [
        f"generated/{name} is for no host of the inventory; remove it"
        for name in left_over(CHECKOUT, host_names(inventory))
    ]
    stale += stale_pages(CHECKOUT)
    for reason in stale:
        say(reason)
    return ExitCode.FAILED if stale else ExitCode.DONE


def golden() -> int:
    """Write the expected trees of the tests anew."""
    code = run_tool("pytest", "--quiet", "--update-golden", "tests/integration/test_generator_golden.py")
    say("review git diff tests/golden")
    return code


def docs() -> int:
    """Write the made parts of the documentation."""
    changed = write_pages(CHECKOUT)
    print("\n".join(changed) if changed else "docs are fresh")
    return ExitCode.DONE


def bench(arguments: Sequence[str]) -> int:
    """Measure, and write docs/performance.md."""
    return stream([sys.executable, "bench/run.py", *arguments], folder=os.fspath(CHECKOUT))


def client_table(docker: Path) -> int:
    """Make the table of one docker client; git diff then shows how it differs from what was known of that version."""
    print(write_table(docker, run, FOLDER).relative_to(CHECKOUT))
    return ExitCode.DONE


def run_tool(name: str, *arguments: str) -> int:
    """Run a tool of .venv in the checkout; returns its exit status."""
    code = stream([os.fspath(_BIN / name), *arguments], folder=os.fspath(CHECKOUT))
    # The tools' own codes above 1 mean other things here: 4 would be refused, 5 busy.
    code = code if code in {ExitCode.DONE, NOT_FOUND} else ExitCode.FAILED
    if code == NOT_FOUND:
        say(f"{name} is not in .venv; remove .venv and run ./inv again")
    return code


def _strict() -> bool:
    return os.environ.get("DS01_TEST_STRICT") == "1"


def verdict(what: str, failed: Sequence[str]) -> int:
    """Say how a task ended; returns its exit code."""
    if failed:
        say(f"{what}: failed in {', '.join(failed)}")
        return ExitCode.FAILED
    say(f"{what}: passed")
    return ExitCode.DONE
