"""Which containers of an account run without DS01, as far as the events daemon has seen: for a word to their user.

Read by every docker command that makes a container, so it takes the file as it is and looks at nothing else.
"""

from __future__ import annotations

import json

from ds01.core.jsonstate import StateError, read_bytes
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.core.visible import visible

_LIVE: Final = frozenset({"running", "paused", "restarting"})
_MANAGED: Final = "managed"
_SHOWN: Final = 3
_LONGEST_NAME: Final = 40


def bypassed_words(paths: HostPaths, user: str) -> str | None:
    """Return a sentence about an account's containers that run without DS01; None when there are none, or none known.

    Also those that only their maker says are its own: nothing but this word comes of it.
    """
    names = _names(paths, user)
    if not names:
        return None
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(visible(name, _LONGEST_NAME) for name in names[:_SHOWN])
    many = len(names) > 1
    return (
        f"{'containers' if many else 'a container'} of yours {'run' if many else 'runs'} without DS01: {shown}{more};"
        f" {'they have' if many else 'it has'} no GPU of yours and may be stopped. Make {'them' if many else 'it'} anew"
        " with docker run or docker create"
    )


def _names(paths: HostPaths, user: str) -> list[str]:
    try:
        text = read_bytes(paths.containers, of_root=True)
        if user.encode() not in text:
            return []
        rows = json.loads(text)["containers"].values()
        return sorted(
            row["name"]
            for row in rows
            if row["owner"] is not None
            and row["owner"]["user"] == user
            and row["kind"] != _MANAGED
            and row["state"] in _LIVE
            and not row["of_site"]
        )
    except (OSError, StateError, AttributeError, KeyError, TypeError, ValueError):
        # A word to somebody who makes a container; who looks after the file is told elsewhere.
        return []
