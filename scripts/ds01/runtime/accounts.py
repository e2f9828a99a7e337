"""Accounts of this machine: who asks, who is an administrator, which limits hold. Reads the account database only."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping

from ds01.core.errors import BadInputError, RefusedError
from ds01.core.limits import ResolvedLimits, group_of, resolve
from ds01.core.names import ADMIN_GROUP
from ds01.core.policy import Policy
from ds01.runtime.identity import Caller

__all__ = ["Caller", "UnknownCallerError", "caller", "caller_alone", "is_admin", "is_known", "limits_of", "unix_groups"]

_HIGHEST_UID = 2**32 - 2


class UnknownCallerError(RefusedError):
    """Nobody knows who asks; nothing is done for them."""


def caller(policy: Policy, *, uid: int, environment: Mapping[str, str]) -> Caller:
    """Return who asks.

    Args:
        uid: the process's real one.
        environment: read for SUDO_UID alone, and that only as root: nobody else's word counts, and sudo always sets
            it to whom it works for. Source: sudo(8), "ENVIRONMENT".

    Raises:
        UnknownCallerError: the uid has no account, or SUDO_UID is no uid.
    """
    who = caller_alone(uid=uid, environment=environment)
    return Caller(who.uid, who.name, is_admin(policy, who.name))


def caller_alone(*, uid: int, environment: Mapping[str, str]) -> Caller:
    """Return who asks where there is no policy: only root is an administrator then; all else as caller()."""
    if uid == 0 and "SUDO_UID" in environment:
        text = environment["SUDO_UID"]
        if not (text.isascii() and text.isdigit() and int(text[:11]) <= _HIGHEST_UID):
            raise UnknownCallerError(f"SUDO_UID is {text[:20]!r}", "that is no uid", "run the command through sudo")
        uid = int(text)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError as error:
        raise UnknownCallerError(f"uid {uid} has no account on this machine", None, "log in with an account") from error
    return Caller(uid, name, uid == 0)


def is_admin(policy: Policy, account: str) -> bool:
    """Whether an account is an administrator: root, by policy's list, by its group of DS01, or by the Linux group."""
    if uid_of(account) == 0:
        return True
    access = policy.document.get("access_control")
    section = access if isinstance(access, dict) else {}
    listed = section.get("admin_users")
    if isinstance(listed, list) and account in listed:
        return True
    groups = unix_groups(account)
    return section.get("admin_group") in groups or group_of(policy, account, groups) == ADMIN_GROUP


def is_known(policy: Policy, account: str) -> bool:
    """Whether there is such an account, on this machine or in the policy's lists."""
    return account in policy.users or uid_of(account) is not None


def uid_of(account: str) -> int | None:
    """Return an account's uid; None when this machine does not know it."""
    try:
        return pwd.getpwnam(account).pw_uid
    except (KeyError, ValueError):
        return None


def unix_groups(account: str) -> tuple[str, ...]:
    """Return the names of an account's Linux groups; none when this machine does not know the account."""
    try:
        entry = pwd.getpwnam(account)
    except (KeyError, ValueError):
        return ()
    return tuple(_group_name(gid) for gid in os.getgrouplist(account, entry.pw_gid))


def limits_of(policy: Policy, account: str) -> ResolvedLimits:
    """Resolve an account; its uid and Linux groups are looked up when it is not listed.

    Raises:
        BadInputError: no name, or one that DS01 refuses.
    """
    if not account:
        raise BadInputError("the account's name is empty", None, "name an account, or leave it out for your own")
    if account in policy.users:
        return resolve(policy, account)
    try:
        entry = pwd.getpwnam(account)
    except (KeyError, ValueError):
        return resolve(policy, account)
    return resolve(policy, account, uid=entry.pw_uid, unix_groups=unix_groups(account))


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
