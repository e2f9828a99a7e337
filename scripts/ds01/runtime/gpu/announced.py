"""What accounts were told of their processes outside containers: since when, and when those end. Pure.

An end that an account was told is over once, not anew for each process: who starts one after the other has one grace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.gpu.baremetal import Access
from ds01.runtime.gpu.grants import grant_of
from ds01.runtime.gpu.hostprocesses import HostProcess, Moment, Rules

# Without a process that should not be there an account is taken to have understood, and is told anew the next time.
FORGOTTEN_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Announced:
    """What one account was told.

    Attributes:
        ends_seconds: when what it runs is ended, in seconds since boot; None while the policy only warns.
        seen_seconds: when the last such process was seen, in seconds since boot.
    """

    ends_seconds: float | None
    seen_seconds: float

    def is_over(self, moment: Moment) -> bool:
        """Whether what it was told does not hold for a process that begins now."""
        return moment.boot_seconds - self.seen_seconds > FORGOTTEN_SECONDS


def ends_told(before: Mapping[str, Announced], moment: Moment) -> Mapping[str, float]:
    """Return the ends that hold for processes that begin now, by account."""
    return {
        user: each.ends_seconds
        for user, each in before.items()
        if each.ends_seconds is not None and not each.is_over(moment)
    }


def announced_after(
    before: Mapping[str, Announced], found: Iterable[HostProcess], rules: Rules, moment: Moment
) -> Mapping[str, Announced]:
    """Return what accounts were told, once those were told that are to be.

    Args:
        found: all processes of a look; of what is not certain nobody was told.
    """
    if rules.access.access is Access.ALLOW:
        return {}
    ends = rules.access.access is Access.TERMINATE
    after = {
        user: each if ends else replace(each, ends_seconds=None)
        for user, each in before.items()
        if not each.is_over(moment) and not may_now(user, rules, moment)
    }
    told: dict[str, list[float]] = {}
    for each in found:
        if each.is_told:
            told.setdefault(each.user, []).extend(() if each.ends_seconds is None else (each.ends_seconds,))
    for user, seconds in told.items():
        known = after[user].ends_seconds if user in after else None
        # Of several the last: that is what its account was told last.
        after[user] = Announced(max(seconds, default=None) if known is None else known, moment.boot_seconds)
    return after


def is_new(before: Announced | None, after: Announced, moment: Moment) -> bool:
    """Whether an account has yet to be told: it was told nothing that holds, or of no end or another one."""
    return before is None or before.is_over(moment) or before.ends_seconds != after.ends_seconds


def withdrawn(before: Mapping[str, Announced], after: Mapping[str, Announced], moment: Moment) -> tuple[str, ...]:
    """Return the accounts of which what they were told does not hold any more.

    That something is not allowed goes on to hold when it is over; that what they start later is ended does not.
    """

    def goes_on(user: str, each: Announced) -> bool:
        known = after.get(user)
        if known is None:
            return each.ends_seconds is None and each.is_over(moment)
        return each.ends_seconds is None or known.ends_seconds is not None

    return tuple(user for user, each in before.items() if not goes_on(user, each))


def may_now(user: str, rules: Rules, moment: Moment) -> bool:
    """Whether an account may use GPUs outside containers, as far as that can be told."""
    access = rules.access
    if access.access is Access.ALLOW or user in access.exempt_users or rules.is_admin(user):
        return True
    return grant_of(rules.grants or (), user, moment.now) is not None
