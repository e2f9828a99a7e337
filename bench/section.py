"""What a benchmark hands back: rows of measured figures, and verdicts on the budgets. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from measure import Timing


@dataclass(frozen=True, slots=True)
class Lab:
    """Where and how long a benchmark runs.

    Attributes:
        folder: temporary, its own.
        quick: one round, to see that it works; the figures mean little.
    """

    checkout: Path
    folder: Path
    quick: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing.

    Attributes:
        ratio: to the row that the section compares with, as "12.3 x".
    """

    what: str
    timing: Timing
    ratio: str = ""
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the figures in seconds and KiB."""
        low, high = self.timing.spread
        return {
            "what": self.what,
            "runs": len(self.timing.samples),
            "median_seconds": round(self.timing.wall, 5),
            "min_seconds": round(low, 5),
            "max_seconds": round(high, 5),
            "cpu_seconds": round(self.timing.cpu, 5),
            "peak_kib": self.timing.peak,
            "ratio": self.ratio,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """One budget and what was measured."""

    what: str
    budget: str
    measured: str
    met: bool

    def to_json(self) -> dict[str, object]:
        """Return the verdict."""
        return {"what": self.what, "budget": self.budget, "measured": self.measured, "met": self.met}


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark's results.

    Attributes:
        words: what was run and how to read the rows, in Markdown.
    """

    name: str
    title: str
    words: str
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return everything but the prose."""
        return {
            "name": self.name,
            "title": self.title,
            "rows": [row.to_json() for row in self.rows],
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
        }
