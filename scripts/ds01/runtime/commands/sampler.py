"""`ds01-sampler`: the service that keeps the accounts' CPU rates, and watches their memory and their quotas."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode
from ds01.core.typed import Final
from ds01.runtime.commands.service import Seconds, speak_to_journal
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.pressure_look import INTERVAL_SECONDS as PRESSURE_SECONDS
from ds01.runtime.telemetry.pressure_look import PressureLook
from ds01.runtime.telemetry.rates import WINDOW_SECONDS
from ds01.runtime.telemetry.sampler import INTERVAL_SECONDS, Sampler

_SECONDS: Final = Seconds(0.1, WINDOW_SECONDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until somebody ends it; returns the exit code."""
    made = parser(
        "ds01-sampler",
        "Measure how much CPU each account uses, and tell accounts of memory pressure and of limits they come near;"
        " keeps /run/ds01/rates.json and /run/ds01/pressure.json.",
    )
    made.add_argument(
        "--interval",
        type=_SECONDS.read,
        default=INTERVAL_SECONDS,
        metavar="SECONDS",
        help=f"pause between two looks (default: {INTERVAL_SECONDS:g})",
    )
    made.add_argument(
        "--pressure-interval",
        type=_SECONDS.read,
        default=PRESSURE_SECONDS,
        metavar="SECONDS",
        help=f"pause between two looks at memory and quotas (default: {PRESSURE_SECONDS:g})",
    )
    made.add_argument("--once", action="store_true", help="take one sample of the CPU, write the rates, and end")
    return run_command(made, argv, _run)


def _run(options: argparse.Namespace) -> int:
    speak_to_journal()
    paths = host_paths(options.root)
    sampler = Sampler(paths)
    if options.once:
        sampler.look()
        return ExitCode.FAILED if sampler.trouble else ExitCode.DONE
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    pressure = PressureLook(paths, Machine(), interval_seconds=options.pressure_interval)
    try:
        sampler.run(options.interval, ending.wait, pressure.look_when_due)
    finally:
        pressure.stop()
    return ExitCode.DONE
