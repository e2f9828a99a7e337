"""Whoever asks again and again which job is due gets each once, and no job more often than once a minute."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.unit.runtime.gpu.hosts import ACCOUNTS, held, ledger
from tests.unit.runtime.lifecycle.subjects import HOUR, NOON, RULES, moment, subject

from ds01.runtime.containers.container import State
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.lifecycle.decision import Moment, Subject
from ds01.runtime.lifecycle.due import Timers
from ds01.runtime.lifecycle.dues import Dues

HOLD = 900.0


class Host:
    """What there is at a moment that a test chooses."""

    def __init__(self, *stops: float) -> None:
        allocations = (
            held("alice", "2:0", name=f"c{number}", stopped_at=NOON + timedelta(seconds=at))
            for number, at in enumerate(stops)
        )
        self.ledger = ledger(*allocations)
        self.subjects: tuple[Subject, ...] = ()
        self.at = moment(0)
        self.dues = Dues(self.look)

    def look(self) -> tuple[Timers, Moment]:
        return Timers(self.subjects, self.ledger, RULES, lambda user: ACCOUNTS[user]), self.at

    def ask(self, seconds: float, **clocks: Any) -> tuple[datetime, str] | None:
        self.at = moment(seconds, **clocks)
        return self.dues()

    def handed_out(self, begin: float, end: float, step: float = 10) -> list[tuple[float, str]]:
        """Ask every so many seconds; returns what was due, and when."""
        found = []
        at = begin
        while at <= end:
            due = self.ask(at)
            if due is not None and due[0] <= self.at.now:
                found.append((at, due[1]))
            at += step
        return found


def test_what_is_due_later_is_only_said():
    host = Host(0)
    expected = (NOON + timedelta(seconds=HOLD + 1), "stale-gpu")
    assert host.ask(0) == expected
    assert host.ask(890) == expected


def test_what_comes_due_between_two_questions_is_handed_out_once():
    assert Host(0).handed_out(0, 3600) == [(910, "stale-gpu")]


def test_what_was_missed_before_is_due_at_first():
    host = Host(-HOUR)
    assert host.ask(0) == (NOON, "stale-gpu")
    assert host.ask(10) is None


def test_many_things_at_once_are_one_run_and_what_follows_waits():
    assert Host(0, 1, 2, 20, 40, 300).handed_out(0, 3600) == [
        (910, "stale-gpu"),
        (980, "stale-gpu"),
        (1210, "stale-gpu"),
    ]


def test_a_job_that_ran_just_now_is_announced_for_when_it_may_run_again():
    host = Host(0, 20)
    host.handed_out(0, 910)
    assert host.ask(915) == (NOON + timedelta(seconds=910 + 65), "stale-gpu")


def test_one_job_holds_up_no_other():
    host = Host(0)
    host.subjects = (subject(state=State.EXITED, finished_at=NOON + timedelta(seconds=HOLD - 175)),)
    assert host.handed_out(0, 1200) == [(910, "stale-containers"), (920, "stale-gpu")]


def test_a_clock_that_was_set_back_loses_nothing():
    host = Host(0)
    assert host.ask(10, jumped=30 * HOUR) == (NOON + timedelta(seconds=10 + 30 * HOUR), "stale-gpu")
    assert host.ask(20) == (NOON + timedelta(seconds=HOLD + 1), "stale-gpu")
    assert host.handed_out(30, 3600) == [(910, "stale-gpu")]


def test_seconds_of_another_boot_hold_nothing_up():
    host = Host(0, 20)
    host.handed_out(0, 910)
    host.at = Moment(NOON + timedelta(seconds=930), "boot-2", 5, 5)
    assert host.dues() == (NOON + timedelta(seconds=930 + 65), "stale-gpu")
    host.at = Moment(NOON + timedelta(seconds=1000), "boot-2", 75, 75)
    assert host.dues() == (NOON + timedelta(seconds=1065), "stale-gpu")


def test_where_nothing_is_held_and_nothing_runs_there_is_nothing():
    host = Host()
    host.ledger = Ledger()
    assert host.ask(0) is None
