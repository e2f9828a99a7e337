"""What others wrote stays one line, bounded, without a character that a terminal acts on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.visible import short_name, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("my-project._.alice", "my-project._.alice"),
        ("zoë 漢", "zoë 漢"),
        ("", ""),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202eevil", "\\u202eevil"),
        ("next\x85line\u2028", "next\\x85line\\u2028"),
        ("\udcff", "\\xff"),
        ("abcdef", "abcd…"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text, 5 if text == "abcdef" else 100) == shown


@given(st.text(st.characters()), st.integers(1, 40))
def test_any_text_can_be_shown(text: str, most: int) -> None:
    shown = visible(text, most)
    assert shown.isprintable()
    # The longest way to write a character out is \U and eight digits.
    assert len(shown) <= 10 * most


@pytest.mark.parametrize(
    ("name", "shown"),
    [("train", "train"), ("c" * 60, "c" * 60), ("c" * 61, f"{'c' * 59}…"), ("\x1b" * 60, "\\x1b" * 14 + "\\x1…")],
)
def test_of_a_long_name_a_sentence_has_the_beginning(name: str, shown: str) -> None:
    assert short_name(name) == shown
