"""The exit codes and messages of ./inv, on a checkout whose tasks do nothing but end in each way."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ds01
from ds01.program import CHECKOUT, main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TASKS = '''
"""Tasks that end in every way a task can end."""

import os

from invoke import Collection, Exit, task

from ds01.core.errors import BusyError, ExitCode, RefusedError


@task(help={"root": "below this directory", "to": "generation"})
def deploy(c, root="/", to=0):
    """Apply the policy."""
    print(f"deploy {root} {to}")


@task
def pending(c):
    """Return a code."""
    print("pending")
    return ExitCode.CHANGES_PENDING


@task
def truth(c):
    """Return no code but a truth value."""
    return True


@task
def refused(c):
    """Refuse."""
    print("before")
    raise RefusedError("the tree has drifted", "3 files were edited by hand.", "deploy --force")


@task
def busy(c):
    """Be busy."""
    raise BusyError("another deploy runs")


@task
def leave(c):
    """Leave by Invoke's own exception."""
    raise Exit("enough", 5)


@task
def command(c):
    """Run a command that fails."""
    c.run("exit 3", hide=True)


@task
def interrupt(c):
    """Be interrupted."""
    raise KeyboardInterrupt


@task
def bug(c):
    """Have a bug."""
    raise ZeroDivisionError


@task
def pipe(c):
    """Break a pipe that is not stdout."""
    raise BrokenPipeError


@task
def flood(c):
    """Write more than a pipe holds."""
    print("line\\n" * 100_000)


@task
def where(c):
    """Say what the task sees of the machine's settings."""
    print(c.config.run.echo, c.config.tasks.search_root)


