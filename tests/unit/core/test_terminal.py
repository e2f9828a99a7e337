"""What programs say: where it goes, and whether in colour."""

from __future__ import annotations

import io

import pytest

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
