"""Text that others wrote, made safe to show: in one line, bounded, nothing in it that a terminal acts on. Pure."""

from __future__ import annotations

from ds01.core.typed import Final
from ds01.core.words import printable

_MOST: Final = 256
# Docker bounds no name, and what a sentence says of one comes after it.
_LONGEST_NAME: Final = 60


def visible(text: str, most: int = _MOST) -> str:
    r"""Return the text with every character that cannot be seen written out, such as `\x1b`, and cut with a mark.

    Args:
        most: characters of the text that are looked at; written out they may be more.
    """
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return cut if cut.isprintable() else printable(cut).replace("\t", "\\t")


def short_name(name: str) -> str:
    """Return what something is called as a sentence about it has it: safe to show, of a long name the beginning."""
    return visible(visible(name, _LONGEST_NAME), _LONGEST_NAME)
