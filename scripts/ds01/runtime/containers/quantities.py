"""Amounts as the Docker client reads them from its options. Pure.

What the client's own parser takes only by accident (exponents, hexadecimal, fractions) is refused with the plain way
to write it: an amount that two programs read differently would be a way round a limit.
"""

from __future__ import annotations

import re

from ds01.core.errors import BadInputError
from ds01.core.pattern import pattern
from ds01.core.typed import Final

_STEPS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
# Source: docker/go-units, size.go, RAMInBytes: a number, one space at most, a unit with i and b or without. The number
# is Go's: digits before its point or behind it, strconv.ParseFloat.
_SIZE: Final = pattern(r"(?=\.?\d)(\d{0,18})(?:\.(\d{0,18}))? ?(?:([kmgtp])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)
_CPUS: Final = pattern(r"(?=\.?\d)(\d{0,9})(?:\.(\d{0,9}))?", re.ASCII)
_WHOLE: Final = pattern(r"[+-]?\d{1,18}", re.ASCII)
_MOST_BYTES: Final = 2**63 - 1
_NANO_DIGITS: Final = 9


class QuantityError(BadInputError):
    """An amount that cannot be read; names the option."""


def read_bytes(option: str, text: str) -> int:
    """Read `512m`, `1.5g`, `.5g`, `64GiB`, `1073741824` in powers of 1024.

    Raises:
        QuantityError: anything else.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise QuantityError(f"{option} {text[:60]!r} is not an amount of memory", None, "write it as 512m, 1.5g or 64g")
    # The client computes with 64-bit floats: of large or odd amounts the last digits are lost, here as there.
    size = int(float(f"{match[1] or 0}.{match[2] or 0}") * (1 << 10 * _STEPS[(match[3] or "").lower()]))
    if size > _MOST_BYTES:
        raise QuantityError(f"{option} {text[:60]!r} is more than any machine has", None, "write it as 512m or 64g")
    return size


def read_nano_cpus(option: str, text: str) -> int:
    """Read a number of CPUs such as `1.5`; the answer is in billionths of a CPU, as the engine keeps it.

    Raises:
        QuantityError: anything else, or finer than a billionth.
    """
    match = _CPUS.fullmatch(text)
    if match is None:
        raise QuantityError(f"{option} {text[:60]!r} is not a number of CPUs", None, "write it as 4 or 1.5")
    return int(match[1] or 0) * 10**_NANO_DIGITS + int((match[2] or "").ljust(_NANO_DIGITS, "0"))


def read_whole(option: str, text: str) -> int:
    """Read a whole number, such as a number of processes.

    Raises:
        QuantityError: anything else.
    """
    # pflag reads 010 as octal, as Go does: what two readers take for two numbers is no number here.
    digits = text.lstrip("+-")
    if not _WHOLE.fullmatch(text) or (len(digits) > 1 and digits.startswith("0")):
        raise QuantityError(f"{option} {text[:60]!r} is not a whole number", None, "write it in decimal, such as 512")
    return int(text)
