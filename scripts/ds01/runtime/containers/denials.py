"""How often an account was refused of late: ten refusals an hour are told in full, then one line each. Pure.

A script that tries again and again would else fill its user's terminal and the log.
"""

from __future__ import annotations

from ds01.core.typed import Final
from ds01.core.value import dataclass

IN_FULL: Final = 10
HOUR_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Denials:
    """Refusals of the last hour.

    Attributes:
        times: of those that were told in full, in seconds since the epoch.
        unsaid: how many more there were since the first of them.
    """

    times: tuple[float, ...] = ()
    unsaid: int = 0


@dataclass(frozen=True, slots=True)
class Telling:
    """How to tell of one more refusal.

    Attributes:
        in_full: with its box and an event of its own.
        number: which one it is within the hour.
        unsaid: how many before it were not told of in full; told with the next that is.
    """

    in_full: bool
    number: int
    unsaid: int


def one_more(denials: Denials, now: float) -> tuple[Denials, Telling]:
    """Count a refusal."""
    # What lies in the future was written before the clock was set back.
    times = tuple(each for each in denials.times if now - HOUR_SECONDS < each <= now)
    if len(times) >= IN_FULL:
        unsaid = denials.unsaid + 1
        return Denials(times, unsaid), Telling(in_full=False, number=len(times) + unsaid, unsaid=denials.unsaid)
    return Denials((*times, now)), Telling(in_full=True, number=len(times) + 1, unsaid=denials.unsaid)
