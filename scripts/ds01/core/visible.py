"""Text that others wrote, made safe to show: in one line, bounded, nothing in it that a terminal acts on. Pure."""

from __future__ import annotations

from ds01.core.typed import Final
from ds01.core.words import printable

_MOST: Final = 256


def visible(text: str, most: int = _MOST) -> str:
    r"""Return the text with every character that cannot be seen written out, such as `\x1b`, and cut with a mark.

    Args:
        most: characters of the text that are looked at; written out they may be more.
    """
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return cut if cut.isprintable() else printable(cut).replace("\t", "\\t")
