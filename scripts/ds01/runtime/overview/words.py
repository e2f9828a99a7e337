"""An overview as lines of text: bars, amounts, times. Pure; greeting and check-limits print the same words.

Whatever others have written (names of containers, notices) is made safe to print here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from ds01.core.typed import Final
from ds01.core.units import GIB, MIB, TIB, format_number, format_size
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.core.words import count
from ds01.runtime.lifecycle.notices import Notice, foremost
from ds01.runtime.overview.figures import GpuHolding, GpuState, Measure, Overview, Unknown, Used

BAR_WIDTH: Final = 20
_LABEL_WIDTH: Final = 12
_HIGH, _FULL = 0.75, 0.9
_COLOURS: Final = {"low": "\033[32m", "high": "\033[33m", "full": "\033[31m", "dim": "\033[2m", "bold": "\033[1m"}
_PLAIN: Final = "\033[0m"
_MOST_HOLDINGS: Final = 4
_MOST_NOTICES: Final = 5
# Of what is still to come; who has more of that is told how many more.
_MOST_WARNINGS: Final = 10
# Of one notice, and as many columns as that is on a terminal of the usual width.
_MOST_LINES: Final = 3
_MOST_COLUMNS: Final = 186
# Percent of a minute in which nothing of an account moved, from which on a login says so.
_MUCH_WAITING: Final = 10


@dataclass(frozen=True, slots=True)
class Style:
    """What a terminal can show.

    Attributes:
        width: columns of a line.
    """

    utf8: bool = False
    colour: bool = False
    width: int = 80

    def paint(self, text: str, colour: str) -> str:
        """Return text in a colour, where there are any."""
        return f"{_COLOURS[colour]}{text}{_PLAIN}" if self.colour else text

    def fit(self, text: str) -> str:
        """Return what others wrote in one line of the terminal: bounded, nothing in it that acts or is not shown."""
        shown = self.whole(text)
        mark = "…" if self.utf8 else "..."
        return shown if len(shown) <= self.width else f"{shown[: self.width - len(mark)]}{mark}"

    def whole(self, text: str) -> str:
        """Return the same, however many columns it takes."""
        shown = visible(text)
        return shown if self.utf8 else shown.replace("…", "...").encode("ascii", "backslashreplace").decode()


def style_for(environment: Mapping[str, str], *, colour: bool, columns: int) -> Style:
    """Return what the caller's terminal can show.

    Args:
        colour: whether somebody looks at it who did not ask for none.
        columns: of the terminal; lines never get wider than 80.

    Source: locale(7): LC_ALL, then LC_CTYPE, then LANG; an empty one counts as unset.
    """
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := environment.get(name))), "")
    utf8 = locale.lower().partition("@")[0].endswith(("utf-8", "utf8"))
    return Style(utf8, colour, min(80, max(40, columns)))


# --- Amounts ----------------------------------------------------------------------------------------------------------


def memory_words(size_bytes: float) -> str:
    """Return an amount of memory as people say it, such as `48.2G`."""
    for unit, suffix in ((TIB, "T"), (GIB, "G"), (MIB, "M")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f}".removesuffix(".0") + suffix
    return format_size(int(size_bytes) - int(size_bytes) % 1024)


def cpu_words(percent: float) -> str:
    """Return a rate in whole CPUs, such as `3.1`."""
    return f"{percent / 100:.1f}".removesuffix(".0")


def count_words(number: float) -> str:
    """Return a count."""
    return format_number(number)


def used_words(used: Used, words: Callable[[float], str]) -> str:
    """Return what is used, or that nobody knows."""
    return "unknown" if isinstance(used, Unknown) else words(used)


def measure_words(measure: Measure, words: Callable[[float], str]) -> str:
    """Return `48.2G of 96G`."""
    used = used_words(measure.used, words)
    return f"{used}, no limit" if measure.limit is None else f"{used} of {words(measure.limit)}"


def when(instant: datetime) -> str:
    """Return a time as people of this machine read it."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M}"


def percent_words(percent: float) -> str:
    """Return a share of the last minute in whole percent."""
    return f"{percent:.0f} %"


def waiting_words(overview: Overview) -> str | None:
    """Return how long the account's processes waited for memory; None when nobody can tell."""
    some, full = overview.waited_some, overview.waited_full
    if isinstance(some, Unknown) or isinstance(full, Unknown):
        return None
    return f"waited for memory in {percent_words(some)} of the last minute, all at once in {percent_words(full)}"


def rows(overview: Overview) -> Iterator[tuple[str, Measure, str]]:
    """Yield label, measure and words of everything that has a bar."""
    for label, measure, words, unit in (
        ("Memory", overview.memory, memory_words, ""),
        ("Tasks", overview.tasks, count_words, ""),
        ("CPU", overview.cpu, cpu_words, " CPUs"),
        ("GPUs", overview.gpus, count_words, ""),
        ("Containers", overview.containers, count_words, ""),
    ):
        yield label, measure, f"{measure_words(measure, words)}{unit if measure.limit is not None else ''}"


