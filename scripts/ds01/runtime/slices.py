"""Whose slice a control group is: the account behind a slice's name. Reads the account database only."""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from ds01.core.errors import BadInputError
from ds01.core.names import slice_parts, user_part
from ds01.core.pattern import pattern
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.runtime.accounts import limits_of

_WITH_UID: Final = pattern(r".+_u(\d{1,10})", re.ASCII)


def slice_owners(policy: Policy, slices: Iterable[str]) -> Mapping[str, str]:
    """Return the account of each slice; one of which nobody knows the account is left out.

    An account's slice is its own in every group, since one that it left may still have containers in it.
    """
    listed = {user_part(account): account for account in policy.users}
    found = {name: listed.get(_part(name)) or _unlisted(policy, _part(name)) for name in slices}
    return {name: account for name, account in found.items() if account is not None}


def _part(slice_name: str) -> str:
    return slice_name.removesuffix(".slice").rpartition("-")[2]


def _unlisted(policy: Policy, part: str) -> str | None:
    for entry in _candidates(part):
        try:
            limits = limits_of(policy, entry.pw_name)
        except BadInputError:
            # DS01 refuses the name, so the account has no slice.
            continue
        if part in slice_parts(limits.slice_name, entry.pw_name, entry.pw_uid):
            return entry.pw_name
    return None


def _candidates(part: str) -> Iterator[pwd.struct_passwd]:
    """Yield the accounts that may have such a part: the one of that name, and the one of the uid at its end.

    All accounts cannot be gone through: a directory service need not list them.
    """
    match = _WITH_UID.fullmatch(part)
    with suppress(KeyError):
        yield pwd.getpwnam(part)
    if match is not None:
        with suppress(KeyError, OverflowError):
            yield pwd.getpwuid(int(match[1]))
