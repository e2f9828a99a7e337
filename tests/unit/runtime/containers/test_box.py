"""A box is as wide as what stands in it, and safe to print."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ds01.core.rules import Rule
from ds01.core.value import replace
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.box import Style, draw

MEMORY = Refusal(
    Rule.MEMORY,
    "DS01 Aggregate Memory Quota Exceeded",
    (("Current usage", "64G (in use right now)"), ("Requested", "64G"), ("Your limit", "96G")),
    "This container would exceed your aggregate memory quota.",
    ("Stop a running container: docker stop <name>", "Ask for less memory: docker run --memory <size> …"),
)
BOX = """\
┌────────────────────────────────────────────────────────────┐
│  DS01 Aggregate Memory Quota Exceeded                      │
├────────────────────────────────────────────────────────────┤
│                                                            │
│  Current usage:  64G (in use right now)                    │
│  Requested:      64G                                       │
│  Your limit:     96G                                       │
│                                                            │
│  This container would exceed your aggregate memory quota.  │
│                                                            │
│  What you can do:                                          │
│    • Stop a running container: docker stop <name>          │
│    • Ask for less memory: docker run --memory <size> …     │
│                                                            │
│  To get a higher limit, ask help@lab-x.org.                │
│                                                            │
└────────────────────────────────────────────────────────────┘"""


def test_a_box():
    assert draw(MEMORY, "help@lab-x.org") == BOX


def test_a_plain_terminal_gets_plain_characters():
    plain = draw(MEMORY, "help@lab-x.org", Style(unicode=False))
    assert plain.isascii()
    assert plain.splitlines()[0] == "+" + "-" * 60 + "+"
    assert "|    * Ask for less memory: docker run --memory <size> ...   |" in plain.splitlines()


def test_only_the_title_is_coloured():
    painted = draw(MEMORY, "help@lab-x.org", Style(colour=True))
    assert painted.replace("\x1b[1;31m", "").replace("\x1b[0m", "") == BOX
    assert painted.count("\x1b") == 2
    assert "\x1b[1;31m  DS01 Aggregate Memory Quota Exceeded\x1b[0m" in painted


def test_without_anybody_to_ask_and_anything_to_do():
    lines = draw(replace(MEMORY, steps=()), "").splitlines()
    assert len(lines) == 11
    assert not any("ask" in line or "What you can do" in line for line in lines)


def test_rows_without_a_name_go_on_below():
    rows = (("In use", "0:1  alice's train"), ("", "0:2  bob's web"))
    lines = draw(replace(MEMORY, rows=rows), "").splitlines()
    assert lines[4].startswith("│  In use:  0:1  alice's train ")
    assert lines[5].startswith("│           0:2  bob's web ")


def test_what_others_wrote_moves_no_terminal():
    rows = (("Current usage", "1 container (\x1b[2Jweb\n\r\x07)"),)
    assert "1 container (\\x1b[2Jweb\\n\\r\\x07)" in draw(replace(MEMORY, rows=rows), "\x1b]0;x\x07")
    assert "\x1b" not in draw(replace(MEMORY, rows=rows), "\x1b]0;x\x07")


def columns(text: str) -> int:
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=300), st.sampled_from([True, False]))
def test_every_line_is_as_wide_as_every_other(value: str, contact: str, meaning: str, unicode: bool):  # noqa: FBT001
    made = replace(MEMORY, rows=(("Current usage", value), ("名前", "x")), meaning=meaning)
    lines = draw(made, contact, Style(unicode=unicode)).split("\n")
    assert len({columns(line) for line in lines}) == 1
    assert all(line.isprintable() for line in lines)
