"""Sizes, durations, percentages and rates as people write them, and back.

Every parser accepts one spelling family, returns one canonical unit, and never guesses: what it does not know is an
error that shows what would do.
"""

from __future__ import annotations

import re

from ds01.core.errors import BadInputError
from ds01.core.pattern import pattern
from ds01.core.typed import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fractions import Fraction

KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3
TIB: Final = 1024**4

_BINARY: Final = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB, "p": 1024**5}
_DECIMAL: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# More digits than anybody writes, and fewer than Python refuses to read.
_MOST_DIGITS: Final = 40
_NUMBER: Final = rf"(\d{{1,{_MOST_DIGITS}}}(?:\.\d{{1,{_MOST_DIGITS}}})?)"
_SIZE: Final = pattern(rf"{_NUMBER}\s*(?:([kmgtp])(?:i?b?)|b?)", re.IGNORECASE | re.ASCII)
_RATE: Final = pattern(rf"{_NUMBER}\s*([kmgt]?)b?(?:/s)?", re.IGNORECASE | re.ASCII)
_DURATION_PART: Final = pattern(rf"{_NUMBER}\s*([smhdw])", re.ASCII)
_PERCENT: Final = pattern(rf"{_NUMBER}\s*%", re.ASCII)
_MOST_SHOWN: Final = 60
# Beyond this a value no longer fits a signed 64-bit counter, which is what the kernel and Docker keep.
MOST: Final = 2**63 - 1
# Beyond this systemd ignores a CPUQuota=: it keeps hundredths of a percent in 32 bits.
MOST_PERCENT: Final = (2**31 - 1) // 100


class UnitError(BadInputError, ValueError):
    """A quantity that cannot be read; the message shows spellings that can."""


def _spelled(text: str | int) -> str:
    """Return what the patterns read; of a number too long to be written out, text that none of them accepts."""
    return "" if isinstance(text, int) and abs(text) >= 10**_MOST_DIGITS else str(text).strip()


def _shown(text: str | int) -> str:
    """Return the value for a message; who writes a thousand digits need not read them all again."""
    written = hex(text) if isinstance(text, int) and abs(text) >= 10**_MOST_DIGITS else repr(text)
    return written if len(written) <= _MOST_SHOWN else f"{written[:_MOST_SHOWN]}…"


def exact(number: str | float) -> Fraction:
    """Return a number exactly as it is written."""
    from fractions import Fraction  # noqa: PLC0415 - takes longer to import than most programs need for all they do

    return Fraction(str(number))


def _whole(value: Fraction, text: str | int, what: str, most: int = MOST) -> int:
    if value > most:
        brief = f"{_shown(text)} is too large for a {what}"
        raise UnitError(brief, None, "write a smaller value, or null for no limit")
    return int(value)


def parse_size(text: str | int) -> int:
    """Read an amount of memory or disk, as Docker and systemd do.

    Args:
        text: `64g`, `96G`, `512MiB`, `1.5t`, or plain bytes. Suffixes are powers of 1024, case does not matter.

    Returns:
        Bytes, rounded down.

    Raises:
        UnitError: not a size, or negative, or above 2**63 - 1 bytes.
    """
    match = _SIZE.fullmatch(_spelled(text))
    if match is None or isinstance(text, bool):
        raise UnitError(f"{_shown(text)} is not a size", None, "write a number with k, m, g or t, such as 64g or 512m")
    return _whole(exact(match[1]) * _BINARY[(match[2] or "").lower()], text, "size")


def parse_rate(text: str | int) -> int:
    """Read a disk bandwidth. Suffixes are powers of 1000, as systemd reads IOReadBandwidthMax=.

    Returns:
        Bytes per second, rounded down.

    Raises:
        UnitError: not a rate.

    Source: systemd.resource-control(5), IOReadBandwidthMax=.
    """
    match = _RATE.fullmatch(_spelled(text))
    if match is None or isinstance(text, bool):
        raise UnitError(f"{_shown(text)} is not a bandwidth", None, "write bytes per second, such as 100M or 1.5G")
    return _whole(exact(match[1]) * _DECIMAL[match[2].lower()], text, "bandwidth")


def parse_duration(text: str | int) -> int:
    """Read a length of time.

    Args:
        text: one or more parts of number and unit: `30m`, `72h`, `0.5h`, `1h30m`, `2d`, `1w`, `90s`; `0` needs no unit.

    Returns:
        Seconds, rounded down.

    Raises:
        UnitError: not a duration; a bare number other than 0 has no unit and is refused.
    """
    plain = _spelled(text)
    if plain == "0" and not isinstance(text, bool):
        return 0
    total, end = exact(0), 0
    for match in _DURATION_PART.finditer(plain):
        if plain[end : match.start()].strip():
            break
        total += exact(match[1]) * _SECONDS[match[2]]
        end = match.end()
    if end == 0 or plain[end:].strip():
        fix = "write a number with s, m, h, d or w, such as 30m or 72h"
        raise UnitError(f"{_shown(text)} is not a duration", None, fix)
    return _whole(total, text, "duration")


def parse_percent(text: str | int) -> int:
    """Read a CPU quota: `9600%` is 96 CPUs. The percent sign is required, so that 96 is never taken for 96 CPUs.

    Returns:
        Whole percent of one CPU, from 1 to MOST_PERCENT.

    Raises:
        UnitError: not a percentage, or out of range.
    """
    match = _PERCENT.fullmatch(_spelled(text))
    if match is None or exact(match[1]) < 1:
        raise UnitError(
            f"{_shown(text)} is not a CPU quota", None, "write percent of one CPU, such as 9600% for 96 CPUs"
        )
    return _whole(exact(match[1]), text, "CPU quota", MOST_PERCENT)


def _shortest(value: int, steps: tuple[tuple[int, str], ...]) -> str:
    for factor, suffix in steps:
        if value >= factor and value % factor == 0:
            return f"{value // factor}{suffix}"
    return str(value)


def format_size(size_bytes: int) -> str:
    """Return the shortest exact spelling, such as `96G`; systemd, Docker and parse_size all read it back."""
    return _shortest(size_bytes, ((TIB, "T"), (GIB, "G"), (MIB, "M"), (KIB, "K")))


def format_rate(bytes_per_second: int) -> str:
    """Return the shortest exact spelling in powers of 1000, such as `100M`."""
    return _shortest(bytes_per_second, ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")))


def format_duration(seconds: int) -> str:
    """Return the shortest exact spelling with one unit, such as `72h` or `15m`; days only from a week of them up."""
    if seconds and seconds % 86400 == 0 and seconds >= 7 * 86400:
        return f"{seconds // 86400}d"
    return _shortest(seconds, ((3600, "h"), (60, "m"))) if seconds % 60 == 0 and seconds else f"{seconds}s"


def format_number(value: float) -> str:
    """Return a count without a needless `.0`."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def ninety_percent(size_bytes: int) -> int:
    """Return where memory starts to be throttled: 90 % of a limit, rounded down to GiB from 10 GiB up, else to MiB.

    Below one MiB nothing is rounded, so that a tiny limit never becomes 0.
    """
    exact = size_bytes * 9 // 10
    step = GIB if size_bytes >= 10 * GIB else MIB if exact >= MIB else 1
    return exact - exact % step
