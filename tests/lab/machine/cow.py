"""Reads the head of a copy-on-write disk: over which image it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Source: Linux, arch/um/drivers/cow_user.c, struct cow_header_v3.
_MAGIC: Final = b"OOOM\0\0\0\x03"
_NAME_AT: Final = 32
_NAME_BYTES: Final = 4096


def backing_image(disk: Path) -> Path | None:
    """Return the image a disk lies over; None when the machine lost its power before it made the disk."""
    with disk.open("rb") as file:
        head = file.read(_NAME_AT + _NAME_BYTES)
    name = head[_NAME_AT:].partition(b"\0")[0].decode("utf-8", "replace")
    if not head.startswith(_MAGIC) or not name:
        return None
    return Path(name)
