"""Which account a uid belongs to, also one of those that an account has for its own user namespaces. Only reads."""

from __future__ import annotations

import pwd
import re
from pathlib import Path

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.gpu.hardware import nameless

# Name or uid of an account, first of its uids, how many. Source: subuid(5).
_RANGE: Final = re.compile(r"(?P<holder>[^:]+):(?P<first>[0-9]{1,10}):(?P<count>[0-9]{1,10})", re.ASCII)

# Source: login.defs(5), UID_MIN.
_FIRST_PERSON: Final = 1000


@dataclass(frozen=True, slots=True)
class Owners:
    """The accounts of this machine.

    Attributes:
        subuids: file with the ranges that newuidmap(1) lets accounts use.
    """

    subuids: Path

    def __call__(self, uid: int) -> str:
        """Return an account's name, safe to print; nameless() where there is none, or no single one.

        An account's own uid is nobody's for sure while another person may use it too, as where the uids of a directory
        lie among those that are given out for user namespaces: that one could pass for an administrator.
        """
        name, holders = _name(uid), self._holders(uid)
        if name is None:
            name = _known(*holders) if len(holders) == 1 else None
        elif any(_is_person(each) for each in map(_known, holders) if each != name):
            name = None
        return nameless(uid) if name is None else visible(name)

    def _holders(self, uid: int) -> frozenset[str]:
        """Return by name or uid whose further uid it is. Source: subuid(5)."""
        try:
            lines = self.subuids.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return frozenset()
        return frozenset(found["holder"] for line in lines if (found := _RANGE.fullmatch(line)) and _covers(found, uid))


def _covers(found: re.Match[str], uid: int) -> bool:
    first, count = int(found["first"]), int(found["count"])
    return first <= uid < first + count


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def _is_person(name: str | None) -> bool:
    """Whether an account is not one of the system's, whose containers are known by their groups."""
    try:
        return name is not None and pwd.getpwnam(name).pw_uid >= _FIRST_PERSON
    except KeyError:
        # It was there a moment ago.
        return True


def _known(name: str) -> str | None:
    """An account that is not there any more, or never was, owns nothing."""
    if name.isascii() and name.isdigit():
        return _name(int(name))
    try:
        return pwd.getpwnam(name).pw_name
    except (KeyError, ValueError):
        return None
