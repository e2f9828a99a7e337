"""CPU rates: averages over the last minute, whatever groups, counters and clocks do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.telemetry.rates import Rates, Sample, from_document, rates, recent, to_document

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = 1_000_000


def samples(*of_a: int | None, gone: tuple[int, ...] = ()) -> list[Sample]:
    """Samples 15 s apart of the group "a"; it does not exist in those that are named."""
    return [Sample(100 + 15 * at, {} if at in gone else {"a": usec}) for at, usec in enumerate(of_a)]


@pytest.mark.parametrize(
    ("taken", "percent"),
    [
        (samples(0, 15 * SECOND), 100.0),
        (samples(7 * SECOND, 22 * SECOND, 67 * SECOND), 200.0),
        (samples(5, 5), 0.0),
        # It was made between the two.
        (samples(0, 15 * SECOND, gone=(0,)), 100.0),
        # It vanished and came back in the meantime, seen or not.
        (samples(90 * SECOND, 0, 15 * SECOND, gone=(1,)), 50.0),
        (samples(90 * SECOND, 3 * SECOND), 20.0),
        # It could not be read: neither side of that counts.
        (samples(0, None, 15 * SECOND, 30 * SECOND), 100.0),
        (samples(0, 15 * SECOND, None), 100.0),
    ],
)
def test_a_rate_is_the_average_over_the_samples(taken: list[Sample], percent: float) -> None:
    assert rates(taken) == {"a": percent}


@pytest.mark.parametrize("taken", [[], samples(5), samples(None, 5), samples(5, 5, gone=(1,))])
def test_without_two_counters_there_is_no_rate(taken: list[Sample]) -> None:
    assert rates(taken) == {}


def test_samples_of_the_last_minute_are_kept_and_one_before() -> None:
    kept: tuple[Sample, ...] = ()
    for each in samples(*range(9)):
        kept = recent(kept, each)
    assert [each.usec["a"] for each in kept] == [4, 5, 6, 7, 8]
    late = Sample(10_000, {"a": 9})
    assert recent(kept, late) == (kept[-1], late)


@pytest.mark.parametrize("seconds", [115, 114.9, 0])
def test_a_clock_that_does_not_go_on_starts_anew(seconds: float) -> None:
    again = Sample(seconds, {"a": 7})
    assert recent(samples(1, 2), again) == (again,)


@given(st.lists(st.tuples(st.floats(0.1, 100), st.none() | st.integers(0, 10**12)), max_size=12))
def test_no_rate_is_ever_negative_or_more_than_all_that_was_counted(steps) -> None:
    at, taken = 0.0, ()
    for seconds, usec in steps:
        at += seconds
        taken = recent(taken, Sample(at, {"a": usec}))
        found = rates(taken)
        assert set(found) <= {"a"}
        most = sum(each.usec["a"] or 0 for each in taken)
        assert all(0 <= rate <= most / SECOND / 0.1 * 100 + 0.1 for rate in found.values())


FOUND = Rates({"ds01-student-alice.slice": 312.5}, {"a" * 64: 12.0})


def test_the_file_says_when_and_how_much() -> None:
    document = to_document(FOUND, NOW)
    assert document == {
        "version": 1,
        "updated_at": "2026-03-01T12:00:00Z",
        "slices": {"ds01-student-alice.slice": {"cpu_percent": 312.5}},
        "containers": {"a" * 64: {"cpu_percent": 12.0}},
    }
    assert from_document(json.loads(json.dumps(document)), NOW + timedelta(minutes=3)) == FOUND


@pytest.mark.parametrize("late", [timedelta(seconds=181), timedelta(days=-1)])
def test_an_old_file_says_nothing_about_now(late: timedelta) -> None:
    why = from_document(to_document(FOUND, NOW), NOW + late)
    assert why == "it is from 2026-03-01T12:00:00Z; systemctl status ds01-sampler says why nobody writes it"


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 2},
        {"updated_at": "yesterday"},
        {"updated_at": None},
        {"slices": []},
        {"slices": {"x": 3}},
        {"slices": {"x": {}}},
        *({"slices": {"x": {"cpu_percent": value}}} for value in ("1", None, True, -1, float("nan"), float("inf"))),
    ],
)
def test_a_file_that_is_none_of_ours_is_not_believed(wrong: dict[str, object]) -> None:
    assert isinstance(from_document({**to_document(FOUND, NOW), **wrong}, NOW), str)
    assert isinstance(from_document({}, NOW), str)
