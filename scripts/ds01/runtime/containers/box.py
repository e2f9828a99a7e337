"""A refusal as people see it: a box as wide as what stands in it. Pure; the same in a terminal and in an API's answer.

Everything in it comes out printable: names of containers are what other programs wrote.
"""

from __future__ import annotations

import unicodedata

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.words import printable
from ds01.runtime.containers.admission import Refusal

_WIDEST: Final = 76
_NARROWEST: Final = 44
_INDENT: Final = "  "
_BOLD_RED: Final = "\x1b[1;31m"
_PLAIN: Final = "\x1b[0m"
# They stand on the letter before them; so do vowels and finals of Hangul that are written apart.
_MARKS: Final = frozenset({"Mn", "Me"})
_FIRST_JOINING: Final = "\u1160"
_LAST_JOINING: Final = "\u11ff"
# Where a terminal knows no other characters; what is not here comes out as Python's backslashes.
_ASCII: Final = str.maketrans({"…": "...", "•": "*", "×": "x", "–": "-", "—": "-", "’": "'"})


@dataclass(frozen=True, slots=True)
class Style:
    """How a box is drawn.

    Attributes:
        unicode: whether lines and dots may be drawn; else plain ASCII.
        colour: whether its title is coloured.
    """

    unicode: bool = True
    colour: bool = False


def draw(refusal: Refusal, contact: str, style: Style = Style()) -> str:  # noqa: B008 - a value that nobody can change
    """Return a refusal as a box, without a newline at its end.

    Args:
        contact: whom to ask for more; empty for nobody.
    """
    bullet = "•" if style.unicode else "*"
    names = max((len(name) for name, _ in refusal.rows), default=0) + 1
    rows = [_INDENT + (f"{name}:" if name else "").ljust(names + 2) + value for name, value in refusal.rows]
    steps = [line for step in refusal.steps for line in _wrapped(step, _WIDEST - 6, f"    {bullet} ", "      ")]
    body = ["", *(line for row in rows for line in _wrapped(row, _WIDEST, "", " " * (names + 4))), ""]
    body += _wrapped(refusal.meaning, _WIDEST - 2, _INDENT, _INDENT)
    body += ["", _INDENT + "What you can do:", *steps] if steps else []
    if contact:
        body += ["", *_wrapped(f"To get a higher limit, ask {contact}.", _WIDEST - 2, _INDENT, _INDENT)]
    body.append("")
    return _framed(_INDENT + refusal.title, body, style)


def _wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    """Break a line at its spaces; a word that is longer than a line stays whole, since people copy commands."""
    # Only in a box does a tab stand in the way: it has as many columns as it likes.
    plain = printable(text).replace("\t", "\\t")
    lead = len(plain) - len(plain.lstrip(" "))
    lines, line = [], first + plain[:lead]
    room = len(first) + width
    start = len(line)
    for word in plain[lead:].split(" "):
        if len(line) > start and _columns(line) + 1 + _columns(word) > room:
            lines.append(line)
            line, start = others + word, len(others)
        else:
            line += word if len(line) == start else f" {word}"
    return [*lines, line]


def _framed(title: str, body: list[str], style: Style) -> str:
    lines = [title, *body]
    if not style.unicode:
        lines = [line.translate(_ASCII).encode("ascii", "backslashreplace").decode() for line in lines]
    width = max(_NARROWEST, *(_columns(line) for line in lines)) + 2
    top, middle, bottom, side = ("┌┐", "├┤", "└┘", "│") if style.unicode else ("++", "++", "++", "|")
    bar = ("─" if style.unicode else "-") * width

    def row(line: str, *, painted: bool = False) -> str:
        fill = " " * (width - _columns(line))
        text = f"{_BOLD_RED}{line}{_PLAIN}" if painted else line
        return f"{side}{text}{fill}{side}"

    head = [top[0] + bar + top[1], row(lines[0], painted=style.colour), middle[0] + bar + middle[1]]
    return "\n".join([*head, *map(row, lines[1:]), bottom[0] + bar + bottom[1]])


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes. Source: Unicode, UAX #11."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if unicodedata.category(char) in _MARKS or _FIRST_JOINING <= char <= _LAST_JOINING:
        return 0
    return 1 + (unicodedata.east_asian_width(char) in "WF")
