"""Quota notices: each level once, and again only after usage fell well below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.policy import PolicyError, read_policy
from ds01.core.value import replace
from ds01.runtime.telemetry.quota import Clear, Near, Quota, Said, Use, read_levels, step

POLICY = Path(__file__).resolve().parents[4] / "tests/golden/lab/expected/root/etc/ds01/policy.json"
LEVELS = (0.8, 0.95)
Change = Near | Clear


def over_time(
    used: list[int | None], limit: int | None = 100, levels: tuple[float, ...] = LEVELS
) -> list[Change | None]:
    """Return what is said at each look; at most one thing is."""
    said: Said = {}
    found: list[Change | None] = []
    for each in used:
        said, changes = step(said, {Quota.MEMORY: Use(each, limit)}, levels)
        assert len(changes) <= 1
        found.append(changes[0] if changes else None)
    return found


def near(used: int, level: float, limit: int = 100) -> Near:
    return Near(Quota.MEMORY, used, limit, level)


CLEAR = Clear(Quota.MEMORY)


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ([0, 79, 0], [None, None, None]),
        ([80, 80, 94], [near(80, 0.8), None, None]),
        ([80, 95, 100, 120], [near(80, 0.8), near(95, 0.95), None, None]),
        ([99, 85], [near(99, 0.95), None]),
        ([80, 79, 75, 80], [near(80, 0.8), None, None, None]),
        ([80, 74, 80], [near(80, 0.8), CLEAR, near(80, 0.8)]),
        ([95, 90, 95], [near(95, 0.95), None, None]),
        ([95, 89, 95], [near(95, 0.95), None, near(95, 0.95)]),
        ([95, 89, 80, 75, 74], [near(95, 0.95), None, None, None, CLEAR]),
        ([99, 0, 99], [near(99, 0.95), CLEAR, near(99, 0.95)]),
        ([80, None, 80, None, 0], [near(80, 0.8), None, None, None, CLEAR]),
        ([None, 80], [None, near(80, 0.8)]),
    ],
)
def test_a_level_is_said_once(used: list[int | None], said: list[Change | None]) -> None:
    assert over_time(used) == said


@pytest.mark.parametrize("limit", [None, 0])
def test_without_a_limit_nobody_is_near_it(limit: int | None) -> None:
    assert over_time([0, 5, 1000], limit) == [None, None, None]


def test_small_counts_have_levels_too() -> None:
    assert over_time([2, 3, 2], limit=3) == [None, near(3, 0.95, 3), CLEAR]


def test_a_limit_that_goes_takes_the_notice_along() -> None:
    said, _ = step({}, {Quota.TASKS: Use(90, 100)}, LEVELS)
    assert step(said, {Quota.TASKS: Use(90, None)}, LEVELS) == ({}, (Clear(Quota.TASKS),))


def test_a_level_that_the_policy_no_longer_has_is_forgotten() -> None:
    assert step({Quota.TASKS: 0.8}, {Quota.TASKS: Use(85, 100)}, (0.9,)) == ({}, (Clear(Quota.TASKS),))
    assert step({Quota.TASKS: 0.8}, {Quota.TASKS: Use(85, 100)}, ()) == ({}, (Clear(Quota.TASKS),))


def test_each_limit_is_watched_for_itself() -> None:
    uses = {
        Quota.MEMORY: Use(96, 100),
        Quota.TASKS: Use(None, 100),
        Quota.GPUS: Use(3, 3),
        Quota.CONTAINERS: Use(1, 3),
    }
    assert step({Quota.CONTAINERS: 0.8, Quota.TASKS: 0.8}, uses, LEVELS) == (
        {Quota.MEMORY: 0.95, Quota.TASKS: 0.8, Quota.GPUS: 0.95},
        (near(96, 0.95), Near(Quota.GPUS, 3, 3, 0.95), Clear(Quota.CONTAINERS)),
    )


def test_percents_are_rounded_down() -> None:
    assert (near(959, 0.95, 1000).percent, near(1000, 0.95, 1000).percent) == (95, 100)


@given(st.lists(st.none() | st.integers(0, 130), max_size=80))
def test_one_notice_a_change_of_state(used: list[int | None]) -> None:
    """Between two notices of a level usage was five points below it; what is cleared was told."""
    lowest: dict[float, int] = {}
    told = False
    for each, said in zip(used, over_time(used), strict=True):
        if each is not None:
            lowest = {level: min(each, low) for level, low in lowest.items()}
        match said:
            case Near():
                assert each is not None
                assert each >= said.level * 100
                # No higher one was reached.
                assert said.level == max(level for level in LEVELS if each >= level * 100)
                assert lowest.get(said.level, 0) < said.level * 100 - 5
                lowest |= {level: each for level in LEVELS if level <= said.level}
                told = True
            case Clear():
                assert told
                assert each is not None
                assert each < LEVELS[0] * 100 - 5
                told = False
            case None:
                pass


def test_the_levels_are_those_of_the_policy() -> None:
    assert read_levels(read_policy(POLICY)) == (0.8, 0.95)


@pytest.mark.parametrize("found", [None, 0.8, [0], [1], ["0.8"], [True]])
def test_a_policy_without_levels_is_named(found: object) -> None:
    policy = read_policy(POLICY)
    with pytest.raises(PolicyError, match=r"policies\.quota_warnings"):
        read_levels(replace(policy, document={**policy.document, "policies": {"quota_warnings": found}}))
    with pytest.raises(PolicyError, match=r"policies\.quota_warnings"):
        read_levels(replace(policy, document={}))