up = task(lambda c: None, name="up")
up.__doc__ = "Bring the lab up."
ns = Collection(deploy, pending, truth, refused, busy, leave, command, interrupt, bug, pipe, flood, where)
ns.add_collection(Collection("lab", up))
'''

INDEX = """\
Available tasks:

  bug         Have a bug.
  busy        Be busy.
  command     Run a command that fails.
  deploy      Apply the policy.
  flood       Write more than a pipe holds.
  interrupt   Be interrupted.
  leave       Leave by Invoke's own exception.
  pending     Return a code.
  pipe        Break a pipe that is not stdout.
  refused     Refuse.
  truth       Return no code but a truth value.
  where       Say what the task sees of the machine's settings.
  lab.up      Bring the lab up.

"""


@dataclass(frozen=True)
class Ended:
    """How a call of main ended."""

    code: int
    out: str = ""
    err: str = ""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


@pytest.fixture(autouse=True)
def _forgets_tasks() -> Iterator[None]:
    yield
    sys.modules.pop("tasks", None)


@pytest.fixture
def inv(checkout: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*words: str) -> Ended:
        code = main(["inv", *words], checkout=checkout)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return call


def process(checkout: Path, *words: str) -> subprocess.Popen[str]:
    """Start main in a process of its own, where a test needs real pipes or the interpreter's own end."""
    source = (
        "import pathlib, sys; from ds01.program import main; sys.exit(main(checkout=pathlib.Path(sys.argv.pop(1))))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", source, checkout, *words],
        env={**os.environ, "PYTHONPATH": os.fspath(CHECKOUT / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("words", "ended"),
    [
        (["deploy", "--root", "/tmp", "--to", "3"], Ended(0, "deploy /tmp 3\n")),
        (["pending"], Ended(3, "pending\n")),
        (["truth"], Ended(0)),
        (["lab.up"], Ended(0)),
        (["deploy", "pending"], Ended(3, "deploy / 0\npending\n")),
        (["pending", "deploy"], Ended(3, "pending\n")),
        (
            ["refused"],
            Ended(
                4,
                "before\n",
                "error: the tree has drifted\n3 files were edited by hand.\nTo fix: deploy --force\n",
            ),
        ),
        (["busy"], Ended(5, "", "error: another deploy runs\n")),
        (["leave"], Ended(5, "", "enough\n")),
        (["interrupt"], Ended(130, "", "interrupted\n")),
    ],
)
def test_task_ends_with_its_own_code(inv: Callable[..., Ended], words: list[str], ended: Ended) -> None:
    assert inv(*words) == ended


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["depoly"],
            "there is no task depoly\nDid you mean deploy?\nTo fix: ./inv --list shows the tasks",
        ),
        (
            ["lab.pu"],
            "there is no task lab.pu\nDid you mean lab.up?\nTo fix: ./inv --list shows the tasks",
        ),
        (["lab"], "lab is several tasks, and not one\nTo fix: ./inv --list lab shows them"),
        (["--help", "lab"], "lab is several tasks, and not one\nTo fix: ./inv --list lab shows them"),
        (["zzz"], "there is no task zzz\nTo fix: ./inv --list shows the tasks"),
        (["it's"], "there is no task it's\nTo fix: ./inv --list shows the tasks"),
        (["--help", "zzz"], "there is no task zzz\nTo fix: ./inv --list shows the tasks"),
        (
            ["deploy", "3"],
            (
                "there is no task 3\nTo fix: ./inv --list shows the tasks; "
                "a value for deploy needs its option's name before it (./inv --help deploy)"
            ),
        ),
        (
            ["deploy", "--rot", "/tmp"],
            ("task deploy has no option --rot\nDid you mean --root?\nTo fix: ./inv --help deploy shows the options"),
        ),
        (["--zzz"], "./inv has no option --zzz\nTo fix: ./inv --help shows the options"),
        (
            ["deploy", "--root"],
            "Flag --root needed value and was not given one!\nTo fix: ./inv --help deploy shows the options",
        ),
        (
            ["deploy", "--to", "three"],
            (
                "an option has a value of the wrong kind\ninvalid literal for int() with base 10: 'three'\n"
                "To fix: ./inv --help TASK shows its options"
            ),
        ),
        (
            ["--list", "zzz"],
            "Sub-collection 'zzz' not found!\nTo fix: ./inv --list shows the tasks",
        ),
        (
            ["--list", "--list-format", "zzz"],
            "--list-format is one of flat, nested, json, not zzz\nTo fix: ./inv --help shows the options",
        ),
    ],
)
def test_usage_error_exits_2_and_names_the_way_on(inv: Callable[..., Ended], words: list[str], message: str) -> None:
    assert inv(*words) == Ended(2, "", f"error: {message}\n")


@pytest.mark.parametrize("option", ["--dry", "--echo", "--pty", "--config=x", "--collection=x", "--search-root=/"])
def test_option_of_invoke_that_could_mislead_is_unknown(inv: Callable[..., Ended], option: str) -> None:
    ended = inv("deploy", option)
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize("words", [[], ["--list"]])
def test_list_is_the_index(inv: Callable[..., Ended], words: list[str]) -> None:
    assert inv(*words) == Ended(0, INDEX)


def test_list_of_a_group_shows_its_tasks(inv: Callable[..., Ended]) -> None:
    assert inv("--list", "lab") == Ended(0, "Available 'lab' tasks:\n\n  .up   Bring the lab up.\n\n")


def test_version_is_the_one_of_pyproject(inv: Callable[..., Ended]) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert (inv("--version"), project["version"]) == (
        Ended(0, f"DS01 {ds01.__version__}\n"),
        ds01.__version__,
    )


def test_settings_of_the_account_change_nothing(
    inv: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".invoke.yaml").write_text("run: {echo: true}\ntasks: {search_root: /nowhere}\n")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    monkeypatch.setenv("INVOKE_RUN_ECHO", "1")
    assert inv("where") == Ended(0, "False None\n")


def test_tasks_are_found_from_any_directory(
    inv: Callable[..., Ended], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "tasks.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(elsewhere)
    assert inv("deploy") == Ended(0, "deploy / 0\n")


def test_checkout_without_tasks_is_named(inv: Callable[..., Ended], checkout: Path) -> None:
    (checkout / "tasks.py").unlink()
    assert inv("deploy") == Ended(
        1,
        "",
        f"error: {checkout}/tasks.py is missing\nThe checkout is not whole.\n"
        "To fix: git status shows what is gone; git restore tasks.py\n",
    )


def test_error_of_value_in_tasks_file_is_no_usage_error(inv: Callable[..., Ended], checkout: Path) -> None:
    (checkout / "tasks.py").write_text("int('three')")
    with pytest.raises(ValueError, match="three"):
        inv("deploy")


def test_bytecode_is_kept_for_the_next_start(inv: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    inv("deploy")
    assert sys.dont_write_bytecode is False


@pytest.mark.parametrize("task", ["bug", "pipe"])
def test_bug_shows_its_traceback_and_exits_1(checkout: Path, task: str) -> None:
    child = process(checkout, task)
    out, err = child.communicate()
    assert (child.returncode, out, err.splitlines()[0]) == (1, "", "Traceback (most recent call last):")


def test_command_that_fails_in_a_task_exits_1_whatever_its_own_code(checkout: Path) -> None:
    child = process(checkout, "command")
    assert (*child.communicate(), child.returncode) == ("", "error: command failed: exit 3\n", 1)


def test_reader_that_leaves_is_no_error_to_talk_about(checkout: Path) -> None:
    child = process(checkout, "flood")
    assert child.stdout is not None
    assert child.stderr is not None
    first = child.stdout.readline()
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    assert (first, said, child.wait()) == ("line\n", "", 1)
