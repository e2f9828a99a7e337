"""What `ds01 verify` and the task of that name print: whether the host is as it was deployed, and what it lacks.

What the deployer cannot look at itself is handed in; ds01/verify.py joins it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode
from ds01.core.paths import HostPaths
from ds01.core.process import run
from ds01.core.terminal import print_json
from ds01.core.words import count
from ds01.deployer import report
from ds01.deployer.commands.front import interrupted
from ds01.deployer.owned import read_owned
from ds01.deployer.verify import Check, Status, verify_applied, verify_host

# Looks at something else of the host; its findings come last.
More = Callable[[HostPaths], tuple[Check, ...]]


def _nothing_more(_: HostPaths) -> tuple[Check, ...]:
    return ()


def main(argv: Sequence[str] | None = None, more: More = _nothing_more) -> int:
    """Run the command; returns its exit code."""
    made = parser("ds01 verify", "Prove that this host is as it was deployed; then see what it lacks.")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return run_command(made, argv, lambda options: verify(options.root, as_json=options.json, more=more))


def verify(root: Path, *, as_json: bool, more: More = _nothing_more) -> int:
    """Check files, units, values and the runtime, then what DS01 needs of the machine."""
    paths = host_paths(root)
    cut_off = tuple(
        Check("applied", "deploy", Status.FAILED, words, "sudo ds01 recover") for words in interrupted(paths)
    )
    checks = (*cut_off, *verify_applied(paths, read_owned(paths), run), *verify_host(paths, run), *more(paths))
    return report_checks(checks, as_json=as_json)


def report_checks(checks: tuple[Check, ...], *, as_json: bool) -> int:
    """Print checks and return the exit code they mean."""
    failed = sum(each.status is Status.FAILED for each in checks)
    if as_json:
        listed = [each.to_json() for each in checks]
        print_json({"version": report.JSON_VERSION, "ok": not failed, "checks": listed}, sys.stdout)
    else:
        for each in checks:
            print(f"{each.part:8} {each}")
        warned = sum(each.status is Status.WARNING for each in checks)
        print(f"{count(len(checks), 'check')}: {failed} failed, {count(warned, 'warning')}")
    return ExitCode.FAILED if failed else ExitCode.DONE
