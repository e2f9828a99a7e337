"""When which job is due: GPU holds, stopped containers, runs; whoever follows it does all in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.gpu.hosts import ACCOUNTS, held, ledger
from tests.unit.runtime.lifecycle.subjects import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    RULES,
    TIMES,
    brought_back,
    id_of,
    mode,
    moment,
    subject,
    waiting,
)  # fmt: skip

from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.request import AccountLimits
from ds01.runtime.lifecycle import runtime_limit, stale_containers
from ds01.runtime.lifecycle.decision import LifecycleRule, Subject
from ds01.runtime.lifecycle.due import Due, Memories, Timers, next_due
from ds01.runtime.lifecycle.runtime_limit import RuntimeMemory, sweep_runtime
from ds01.runtime.lifecycle.settings import LifecycleRules
from ds01.runtime.lifecycle.stale_containers import KeptMemory, sweep_stale

LONG_AGO = NOON - timedelta(days=365)


def account_of(user: str) -> AccountLimits:
    return ACCOUNTS.get(user, AccountLimits())


def timers(*subjects: Subject, rules: LifecycleRules = RULES, **changes: Any) -> Timers:
    return Timers(subjects, changes.pop("ledger", Ledger()), rules, account_of, Memories(**changes))


def after_noon(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def run_aged(hours: float, **changes: Any) -> Subject:
    return subject(age=hours * HOUR, **changes)


def test_where_nothing_runs_and_nothing_is_held_nothing_is_due():
    assert next_due(timers(), moment(), after=LONG_AGO) is None
    assert next_due(timers(subject(times=None), subject(user=None)), moment(), after=LONG_AGO) is None


# --- GPU holds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allocation", "expected"),
    [
        (held("alice", "2:0"), None),
        (held("alice", "2:0", stopped_at=NOON), after_noon(900 + 1)),
        (held("bob", "2:0", stopped_at=NOON), after_noon(1800 + 1)),
        (held("root", "2:0", stopped_at=NOON), None),
        (held(None, "2:0", stopped_at=NOON, name="x"), after_noon(1)),
    ],
)
def test_a_hold_ends_when_its_account_may_hold_no_longer(allocation: Any, expected: datetime | None):
    found = next_due(timers(ledger=ledger(allocation)), moment(), after=NOON)
    assert found == (None if expected is None else Due(expected, "stale-gpu"))


# --- Stopped containers -----------------------------------------------------------------------------------------------


def told(at: float, name: str = "web") -> KeptMemory:
    """A memory of a sweep at which the owner was told of a container that stopped an hour after noon."""
    seen = [subject(name, State.EXITED)]
    before = sweep_stale([subject(name)], KeptMemory(), RULES, moment(HOUR - 1)).memory
    sweep = sweep_stale(seen, before, RULES, moment(at))
    return stale_containers.settle(sweep.memory, sweep.decisions.wanted)


def test_an_owner_is_told_soon_after_a_stop_but_not_at_once():
    stopped = timers(subject(state=State.EXITED))
    assert next_due(stopped, moment(HOUR + 1), after=NOON) == Due(
        after_noon(HOUR + 3 * MINUTE + 1.000001), "stale-containers"
    )
    long = timers(subject(state=State.EXITED, times=replace(TIMES, container_hold=12 * HOUR)))
    assert next_due(long, moment(HOUR + 1), after=NOON) == Due(
        after_noon(HOUR + 10 * MINUTE + 1.000001), "stale-containers"
    )
    made = timers(subject(state=State.CREATED))
    assert next_due(made, moment(1), after=NOON) == Due(after_noon(10 * MINUTE + 1.000001), "stale-containers")


def test_who_was_told_loses_it_when_the_hold_is_over():
    stopped = timers(subject(state=State.EXITED), kept=told(HOUR + 3 * MINUTE))
    found = next_due(stopped, moment(HOUR + 4 * MINUTE), after=after_noon(HOUR + 4 * MINUTE))
    assert found == Due(after_noon(HOUR + 30 * MINUTE + 1.000001), "stale-containers")


def test_a_container_that_nobody_saw_stop_is_held_from_the_first_look():
    sweep = sweep_stale([subject(state=State.EXITED)], KeptMemory(), RULES, moment(10 * HOUR))
    kept = stale_containers.settle(sweep.memory, sweep.decisions.wanted)
    stopped = timers(subject(state=State.EXITED), kept=kept)
    found = next_due(stopped, moment(10 * HOUR + 60), after=after_noon(10 * HOUR))
    assert found == Due(after_noon(10.5 * HOUR + 1.000001), "stale-containers")


@pytest.mark.parametrize(
    "found", [{"protected": True}, {"of_site": True}, {"times": replace(TIMES, container_hold=None)}, {"user": None}]
)
def test_what_is_kept_is_never_due(found: dict[str, Any]):
    assert next_due(timers(subject(state=State.EXITED, **found)), moment(HOUR), after=NOON) is None


# --- Runs -------------------------------------------------------------------------------------------------------------


def warned(hours: float, **found: Any) -> RuntimeMemory:
    """A memory of sweeps at noon and so many hours after it, at which the owner was told whatever there was to tell."""
    memory = RuntimeMemory()
    for at in (0.0, hours):
        sweep = sweep_runtime([run_aged(at, **found)], memory, RULES, moment(at * HOUR))
        memory = runtime_limit.settle(sweep.memory, sweep.decisions.wanted, moment(at * HOUR))
    return memory


@pytest.mark.parametrize(
    ("hours", "memory", "expected"),
    [
        (1, RuntimeMemory(), 18 * HOUR),
        (1, warned(0), 18 * HOUR),
        (18.1, warned(18.1), 21.6 * HOUR),
        (22, warned(22), 24 * HOUR),
        # Warned late, or found over the limit: the last grace.
        (23.5, warned(23.5), 24.5 * HOUR),
        (50, warned(50), 51 * HOUR),
        # What the last sweep knew is of another boot.
        (1, replace(warned(0), boot="boot-0"), 18 * HOUR),
    ],
)
def test_warnings_and_ends_of_runs(hours: float, memory: RuntimeMemory, expected: float):
    now = moment(hours * HOUR)
    found = next_due(timers(run_aged(hours), runtime=memory), now, after=now.now)
    assert found == Due(after_noon(expected + 1.000002), "max-runtime")


def test_of_what_came_due_already_a_job_counts_once():
    now = moment(50 * HOUR)
    found = next_due(timers(run_aged(50)), now, after=after_noon(10 * HOUR))
    assert found == Due(after_noon(24 * HOUR + 1.000002), "max-runtime")
    assert next_due(timers(run_aged(50)), now, after=found.at) is None


def test_no_job_hides_what_another_missed():
    holds = [held("alice", f"2:{at}", name=f"c{at}", stopped_at=after_noon(at * HOUR)) for at in (0, 1, 2)]
    stopped = subject("old", State.EXITED, finished_at=after_noon(HOUR))
    missed = timers(stopped, ledger=ledger(*holds))
    now, after, jobs = moment(4 * HOUR), LONG_AGO, []
    while (found := next_due(missed, now, after=after)) is not None:
        jobs.append(found.job)
        after = found.at
    assert jobs == ["stale-containers", "stale-gpu"]


def test_the_same_thing_is_due_at_the_same_time_by_clocks_that_differ_a_little():
    now = moment(3600.25)
    found = {next_due(timers(subject(age=3600.25 + off)), now, after=NOON) for off in (-0.02, 0, 0.02)}
    assert found == {Due(after_noon(18 * HOUR + 1.000002), "max-runtime")}


@pytest.mark.parametrize(
    "found",
    [{"protected": True}, {"of_site": True}, {"times": replace(TIMES, max_runtime=None)}],
)
def test_what_has_no_end_is_never_due(found: dict[str, Any]):
    assert next_due(timers(run_aged(1, **found)), moment(HOUR), after=NOON) is None


def test_one_that_comes_back_by_itself_is_due_by_its_first_start():
    now = moment(20 * HOUR)
    came = subject(age=60.0, **brought_back(40, 20 * HOUR - 60))
    waits = subject(**waiting(40, 20 * HOUR - 60))
    found = {next_due(timers(each, runtime=warned(18.1)), now, after=now.now) for each in (came, waits)}
    assert found == {Due(after_noon(21.6 * HOUR + 1.000002), "max-runtime")}


# --- All together -----------------------------------------------------------------------------------------------------


def test_the_first_of_all_is_next():
    both = timers(
        run_aged(17.9), subject("old", State.EXITED, finished_at=after_noon(17.5 * HOUR)),
        ledger=ledger(held("alice", "2:0", stopped_at=after_noon(17.5 * HOUR))),
    )  # fmt: skip
    now = moment(17.9 * HOUR)
    jobs = []
    after = after_noon(17.5 * HOUR)
    for _ in range(3):
        found = next_due(both, now, after=after)
        assert found is not None
        jobs.append((found.job, found.at))
        after = found.at
        now = moment(max(17.9 * HOUR, (found.at - NOON).total_seconds()))
    assert jobs == [
        ("stale-containers", after_noon(17.55 * HOUR + 1.000001)),
        ("stale-gpu", after_noon(17.75 * HOUR + 1)),
        ("max-runtime", after_noon(18 * HOUR + 1.000002)),
    ]


def test_of_two_jobs_that_are_due_at_once_neither_hides_the_other():
    both = timers(
        run_aged(17), subject("old", State.EXITED, finished_at=after_noon(18 * HOUR - 3 * MINUTE)),
        ledger=ledger(held("alice", "2:0", stopped_at=after_noon(18 * HOUR - 15 * MINUTE))),
    )  # fmt: skip
    after, jobs = after_noon(17.9 * HOUR), set()
    for _ in range(3):
        found = next_due(both, moment(18.1 * HOUR), after=after)
        assert found is not None
        jobs.add(found.job)
        after = found.at
    assert jobs == {"stale-gpu", "stale-containers", "max-runtime"}


def test_rules_that_are_not_enforced_have_no_timers():
    rules = mode(LifecycleRule.MAX_RUNTIME, Mode.WARN, mode(LifecycleRule.CONTAINER_HOLD, Mode.OFF))
    found = timers(run_aged(1), subject("old", State.EXITED), rules=rules)
    assert next_due(found, moment(HOUR), after=LONG_AGO) is None


def test_a_clock_that_was_set_back_hides_nothing():
    stopped = timers(ledger=ledger(held("alice", "2:0", stopped_at=NOON)))
    assert next_due(stopped, moment(60), after=after_noon(DAY)) == Due(after_noon(901), "stale-gpu")


def test_what_is_over_already_is_due_once():
    stopped = timers(ledger=ledger(held("alice", "2:0", stopped_at=NOON)))
    assert next_due(stopped, moment(DAY), after=NOON) == Due(after_noon(901), "stale-gpu")
    assert next_due(stopped, moment(DAY), after=after_noon(DAY)) is None


# --- Whoever follows it -----------------------------------------------------------------------------------------------


@given(
    limit=st.floats(60, 30 * DAY),
    begin=st.floats(0, 5 * DAY),
    shares=st.lists(st.floats(0.01, 0.99), max_size=3, unique=True),
)
def test_who_runs_the_job_when_it_is_due_always_finds_something_to_do(limit: float, begin: float, shares: list[float]):
    rules = replace(RULES, runtime_warnings=tuple(sorted(shares)))
    times = replace(TIMES, max_runtime=limit)
    memory, at, after, done = RuntimeMemory(), begin, LONG_AGO, []
    while "stop" not in done:
        found = next_due(timers(subject(age=at, times=times), rules=rules, runtime=memory), moment(at), after=after)
        assert found is not None
        after = max(after, moment(at).now)
        at = max(at, (found.at - NOON).total_seconds())
        sweep = sweep_runtime([subject(age=at, times=times)], memory, rules, moment(at))
        assert len(sweep.decisions.wanted) == 1
        memory = runtime_limit.settle(sweep.memory, sweep.decisions.wanted, moment(at))
        done.append(sweep.decisions.wanted[0].action.value)
    assert 2 <= len(done) <= len(shares) + 2
    assert set(done[:-1]) == {"warn"}


@given(hold=st.floats(0, 30 * DAY), seen_late=st.floats(0, DAY))
def test_a_stopped_container_is_told_of_and_removed_by_whoever_follows(hold: float, seen_late: float):
    stopped = subject(state=State.EXITED, times=replace(TIMES, container_hold=hold))
    memory = sweep_stale([subject()], KeptMemory(), RULES, moment(HOUR - 1)).memory
    at, after, done = HOUR + seen_late, LONG_AGO, []
    while "remove" not in done:
        found = next_due(timers(stopped, kept=memory), moment(at), after=after)
        assert found is not None
        after = max(after, moment(at).now)
        at = max(at, (found.at - NOON).total_seconds())
        sweep = sweep_stale([stopped], memory, RULES, moment(at))
        assert len(sweep.decisions.wanted) == 1
        memory = stale_containers.settle(sweep.memory, sweep.decisions.wanted)
        done.append(sweep.decisions.wanted[0].action.value)
    assert done == ["warn", "remove"]
    assert id_of("web") not in memory.kept
