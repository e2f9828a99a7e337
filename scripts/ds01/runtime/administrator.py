"""Who may use a command that is for administrators: root on this machine, asked by an administrator."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from contextlib import suppress

from ds01.core.errors import RefusedError
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.runtime.accounts import caller, who_asks
from ds01.runtime.identity import Caller


def require_root(paths: HostPaths, what: str) -> None:
    """Go on only where what this command does can be done, and as far as nobody leads root astray.

    Args:
        what: that root alone does, as the beginning of a sentence.

    Raises:
        RefusedError: another account's process; or root's, below a folder of somebody else's.
    """
    is_root = os.geteuid() == 0
    if paths.is_live and not is_root:
        raise RefusedError(f"{what} by root alone", None, "run the command through sudo")
    if not paths.is_live and is_root and paths.root.stat().st_uid != 0:
        # Its links could lead anywhere, and its policy make anybody an administrator.
        raise RefusedError(f"root changes nothing below {paths.root}, which is another account's", None, "use another")
    if is_root:
        # Whoever calls through sudo sets it, and could keep an event out of the log or a change off the disk.
        with suppress(ValueError, OSError):  # a container's root may not raise it
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def administrator(policy: Policy, *, uid: int, environment: Mapping[str, str]) -> Caller:
    """Return who asks.

    Args:
        uid, environment: as for accounts.caller().

    Raises:
        RefusedError: that is no administrator, or nobody knows who it is.
    """
    found = caller(policy, uid=uid, environment=environment)
    if not found.is_admin:
        raise RefusedError(f"{found.name} is not an administrator", None, "ask one; this command is theirs")
    return found


def administrator_without_policy(command: str, *, uid: int, environment: Mapping[str, str]) -> Caller:
    """Return who asks when no policy says who is an administrator: root itself is the only one then.

    Args:
        command: how the one who asks can go on as root.

    Raises:
        RefusedError: somebody else, or nobody knows who it is.
    """
    found, name = who_asks(uid=uid, environment=environment)
    if found != 0:
        raise RefusedError(
            f"the policy cannot be read, so nobody can tell whether {name} is an administrator",
            "only root itself is one then",
            f"become root first: sudo env -u SUDO_UID {command}",
        )
    return Caller(found, name, is_admin=True)
