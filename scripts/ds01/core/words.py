"""Text for people: numbers with their noun, tables, and what others wrote made safe to print. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ds01.core.typed import Final

# How decode(errors="surrogateescape") marks bytes that are not UTF-8. Source: PEP 383.
_FIRST_ESCAPED: Final = "\udc80"
_LAST_ESCAPED: Final = "\udcff"


def printable(line: str) -> str:
    """Escape control characters: what stands in a foreign file must not drive the admin's terminal."""
    return "".join(char if char.isprintable() or char == "\t" else _escape(char) for char in line)


def count(number: int, word: str) -> str:
    """Return `1 file`, `2 files`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns; the first row is the head."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _escape(char: str) -> str:
    if _FIRST_ESCAPED <= char <= _LAST_ESCAPED:
        return f"\\x{ord(char) & 0xFF:02x}"
    return ascii(char)[1:-1]
