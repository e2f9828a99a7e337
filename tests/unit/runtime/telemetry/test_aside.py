"""Jobs at the side: all are done, only so many at once, and one that fails holds up no other."""

from __future__ import annotations

import threading
import time

import pytest
from tests.unit.runtime.telemetry.played import until

from ds01.runtime.telemetry.aside import Aside


def test_all_are_done_and_only_so_many_at_once() -> None:
    aside, done, at_once, most = Aside(3), [], set(), []
    lock = threading.Lock()

    def job(number: int) -> None:
        with lock:
            at_once.add(number)
            most.append(len(at_once))
        time.sleep(0.01)
        with lock:
            at_once.remove(number)
            done.append(number)

    for number in range(20):
        aside(lambda number=number: job(number))
    until(lambda: len(done) == 20)
    assert sorted(done) == list(range(20))
    assert max(most) == 3


def test_who_has_a_job_done_does_not_wait_for_it() -> None:
    aside, go, done = Aside(1), threading.Event(), []
    aside(lambda: go.wait(30) and done.append(1))
    aside(lambda: done.append(2))
    assert done == []
    go.set()
    until(lambda: done == [1, 2])


def test_a_job_that_fails_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda said: failed.append(said.exc_type))
    aside, done = Aside(1), []

    def fail() -> None:
        raise ValueError("a fault")

    for _ in range(3):
        aside(fail)
    aside(lambda: done.append(1))
    until(lambda: done == [1] and len(failed) == 3)
    assert failed == [ValueError] * 3
