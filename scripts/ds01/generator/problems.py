"""Where something stands in the inventory, and what is wrong with it.

Values only: problems are collected and returned, so that an admin sees all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ds01.core.override import override


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1

    @override
    def __str__(self) -> str:
        return f"{printable(self.file)}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing an admin should know about the inventory.

    Attributes:
        text: what is wrong.
        fix: what to do about it.
        notice: True when the policy can be deployed all the same.
    """

    place: Place
    text: str
    fix: str
    notice: bool = False

    @override
    def __str__(self) -> str:
        word = "notice: " if self.notice else ""
        return f"{self.place}: {word}{printable(self.text)}; {printable(self.fix)}"

    def to_json(self) -> dict[str, object]:
        """Return the parts, for --json."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "problem": self.text,
            "fix": self.fix,
            "notice": self.notice,
        }


def printable(text: str) -> str:
    """Escape what cannot be seen, as Python would write it: names of files reach terminals and logs in messages."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return a fix that names the closest known word, or `otherwise` when none is close."""
    import difflib  # noqa: PLC0415 - only for a slip; every plan would pay for it

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]!r}?" if close else otherwise
