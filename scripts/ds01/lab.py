"""The tasks of the lab, the machine of tests/lab: hands their options to its command line, and runs its tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ds01.core.errors import ExitCode
from ds01.project import run_tool
from ds01.workflow import CHECKOUT


def call(verb: str, *words: str, **options: str | bool | Sequence[str] | None) -> int:
    """Do what the lab's command line does with these words, in this process, so that an interrupt reaches it.

    Args:
        options: by name; None, False and an empty sequence leave it away, a sequence says it again for each.

    Returns:
        Its exit code; of a command that was run inside, that command's own.
    """
    if os.fspath(CHECKOUT) not in sys.path:
        sys.path.insert(0, os.fspath(CHECKOUT))
    from tests.lab.machine.cli import main  # noqa: PLC0415 - found only now

    return main([verb, *_said(options), *words])


def _said(options: dict[str, str | bool | Sequence[str] | None]) -> list[str]:
    said = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            said += [flag] if value else []
        else:
            said += [f"{flag}={one}" for one in ([value] if isinstance(value, str) else value or ())]
    return said


def run_tests(only: str, suite: str | None, part: str | None = None, *, brief: bool = False) -> int:
    """Build what is missing, then run the tests that need a machine, and those of the lab itself.

    Args:
        only: a file, folder or test, as pytest takes it.
        suite: of the tests that run in each suite, those of this one.
        part: `waiting` or `working`; both at once take not much longer than one.
        brief: most tests in one suite, and a quarter of the power cuts.
    """
    code = call("build", suite=suite)
    if code != ExitCode.DONE:
        return code
    narrowed = [f"--{name}={value}" for name, value in (("suite", suite), ("part", part)) if value]
    return run_tool("pytest", "--lab", "--slow", *narrowed, *(["--brief"] if brief else []), only)
