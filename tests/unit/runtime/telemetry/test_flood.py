"""What costs its user nothing is told so often and no more, and how often it was not told is told."""

from __future__ import annotations

import pytest
from tests.unit.runtime.telemetry.played import START_NANO, id_of

from ds01.runtime.telemetry.flood import MOST_A_MINUTE, Flood
from ds01.runtime.telemetry.happening import Action, Happening

SECOND = 10**9


def happened(action: Action, seconds: int = 0, name: str = "train") -> Happening:
    return Happening(action, id_of(name), name, "pytorch", START_NANO + seconds * SECOND)


def test_a_minutes_worth_is_told_and_the_rest_is_counted() -> None:
    flood = Flood()
    assert [flood.lets(happened(Action.KILL)) for _ in range(MOST_A_MINUTE + 7)].count(True) == MOST_A_MINUTE
    assert flood.lets(happened(Action.KILL, name="other"))
    assert flood.lets(happened(Action.KILL, 60))
    assert [flood.unsaid(id_of("train")) for _ in range(2)] == [{"unsaid": 7}, {}]
    assert flood.unsaid(id_of("other")) == {}


def test_a_clock_that_goes_back_begins_another_minute() -> None:
    flood = Flood(most=1)
    assert [flood.lets(happened(Action.KILL, seconds)) for seconds in (0, 1, -600, -599)] == [True, False, True, False]


@pytest.mark.parametrize("action", [Action.CREATE, Action.START, Action.DIE, Action.DESTROY, Action.STOP])
def test_what_a_container_lives_through_is_always_told(action: Action) -> None:
    flood = Flood(most=0)
    assert not flood.lets(happened(Action.RENAME))
    assert flood.lets(happened(action))


def test_one_that_is_gone_is_forgotten() -> None:
    flood = Flood(most=1)
    for _ in range(3):
        flood.lets(happened(Action.OOM))
    flood.forget(id_of("train"))
    assert flood == Flood(most=1)
