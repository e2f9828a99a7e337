"""Text for people: what others wrote cannot drive a terminal, numbers have their noun, tables their columns."""

from __future__ import annotations

import pytest

from ds01.core.words import count, printable, table


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a\tb – ü", "a\tb – ü"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\u202eevil", "\\u202eevil"),
        ("back\\slash", "back\\slash"),
        ("\udc80\udcff", "\\x80\\xff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_could_drive_a_terminal_is_escaped(line: str, shown: str) -> None:
    assert printable(line) == shown


def test_a_number_has_its_noun() -> None:
    assert [count(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def test_columns_are_as_wide_as_they_need() -> None:
    assert table([("A", "LONG"), ("wide", "x")]) == "A     LONG\nwide  x"
