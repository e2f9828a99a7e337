"""Whose a slice is: the account behind its name. Asks the account database about single accounts only."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Mapping

from ds01.core.policy import Policy
from ds01.runtime.accounts import uid_of
from ds01.runtime.containers.scan import account_of_part


def slice_owners(policy: Policy, slices: Iterable[str]) -> Mapping[str, str]:
    """Return the account of each slice; one of which nobody knows the account is left out.

    An account's slice is its own in every group, since one that it left may still have containers in it.
    """
    found = {name: account_of_part(_part(name), policy, uid_of, _name_of) for name in slices}
    return {name: account for name, account in found.items() if account is not None}


def _part(slice_name: str) -> str:
    return slice_name.removesuffix(".slice").rpartition("-")[2]


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None
