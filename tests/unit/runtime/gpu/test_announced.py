"""What an account was told: one end for all that it runs, forgotten after an hour without, and at a grant."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.gpu.hosts import NOON
from tests.unit.runtime.gpu.test_hostprocesses import BOOT, GRACE, GRANTED, after, host, process, rules

from ds01.core.value import replace
from ds01.runtime.gpu.announced import (
    FORGOTTEN_SECONDS,
    Announced,
    announced_after,
    ends_told,
    is_new,
    may_now,
    withdrawn,
)
from ds01.runtime.gpu.baremetal import Access
from ds01.runtime.gpu.hostprocesses import HostProcess, Key, Rules, Verdict, judge

MINUTE = 60
HOUR = 3600
DAY = 24 * HOUR


@dataclass
class Watch:
    """Looks one after the other, as the service takes them."""

    rules: Rules = field(default_factory=rules)
    known: dict[Key, HostProcess] = field(default_factory=dict)
    told: Any = field(default_factory=dict)

    def look(self, seconds: float, *processes: Any) -> dict[int, Verdict]:
        at = after(seconds)
        found = judge(self.known, host(*processes), self.rules, at, ends_told(self.told, at))
        self.told = announced_after(self.told, found, self.rules, at)
        self.known = {each.key: each for each in found}
        return {each.pid: each.verdict for each in found}

    def ends(self) -> dict[int, float]:
        return {each.pid: (each.ends_seconds or 0) - BOOT for each in self.known.values()}


def run(pid: int, user: str = "alice", **changes: Any) -> Any:
    return process(user, pid=pid, started=pid, **changes)


# --- A loop of short processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "pause"), [(14, 0), (14, 30), (5, 30), (14, 50 * MINUTE), (20, 0)])
def test_a_loop_of_short_processes_has_one_grace_in_a_day(minutes: int, pause: int):
    """Each next one begins `pause` seconds after the end of the one before, whoever ended it."""
    watch = Watch()
    pid, begins, computed_after_grace, ended = 1, 0, 0, 0
    for seconds in range(0, DAY, 30):
        runs = begins <= seconds < begins + minutes * MINUTE
        verdicts = watch.look(seconds, *([run(pid)] if runs else []))
        if runs and seconds >= GRACE:
            computed_after_grace += 30
        over = verdicts.get(pid) is Verdict.TERMINATE
        ended += over
        if over or seconds + 30 >= begins + minutes * MINUTE:
            pid, begins = pid + 1, max(seconds + 30, begins) + pause if seconds >= begins else begins
    assert ended >= 20
    # Of each process after the grace two looks, and not more.
    assert computed_after_grace <= (ended + 1) * 60


def test_one_that_begins_within_the_hour_has_the_end_that_its_account_was_told():
    watch = Watch()
    watch.look(0, run(1))
    assert watch.look(GRACE - 30, run(2)) == {2: Verdict.WARNED}
    assert watch.ends() == {2: GRACE}
    assert watch.look(GRACE, run(2)) == {2: Verdict.TERMINATE}
    # Also after it; but never at its first sighting.
    assert watch.look(GRACE + 30, run(3)) == {3: Verdict.WARNED}
    assert watch.look(GRACE + 60, run(3)) == {3: Verdict.TERMINATE}
    later = GRACE + 60 + FORGOTTEN_SECONDS
    assert watch.look(later, run(4)) == {4: Verdict.WARNED}
    assert watch.look(later + 30, run(4)) == {4: Verdict.TERMINATE}


def test_it_is_forgotten_after_an_hour_without_one():
    watch = Watch()
    watch.look(0, run(1))
    watch.look(GRACE, run(1))
    begins = GRACE + FORGOTTEN_SECONDS + 1
    assert watch.look(begins, run(2)) == {2: Verdict.WARNED}
    assert watch.ends() == {2: begins + GRACE}
    assert watch.look(begins + GRACE - 1, run(2)) == {2: Verdict.WARNED}
    assert watch.look(begins + GRACE, run(2)) == {2: Verdict.TERMINATE}


def test_it_is_forgotten_at_a_grant_and_by_a_policy_that_allows_or_only_warns():
    for other in (
        rules(grants=(GRANTED,)),
        rules(Access.ALLOW),
        rules(Access.WARN),
        replace(rules(), is_admin=lambda user: user == "alice"),
    ):
        watch = Watch()
        watch.look(0, run(1))
        watch.rules = other
        watch.look(GRACE)
        watch.rules = rules()
        assert watch.look(GRACE + 30, run(2)) == {2: Verdict.WARNED}
        assert watch.ends() == {2: 2 * GRACE + 30}


def test_the_end_of_one_account_is_no_others():
    watch = Watch()
    watch.look(0, run(1))
    watch.look(600, run(1), run(2, "bob", uid=1003))
    assert watch.ends() == {1: GRACE, 2: 600 + GRACE}


def test_what_is_not_certain_neither_tells_an_account_nor_reminds_it():
    watch = Watch()
    watch.look(0, run(1, doubt="it may run in a container"))
    assert watch.told == {}
    watch.look(30, run(2))
    for seconds in (1000, 2000, 3000, 3631):
        watch.look(seconds, run(3, doubt="it may run in a container"))
    assert watch.told == {}


def test_while_the_grants_cannot_be_read_nothing_ends_and_nothing_is_forgotten_sooner():
    watch = Watch()
    watch.look(0, run(1))
    watch.rules = rules(grants=None)
    assert watch.look(GRACE + 30, run(2)) == {2: Verdict.WARNED}
    assert watch.told == {"alice": Announced(BOOT + GRACE, BOOT)}
    watch.rules = rules()
    # It is certain from now on, so it has its notice now, and is seen once more before anything.
    assert watch.look(GRACE + 60, run(2)) == {2: Verdict.WARNED}
    assert watch.look(GRACE + 90, run(2)) == {2: Verdict.TERMINATE}


def test_what_computes_again_after_a_long_pause_brings_its_end_back():
    watch = Watch()
    watch.look(0, run(1))
    quiet = dict(watch.known)
    for seconds in range(0, 3 * HOUR, 30):
        watch.look(seconds)
    assert watch.told == {}
    watch.known = quiet
    assert watch.look(3 * HOUR, run(1)) == {1: Verdict.TERMINATE}
    assert watch.told == {"alice": Announced(BOOT + GRACE, BOOT + 3 * HOUR)}


# --- What is told, and taken back -------------------------------------------------------------------------------------


def test_an_account_is_told_anew_of_another_end_alone():
    told = Announced(BOOT + GRACE, BOOT)
    at = after(HOUR)
    assert not is_new(told, replace(told, seen_seconds=BOOT + HOUR), at)
    assert is_new(None, told, at)
    assert is_new(told, told, after(HOUR + 1))
    assert is_new(replace(told, ends_seconds=None), told, at)


@pytest.mark.parametrize(
    ("before", "now", "seconds", "taken_back"),
    [
        # Forgotten: that what is started later is ended holds no more; that it is not allowed does.
        (Announced(BOOT + GRACE, BOOT), None, HOUR + 1, True),
        (Announced(None, BOOT), None, HOUR + 1, False),
        # Granted.
        (Announced(BOOT + GRACE, BOOT), None, 60, True),
        (Announced(None, BOOT), None, 60, True),
        # The policy only warns now, or ends now.
        (Announced(BOOT + GRACE, BOOT), Announced(None, BOOT), 60, True),
        (Announced(None, BOOT), Announced(BOOT + GRACE, BOOT), 60, False),
        (Announced(BOOT + GRACE, BOOT), Announced(BOOT + GRACE, BOOT + 60), 60, False),
    ],
)
def test_what_holds_no_more_is_taken_back(before: Announced, now: Announced | None, seconds: int, *, taken_back: bool):
    found = withdrawn({"alice": before}, {} if now is None else {"alice": now}, after(seconds))
    assert found == (("alice",) if taken_back else ())


@pytest.mark.parametrize(
    ("held_against", "user", "may"),
    [
        (rules(), "alice", False),
        (rules(), "boss", True),
        (rules(), "exempt", True),
        (rules(grants=(GRANTED,)), "alice", True),
        (rules(grants=(GRANTED,)), "bob", False),
        (rules(grants=None), "alice", False),
        (rules(Access.ALLOW), "bob", True),
    ],
)
def test_who_may(held_against: Rules, user: str, *, may: bool):
    assert may_now(user, held_against, after(0)) is may
    assert not may_now("alice", rules(grants=(replace(GRANTED, until=NOON + timedelta(seconds=5)),)), after(5))
