"""What the policy says of GPU use on the host itself, outside containers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from ds01.core.policy import Policy, PolicyError
from ds01.core.value import dataclass

_SECTION = "bare_metal_access"


class Access(Enum):
    """What happens to a process that computes on a GPU outside any container."""

    ALLOW = "allow"
    WARN = "warn"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class BareMetal:
    """The policy's section.

    Attributes:
        exempt_users: accounts that always may.
        count_in_quota: whether units so used count in their account's GPU quota.
        grace_seconds: between the notice and the end of a process.
        grant_seconds: how long a grant holds when nobody says.
    """

    access: Access
    exempt_users: frozenset[str]
    count_in_quota: bool
    grace_seconds: int
    grant_seconds: int


def read_bare_metal(policy: Policy) -> BareMetal:
    """Take the section out of the compiled policy.

    Raises:
        PolicyError: a part is missing or says what this version does not know.
    """
    section = policy.document.get(_SECTION)
    stated = section if isinstance(section, dict) else {}
    users = stated.get("exempt_users")
    if not isinstance(users, list):
        raise _incomplete("exempt_users", users)
    try:
        access = Access(stated.get("policy"))
    except ValueError as error:
        raise _incomplete("policy", stated.get("policy")) from error
    return BareMetal(
        access=access,
        exempt_users=frozenset(map(str, users)),
        count_in_quota=stated.get("count_in_quota") is not False,
        grace_seconds=_seconds(stated, "grace_seconds"),
        grant_seconds=_seconds(stated, "default_grant_duration_seconds"),
    )


def _seconds(stated: Mapping[str, object], name: str) -> int:
    value = stated.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _incomplete(name, value)
    return value


def _incomplete(name: str, value: object) -> PolicyError:
    return PolicyError(f"the compiled policy says {value!r} for {_SECTION}.{name}", None, "deploy again")
