"""What is done about a slice: which memory_high it gets back, and what is said when it cannot.

The whole of it over time is in test_pressure_look.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.telemetry.looks import GIB, UNKNOWN
from tests.unit.runtime.telemetry.pressure_host import HIGH, MAX, POLICY, SLICE

from ds01.core.events import Event, EventLog, read_events
from ds01.core.limits import ResolvedLimits
from ds01.core.names import SliceName
from ds01.core.paths import HostPaths
from ds01.core.policy import read_policy
from ds01.core.value import replace
from ds01.runtime.accounts import limits_of
from ds01.runtime.cgroup.tree import LimitReading
from ds01.runtime.containers.engine import Engine
from ds01.runtime.lifecycle.notify import Notifier
from ds01.runtime.telemetry.pressure import Figures, Lifted, Watch, Why
from ds01.runtime.telemetry.pressure_acts import Acts, Subject, unknown_figures
from ds01.runtime.telemetry.tell import Teller
from ds01.runtime.telemetry.victims import Containers

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FIGURES = Figures(UNKNOWN, 7 * GIB, 7 * GIB, None, MAX)


def limits() -> ResolvedLimits:
    return limits_of(read_policy(POLICY), "games")


def subject(figures: Figures = FIGURES, found: ResolvedLimits | None = None) -> Subject:
    return Subject(SliceName(SLICE), None, found, figures, NOW)


def test_the_policys_limit_comes_back_and_else_the_one_before() -> None:
    assert subject(found=limits()).high_bytes(5) == HIGH
    assert subject().high_bytes(5) == 5
    admin = limits_of(replace(read_policy(POLICY), aggregate_limits=False), "games")
    assert subject(found=admin).high_bytes(5) is None


@pytest.mark.parametrize(
    ("high", "most", "left"),
    [
        (None, MAX, HIGH),
        # The kernel keeps whole pages.
        (None, MAX - 4096, HIGH),
        (None, MAX - 65536, None),
        (None, None, None),
        (None, UNKNOWN, None),
        (HIGH, MAX, None),
        (5, MAX, None),
        (UNKNOWN, MAX, None),
    ],
)
def test_a_limit_was_left_lifted_where_the_other_one_stands(
    high: LimitReading, most: LimitReading, left: int | None
) -> None:
    figures = replace(FIGURES, high_bytes=high, max_bytes=most)
    assert subject(figures, limits()).left_lifted() == left
    assert subject(figures).left_lifted() is None


@pytest.mark.parametrize("why", list(Why))
def test_what_cannot_be_put_back_stays_to_be_done(tmp_path: Path, why: Why) -> None:
    paths = HostPaths(tmp_path)
    log = EventLog(tmp_path / "events.jsonl")
    containers = Containers(lambda: Engine(tmp_path / "no.sock"))
    acts = Acts(tmp_path, Teller(log, Notifier(paths, lambda: NOW)), containers)
    watch = Watch(lifted=Lifted(HIGH))
    after = acts.restore(subject(), watch, HIGH, why)
    if why in {Why.ELSEWHERE, Why.GONE}:
        assert after == Watch()
        events = list(read_events(log.path))
        assert [each.details["reason"] for each in events if isinstance(each, Event)] == [why.value]
    else:
        assert after == watch
        assert not log.path.exists()


def test_of_a_slice_that_is_gone_nothing_is_known(tmp_path: Path) -> None:
    figures = unknown_figures(tmp_path)
    named = [name for name in Figures.__match_args__ if name != "others"]
    assert ({getattr(figures, name) for name in named}, figures.others) == ({figures.memory}, {})
    assert figures.memory.words == f"{tmp_path}: there is no such group any more"
