"""The notices of an account as a value: what it is to be told, by key, and until when. Pure; notify.py keeps the file.

[{"at": "2026-03-01T09:12:00Z", "text": "container train was ended: out of memory", "key": "oom.4f2a", "until": …,
"weight": "trouble"}]. A warning of something that is still to come never makes room for another notice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum

from ds01.core.clock import format_instant, parse_instant
from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.core.visible import visible

# Of trouble and of news each; more than anybody reads at a login.
MOST_KEPT: Final = 20
# Warnings of what is to come. Who has so many is told of another one when one of them is over.
MOST_BINDING: Final = 100
# How long a login shows one of which nothing else is said.
KEEP_SECONDS: Final = 3 * 86400.0
_LONGEST_TEXT: Final = 500
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Weight(Enum):
    """How much depends on that an account is told, most first."""

    END = "end"  # something that runs is to be ended
    TROUBLE = "trouble"  # something was ended, stands still, or soon will
    HOLD = "hold"  # something that does not run is to be removed
    NEWS = "news"  # what became of something

    @property
    def is_binding(self) -> bool:
        """Whether something follows from it that may not come unseen."""
        return self in {Weight.END, Weight.HOLD}


_RANKS: Final = {weight: rank for rank, weight in enumerate(Weight)}
# What was written before notices had a weight, by how its key begins.
_FORMER: Final = {
    Weight.END: ("idle:", "max_runtime:", "unmanaged:", "baremetal."),
    Weight.TROUBLE: ("oom.", "pressure.", "quota."),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an account is to be told.

    Attributes:
        text: one line; not safe to print as it is, since it is read from a file.
        key: what it is about; one on the same replaces it. None for one that was written without.
        until: when it is of no use any more; None is never. Of two warnings it is later for the one whose end is.
    """

    at: datetime
    text: str
    key: str | None = None
    until: datetime | None = None
    weight: Weight = Weight.NEWS

    def is_over(self, now: datetime) -> bool:
        """Whether nobody needs to be told any more."""
        return self.until is not None and self.until <= now


def new_notice(text: str, key: str, now: datetime, keep_seconds: float, weight: Weight) -> Notice:
    """Return a notice of now, its text in one bounded line.

    Args:
        keep_seconds: how long it is shown; longer than there are dates is for ever.
    """
    try:
        until = now + timedelta(seconds=keep_seconds)
    except OverflowError:
        until = None
    return Notice(now, visible(text, _LONGEST_TEXT), key, until, weight)


def added(notices: Iterable[Notice], notice: Notice) -> tuple[Notice, ...]:
    """Put a notice behind the others, in place of one with its key; of too many of a weight the oldest go.

    Returns:
        Without it, and otherwise as before, when it is a warning and there are too many of those already.
    """
    before = tuple(notices)
    after = (*without(before, notice.key), notice)
    binding = sum(each.weight.is_binding for each in after)
    return before if notice.weight.is_binding and binding > MOST_BINDING else _bounded(after)


def restated(notices: Iterable[Notice], notice: Notice) -> tuple[Notice, ...]:
    """Bring the notice with this one's key up to date; where it said the same already, nothing is new but its end."""
    before = tuple(notices)
    known = next((each for each in before if each.key == notice.key), None)
    if known is None or (known.text, known.weight) != (notice.text, notice.weight):
        return added(before, notice)
    return tuple(replace(each, until=notice.until) if each is known else each for each in before)


def _bounded(notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    """Leave out the oldest of those of which there are too many; a warning of what is to come always stays."""
    kept: Counter[Weight] = Counter()
    found: list[Notice] = []
    for each in reversed(notices):
        kept[each.weight] += 1
        if each.weight.is_binding or kept[each.weight] <= MOST_KEPT:
            found.append(each)
    return tuple(reversed(found))


def by_weight(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """Put first what matters most: of warnings what comes first, of all else the oldest."""
    return tuple(sorted(notices, key=_place))


def _place(notice: Notice) -> tuple[int, datetime]:
    return _RANKS[notice.weight], (notice.until or _NEVER) if notice.weight.is_binding else notice.at


def foremost(notices: Iterable[Notice], most: int, most_binding: int) -> tuple[Notice, ...]:
    """Choose what a login shows, what matters most first.

    Args:
        most: in all, if there are not so many warnings of what is to come; besides those one other is shown always.
        most_binding: of those warnings; what comes first is shown.
    """
    ordered = by_weight(notices)
    binding = [each for each in ordered if each.weight.is_binding][:most_binding]
    newest_first = (each for each in reversed(ordered) if not each.weight.is_binding)
    others = sorted(newest_first, key=lambda each: _RANKS[each.weight])
    return by_weight([*binding, *reversed(others[: max(most - len(binding), 1)])])


def without(notices: Iterable[Notice], key: str | None) -> tuple[Notice, ...]:
    """Leave out what has a key; what has none always stays."""
    return tuple(each for each in notices if each.key is None or each.key != key)


def current(notices: Iterable[Notice], now: datetime) -> tuple[Notice, ...]:
    """Leave out what is over."""
    return tuple(each for each in notices if not each.is_over(now))


def format_notices(notices: Iterable[Notice]) -> bytes:
    """Return what the file is to say."""
    rows = [
        {
            "at": format_instant(each.at),
            "text": each.text,
            "key": each.key,
            "until": None if each.until is None else format_instant(each.until),
            "weight": each.weight.value,
        }
        for each in notices
    ]
    return f"{json.dumps(rows, indent=1, ensure_ascii=False)}\n".encode(errors="backslashreplace")


def parse_notices(content: bytes) -> tuple[Notice, ...]:
    """Read what format_notices() made; key, until and weight may be absent.

    Raises:
        ValueError: it is something else; also with InstantError and RecursionError as the cause.
    """
    try:
        return tuple(map(_notice, _list(json.loads(content))))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _list(found: object) -> list[dict[str, object]]:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise TypeError("expected a list of objects")
    return found


def _notice(row: dict[str, object]) -> Notice:
    until, weight = row.get("until"), row.get("weight")
    key = None if row.get("key") is None else _text(row["key"])
    return Notice(
        at=parse_instant(_text(row["at"])),
        text=_text(row["text"]),
        key=key,
        until=None if until is None else parse_instant(_text(until)),
        weight=_former_weight(key or "") if weight is None else Weight(weight),
    )


def _former_weight(key: str) -> Weight:
    return next((weight for weight, beginnings in _FORMER.items() if key.startswith(beginnings)), Weight.NEWS)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value
