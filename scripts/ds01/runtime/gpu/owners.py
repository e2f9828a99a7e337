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


@dataclass(frozen=True, slots=True)
class Owners:
    """The accounts of this machine.

    Attributes:
        subuids: file with the ranges that newuidmap(1) lets accounts use.
    """

    subuids: Path

    def __call__(self, uid: int) -> str:
        """Return an account's name, safe to print; nameless() where there is none, or no single one."""
        name = _name(uid) or self._holder(uid)
        return nameless(uid) if name is None else visible(name)

    def _holder(self, uid: int) -> str | None:
        """Return whose further uid it is; None where several may have it, since nobody is charged by a guess.

        Source: subuid(5).
        """
        try:
            lines = self.subuids.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return None
        holders = {found["holder"] for line in lines if (found := _RANGE.fullmatch(line)) and _covers(found, uid)}
        if len(holders) != 1:
            return None
        (holder,) = holders
        return _name(int(holder)) if holder.isascii() and holder.isdigit() else _known(holder)


def _covers(found: re.Match[str], uid: int) -> bool:
    first, count = int(found["first"]), int(found["count"])
    return first <= uid < first + count


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def _known(name: str) -> str | None:
    """An account that is not there any more, or never was, owns nothing."""
    try:
        return pwd.getpwnam(name).pw_name
    except (KeyError, ValueError):
        return None
