"""How much counters grew: table of cases; what is not known is never 0."""

from __future__ import annotations

import pytest

from ds01.runtime.telemetry.growth import Growth, Totals, growth

NOW = Totals(7, 90_000_000, {"high": 30, "oom": 2})


@pytest.mark.parametrize(
    ("case", "before", "now", "seconds", "found"),
    [
        ("a minute", Totals(7, 0, {"high": 10, "oom": 2}), NOW, 60, Growth(1.5, {"high": 20, "oom": 0})),
        ("nothing happened", NOW, NOW, 60, Growth(0.0, {"high": 0, "oom": 0})),
        ("of all that it counts a new slice had nothing", None, NOW, 60, Growth(1.5, {"high": 30, "oom": 2})),
        ("one of the same name, made anew", Totals(6, 99, {"high": 99, "oom": 9}), NOW, 60,
         Growth(1.5, {"high": 30, "oom": 2})),
        ("nobody knows which it was", Totals(None, 80_000_000, {"high": 10, "oom": 9}), NOW, 10,
         Growth(1.0, {"high": 20, "oom": None})),
        ("not known then", Totals(7, None, {"high": None}), NOW, 60, Growth(None, {"high": None, "oom": None})),
        ("not known now", NOW, Totals(7, None, {"high": 31, "oom": None}), 60, Growth(None, {"high": 1, "oom": None})),
        ("no events now", NOW, Totals(7, 150_000_000), 60, Growth(1.0, {})),
        ("it went back", NOW, Totals(7, 1, {"high": 1, "oom": 2}), 60, Growth(None, {"high": None, "oom": 0})),
        ("no time", NOW, NOW, 0, Growth(None, {"high": 0, "oom": 0})),
    ],
)  # fmt: skip
def test_what_came_since_the_look_before(
    case: str, before: Totals | None, now: Totals, seconds: float, found: Growth
) -> None:
    assert growth(before, now, seconds) == found
