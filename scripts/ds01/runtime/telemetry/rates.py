"""CPU counters to rates: samples in, percent out. Pure; sampler.py reads the counters and keeps the file.

A rate is an average over the last minute, so that one command does not show as a load.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from ds01.core.clock import format_instant, parse_instant
from ds01.core.errors import BadInputError
from ds01.core.typed import Final
from ds01.core.value import dataclass

RATES_VERSION: Final = 1
WINDOW_SECONDS: Final = 60.0
# Older ones say nothing about now; neither do those from the future, of a clock that was set back.
_FRESH: Final = timedelta(minutes=3)
_USEC: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """All counters at one time.

    Attributes:
        seconds: of a clock that nobody can set.
        usec: CPU time of each group; None for one whose counter could not be read. A group that is not in it did not
            exist, so that its counter began at 0 later.
    """

    seconds: float
    usec: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Rates:
    """What rates.json says.

    Attributes:
        slices: percent of one CPU, by the slice's name.
        containers: the same, by the container's id.
    """

    slices: Mapping[str, float]
    containers: Mapping[str, float]


def recent(samples: Sequence[Sample], newest: Sample) -> tuple[Sample, ...]:
    """Add a sample and drop those that are older than the window; the last of those stays, or the window is too short.

    A sample that is no newer than the last starts anew: the clock is not the one it was.
    """
    if samples and newest.seconds <= samples[-1].seconds:
        return (newest,)
    since = newest.seconds - WINDOW_SECONDS
    old = sum(each.seconds <= since for each in samples)
    return (*samples[max(0, old - 1) :], newest)


def rates(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the percent of one CPU that each group of the newest sample used over all samples.

    Where a counter could not be read, the time on both sides of it is left out; a group with no time left has no rate.
    """
    if not samples:
        return {}
    found = {name: _rate(name, samples) for name in samples[-1].usec}
    return {name: rate for name, rate in found.items() if rate is not None}


def _rate(name: str, samples: Sequence[Sample]) -> float | None:
    used, seconds = 0, 0.0
    for older, newer in pairwise(samples):
        before, after = older.usec.get(name, 0), newer.usec.get(name, 0)
        if before is not None and after is not None:
            # A counter that went back belongs to a new group of the same name, and began at 0.
            used += after - before if after >= before else after
            seconds += newer.seconds - older.seconds
    return round(used / _USEC / seconds * 100, 1) if seconds > 0 else None


def to_document(found: Rates, now: datetime) -> dict[str, object]:
    """Return what rates.json is to say."""
    return {
        "version": RATES_VERSION,
        "updated_at": format_instant(now),
        "slices": _entries(found.slices),
        "containers": _entries(found.containers),
    }


def from_document(document: Mapping[str, object], now: datetime) -> Rates | str:
    """Read what to_document() made, or return why it says nothing about now."""
    try:
        if document["version"] != RATES_VERSION:
            return f"it has version {document['version']!r}, this DS01 reads version {RATES_VERSION}"
        age = now - parse_instant(str(document["updated_at"]))
        slices, containers = _read(document["slices"]), _read(document["containers"])
    except (KeyError, TypeError, ValueError, BadInputError) as error:
        return f"it is not complete: {type(error).__name__}: {error}"
    if abs(age) > _FRESH:
        return f"it is from {document['updated_at']}; systemctl status ds01-sampler says why nobody writes it"
    return Rates(slices, containers)


def _entries(found: Mapping[str, float]) -> dict[str, object]:
    return {name: {"cpu_percent": rate} for name, rate in found.items()}


def _read(section: object) -> dict[str, float]:
    if not isinstance(section, dict):
        raise TypeError(f"expected an object, found {section!r}")
    return {name: _percent(entry["cpu_percent"]) for name, entry in section.items()}


def _percent(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise TypeError(f"expected a percentage, found {value!r}")
    return float(value)