def bar(measure: Measure, style: Style) -> str:
    """Return how much of a limit is used; nothing to fill where there is no limit, and marks where nobody knows."""
    full, empty, unknown = ("█", "░", "?") if style.utf8 else ("#", "-", "?")
    if measure.limit is None:
        return " " * (BAR_WIDTH + 2)
    if isinstance(measure.used, Unknown):
        return f"[{style.paint(unknown * BAR_WIDTH, 'dim')}]"
    share = _share(measure.used, measure.limit)
    # Who uses anything sees something, and only who uses all sees a full bar.
    filled = min(BAR_WIDTH, max(int(measure.used > 0), int(share * BAR_WIDTH)))
    colour = "full" if share >= _FULL else "high" if share >= _HIGH else "low"
    return f"[{style.paint(full * filled, colour) if filled else ''}{empty * (BAR_WIDTH - filled)}]"


def _share(used: float, limit: float) -> float:
    if limit > 0:
        return used / limit
    return 1.0 if used > 0 else 0.0


def bar_lines(overview: Overview, style: Style) -> Iterator[str]:
    """Yield a line with a bar for each thing that is used."""
    for label, measure, words in rows(overview):
        yield f"{label:{_LABEL_WIDTH}}{bar(measure, style)} {words}"


def holding_words(holding: GpuHolding) -> str:
    """Return who has which units, and for how long."""
    slots = ", ".join(holding.slots)
    match holding.state:
        case GpuState.RUNNING:
            return f"GPU {slots}: {holding.container}, since {when(holding.allocated_at)}"
        case GpuState.RESERVED:
            # A key of the ledger's own stands for a name that Docker has still to make up.
            name = "a container that is not there yet" if holding.container.startswith("?") else holding.container
            return f"GPU {slots}: reserved for {name}"
        case GpuState.HELD:
            whose = f"for {holding.container} (stopped)"
            if holding.held_until is None:
                return f"GPU {slots}: held {whose} until it is removed"
            # The time first: a name may be longer than a line.
            return f"GPU {slots}: held until {when(holding.held_until)} {whose}"


# --- Greeting ---------------------------------------------------------------------------------------------------------


def greeting(overview: Overview, style: Style) -> str:
    """Return what a login shows: bars, held GPUs, notices; of these the notices alone when nothing else is known.

    Empty when there is nothing to say: a login is no place for marks that mean that DS01 is out of order.
    """
    notices = tuple(_notice_lines(overview.notices, style)) if isinstance(overview.notices, tuple) else ()
    if all(isinstance(measure.used, Unknown) for _, measure, _ in rows(overview)):
        return "\n".join(notices)
    group = overview.limits.group
    who = style.fit(f"{overview.account} ({group}{'' if overview.limits.listed else ', not listed'})")
    lines = [style.paint(who, "bold"), *bar_lines(overview, style), *_waiting_lines(overview, style)]
    return "\n".join([*lines, *_held_lines(overview, style), *notices, "check-limits shows more."])


def _waiting_lines(overview: Overview, style: Style) -> Iterator[str]:
    """Yield how long everything stood still, when that is worth a word."""
    full, words = overview.waited_full, waiting_words(overview)
    if words is not None and not isinstance(full, Unknown) and full >= _MUCH_WAITING:
        yield style.paint(f"Processes {words}", "high")


def _held_lines(overview: Overview, style: Style) -> Iterator[str]:
    if isinstance(overview.holdings, Unknown):
        return
    held = [each for each in overview.holdings if each.state is GpuState.HELD]
    for each in held[:_MOST_HOLDINGS]:
        yield style.fit(holding_words(each))
    if len(held) > _MOST_HOLDINGS:
        yield f"and {len(held) - _MOST_HOLDINGS} more held"


def _notice_lines(notices: tuple[Notice, ...], style: Style) -> Iterator[str]:
    shown = foremost(notices, _MOST_NOTICES, _MOST_WARNINGS)
    for each in shown:
        yield from (style.paint(line, "high") for line in notice_lines(each, style))
    hidden = len(notices) - len(shown)
    coming = sum(each.weight.is_binding for each in notices) - sum(each.weight.is_binding for each in shown)
    if hidden:
        yield f"and {count(hidden, 'more notice')}{f', {coming} of them of what is to end' if coming else ''}"


def notice_lines(notice: Notice, style: Style) -> Iterator[str]:
    """Yield a notice with its time, in as many lines as it needs, but a few at most; more where they are narrow."""
    time = f"{when(notice.at)}  "
    rest = style.whole(f"{time}{notice.text}")
    most = max(_MOST_LINES, -(-_MOST_COLUMNS // (style.width - len(time))))
    for _ in range(most - 1):
        if len(rest) <= style.width:
            break
        blank = rest.rfind(" ", len(time) + 1, style.width + 1)
        end = style.width if blank < 0 else blank
        yield rest[:end]
        rest = " " * len(time) + rest[end:].lstrip(" ")
    yield style.fit(rest)
