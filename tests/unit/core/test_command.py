"""What the commands share: the root they act on, and how an error, an interruption and a closed pipe come out."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from tests.releases import PACKAGE

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import BadInputError, BusyError, Ds01Error, ExitCode
from ds01.core.paths import HostPaths

if TYPE_CHECKING:
    from collections.abc import Sequence


def raising(error: BaseException) -> NoReturn:
    raise error


def run_with(error: BaseException | None, argv: Sequence[str] = ()) -> int:
    return run_command(parser("ds01 x", "Does x."), argv, lambda _: 3 if error is None else raising(error))


ENDINGS = {
    "done": (None, 3, ""),
    "an error": (Ds01Error("it failed", "because", "mend it"), 1, "error: it failed\nbecause\nTo fix: mend it\n"),
    "busy": (BusyError("busy"), 5, "error: busy\n"),
    "interrupted": (KeyboardInterrupt(), 130, "interrupted\n"),
}


@pytest.mark.parametrize(("error", "code", "said"), ENDINGS.values(), ids=ENDINGS)
def test_an_ending_is_an_exit_code_and_its_words(
    error: BaseException | None, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(error) == code
    assert capsys.readouterr() == ("", said)


def test_a_bug_comes_through_as_its_exception() -> None:
    with pytest.raises(ZeroDivisionError):
        run_with(ZeroDivisionError())


def test_a_reader_that_leaves_is_no_traceback_and_no_success() -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.fspath(PACKAGE.parent)!r})\n"
        "from ds01.core.command import parser, run_command\n"
        "sys.exit(run_command(parser('x', 'x'), [], lambda _: print('x' * 10**6) or 0))"
    )
    with subprocess.Popen([sys.executable, "-Ic", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert (child.stderr.read(), child.wait()) == (b"", ExitCode.FAILED)


@pytest.mark.parametrize("written", [10, 10**6], ids=["at the end", "on the way"])
def test_a_full_disk_under_the_output_is_told(written: int) -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.fspath(PACKAGE.parent)!r})\n"
        "from ds01.core.command import parser, run_command\n"
        f"sys.exit(run_command(parser('x', 'x'), [], lambda _: print('x' * {written}) or 0))"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-Ic", code], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr.decode().splitlines()) == (
        ExitCode.FAILED,
        ["error: the result cannot be written: No space left on device", "To fix: make room where the output goes"],
    )


def test_no_room_for_a_file_is_no_matter_of_the_output() -> None:
    with pytest.raises(OSError, match="state"):
        run_with(OSError(28, "No space left on device", "/var/lib/ds01/state"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--nope"], "unrecognized arguments: --nope"),
        (["--root"], "expected one argument"),
        (["--root", ""], "argument --root: needs a folder, this one is empty"),
        (["word"], "unrecognized arguments: word"),
    ],
)
def test_a_line_that_cannot_be_read_is_bad_input(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_with(None, argv)
    assert caught.value.code == ExitCode.BAD_INPUT
    assert said in capsys.readouterr().err


def test_the_root_is_the_machine_unless_it_is_said() -> None:
    assert parser("x", "x").parse_args([]) == argparse.Namespace(root=Path("/"))
    assert parser("x", "x").parse_args(["--root", "/a"]) == argparse.Namespace(root=Path("/a"))


def test_a_root_may_be_reached_through_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert host_paths(tmp_path / "link") == HostPaths(tmp_path / "real")


def test_a_root_that_is_no_folder_is_bad_input(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    words = {}
    for name in (tmp_path / "missing", file, file / "below"):
        with pytest.raises(BadInputError) as caught:
            host_paths(name)
        words[name] = caught.value.render()
    assert words == {
        tmp_path / "missing": (
            f"there is no folder {tmp_path}/missing\nTo fix: mkdir -p {tmp_path}/missing, or name another with --root"
        ),
        file: f"{file} is not a folder\nTo fix: name a folder with --root",
        file / "below": f"there is no folder {file}/below\nTo fix: mkdir -p {file}/below, or name another with --root",
    }


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_traceback_and_gives_its_number_to_no_file(tmp_path: Path, closed: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.fspath(PACKAGE.parent)!r})\n"
        "from ds01.core.command import parser, run_command\n"
        "def act(_):\n"
        "    print('words'); print('words', file=sys.stderr)\n"
        f"    return 3 if open({os.fspath(tmp_path / 'file')!r}, 'w').fileno() > 2 else 4\n"
        "sys.exit(run_command(parser('x', 'X.'), [], act))\n"
    )
    words = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
