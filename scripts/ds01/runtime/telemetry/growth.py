"""By how much a slice's counters grew from one look to the next, and how many CPUs that is. Pure.

A counter that cannot be told, now or before, or that went back, has no growth: never 0 in its place.
"""

from __future__ import annotations

from collections.abc import Mapping

from ds01.core.typed import Final
from ds01.core.value import dataclass, field

_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Totals:
    """What the kernel has counted since a slice was made; None is not known.

    Attributes:
        group: which slice of that name it is; another number is another one, made later.
        cpu_usec: CPU time.
        events: as in memory.events.
    """

    group: int | None = None
    cpu_usec: int | None = None
    events: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Growth:
    """What came between two looks; None is not known.

    Attributes:
        cpus: how many CPUs were at work, on average.
    """

    cpus: float | None = None
    events: Mapping[str, int | None] = field(default_factory=dict)


def growth(before: Totals | None, now: Totals, seconds: float) -> Growth:
    """Return what came since the look before.

    Args:
        before: None when there was no such slice then: all of its counters came since.
        seconds: between the two looks.
    """
    made_since = before is None or (None not in {before.group, now.group} and before.group != now.group)
    base = Totals(cpu_usec=0, events=dict.fromkeys(now.events, 0)) if before is None or made_since else before
    cpu_usec = _grown(base.cpu_usec, now.cpu_usec)
    return Growth(
        cpus=None if cpu_usec is None or seconds <= 0 else round(cpu_usec / _MICROSECONDS / seconds, 3),
        events={name: _grown(base.events.get(name), count) for name, count in now.events.items()},
    )


def _grown(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None or now < before else now - before
