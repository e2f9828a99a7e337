"""The `ds01` command: a thin dispatcher that imports only what it is asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ds01
from ds01.cli import COMMANDS, main

SCRIPTS = Path(ds01.__file__).parents[1]
POLICY = SCRIPTS.parent / "tests/golden/shipped/expected/root/etc/ds01/policy.json"


def test_a_command_gets_the_rest_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["limits", "carol", "--policy", str(POLICY), "--group"]) == 0
    assert capsys.readouterr() == ("student\n", "")


def test_a_commands_exit_code_is_the_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["limits", "carol", "--policy", "/nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no compiled policy at /nowhere\n")


def test_options_of_a_command_are_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["limits", "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ds01 limits ")


def test_without_a_command_it_lists_them_as_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith(
        "commands:\n"
        "  limits          limits of an account, and where each comes from\n"
        "  check-limits    what an account uses, against every limit it has\n"
        "  gpu             who has which GPU, who waits; allocate and release\n"
        "  who             who uses which GPU, in containers and outside, and how busy it is\n"
        "  processes       what computes on GPUs outside containers, and what becomes of it\n"
        "  bare-metal      let an account use GPUs outside containers for a time\n"
        "  containers      every container, whose it is, and how that is known\n"
        "  claim           say whose a container is that no label gives to anybody\n"
        "  emergency-stop  end containers at once, past every rule\n"
        "  events          what happened on this host: the event log\n"
        "  health          whether DS01 is well: services, jobs, files, disks, Docker\n"
        "  lifecycle       run a lifecycle job now, or say what it would do\n"
        "  verify          prove that this host is as it was deployed\n"
        "  history         the last deploys: who, when, what\n"
        "  rollback        deploy what an earlier generation wanted\n"
        "  recover         finish or undo a deploy that was interrupted\n"
        "\n"
        "ds01 COMMAND --help says more.\n"
    )


@pytest.mark.parametrize("words", [["limts"], ["--nope"], ["--nope", "limits"]])
def test_an_unknown_word_is_bad_input(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ds01 COMMAND [OPTION…]\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"ds01 {ds01.__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_there(name: str) -> None:
    assert callable(importlib.import_module(COMMANDS[name][0]).main)


def test_help_imports_no_command() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); from ds01.cli import main; main([])\n"
        "print([name for name in sys.modules if name.startswith('ds01.runtime')])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n"
