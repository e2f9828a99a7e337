"""`ds01-gpuwatch`: the service that watches how busy GPUs are, and what computes on them outside containers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode
from ds01.core.typed import Final
from ds01.runtime.administrator import require_root
from ds01.runtime.commands.service import Seconds, speak_to_journal
from ds01.runtime.gpu.ending import Ender
from ds01.runtime.gpu.looking import LIMIT_SECONDS, Looker
from ds01.runtime.gpu.watch import INTERVAL_SECONDS, Watcher
from ds01.runtime.lifecycle.notify import Notifier
from ds01.runtime.machine import Machine

# Who reads what is written takes it for old after two minutes.
_SECONDS: Final = Seconds(0.1, 60.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until somebody ends it; returns the exit code."""
    made = parser(
        "ds01-gpuwatch",
        "Watch how busy GPUs are (/run/ds01/gpu-activity.json) and what computes on them outside containers"
        " (/var/lib/ds01/host-processes.json); warn of it or end it, as the policy says.",
    )
    made.add_argument(
        "--interval",
        type=_SECONDS.read,
        default=INTERVAL_SECONDS,
        metavar="SECONDS",
        help=f"pause between two looks (default: {INTERVAL_SECONDS:g})",
    )
    made.add_argument(
        "--limit",
        type=_SECONDS.read,
        default=LIMIT_SECONDS,
        metavar="SECONDS",
        help=f"how long the driver may take for one look (default: {LIMIT_SECONDS:g})",
    )
    made.add_argument("--once", action="store_true", help="look once, do what follows from it, and end")
    return run_command(made, argv, _run)


def _run(options: argparse.Namespace) -> int:
    speak_to_journal()
    paths = host_paths(options.root)
    require_root(paths, "GPUs are watched")
    machine = Machine(paths.proc)
    watcher = Watcher(
        paths=paths,
        look=Looker(paths, options.limit, machine).look,
        teller=Notifier(paths, machine.now),
        machine=machine,
        ender=Ender(machine),
    )
    if not options.once:
        watcher.run(options.interval)
    watcher.resume()
    watcher.step()
    while watcher.ender.is_busy:
        watcher.ender.wait(options.interval)
        watcher.attend()
    return ExitCode.FAILED if watcher.trouble else ExitCode.DONE
