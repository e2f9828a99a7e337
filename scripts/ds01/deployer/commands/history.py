"""`ds01 history`, and the task of that name: the last deploys, newest first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode
from ds01.core.jsonstate import StateError
from ds01.core.terminal import print_json, say
from ds01.core.words import table
from ds01.deployer import report
from ds01.deployer.history import Generation, numbers, read_generation


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    made = parser("ds01 history", "List the last deploys: who, when, what.")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return run_command(made, argv, lambda options: history(options.root, as_json=options.json))


def history(root: Path, *, as_json: bool) -> int:
    """List the kept generations; fails when there are some, and none can be shown."""
    paths = host_paths(root)
    kept = numbers(paths)
    found: list[Generation] = []
    for number in reversed(kept):
        try:
            found.append(read_generation(paths, number))
        except StateError as error:
            # One that is damaged must not hide the others.
            say(f"notice: generation {number} cannot be shown: {error.brief}")
    if as_json:
        entries = [generation.to_json(files=False) for generation in found]
        print_json({"version": report.JSON_VERSION, "generations": entries}, sys.stdout)
    elif not kept:
        print("Nothing was deployed here yet.")
    elif found:
        rows = [(str(g.number), g.when, g.who, g.policy_hash[:12], g.what) for g in found]
        print(table([("GENERATION", "WHEN", "WHO", "POLICY", "WHAT"), *rows]))
    return ExitCode.DONE if found or not kept else ExitCode.FAILED
