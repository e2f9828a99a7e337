"""What programs say: where it goes, and whether in colour."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.releases import PACKAGE

from ds01.core.terminal import print_json, say, wants_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "environment", "colour"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),  # no-color.org: set and not empty
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_needs_a_terminal_that_nobody_spoke_against(
    out: io.StringIO, environment: dict[str, str], *, colour: bool
) -> None:
    assert wants_colour(out, environment) is colour


def test_json_is_one_object_in_plain_text() -> None:
    out = io.StringIO()
    print_json({"é": 1}, out)
    assert out.getvalue() == '{\n  "é": 1\n}\n'


def test_words_go_to_stderr_and_drive_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\ntwo \x1b[2J")
    assert capsys.readouterr() == ("", "one\ntwo \\x1b[2J\n")


def test_what_nobody_can_hear_stops_nothing() -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.fspath(PACKAGE.parent)!r})\n"
        "from ds01.core.terminal import say\n"
        "say('hello'); print('result'); say('more')"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-Ic", code], stdout=subprocess.PIPE, stderr=full, check=False)
    assert (done.returncode, done.stdout) == (0, b"result\n")
    with subprocess.Popen([sys.executable, "-Ic", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert child.stdout is not None
        child.stderr.close()
        assert (child.stdout.read(), child.wait()) == (b"result\n", 0)
