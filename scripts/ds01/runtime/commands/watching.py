"""What commands share that show something once, or again and again on one screen."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable

from ds01.core.typed import Final

_CLEAR: Final = "\033[H\033[2J"
_USUAL_SECONDS: Final = 2.0
_SHORTEST: Final = 0.2
_LONGEST: Final = 86400.0


def add_watch(made: argparse.ArgumentParser) -> None:
    """Add the option that asks for it again and again."""
    made.add_argument(
        "--watch",
        nargs="?",
        const=_USUAL_SECONDS,
        type=_seconds,
        metavar="SECONDS",
        help=f"show it again and again (default: {_USUAL_SECONDS:g})",
    )


def shown(seconds: float | None, show: Callable[[str], int]) -> int:
    """Show something; returns the exit code of what was shown last.

    Args:
        seconds: pause between two times; None for once.
        show: prints it behind what it is given: a cleared screen, where it is one.
    """
    while True:
        code = show("" if seconds is None or not sys.stdout.isatty() else _CLEAR)
        if seconds is None:
            return code
        sys.stdout.flush()
        time.sleep(max(_SHORTEST, seconds))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of seconds from 0 to {_LONGEST:g}")
    return seconds
