"""`ds01-sampler`: the service that keeps the accounts' CPU rates in /run/ds01/rates.json."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode
from ds01.core.typed import Final
from ds01.runtime.telemetry.rates import WINDOW_SECONDS
from ds01.runtime.telemetry.sampler import INTERVAL_SECONDS, Sampler

_SHORTEST: Final = 0.1


def main(argv: Sequence[str] | None = None) -> int:
    """Run until somebody ends it; returns the exit code."""
    made = parser("ds01-sampler", "Measure how much CPU each account uses, and keep it in /run/ds01/rates.json.")
    made.add_argument(
        "--interval",
        type=_seconds,
        default=INTERVAL_SECONDS,
        metavar="SECONDS",
        help=f"pause between two looks (default: {INTERVAL_SECONDS:g})",
    )
    made.add_argument("--once", action="store_true", help="take one sample, write the file, and end")
    return run_command(made, argv, _run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST <= seconds <= WINDOW_SECONDS:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no pause; write {_SHORTEST} to {WINDOW_SECONDS:g} seconds")
    return seconds


def _run(options: argparse.Namespace) -> int:
    # The journal adds the time.
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    sampler = Sampler(host_paths(options.root))
    if options.once:
        sampler.look()
        return ExitCode.FAILED if sampler.trouble else ExitCode.DONE
    sampler.run(options.interval)
    return ExitCode.DONE
