"""How many of Docker's messages the events daemon takes in a second, and what a million of them leave in its memory."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from measure import BenchError, Sample, Timing
from section import Lab, Row, Section, Verdict

BUDGET_RATE: Final = 1000
BUDGET_GROWTH_KIB: Final = 16 * 1024
ROUNDS: Final = 5
MILLION: Final = 1_000_000
_MEMORY: Final = Path("/dev/shm")
_LOAD: Final = Path(__file__).resolve().parent / "events_load.py"


def measure(lab: Lab) -> Section:
    """Hand recorded messages to the daemon, in memory and on disk, and a million of them once."""
    number, rounds = (2_000, 1) if lab.quick else (20_000, ROUNDS)
    with TemporaryDirectory(prefix="ds01-bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        memory = Path(folder)
        told = [_load(lab, memory / f"told{each}", events=number) for each in range(rounds)]
        asked = [_load(lab, memory / f"asked{each}", events=number // 10, asked=True) for each in range(rounds)]
        disk = [_load(lab, lab.folder / f"disk{each}", events=number) for each in range(rounds)]
        many = _load(lab, memory / "many", events=number if lab.quick else MILLION)
    base = _each(told, number)
    rows = [
        _row("a message, memory", base, base),
        _row("a message, disk", _each(disk, number), base),
        _row("a message, memory, Docker asked about each new container", _each(asked, number // 10), base),
    ]
    return Section("events", "Docker's events", _WORDS, tuple(rows), tuple(_verdicts(base, many)))


_WORDS: Final = """
The daemon's own loop with recorded messages: read, told from those it has had, put into the event log (a write of its
own for each) and into what is known, and the state files as seldom as in a burst. Of eight messages of a container
three are passed by. *Memory* is a tmpfs. Docker is asked about a container when it is made and when it starts, unless a
thousand messages wait; the last row has a played Docker in a process of its own, which takes most of that time.
"""


def _verdicts(base: Timing, many: dict[str, Any]) -> list[Verdict]:
    rate, growth = 1 / base.fastest, many["late_kib"] - many["early_kib"]
    early, late = many["early_kib"] // 1024, many["late_kib"] // 1024
    return [
        Verdict("messages", f"≥ {BUDGET_RATE:,} a second", f"{rate:,.0f}, fastest run", met=rate >= BUDGET_RATE),
        Verdict(
            "memory over a million messages",
            f"≤ {BUDGET_GROWTH_KIB // 1024} MiB more",
            f"{early} MiB after 20,000, {late} MiB at the end",
            met=growth <= BUDGET_GROWTH_KIB,
        ),
    ]


def _row(what: str, timing: Timing, base: Timing) -> Row:
    return Row(what, timing, f"{timing.wall / base.wall:.1f} x", f"{1 / timing.wall:,.0f} a second")


def _each(found: list[dict[str, Any]], number: int) -> Timing:
    return Timing(tuple(Sample(each["seconds"] / number, 0.0, each["late_kib"]) for each in found))


def _load(lab: Lab, root: Path, *, events: int, asked: bool = False) -> dict[str, Any]:
    argv = [lab.checkout / ".venv/bin/python", "-I", "-X", "utf8", _LOAD, lab.checkout, root]
    done = subprocess.run(
        [*argv, json.dumps({"events": events, "asked": asked})], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"events is not reported: it ended with {done.returncode}\n{done.stderr[-1500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
