"""Run the benchmarks: `./inv bench`, or `.venv/bin/python bench/run.py [--quick] [--only NAME…] [--json]`.

Prints the results and, unless it is a quick run, writes their sections of docs/performance.md. A budget that is missed
is reported and is no failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import events
import gpu
import login
import peers
import phases
import plan
import report
import sweep
import wrapper
from machine import describe_machine
from measure import BenchError
from section import Lab, Section

CHECKOUT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = CHECKOUT / "docs/performance.md"
BENCHMARKS: Final[Mapping[str, Callable[[Lab], Section]]] = {
    "plan": plan.measure,
    "peers": peers.measure,
    "phases": phases.measure,
    "gpu": gpu.measure,
    "login": login.measure,
    "wrapper": wrapper.measure,
    "sweep": sweep.measure,
    "events": events.measure,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for and return the exit code."""
    options = _parse(argv)
    machine = describe_machine()
    names = options.only or list(BENCHMARKS)
    try:
        sections = [_run(name, quick=options.quick) for name in names]
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(report.to_json(machine, sections), indent=1))
    else:
        print(report.to_text(machine, sections))
    if not options.quick:
        before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        PAGE.write_text(report.to_markdown(before, machine, sections), encoding="utf-8")
        print(f"bench: wrote {PAGE.relative_to(CHECKOUT)}", file=sys.stderr)
    return 0


def _run(name: str, *, quick: bool) -> Section:
    print(f"bench: {name} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="ds01-bench-") as folder:
        return BENCHMARKS[name](Lab(CHECKOUT, Path(folder), quick))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description="Measure DS01, beside others on the same work.")
    parser.add_argument("--quick", action="store_true", help="one round of each; the figures mean little")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(BENCHMARKS), help="only these benchmarks")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
