"""Where the time of `./inv plan` goes: its steps, timed inside the process, and what its imports cost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from inventories import Site, make_site
from measure import BenchError, Sample, Timing
from section import Lab, Row, Section

ROUNDS: Final = 9
_SIZES: Final = (None, 10_000)
_PACKAGES_SHOWN: Final = 8
_LIBRARY: Final = {name.strip("_") for name in sys.stdlib_module_names}
_IMPORT: Final = re.compile(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", re.MULTILINE)


def measure(lab: Lab) -> Section:
    """Take the steps of a plan with nothing to do, for the shipped inventory and a large one."""
    rounds = 1 if lab.quick else ROUNDS
    rows: list[Row] = []
    for size in _SIZES:
        folder = lab.folder / str(size or "shipped")
        folder.mkdir()
        site = make_site(lab.checkout, folder, size)
        rows += _steps(lab, site, rounds)
    rows += _imports(lab, rounds)
    return Section("phases", "Where a plan's time goes", _WORDS, tuple(rows))


_WORDS: Final = """
The steps of a plan with nothing to do, timed inside its process; the ratio is the share of the whole. Then the imports
among them, taken apart by package, each without what it imports itself (Python's `-X importtime`, whose own cost is in
the figures); the ratio is the share of all imports.
"""


def _steps(lab: Lab, site: Site, rounds: int) -> list[Row]:
    runs = [_walk(lab, site) for _ in range(rounds)]
    steps = {step: _timing(run.get(step, 0) for run in runs) for step in runs[0]}
    whole = _timing(sum(run.values()) for run in runs)
    name = f"{site.accounts:,} accounts"
    return [
        Row(f"{name}: whole", whole, "100 %"),
        *(Row(f"{name}: {step}", timing, _share(timing, whole)) for step, timing in steps.items()),
    ]


def _walk(lab: Lab, site: Site) -> dict[str, float]:
    walk = Path(__file__).resolve().parent / "walk.py"
    started = time.monotonic()
    said = _python(lab, walk, repr(started), site.inventory, site.deployed).stdout
    seconds: dict[str, float] = json.loads(said)
    return seconds


def _imports(lab: Lab, rounds: int) -> list[Row]:
    """Sum the imports of the plan's process by package."""
    runs: list[Counter[str]] = []
    for _ in range(rounds):
        said = _python(lab, "-X", "importtime", "-c", "import ds01.program, ds01.workflow").stderr
        run: Counter[str] = Counter()
        for microseconds, module in _IMPORT.findall(said):
            run[_package(module)] += int(microseconds)
        runs.append(run)
    whole = _timing(run.total() / 1e6 for run in runs)
    timings = {package: _timing(run[package] / 1e6 for run in runs) for package in runs[0]}
    largest = sorted(timings, key=lambda package: timings[package].wall, reverse=True)[:_PACKAGES_SHOWN]
    return [
        Row("imports: all", whole, "100 %"),
        *(Row(f"imports: {package}", timings[package], _share(timings[package], whole)) for package in largest),
    ]


def _package(module: str) -> str:
    package = module.partition(".")[0]
    return "Python's library" if package.strip("_") in _LIBRARY else package


def _timing(seconds: Iterable[float]) -> Timing:
    return Timing(tuple(Sample(wall) for wall in seconds))


def _share(part: Timing, whole: Timing) -> str:
    return f"{part.wall / whole.wall:.0%}".replace("%", " %")


def _python(lab: Lab, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the checkout's Python as ./inv does."""
    argv = [lab.checkout / ".venv/bin/python", "-I", "-X", "utf8", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{argv[-1]} is not reported: it ended with {done.returncode}\n{done.stderr[-1500:]}")
    return done
