"""What the deployer's commands say of a deploy that was interrupted."""

from __future__ import annotations

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.deployer import journal


def interrupted(paths: HostPaths) -> tuple[str, ...]:
    """Return a line when an earlier deploy was cut off; read-only, works without root."""
    try:
        state = journal.pending(paths)
    except Ds01Error as error:
        return (f"whether an earlier deploy was interrupted cannot be seen: {error.brief} {error.details or ''}",)
    match state:
        case None:
            return ()
        case journal.State.APPLIED | journal.State.FINISHING:
            return ("an earlier deploy was interrupted with all its files in place; the next deploy finishes it first",)
        case journal.State.STAGING | journal.State.APPLYING | journal.State.UNDOING:
            return ("an earlier deploy was interrupted half way; the next deploy undoes it first",)
