"""Handing on from thread to thread: in order, never waiting, with a bound."""

from __future__ import annotations

import threading
import time

from ds01.runtime.telemetry.happening import Key, Passed
from ds01.runtime.telemetry.inbox import Inbox
from ds01.runtime.telemetry.stream import Broken


def passed(number: int) -> Passed:
    return Passed(Key(number, "", "exec_start"))


def test_items_come_out_in_their_order_as_many_as_are_wanted() -> None:
    inbox = Inbox()
    for number in range(5):
        inbox.put(passed(number), 10)
    assert len(inbox) == 5
    assert inbox.take(3, 0) == [passed(0), passed(1), passed(2)]
    assert inbox.take(3, 0) == [passed(3), passed(4)]
    assert inbox.take(3, 0) == []


def test_who_takes_waits_until_something_comes() -> None:
    inbox = Inbox()
    threading.Timer(0.05, inbox.put, (passed(1), 10)).start()
    assert inbox.take(10, 30) == [passed(1)]


def test_it_waits_no_longer_than_it_is_told() -> None:
    before = time.monotonic()
    assert Inbox().take(10, 0.05) == []
    assert time.monotonic() - before >= 0.04


def test_who_waits_is_woken() -> None:
    inbox = Inbox()
    threading.Timer(0.05, inbox.wake).start()
    assert inbox.take(10, 600) == []


def test_a_message_too_many_is_dropped_and_counted_and_room_comes_back() -> None:
    inbox = Inbox(most_bytes=25)
    for number in range(4):
        inbox.put(passed(number), 10)
    assert inbox.dropped() == 2
    assert inbox.dropped() == 0
    assert inbox.take(1, 0) == [passed(0)]
    inbox.put(passed(9), 10)
    assert inbox.take(9, 0) == [passed(1), passed(9)]


def test_so_are_too_many_small_ones_but_never_what_is_no_message() -> None:
    inbox = Inbox(most_items=2)
    for item in (passed(0), passed(1), passed(2), Broken(None)):
        inbox.put(item, 0)
    assert inbox.take(9, 0) == [passed(0), passed(1), Broken(None)]
    assert inbox.dropped() == 1
