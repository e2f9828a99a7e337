"""What is done beside the events: in order, once for what comes together, and a failure holds up nothing."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.containers.rows import NOON, id_of, row
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.containers.test_scan import container

from ds01.core.errors import Ds01Error
from ds01.core.policy import Policy
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers.container import ContainerSummary, State, Undescribed
from ds01.runtime.containers.look import Looked, Unseen
from ds01.runtime.containers.record import Row
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.telemetry import steps as module
from ds01.runtime.telemetry.steps import Steps

POLICY = Policy.from_document(json.loads(SHIPPED.read_text(encoding="utf-8")))


@dataclass(slots=True)
class Doing:
    """Stands for the ledger and the checks: what was asked of them. Both are tested for themselves."""

    settled: list[tuple[str, str | None]] = field(default_factory=list)
    reconciled: int = 0
    checked: list[list[str]] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    kept: list[str] = field(default_factory=list)
    unsettled: int = 0
    failure: Ds01Error | None = None
    hold: threading.Event | None = None

    @property
    def gpus(self) -> Doing:
        return self

    def _act(self) -> None:
        if self.hold is not None:
            self.hold.wait(30)
        if self.failure is not None:
            raise self.failure

    def settle(self, row: Row, allocation: str | None) -> bool:
        self._act()
        self.settled.append((row.name, allocation))
        self.unsettled -= 1
        return self.unsettled < 0

    def reconcile(self) -> tuple[str, ...]:
        self._act()
        self.reconciled += 1
        return ("a difference",)

    def check(self, policy: Policy, came: Any) -> None:
        assert policy is POLICY
        self._act()
        self.checked.append([each.container.name for each in came])

    def accept(self, seen: Seen) -> None:
        self.passed.add(seen.container.name)

    def is_passed(self, seen: Seen) -> bool:
        return seen.container.name in self.passed

    def keep(self, ids: Any) -> None:
        self.kept = sorted(ids)


@contextmanager
def working(doing: Doing, policy: Callable[[], Policy] = lambda: POLICY) -> Iterator[Steps]:
    steps = Steps(policy, lambda _: doing, doing)  # type: ignore[arg-type,return-value] # stands for both
    thread = threading.Thread(target=steps.run)
    thread.start()
    try:
        yield steps
    finally:
        steps.end()
        thread.join(10)
        assert not thread.is_alive()


def seen(name: str, state: State = State.RUNNING, **changes: Any) -> Seen:
    there = replace(container(name=name), id=id_of(name), state=state, **changes)
    owner = Attribution("alice", Evidence.LABEL)
    return Seen(there, Kind.MANAGED, owner, admitted=True, of_site=False, first_seen=NOON)


def test_what_comes_together_is_looked_at_once() -> None:
    doing = Doing()
    with working(doing) as steps:
        steps.touch(row("a"), "7f3a")
        steps.touch(row("b"), None)
        steps.touch(row("a"), None)
        steps.started(seen("a"))
        steps.started(seen("b"))
        assert steps.wait(30)
    assert doing.settled == [("a", "7f3a"), ("b", None)]
    assert doing.checked == [["a", "b"]]
    assert doing.reconciled == 0


def test_what_is_not_settled_is_looked_at_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.2)
    doing = Doing(unsettled=2)
    with working(doing) as steps:
        steps.touch(row("a"), "7f3a")
        while len(doing.settled) < 3:
            time.sleep(0.01)
        assert steps.wait(30)
        assert doing.settled == [("a", "7f3a")] * 3
        doing.unsettled = 100
        steps.touch(row("b"), None)
        while len(doing.settled) < 7:
            time.sleep(0.01)
        time.sleep(0.5)
    assert len(doing.settled) == 7


def test_whoever_puts_something_in_does_not_wait() -> None:
    doing = Doing(hold=threading.Event())
    with working(doing) as steps:
        steps.touch(row("a"), None)
        time.sleep(0.2)
        before = time.monotonic()
        for number in range(100):
            steps.touch(row(f"c{number}"), None)
            steps.started(seen(f"c{number}"))
        assert time.monotonic() - before < 10
        assert not steps.wait(0.05)
        assert doing.hold is not None
        doing.hold.set()
        assert steps.wait(30)
    assert len(doing.settled) == 101
    assert [len(each) for each in doing.checked] == [100]


def test_a_failure_is_said_once_and_the_rest_is_done(caplog: pytest.LogCaptureFixture) -> None:
    doing = Doing(failure=Ds01Error("another change is at work", "it holds the lock"))
    with working(doing) as steps, caplog.at_level(logging.INFO):
        for name in ("a", "b"):
            steps.touch(row(name), None)
            steps.started(seen(name))
            steps.looked(Looked((seen(name),)), None, gpus=True)
            assert steps.wait(30)
        doing.failure = None
        steps.touch(row("c"), None)
        steps.started(seen("c"))
        assert steps.wait(30)
    assert (doing.settled, doing.checked) == ([("c", None)], [["c"]])
    what = ("the record of a GPU", "the record of GPUs", "whether a container may run")
    words = "is not settled now: another change is at work: it holds the lock"
    assert [each.getMessage().rpartition(";")[0] for each in caplog.records] == [f"{each} {words}" for each in what]


# --- Looks at all containers ------------------------------------------------------------------------------------------


def test_a_look_checks_what_runs_without_leave_and_reconciles_where_there_are_gpus() -> None:
    doing = Doing(passed={"a"})
    with working(doing) as steps:
        steps.looked(Looked((seen("a"), seen("b"), seen("c", State.EXITED))), None, gpus=False)
        assert steps.wait(30)
        assert (doing.checked, doing.reconciled) == ([["b"]], 0)
        steps.looked(Looked((seen("a"),)), None, gpus=True)
        assert steps.wait(30)
    assert (doing.checked, doing.reconciled) == ([["b"]], 1)
    assert doing.kept == [id_of("a")]


def test_the_first_look_leaves_alone_what_ran_before_and_checks_what_came_back() -> None:
    later = NOON + timedelta(minutes=5)
    before = {
        each.id: each
        for each in (
            row("ran"),
            row("restarted"),
            row("stopped", state=State.EXITED),
            row("paused", state=State.PAUSED),
            row("unsure", started_at=None),
        )
    }
    now = [
        seen("ran", started_at=NOON + timedelta(milliseconds=300)),
        seen("restarted", started_at=later),
        seen("stopped", started_at=later),
        seen("paused", State.PAUSED),
        seen("unsure", started_at=later),
        seen("new", started_at=later),
    ]
    doing = Doing()
    with working(doing) as steps:
        steps.looked(Looked(tuple(now)), before, gpus=False)
        assert steps.wait(30)
    assert doing.checked == [["restarted", "stopped"]]
    assert doing.passed == {"ran", "paused", "unsure", "new"}


def unseen(name: str) -> Unseen:
    summary = ContainerSummary(id_of(name), name, State.RUNNING, NOON, "pytorch", {})
    return Unseen(Undescribed(summary, "500"), None)


def test_one_that_docker_could_not_describe_at_the_first_look_runs_on_when_it_is_seen() -> None:
    later = NOON + timedelta(minutes=5)
    before = {each.id: each for each in (row("ran"), row("restarted"))}
    doing = Doing()
    with working(doing) as steps:
        steps.looked(Looked((seen("web"),), (unseen("ran"), unseen("restarted"))), before, gpus=False)
        assert steps.wait(30)
        steps.looked(Looked((seen("web"),), (unseen("ran"), unseen("restarted"))), None, gpus=False)
        assert steps.wait(30)
        again = (seen("ran", started_at=NOON), seen("restarted", started_at=later), seen("web"), seen("new"))
        steps.looked(Looked(again), None, gpus=False)
        assert steps.wait(30)
    assert doing.checked == [["restarted", "new"]]


def test_what_is_known_of_one_that_docker_cannot_describe_is_kept() -> None:
    doing = Doing()
    with working(doing) as steps:
        steps.looked(Looked((seen("a"),), (unseen("b"),)), None, gpus=False)
        assert steps.wait(30)
    assert doing.kept == sorted([id_of("a"), id_of("b")])


def test_a_first_look_that_waits_is_not_lost_when_the_next_one_comes() -> None:
    doing = Doing(hold=threading.Event())
    with working(doing) as steps:
        steps.touch(row("busy"), None)
        time.sleep(0.3)  # the thread is at work by now, or the looks come together: both have to do
        steps.looked(Looked((seen("ran", started_at=NOON),)), {id_of("ran"): row("ran")}, gpus=False)
        steps.looked(Looked((seen("ran", started_at=NOON),)), None, gpus=False)
        assert doing.hold is not None
        doing.hold.set()
        assert steps.wait(30)
    assert (doing.checked, doing.passed) == ([], {"ran"})
