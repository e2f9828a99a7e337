"""Who gets an answer, asked below real shells: in every way in which scripts take what a command prints."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ds01
from ds01.runtime.asker import asker
from ds01.runtime.machine import Machine

SCRIPTS = Path(ds01.__file__).parents[1]
# Prints what a command prints, and writes down whom it takes for the one who asks.
ASK = f"""
import os, sys
sys.path.insert(0, {os.fspath(SCRIPTS)!r})
from ds01.runtime.asker import asker
from ds01.runtime.machine import Machine
found = asker(Machine(), os.getpid())
with open(sys.argv[1], "w") as out:
    out.write(str(found and found.pid))
print("answer")
"""
SHELLS = [each for each in ("bash", "dash", "busybox", "zsh", "ksh") if shutil.which(each)]
FORMS = {
    "plain": "ask",
    "in a pipeline": "ask | cat",
    "in a substitution": "o=$(ask); test -n \"$o\"",
    "in backticks": "o=`ask`; test -n \"$o\"",
    "with errors elsewhere": "o=$(ask 2>/dev/null); test -n \"$o\"",
    "in another folder": "o=$(cd / && ask); test -n \"$o\"",
    "with an alternative": "o=$(ask || exit 1); test -n \"$o\"",
    "in a pipeline in a substitution": "o=$(ask | cat); test -n \"$o\"",
    "in a function in a substitution": "f() { ask; }; o=$(f); test -n \"$o\"",
    "with a trap": "o=$(trap : EXIT; ask); test -n \"$o\"",
    "through sh": "o=$(sh -c 'ask; :'); test -n \"$o\"",
    "with a limit of time": "timeout 60 \"$ASK\"",
    "with a limit of time, in a substitution": "o=$(timeout 60 \"$ASK\"); test -n \"$o\"",
    "in the background": "ask & wait",
}  # fmt: skip


@pytest.fixture
def ask(tmp_path: Path) -> Path:
    """A program as commands are installed: a script of its own."""
    (tmp_path / "ask.py").write_text(ASK)
    made = tmp_path / "ask"
    made.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S {tmp_path}/ask.py {tmp_path}/found\n")
    made.chmod(0o755)
    return made


def run(ask: Path, *argv: str) -> tuple[int, str]:
    """Return the pid of the program that ran, and what the command in it wrote down."""
    environment = {"PATH": f"{ask.parent}:{os.environ['PATH']}", "ASK": os.fspath(ask)}
    with subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        assert process.wait() == 0
    return process.pid, (ask.parent / "found").read_text()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("shell", SHELLS)
def test_it_is_the_shell_that_uses_the_answer(ask: Path, shell: str, form: str) -> None:
    applet = ["sh"] if shell == "busybox" else []
    # The end is there so that the shell does not become the command itself.
    pid, found = run(ask, shell, *applet, "-c", f"{form}\n:")
    assert found == str(pid)


def test_a_group_in_the_background_is_the_one_that_asks(ask: Path) -> None:
    """It may outlive the shell it was started from, as the work of one that has logged out."""
    script = "( o=$(ask 2>/dev/null); sh -c 'echo $PPID' > \"$0.group\"; : ) & wait"
    pid, found = run(ask, "bash", "-c", script, os.fspath(ask))
    assert found == Path(f"{ask}.group").read_text().strip() != str(pid)


def test_a_script_that_others_listen_to_is_the_one_that_asks(ask: Path) -> None:
    """What a program prints at its end is no answer of ours: a server that runs scripts keeps nothing for them."""
    done = subprocess.run(
        ["bash", "-c", 'o=$(ask); echo "$$ $o"'], env={"PATH": f"{ask.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{(ask.parent / 'found').read_text()} answer\n"


def test_a_program_that_starts_a_shell_for_the_answer_asks_itself(ask: Path) -> None:
    done = subprocess.run(
        "ask; :", shell=True, env={"PATH": f"{ask.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, (ask.parent / "found").read_text()) == ("answer\n", str(os.getpid()))


def test_whoever_was_left_behind_has_nobody(ask: Path) -> None:
    """Its parent has ended, and the first process of all keeps nothing."""
    machine = Machine()
    with subprocess.Popen(["bash", "-c", "sleep 60 >/dev/null & echo $!"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
    try:
        heir = machine.parent(pid)
        assert heir is not None
        assert asker(machine, pid) == (None if heir == 1 else machine.process(heir))
    finally:
        os.kill(pid, signal.SIGKILL)


def test_of_a_process_that_is_gone_nobody_asks() -> None:
    assert asker(Machine(), 2**22 + 1) is None
