"""`ds01 health`: whether DS01 is well on this host, a line for each check. For everybody, and for monitoring."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode
from ds01.core.process import run
from ds01.core.terminal import print_json
from ds01.core.typed import Final
from ds01.core.words import count, printable
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.health import Check, Health, Status
from ds01.runtime.telemetry.probes import Host, look_around

JSON_VERSION: Final = 1
_WIDTH: Final = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Say how DS01 is; returns the exit code."""
    made = parser("ds01 health", "Say whether DS01 is well: services, jobs, state files, disks, Docker, cron.")
    made.epilog = (
        "Ends with 0 when nothing failed, else with 1. What this account may not see is said and fails nothing."
    )
    made.add_argument("--strict", action="store_true", help="end with 1 for warnings too")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return run_command(made, argv, _show)


def _show(options: argparse.Namespace) -> int:
    health = look_around(Host(host_paths(options.root), run, Machine()))
    well = health.is_well(strict=options.strict)
    if options.json:
        checks = [as_json(each) for each in health.checks]
        print_json({"version": JSON_VERSION, "ok": well, "checks": checks}, sys.stdout)
    else:
        for each in health.checks:
            print(printable(line(each)))
        print(_summary(health))
    return ExitCode.DONE if well else ExitCode.FAILED


def line(check: Check) -> str:
    """Return a check as one line."""
    fix = f"; {check.fix}" if check.fix else ""
    return f"{check.status.value:{_WIDTH}}{check.name}: {check.text}{fix}"


def as_json(check: Check) -> Mapping[str, object]:
    """Return a check as programs read it."""
    status = "unknown" if check.status is Status.UNKNOWN else check.status.value.lower()
    return {"name": check.name, "status": status, "text": check.text, "fix": check.fix}


def _summary(health: Health) -> str:
    unknown = health.count(Status.UNKNOWN)
    rest = f", {unknown} not looked at" if unknown else ""
    return (
        f"{count(len(health.checks), 'check')}: {health.count(Status.FAILED)} failed,"
        f" {count(health.count(Status.WARNING), 'warning')}{rest}"
    )
