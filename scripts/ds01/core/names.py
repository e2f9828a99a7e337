"""The only place that turns an account or group name into a slice, a path or a safe form.

Never touches the system: who exists and who is listed is told by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from ds01.core.errors import BadInputError
from ds01.core.pattern import pattern
from ds01.core.typed import Final, NewType

UserName = NewType("UserName", str)
GroupName = NewType("GroupName", str)
SliceName = NewType("SliceName", str)

ROOT_SLICE: Final = SliceName("ds01.slice")
ADMIN_GROUP: Final = GroupName("admin")
OTHER_SLICE: Final = SliceName("ds01-other.slice")
BUILD_SLICE: Final = SliceName("ds01-build.slice")
RESERVED_GROUPS: Final = frozenset({"other", "build"})

# Accounts that an admin may list: what useradd(8) and common directory services produce, nothing that a unit file,
# a cron line or a shell would read as more than text.
_LISTED: Final = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}", re.ASCII)
_GROUP: Final = pattern(r"[A-Za-z][A-Za-z0-9_-]{0,31}", re.ASCII)
_UNSAFE: Final = pattern(r"[^A-Za-z0-9_]", re.ASCII)
_UID_TAIL: Final = pattern(r"_u\d+\Z", re.ASCII)
_FORBIDDEN: Final = pattern(r"[%\\/]")
# A unit name may have 255 bytes; what is left for the account after "ds01-<group>-" and "_u<uid>.slice".
_LONGEST_SAFE: Final = 160


class BadNameError(BadInputError, ValueError):
    """A name that cannot be used; the message says which character or rule is in the way."""


def safe(name: str) -> str:
    """Replace every character outside `[A-Za-z0-9_]` by `_`. systemd reads `-` as nesting, so none may survive."""
    return _UNSAFE.sub("_", name)


def check_listed_user(name: str) -> UserName:
    """Accept an account name from the inventory.

    Raises:
        BadNameError: the name has a character that no account may have, is too long, or ends like the names DS01
            gives to accounts that nobody listed (`_u<digits>`).
    """
    if not _LISTED.fullmatch(name):
        raise BadNameError(
            f"{name!r} is not an account name",
            None,
            "use 1 to 64 letters, digits or _ . @ + -, not starting with . @ + or -",
        )
    if _UID_TAIL.search(safe(name)):
        raise BadNameError(
            f"account {name!r} ends in _u and digits, which DS01 keeps for accounts that are not listed",
            None,
            "rename the account, or leave it unlisted: the default group then holds for it",
        )
    return UserName(name)


def check_group(name: str) -> GroupName:
    """Accept a group name from the policy.

    Raises:
        BadNameError: reserved, or not 1 to 32 letters, digits, `_` and `-` starting with a letter.
    """
    if name in RESERVED_GROUPS:
        raise BadNameError(
            f"group {name!r} is reserved: ds01-{name}.slice is DS01's own", None, "choose another group name"
        )
    if not _GROUP.fullmatch(name):
        raise BadNameError(
            f"{name!r} is not a group name",
            None,
            "use 1 to 32 letters, digits, _ or -, starting with a letter",
        )
    return GroupName(name)


def user_part(name: str, *, uid: int | str | None = None, listed: Iterable[str] = ()) -> str:
    """Return the part of a slice name that stands for an account.

    Args:
        uid: None for a listed account. For an unlisted one its uid, which is appended as `_u<uid>` whenever the plain
            form could be taken for another account's; text when the uid is not known and only to be shown.
        listed: safe forms of all listed accounts, compared without regard to case, since names of containers and
            images are in lower case. Only read for unlisted accounts.

    Raises:
        BadNameError: empty, or starts with `.` or `-`, or has a newline, another character that cannot be seen, `%`,
            a backslash or a slash.
    """
    if not name or not name.isprintable() or _FORBIDDEN.search(name):
        raise BadNameError(
            f"account name {name!r} has a character that DS01 refuses (control character, %, \\ or /)",
            None,
            "rename the account",
        )
    if name.startswith((".", "-")):
        raise BadNameError(f"account name {name!r} starts with {name[0]}", None, "rename the account")
    plain = safe(name)
    if uid is None:
        return plain
    ambiguous = plain != name or _UID_TAIL.search(plain) or len(plain) > _LONGEST_SAFE
    if ambiguous or any(each.lower() == plain.lower() for each in listed):
        return unlisted_part(name, uid)
    return plain


def slice_parts(slice_name: str, account: str, uid: int | None) -> tuple[str, ...]:
    """Return every part of a slice's name that stands for this account and for no other.

    Besides the one in its present slice that is the one it has when nobody lists it and its plain form is not safe:
    who was listed while containers ran is charged for those too.

    Args:
        slice_name: the account's own, from user_slice().
        uid: None when this machine does not know the account.
    """
    present = slice_name.removesuffix(".slice").rpartition("-")[2]
    return tuple(dict.fromkeys((present, present if uid is None else unlisted_part(account, uid))))


def unlisted_part(account: str, uid: int | str) -> str:
    """Return the part of a slice's name for an account that nobody lists and whose plain form is not safe."""
    return f"{safe(account)[:_LONGEST_SAFE]}_u{uid}"


def group_slice(group: str) -> SliceName:
    """Return `ds01-<group>.slice`."""
    return SliceName(f"ds01-{safe(group)}.slice")


def user_slice(group: str, part: str) -> SliceName:
    """Return `ds01-<group>-<user>.slice`; `part` comes from user_part()."""
    return SliceName(f"ds01-{safe(group)}-{part}.slice")


def cgroup_path(slice_name: str) -> PurePosixPath:
    """Return where systemd puts a slice, relative to the cgroup root: each dash is one level deeper.

    Source: systemd.slice(5), "foo-bar.slice is located within foo.slice".
    """
    parts = slice_name.removesuffix(".slice").split("-")
    return PurePosixPath(*(f"{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts))))
