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

    Also about those of which only their maker says so: nothing but this word comes of it, and it says no more.
    """
    found = _found(paths, user)
    if not found:
        return None
    names = sorted(name for name, _ in found)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(visible(name, _LONGEST_NAME) for name in names[:_SHOWN])
    many = len(names) > 1
    doubtful = any(asserted for _, asserted in found)
    make = f"If {'they are' if many else 'it is'} yours, make" if doubtful else "Make"
    return (
        f"{'containers' if many else 'a container'} {'in your name' if doubtful else 'of yours'}"
        f" {'run' if many else 'runs'} without DS01: {shown}{more};"
        f" {'they have' if many else 'it has'} no GPU of yours and may be stopped."
        f" {make} {'them' if many else 'it'} anew with docker run or docker create"
    )


def _found(paths: HostPaths, user: str) -> list[tuple[str, bool]]:
    """Return their names, and whether only their maker says whose they are."""
    try:
        text = read_bytes(paths.containers, of_root=True)
        if user.encode() not in text:
            return []
        rows = json.loads(text)["containers"].values()
        return [
            (row["name"], row["owner"]["asserted"])
            for row in rows
            if row["owner"] is not None
            and row["owner"]["user"] == user
            and row["kind"] != _MANAGED
            and row["state"] in _LIVE
            and not row["of_site"]
        ]
    except (OSError, StateError, AttributeError, KeyError, TypeError, ValueError):
        # A word to somebody who makes a container; who looks after the file is told elsewhere.
        return []
