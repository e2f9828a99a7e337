"""The results as a table for the terminal, as JSON, and as docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from section import Row, Section, Verdict

JSON_VERSION: Final = 1
_BLOCK: Final = re.compile(r"^<!-- bench: (\w+) -->$(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
_HEAD: Final = """\
# Performance

Made by `./inv bench`, do not edit: change `bench/` and run it again.

Figures of a section are from one run on one machine, named below it, and are meant to be read as ratios inside it. \
*Median* and *spread* (fastest to slowest) are wall-clock seconds; *CPU* is user and system time, which other jobs on \
the machine disturb less; \
*peak* is the resident memory of the largest process. Budgets are goals, not tests: nothing fails for being slow.
"""
_AGAIN: Final = """\
## Run it again

    ./inv bench              # everything, and writes this page
    .venv/bin/python bench/run.py --only gpu    # one benchmark, and writes its section
    .venv/bin/python bench/run.py --quick --only plan    # one round of one benchmark, prints only
    .venv/bin/python bench/run.py --json

The peers are installed on first use into `bench/.venv` from `bench/requirements.txt`, a lock with hashes; DS01's own \
`.venv` stays free of them. Let nothing else run meanwhile.
"""


def to_json(machine: Mapping[str, str], sections: Sequence[Section]) -> dict[str, object]:
    """Return one object with everything measured."""
    return {"version": JSON_VERSION, "machine": dict(machine), "sections": [part.to_json() for part in sections]}


def to_text(machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Return tables for a terminal."""
    parts = [_text_table([(name, value) for name, value in machine.items()])]
    for section in sections:
        parts += [section.title, _text_table(_measured(section.rows))]
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    if verdicts:
        parts += ["Budgets", _text_table(_judged(verdicts))]
    return "\n\n".join(parts)


def to_markdown(before: str, machine: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Return docs/performance.md with these sections in the place of what was measured of them before.

    Args:
        before: the page as it is; sections that were not measured now stay, each with the day and machine of its own.
    """
    blocks = {name: block.strip() for name, block in _BLOCK.findall(before)}
    blocks |= {section.name: _block(machine, section) for section in sections}
    parts = [f"<!-- bench: {name} -->\n\n{block}\n\n<!-- end -->" for name, block in blocks.items()]
    return "\n\n".join([_HEAD.rstrip(), *parts, _AGAIN])


def _block(machine: Mapping[str, str], section: Section) -> str:
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    parts = [f"## {section.title}", section.words.strip(), _markdown_table(_measured(section.rows))]
    if section.verdicts:
        parts.append(_markdown_table(_judged(section.verdicts)))
    return "\n\n".join([*parts, f"*{where}*"])


def _measured(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the rows under their heading, without the columns that are empty everywhere."""
    table = [("what", "runs", "median", "spread", "CPU", "peak", "ratio", "note")]
    for row in rows:
        timing, (low, high) = row.timing, row.timing.spread
        cpu = _seconds(timing.cpu) if timing.cpu else ""
        peak = f"{timing.peak / 1024:.0f} MiB" if timing.peak else ""
        spread = f"{_seconds(low)} to {_seconds(high)}"
        runs = str(len(timing.samples))
        table.append((row.what, runs, _seconds(timing.wall), spread, cpu, peak, row.ratio, row.note))
    filled = [index for index in range(len(table[0])) if any(row[index] for row in table[1:])]
    return [tuple(row[index] for index in filled) for row in table]


def _judged(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    rows = [(each.what, each.budget, each.measured, "met" if each.met else "**not met**") for each in verdicts]
    return [("what", "budget", "measured", ""), *rows]


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _text_table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
