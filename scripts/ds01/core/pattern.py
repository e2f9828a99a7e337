"""Regular expressions that are compiled when they are first used: a program that starts needs few of all there are.

Compiling costs a tenth of a millisecond and is done anew by every process, since nothing keeps it.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AnyStr


class _Lazy:
    """Stands for a compiled pattern, and becomes one for whatever is asked of it."""

    def __init__(self, text: object, flags: int) -> None:
        self._made_of = (text, flags)

    def __getattr__(self, name: str) -> object:
        found: object = getattr(re.compile(*self._made_of), name)  # type: ignore[call-overload]  # as pattern() got it
        # From now on it is an attribute like any other; re keeps what it has compiled.
        setattr(self, name, found)
        return found


def pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what re.compile() returns, and compile it once it is used.

    An expression that is none raises re.error only then.
    """
    return _Lazy(text, flags)  # type: ignore[return-value]  # nothing tells them apart but their types
