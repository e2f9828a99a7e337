"""Many are stopped at once, again where that was in vain, and at the end what runs counts."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from ds01.core.errors import Ds01Error
from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.lifecycle.emergency import Choice, Scope, Target, What, choose
from ds01.runtime.lifecycle.halt import Halted, Outcome, halt

ALL = Scope(What.ALL)


def target(name: str) -> Target:
    return Target(name * 64, name, State.RUNNING)


class Machine:
    """Containers that run until they are stopped; some withstand, some come back.

    Attributes:
        stubborn: how often each withstands a stop.
        back: how often each comes back after it.
        following: what starts as soon as anything is stopped.
    """

    def __init__(self, *names: str) -> None:
        self.live = {name * 64: name for name in names}
        self.stubborn: Counter[str] = Counter()
        self.back: Counter[str] = Counter()
        self.following: list[str] = []
        self.silent_after = 1000
        self.killed: list[str] = []
        self.stopped: Counter[str] = Counter()
        self.lock = threading.Lock()

    def stop(self, container_id: str, *, grace_seconds: float) -> None:
        assert grace_seconds == 0
        name = container_id[0]
        with self.lock:
            self.stopped[name] += 1
            if self.stubborn[name]:
                self.stubborn[name] -= 1
                raise Ds01Error("the Docker engine did not stop it", "it hangs")
            self.live.pop(container_id, None)
            if self.back[name]:
                self.back[name] -= 1
                self.live[container_id] = name
            if self.following:
                new = self.following.pop()
                self.live[new * 64] = new

    def kill(self, container_id: str) -> None:
        with self.lock:
            self.killed.append(container_id[0])

    def look(self) -> Choice:
        self.silent_after -= 1
        if self.silent_after < 0:
            raise Ds01Error("there is no Docker engine")
        return choose(map(target, self.live.values()), ALL)

    def halt(self, tell: Callable[[Halted, int, int], None] = lambda *_: None) -> Outcome:
        return halt(self.look(), self.look, self, tell)


def stopped(*names: str) -> tuple[Halted, ...]:
    return tuple(Halted(target(name)) for name in names)


def test_all_are_stopped_and_each_is_told_of_once():
    machine, told = Machine("a", "b", "c"), []
    outcome = machine.halt(lambda *each: told.append(each))
    assert sorted(outcome.halted, key=lambda each: each.target.name) == list(stopped("a", "b", "c"))
    assert (outcome.choice, outcome.unproven, machine.live) == (Choice((), ()), None, {})
    assert [(number, of) for _, number, of in told] == [(1, 3), (2, 3), (3, 3)]
    assert machine.killed == []


def test_nothing_to_stop_is_nothing_to_do():
    assert Machine().halt() == Outcome((), Choice((), ()))


def test_what_withstands_once_is_killed_and_stopped_again():
    machine = Machine("a")
    machine.stubborn["a"] = 1
    assert machine.halt() == Outcome(stopped("a"), Choice((), ()))
    assert machine.killed == ["a"]


def test_what_starts_meanwhile_is_stopped_too():
    machine = Machine("a")
    machine.following = ["c", "b"]
    outcome = machine.halt()
    assert (outcome.halted, machine.live) == (stopped("a", "b", "c"), {})


def test_what_comes_back_again_and_again_is_named():
    machine = Machine("a")
    machine.back["a"] = 100
    (halted,) = machine.halt().halted
    assert halted == Halted(target("a"), "it runs again: something starts it anew")
    assert machine.stopped["a"] == 4


def test_what_never_stops_is_named_with_the_engines_words_and_hinders_no_other():
    machine = Machine("a", "b")
    machine.stubborn["a"] = 100
    outcome = machine.halt()
    assert {each.target.name: each.trouble for each in outcome.halted} == {
        "a": "the Docker engine did not stop it: it hangs",
        "b": None,
    }
    assert machine.stopped["b"] == 1


def test_what_is_started_after_the_last_round_is_named():
    machine = Machine("a")
    machine.following = list("gfedcb")
    outcome = machine.halt()
    assert outcome.halted == (*stopped("a", "b", "c", "d"), Halted(target("e"), "it was started meanwhile"))


def test_what_was_answered_counts_for_less_than_what_runs():
    """A stop that failed in words, and whose container is gone all the same, is a stop."""
    machine = Machine("a")
    machine.stubborn["a"] = 1
    seen: list[str | None] = []

    def vanish(halted: Halted, *_: int) -> None:
        seen.append(halted.trouble)
        machine.live.clear()

    assert machine.halt(vanish) == Outcome(stopped("a"), Choice((), ()))
    assert seen == ["the Docker engine did not stop it: it hangs"]


def test_without_docker_at_the_end_nothing_is_taken_for_proved():
    machine = Machine("a")
    machine.silent_after = 1
    assert machine.halt() == Outcome(stopped("a"), None, "there is no Docker engine")


def test_an_error_of_our_own_is_none_of_dockers():
    class Broken(Machine):
        def stop(self, container_id: str, *, grace_seconds: float) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Broken("a").halt()


class Slow(Machine):
    """Ends one of the first eight; all others go on only once the one who asked waits for them to end."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.asker = threading.get_ident()
        self.first_eight = threading.Barrier(8, timeout=60)

    def stop(self, container_id: str, *, grace_seconds: float) -> None:
        super().stop(container_id, grace_seconds=grace_seconds)
        if sum(self.stopped.values()) <= 8 and self.first_eight.wait() == 0:
            return
        while not self.is_awaited():
            time.sleep(0.01)

    def is_awaited(self) -> bool:
        frame = sys._current_frames().get(self.asker)
        while frame is not None and frame.f_code.co_name != "join":
            frame = frame.f_back
        return frame is not None


def test_when_it_is_interrupted_no_more_is_begun():
    machine = Slow(*"abcdefghijklmnopqrstuvwxyz")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.halt(interrupt)
    assert 8 <= sum(machine.stopped.values()) <= 9


def test_a_target_that_changes_between_looks_is_one_container():
    machine = Machine("a")
    machine.back["a"] = 1
    renamed = replace(target("a"), name="other")
    first = Choice((renamed,), ())
    outcome = halt(first, machine.look, machine, lambda *_: None)
    assert [each.target.id for each in outcome.halted] == ["a" * 64]
