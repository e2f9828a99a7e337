"""The lab's tasks say their options to its command line, and give its exit code and words."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from ds01 import lab
from ds01.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty lab; and what its command line sets for this process is set back."""
    monkeypatch.setenv("DS01_LAB_CACHE", str(tmp_path))
    handler, mask = signal.getsignal(signal.SIGTERM), os.umask(0o022)
    yield
    signal.signal(signal.SIGTERM, handler)
    os.umask(mask)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"suite": None, "prepared": False, "share": [], "env": None}, []),
        ({"suite": "trixie", "name": ""}, ["--suite=trixie", "--name="]),
        ({"keep_disk": True}, ["--keep-disk"]),
        ({"env": ["A=b c", "D=-e"]}, ["--env=A=b c", "--env=D=-e"]),
    ],
)
def test_options_are_said_as_the_command_line_takes_them(options: dict[str, object], words: list[str]) -> None:
    assert lab._said(options) == words


@pytest.mark.root
def test_machine_that_is_not_up_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.call("run", "--", "true", name="nobody") == 125
    assert capsys.readouterr().err == (
        "lab: the machine nobody is not up\nTo fix: start it with lab.up\nlab: machines that are up: none\n"
    )


@pytest.mark.root
@pytest.mark.parametrize(
    ("suite", "name"), [(None, "lab"), ("bookworm", "lab"), ("trixie", "lab-trixie"), ("trixie", None)]
)
def test_suite_chooses_the_machine_unless_it_is_named(
    capsys: pytest.CaptureFixture[str], suite: str | None, name: str | None
) -> None:
    named = None if name else "mine"
    assert lab.call("down", suite=suite, name=named) == ExitCode.DONE
    assert capsys.readouterr().err == f"lab: {name or named} is down\n"


@pytest.mark.root
@pytest.mark.parametrize(
    ("verb", "options", "words"),
    [
        ("up", {"suite": "sid"}, "argument --suite: 'sid' is none of bookworm, trixie"),
        ("up", {"cpus": "two"}, "argument --cpus: invalid int value: 'two'"),
        ("run", {"timeout": "soon"}, "argument --timeout: invalid float value: 'soon'"),
        ("run", {"env": ["A"]}, "'A' is not NAME=VALUE"),
        ("cut", {"name": "../x"}, "machine name '../x': use a-z, 0-9 and -, at most 31"),
    ],
)
def test_wrong_option_is_bad_input(
    capsys: pytest.CaptureFixture[str], verb: str, options: dict[str, str], words: str
) -> None:
    more = ["--", "true"] if verb == "run" else []
    assert lab.call(verb, *more, **options) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err.splitlines()[0] == f"lab: {words}"


def test_suite_that_cannot_be_built_runs_no_test(capfd: pytest.CaptureFixture[str]) -> None:
    assert lab.run_tests("tests/lab", "sid") == ExitCode.BAD_INPUT
    assert capfd.readouterr().out == ""
