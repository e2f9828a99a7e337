"""`ds01-eventsd`: the service that follows Docker's events, and keeps what there is written down."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from datetime import datetime

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode
from ds01.core.events import EventLog
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.process import run
from ds01.core.typed import Final
from ds01.runtime.commands.service import Seconds, speak_to_journal
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.containers.look import look, open_engine
from ds01.runtime.containers.standing import Place
from ds01.runtime.gpu.host import open_gpus
from ds01.runtime.lifecycle.comeback import Checks, Reach
from ds01.runtime.lifecycle.control import Control
from ds01.runtime.lifecycle.due import next_due
from ds01.runtime.lifecycle.notify import Notifier
from ds01.runtime.lifecycle.sights import Sights
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.aside import Aside
from ds01.runtime.telemetry.catchup import Suspects
from ds01.runtime.telemetry.chronicle import Chronicle
from ds01.runtime.telemetry.daemon import LOOK_SECONDS, Beside, Daemon
from ds01.runtime.telemetry.gpubook import GpuBook
from ds01.runtime.telemetry.inforce import PolicyInForce
from ds01.runtime.telemetry.lapses import Lapses
from ds01.runtime.telemetry.roster import Roster
from ds01.runtime.telemetry.steps import Steps
from ds01.runtime.telemetry.timers import Timers
from ds01.runtime.telemetry.writer import Writer

_SECONDS: Final = Seconds(0.5, 86_400.0)
# How long a message of the engine may be on its way before what it would tell is told without it.
_SETTLE_SECONDS: Final = 2.0
# For one question; an engine that takes longer holds up neither the others nor the service's end.
_ANSWER_SECONDS: Final = 5.0
# Stops that are under way at once; each waits for its container to end.
_STOPS: Final = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Run until somebody ends it; returns the exit code."""
    made = parser("ds01-eventsd", "Follow Docker's events: the event log, whose which container is, GPUs, come-backs.")
    made.add_argument(
        "--look",
        type=_SECONDS.read,
        default=LOOK_SECONDS,
        metavar="SECONDS",
        help=f"pause between two looks at all containers (default: {LOOK_SECONDS:g})",
    )
    return run_command(made, argv, _run)


def _run(options: argparse.Namespace) -> int:
    speak_to_journal()
    paths = host_paths(options.root)
    policy = PolicyInForce(paths.policy)
    policy()  # without one nothing can be told of anybody
    timers = Timers(
        dues=lambda after: _due(paths, policy(), after),
        argv=lambda job: _job(paths, job),
        execute=run,
        now=Machine().now,
    )
    lapses = Lapses(lambda: open_gpus(paths, policy()).state)
    daemon = _daemon(paths, policy, options.look, (timers, lapses))
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: daemon.end())
    return ExitCode.DONE if daemon.run() else ExitCode.FAILED


def _due(paths: HostPaths, policy: Policy, after: datetime) -> tuple[datetime, str] | None:
    """Return which job of the lifecycle rules is due next, and when."""
    sights = Sights(paths, policy)
    due = next_due(sights.timers(look(paths, policy).seen), sights.moment(), after=after)
    return None if due is None else (due.at, due.job)


def _job(paths: HostPaths, job: str) -> Sequence[str]:
    """Return the command that runs a job, as cron runs it."""
    root = () if paths.is_live else ("--root", os.fspath(paths.root))
    return (os.fspath(paths.at("/opt/ds01/current/bin/ds01")), "lifecycle", job, *root)


def _daemon(paths: HostPaths, policy: PolicyInForce, look_seconds: float, beside: Sequence[Beside]) -> Daemon:
    engine = Engine(engine_socket(paths), timeout_seconds=_ANSWER_SECONDS)
    # What is stopped is told of through the same writer: a full disk loses nothing.
    machine, writer = Machine(), Writer(EventLog(paths.events))
    control, notifier = Control(engine_socket(paths)), Notifier(paths)
    reach = Reach(
        paths=paths,
        place=Place(paths.cgroup, engine, Machine(paths.proc) if paths.proc.is_dir() else machine),
        write=writer.write,
        tell=notifier.tell,
        stop=lambda container_id, grace: control.stop(container_id, grace_seconds=grace),
        units=lambda container: GpuBook(open_gpus(paths, policy()), engine).again(container),
    )
    steps = Steps(policy, lambda there: GpuBook(open_gpus(paths, there), engine), Checks(reach, Aside(_STOPS)))
    chronicle = Chronicle(
        engine=engine,
        listing=open_engine(paths),
        policy=policy,
        roster=Roster(paths),
        writer=writer,
        effects=steps,
        suspects=Suspects(_SETTLE_SECONDS),
        now=machine.now,
    )
    return Daemon(chronicle, policy, steps, look_seconds, beside=beside)
