"""Who holds and who waits: every change is a new ledger, and twice the same change is one."""

from __future__ import annotations

import pytest
from tests.unit.runtime.gpu.hosts import held, ledger, waiting

from ds01.core.value import replace
from ds01.runtime.gpu.ledger import Ledger

ONE, TWO = held("alice", "2:0"), held("bob", "0", "1")


def test_an_allocation_is_found_by_name_by_its_id_and_by_its_containers_id() -> None:
    book = ledger(ONE, TWO)
    full = ONE.container_id or ""
    assert [book.find(name) for name in (ONE.container, ONE.id, full, full[:12])] == [ONE] * 4
    assert [book.find(name) for name in ("", "ghost", full[:11], "0" * 64)] == [None] * 4
    assert (book.by_id(TWO.id), book.by_id("ghost")) == (TWO, None)


def test_a_name_comes_before_an_id_that_looks_the_same() -> None:
    trickster = held("bob", "0", name=ONE.id)
    assert ledger(ONE, trickster).find(ONE.id) == trickster


def test_holders_are_listed_by_unit_and_by_account() -> None:
    book = ledger(ONE, TWO)
    assert book.holders() == {"MIG-20": ONE, "GPU-0": TWO, "GPU-1": TWO}
    assert (book.of_user("bob"), book.of_user("carol")) == ((TWO,), ())
    assert book.of_user("".join(("b", "ob"))) == (TWO,), "by what it says, whichever text object says it"


def test_what_is_granted_waits_no_more_and_what_is_released_is_gone() -> None:
    book = ledger(queue=(waiting("alice", name=ONE.container),))
    granted = book.granted(ONE)
    assert (granted.queue, dict(granted.allocations)) == ((), {ONE.container: ONE})
    assert granted.granted(ONE) == granted
    assert dict(granted.released(ONE).allocations) == {}
    assert granted.released(ONE).released(ONE) == granted.released(ONE)
    assert (len(book.queue), dict(book.allocations)) == (1, {}), "the ledger before is as it was"


def test_an_allocation_can_change_its_name_but_take_nobody_elses() -> None:
    book = ledger(ONE, TWO)
    assert dict(book.changed(replace(ONE, container="other")).allocations) == {
        TWO.container: TWO,
        "other": replace(ONE, container="other"),
    }
    for act in (book.changed, book.granted):
        with pytest.raises(ValueError, match="is the name of another allocation"):
            act(replace(ONE, container=TWO.container))


def test_the_line_is_served_by_priority_then_by_arrival() -> None:
    students = [waiting("alice", name="a"), waiting("student01", name="b")]
    book = ledger(queue=(students[0], waiting("bob", name="c"), students[1], waiting("root", name="d")))
    assert [each.container for each in book.in_line()] == ["d", "c", "a", "b"]
    assert [each.container for each in book.ahead_of("id-b", 10)] == ["d", "c", "a"]
    assert [each.container for each in book.ahead_of("id-new", 50)] == ["d", "c"]
    assert book.ahead_of("id-d", 100) == ()


def test_who_stands_in_the_line_keeps_the_place_and_leaves_it_once() -> None:
    book = ledger(queue=(waiting("alice", name="a"), waiting("alice", name="b")))
    assert book.waiting(waiting("alice", name="a")) == book
    assert book.left(["id-a"]).left(["id-a"]).queue == book.queue[1:]
    assert book.left([]) is book
    assert Ledger().left(["id-a"]) == Ledger()
