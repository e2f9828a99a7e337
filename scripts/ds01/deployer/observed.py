"""What is found at a path on the host, as a value. Pure; files.py looks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ds01.core.tree import Form


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
        content: the bytes of a FILE; where a SYMLINK that is the target itself leads; else None.
        mode: permission bits, such as 0o644; None when nothing is there or it may not be looked at.
        uid: of the owner, under the same rule; so is gid.
        obstacle: why there is no file to read or write, in words; None for FILE and ABSENT.
    """

    kind: Kind
    content: bytes | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    obstacle: str | None = None

    @property
    def form(self) -> Form | None:
        """What is there that could be compared with what is wanted; None for nothing or an obstacle."""
        if self.content is None:
            return None
        return Form.LINK if self.kind is Kind.SYMLINK else Form.FILE
