"""The mark of overriding methods changes nothing when the program runs."""

from __future__ import annotations

from ds01.core.override import override


def test_marked_method_is_the_method_itself() -> None:
    def method() -> str:
        return "x"

    assert override(method) is method
