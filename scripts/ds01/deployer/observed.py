"""What is found at a path on the host, as a value. Pure; files.py looks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What is found at a path, or the first thing in its way."""

    ABSENT = "absent"
    FILE = "file"
    SYMLINK = "symbolic link"
    FOLDER = "folder"
    OTHER = "other"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Observed:
    """One target as it is on the host.

    Attributes:
        content: the bytes of a FILE, else None.
        mode: permission bits, such as 0o644; None when nothing is there or it may not be looked at.
        uid: of the owner, under the same rule; so is gid.
        obstacle: why DS01 cannot read or write there, in words; None for FILE and ABSENT.
    """

    kind: Kind
    content: bytes | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    obstacle: str | None = None
