"""Times at which cron starts something, as crontab(5) has them, and when they were last due. Pure; reads no clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from ds01.core.errors import BadInputError
from ds01.core.typed import Final
from ds01.core.value import dataclass

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SUNDAY: Final = 7
# 29 February on one day of the week comes back within 40 years.
_HORIZON_DAYS: Final = 40 * 366


class TimesError(BadInputError, ValueError):
    """Text that cron would not take, or that names no time; the brief says which part and what cron would do."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    words: tuple[str, ...] = ()

    def number(self, text: str) -> int | None:
        """Return what a number or a name stands for; None for what is neither."""
        if text.lower() in self.words:
            return self.least + self.words.index(text.lower())
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(self.most))
        return int(text) if is_number and self.least <= int(text) <= self.most else None


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, _SUNDAY, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Times:
    """When something is due, in the machine's local time.

    Attributes:
        weekdays: 0 is Sunday.
        either: whether a day of the month or a day of the week will do. Else it must be both: so it is as soon as one
            of the two begins with a star. Source: crontab(5), "the day of a command's execution".
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    def on(self, day: date) -> bool:
        """Whether there is any time on a day."""
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (of_month or of_week if self.either else of_month and of_week)


def parse_times(text: str) -> Times:
    """Read minute, hour, day, month and weekday, with blanks between them.

    Stricter than cron, which takes some of what nobody means: steps that leave the field, ranges that end before they
    begin, and text behind a range.

    Raises:
        TimesError: cron would not take it and ignore its whole file, or it would never be time.

    Source: crontab(5); held against Debian's cron in tests/unit/core/test_cron.py.
    """
    parts = text.split(" ")
    if len(parts) != len(_FIELDS):
        raise TimesError(f"{text!r} has {len(parts)} fields, not {len(_FIELDS)}, for which cron would ignore its file")
    minutes, hours, days, months, weekdays = (
        frozenset(_numbers(part, field)) for part, field in zip(parts, _FIELDS, strict=True)
    )
    times = Times(
        minutes,
        hours,
        days,
        months,
        frozenset(each % _SUNDAY for each in weekdays),
        either=not (parts[2].startswith("*") or parts[4].startswith("*")),
    )
    if last_due(times, datetime(2000, 1, 1) + timedelta(days=_HORIZON_DAYS)) is None:  # noqa: DTZ001 - local time
        raise TimesError(f"{text!r} names a day that never comes, so that nothing would ever be done")
    return times


def _numbers(text: str, field: _Field) -> Iterator[int]:
    for part in text.split(","):
        span, has_step, step = part.partition("/")
        low, is_range, high = span.partition("-")
        first, last = field.number(low), field.number(high if is_range else low)
        if span == "*":
            first, last, is_range = field.least, field.most, "-"
        steps = field.number(step) if is_range and step.isdecimal() else None
        every = steps if has_step else 1
        if first is None or last is None or not every:
            raise TimesError(f"{part!r} is no {field.name}, for which cron would ignore its whole file")
        if last < first:
            raise TimesError(f"{part!r} ends before it begins, so that nothing would ever be done")
        yield from range(first, last + 1, every)


def last_due(times: Times, until: datetime) -> datetime | None:
    """Return the last time that is not after another one; None when there was none in 40 years.

    Args:
        until: local, without a zone, since cron knows none.
    """
    day, most = until.date(), (until.hour, until.minute)
    for back in range(_HORIZON_DAYS):
        there = day - timedelta(days=back)
        if times.on(there):
            hours = sorted(times.hours, reverse=True)
            minutes = sorted(times.minutes, reverse=True)
            for hour, minute in ((hour, minute) for hour in hours for minute in minutes):
                if back or (hour, minute) <= most:
                    return datetime(there.year, there.month, there.day, hour, minute)  # noqa: DTZ001 - local time
    return None
