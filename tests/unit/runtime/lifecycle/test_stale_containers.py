"""Stopped containers: told until when they are kept, then removed; never by a clock alone, never one that is live."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.lifecycle.subjects import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    RULES,
    TIMES,
    id_of,
    mode,
    moment,
    subject,
    written,
)  # fmt: skip

from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.lifecycle.decision import Action, Decision, Decisions, LifecycleRule, Moment, Standing, Subject, clock
from ds01.runtime.lifecycle.record import RecordError
from ds01.runtime.lifecycle.settings import LifecycleRules
from ds01.runtime.lifecycle.stale_containers import (
    ALL_KEY,
    Kept,
    KeptMemory,
    from_document,
    hold_of,
    settle,
    standings,
    sweep_stale,
)  # fmt: skip

KEY = f"container_hold:{id_of('web')}"
# When the container of subjects.py stopped.
STOPPED = HOUR


@dataclass
class Watch:
    """A container that stopped an hour after noon, and what sweeps find of it."""

    rules: LifecycleRules = RULES
    memory: KeptMemory = field(default_factory=KeptMemory)
    last: Decisions = field(default_factory=Decisions)
    settings: dict[str, Any] = field(default_factory=lambda: {"state": State.EXITED})

    def check(self, seconds: float, *, told: bool = True, **found: Any) -> str:
        """Sweep so many seconds after noon; returns what is done, or why nothing is."""
        clocks = {key: found.pop(key) for key in ("boot", "asleep", "jumped") if key in found}
        at = moment(seconds, **clocks)
        sweep = sweep_stale([subject(**(self.settings | found))], self.memory, self.rules, at)
        self.last = sweep.decisions
        done = [each for each in sweep.decisions.wanted if told or each.action is not Action.WARN]
        self.memory = settle(sweep.memory, done)
        return sweep.decisions.wanted[0].action.value if sweep.decisions.wanted else sweep.decisions.remarks[0].words

    def decision(self) -> Decision:
        assert len(self.last.wanted) == 1
        return self.last.wanted[0]


def running(seconds: float = 0) -> Watch:
    """One whose container was seen running before it stopped."""
    watch = Watch()
    assert watch.check(seconds, state=State.RUNNING) == "it is running"
    return watch


def test_an_owner_is_told_until_when_a_stopped_container_is_kept_then_it_is_removed():
    watch = running(STOPPED - 10)
    assert watch.check(STOPPED + 60) == "warn"
    words = f"stopped since {clock(NOON + timedelta(hours=1))}, kept for 30m"
    warning = Decision(
        container_id=id_of("web"),
        name="web",
        user="alice",
        action=Action.WARN,
        rule=LifecycleRule.CONTAINER_HOLD,
        reason=words,
        text=f"container web is removed after {clock(NOON + timedelta(hours=1.5))}: {words}; docker start web keeps it",
        key=ALL_KEY,
        keep_seconds=DAY,
        state_since=NOON + timedelta(hours=1),
        ahead_seconds=29 * MINUTE,
    )
    assert watch.decision() == warning
    assert watch.check(STOPPED + 20 * MINUTE) == f"{words}; its owner was told"
    assert watch.check(STOPPED + 30 * MINUTE) == "remove"
    assert watch.decision() == replace(
        warning,
        action=Action.REMOVE,
        key=KEY,
        text=f"container web was removed {clock(NOON + timedelta(hours=1.5))}: {words}; "
        "its workspace and volumes are there still",
        ahead_seconds=0,
    )
    assert watch.memory.kept == {}


# --- One notice of an account -----------------------------------------------------------------------------------------


def stopped_at(name: str, seconds: float, **changes: Any) -> Subject:
    return subject(name, State.EXITED, finished_at=NOON + timedelta(seconds=seconds), **changes)


def swept(
    memory: KeptMemory, at: Moment, *subjects: Subject, done: bool = True
) -> tuple[Decisions, KeptMemory, tuple[Standing, ...]]:
    sweep = sweep_stale(subjects, memory, RULES, at)
    after = settle(sweep.memory, sweep.decisions.wanted if done else ())
    return sweep.decisions, after, standings(subjects, memory, after, RULES, at)


def text_of(number: int, name: str, seconds: float) -> str:
    return (
        f"{number} stopped containers are removed, the first, {name}, after {clock(moment(seconds).now)}; "
        "docker start keeps one, docker ps -a shows them"
    )


def test_an_account_has_one_notice_of_all_its_stopped_containers():
    _, memory, told = swept(KeptMemory(), moment(0), subject("a"))
    assert told == ()
    seven = [stopped_at(f"c{number}", 60 * number) for number in range(7)]
    other = stopped_at("web", 60, user="bob")
    decisions, memory, told = swept(memory, moment(7 * MINUTE), *seven, other)
    first = text_of(7, "c0", 30 * MINUTE)
    assert [(each.name, each.key, each.text) for each in decisions.wanted[:7]] == [
        (f"c{number}", ALL_KEY, first) for number in range(7)
    ]
    # As long as the last of them is there, and a day longer.
    assert told == (
        Standing("alice", ALL_KEY, first, 29 * MINUTE + DAY),
        Standing("bob", ALL_KEY, decisions.wanted[7].text, 24 * MINUTE + DAY),
    )
    assert str(decisions.wanted[7].text).startswith("container web is removed after ")


def test_the_notice_of_all_follows_what_becomes_of_each():
    a, b = (stopped_at(name, 0) for name in "ab")
    _, memory, _ = swept(KeptMemory(), moment(0))
    _, memory, told = swept(memory, moment(60), a, b)
    assert [each.text for each in told] == [text_of(2, "a", 30 * MINUTE)]
    # One more is told of; all are in the sentence.
    late = stopped_at("c", 10 * MINUTE)
    decisions, memory, told = swept(memory, moment(11 * MINUTE), a, b, late)
    assert [(each.name, each.text) for each in decisions.wanted] == [("c", text_of(3, "a", 30 * MINUTE))]
    # One is started again, the other removed: what is left has the sentence of one.
    decisions, memory, told = swept(memory, moment(30 * MINUTE), a, subject("b"), late)
    assert [(each.name, each.action, each.key) for each in decisions.wanted] == [
        ("a", Action.REMOVE, f"container_hold:{id_of('a')}")
    ]
    assert [str(each.text).partition(":")[0] for each in told] == [
        f"container c is removed after {clock(moment(40 * MINUTE).now)}".partition(":")[0]
    ]
    # And then none.
    _, memory, told = swept(memory, moment(35 * MINUTE), subject("c"))
    assert told == (Standing("alice", ALL_KEY, None),)
    assert swept(memory, moment(36 * MINUTE), subject("c"))[2] == ()


def test_of_one_whose_owner_could_not_be_told_or_that_could_not_be_removed_nothing_else_is_said():
    a, b = stopped_at("a", 0), stopped_at("b", 60)
    _, memory, _ = swept(KeptMemory(), moment(0))
    _, memory, _ = swept(memory, moment(30), a)
    _, memory, told = swept(memory, moment(90), a, b, done=False)
    assert [str(each.text).partition(" is ")[0] for each in told] == ["container a"]
    decisions, memory, told = swept(memory, moment(30 * MINUTE), a, b, done=False)
    assert {each.name: each.action for each in decisions.wanted} == {"a": Action.REMOVE, "b": Action.WARN}
    assert str(told[0].text).startswith(f"container a is removed after {clock(moment(30 * MINUTE).now)}")


def test_a_rule_that_is_not_enforced_any_more_takes_the_notice_of_all_back():
    _, memory, _ = swept(KeptMemory(), moment(0))
    _, memory, _ = swept(memory, moment(60), stopped_at("a", 0))
    for to in (Mode.WARN, Mode.OFF):
        rules = mode(LifecycleRule.CONTAINER_HOLD, to)
        sweep = sweep_stale([stopped_at("a", 0)], memory, rules, moment(90))
        after = settle(sweep.memory, sweep.decisions.wanted)
        assert standings([stopped_at("a", 0)], memory, after, rules, moment(90)) == (Standing("alice", ALL_KEY, None),)


# --- What is held, and for how long -----------------------------------------------------------------------------------


def test_a_hold_that_becomes_shorter_removes_nothing_before_the_time_that_was_told():
    watch = running(STOPPED)
    watch.settings["times"] = replace(TIMES, container_hold=4 * HOUR)
    assert watch.check(STOPPED + 60) == "warn"
    watch.settings["times"] = replace(TIMES, container_hold=HOUR)
    assert watch.check(STOPPED + 3 * HOUR).endswith("kept for 1h; its owner was told")
    assert watch.check(STOPPED + 4 * HOUR) == "remove"


def test_one_that_was_never_started_is_kept_longer():
    watch = Watch(settings={"state": State.CREATED})
    watch.check(-10, state=State.RUNNING)
    assert watch.check(60) == "warn"
    assert watch.decision().reason == f"never started since {clock(NOON)}, kept for 24h"
    assert watch.check(DAY - 1).endswith("its owner was told")
    assert watch.check(DAY) == "remove"


def test_what_was_stopped_before_anybody_looked_is_held_from_then_on():
    watch = Watch()
    assert watch.check(10 * DAY) == "warn"
    assert f"is removed after {clock(moment(10 * DAY + 30 * MINUTE).now)}" in str(watch.decision().text)
    assert watch.check(10 * DAY + 20 * MINUTE).endswith("its owner was told")
    assert watch.check(10 * DAY + 30 * MINUTE) == "remove"


def test_a_lost_record_removes_nothing():
    watch = running(STOPPED - 10)
    watch.check(STOPPED + 60)
    watch.memory = KeptMemory()
    assert watch.check(STOPPED + 40 * MINUTE) == "warn"
    assert watch.check(STOPPED + 50 * MINUTE).endswith("its owner was told")


def test_who_could_not_be_told_loses_nothing():
    watch = running(STOPPED - 10)
    for number in range(1, 50):
        assert watch.check(STOPPED + number * HOUR, told=False) == "warn"
    assert watch.check(STOPPED + 50 * HOUR) == "warn"
    assert watch.check(STOPPED + 50 * HOUR + 3 * MINUTE - 1).endswith("its owner was told")
    assert watch.check(STOPPED + 50 * HOUR + 3 * MINUTE) == "remove"


def test_a_clock_that_was_set_forward_makes_no_container_older():
    watch = running(STOPPED - 10)
    assert watch.check(STOPPED + 60) == "warn"
    assert watch.check(STOPPED + 2 * MINUTE, jumped=3 * DAY).endswith("its owner was told")
    assert watch.check(STOPPED + 29 * MINUTE, jumped=3 * DAY).endswith("its owner was told")
    assert watch.check(STOPPED + 30 * MINUTE, jumped=3 * DAY) == "remove"


def test_one_that_was_set_forward_before_the_first_look_neither():
    watch = running(STOPPED - 10)
    assert watch.check(STOPPED + 60, jumped=3 * DAY) == "warn"
    assert watch.check(STOPPED + 28 * MINUTE, jumped=3 * DAY).endswith("its owner was told")
    assert watch.check(STOPPED + 30 * MINUTE, jumped=3 * DAY) == "remove"


def test_a_clock_that_was_set_back_keeps_it_until_both_agree():
    watch = running(STOPPED - 10)
    assert watch.check(STOPPED + 60) == "warn"
    assert watch.check(STOPPED + HOUR, jumped=-DAY).endswith("its owner was told")
    assert watch.check(STOPPED + HOUR + 1) == "remove"


def test_the_time_that_the_machine_slept_or_was_off_does_not_count():
    watch = running(STOPPED - 10)
    assert watch.check(STOPPED + 60) == "warn"
    assert watch.check(STOPPED + 2 * MINUTE, asleep=12 * HOUR).endswith("its owner was told")
    off = moment(0).awake_seconds
    # Ten minutes after a boot, hours later; the ten minutes count.
    assert watch.check(10 * MINUTE - off, boot="boot-2", jumped=off + 20 * HOUR).endswith("its owner was told")
    assert watch.check(28 * MINUTE - off, boot="boot-2", jumped=off + 20 * HOUR) == "remove"


def test_one_that_was_started_meanwhile_is_held_anew_and_its_notice_is_cleared():
    watch = running(STOPPED - 10)
    watch.check(STOPPED + 60)
    assert watch.check(STOPPED + 5 * MINUTE, state=State.RUNNING) == "it is running"
    assert watch.last.cleared == (("alice", KEY),)
    again = {"finished_at": NOON + timedelta(seconds=STOPPED + 40 * MINUTE)}
    assert watch.check(STOPPED + 41 * MINUTE, **again) == "warn"
    assert watch.check(STOPPED + 69 * MINUTE, **again).endswith("its owner was told")
    assert watch.check(STOPPED + 70 * MINUTE, **again) == "remove"


def test_a_start_and_stop_that_no_sweep_saw_begins_anew_too():
    watch = running(STOPPED - 10)
    watch.check(STOPPED + 60)
    again = {"finished_at": NOON + timedelta(seconds=STOPPED + 40 * MINUTE)}
    assert watch.check(STOPPED + 41 * MINUTE, **again) == "warn"
    assert watch.last.cleared == (("alice", KEY),)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"protected": True}, "it is protected"),
        ({"of_site": True}, "it is the site's own"),
        ({"user": None}, "nobody can be charged for it, so nobody's limits hold"),
        ({"asserted": True}, "nobody can be charged for it, so nobody's limits hold"),
        ({"times": replace(TIMES, container_hold=None)}, "its account's stopped containers are kept for ever"),
        ({"state": State.RUNNING}, "it is running"),
        ({"state": State.PAUSED}, "it is paused"),
        ({"state": State.RESTARTING}, "it is restarting"),
        ({"state": State.REMOVING}, "it is removing"),
    ],
)
def test_who_is_kept_is_left_alone_and_its_notice_is_cleared(found: dict[str, Any], words: str):
    watch = running(STOPPED - 10)
    watch.check(STOPPED + 60)
    assert watch.check(STOPPED + 10 * DAY, **found) == words
    assert watch.last.cleared == (("alice", KEY),)
    assert watch.memory.kept == {}


def test_what_docker_could_not_remove_is_removed():
    assert hold_of(subject(state=State.DEAD), RULES) == (NOON + timedelta(hours=1), 30 * MINUTE)


def test_one_that_is_gone_takes_its_notice_with_it():
    watch = running(STOPPED - 10)
    watch.check(STOPPED + 60)
    sweep = sweep_stale([], watch.memory, RULES, moment(STOPPED + 90))
    assert sweep.decisions == Decisions(cleared=(("alice", KEY),))


def test_a_rule_that_only_warns_says_once_what_it_would_do():
    watch = running(STOPPED - 10)
    watch.rules = mode(LifecycleRule.CONTAINER_HOLD, Mode.WARN)
    assert watch.check(STOPPED + 60).startswith("stopped since")
    assert watch.check(STOPPED + HOUR) == "warn"
    assert not watch.decision().binding
    assert watch.decision().reason.startswith("would be removed: stopped since")
    assert watch.check(STOPPED + 2 * HOUR).startswith("stopped since")
    # Enforced from now on: what was said was no warning.
    watch.rules = RULES
    assert watch.check(STOPPED + 3 * HOUR) == "warn"
    assert watch.check(STOPPED + 3 * HOUR + 3 * MINUTE) == "remove"


def test_a_notice_of_before_the_rule_only_warned_is_taken_back_and_removes_nothing_later():
    watch = running(STOPPED)
    assert watch.check(STOPPED + 60) == "warn"
    watch.rules = mode(LifecycleRule.CONTAINER_HOLD, Mode.WARN)
    assert watch.check(STOPPED + HOUR) == "warn"
    assert (watch.decision().binding, watch.last.cleared) == (False, (("alice", KEY),))
    watch.rules = RULES
    assert watch.check(STOPPED + 2 * HOUR) == "warn"
    assert watch.check(STOPPED + 3 * HOUR) == "remove"


def test_a_rule_that_is_off_is_silent_and_takes_back_what_it_said():
    watch = running(STOPPED - 10)
    watch.check(STOPPED + 60)
    off = mode(LifecycleRule.CONTAINER_HOLD, Mode.OFF)
    sweep = sweep_stale([subject(state=State.EXITED)], watch.memory, off, moment(STOPPED + HOUR))
    assert sweep.decisions == Decisions(cleared=(("alice", KEY),))


FULL = Kept("bob", NOON, 12.25, told_at=2.5, promised=20.5, would=True)


@pytest.mark.parametrize(
    "memory", [KeptMemory(), KeptMemory(moment(5, asleep=1), {"a": FULL, "b": Kept("alice", NOON)})]
)
def test_a_memory_comes_back_from_disk_as_it_was(memory: KeptMemory):
    assert from_document(written(memory)) == memory


@pytest.mark.parametrize("change", [{"kept": []}, {"kept": {"a": dict(written(FULL)) | {"held": None}}}, {"at": {}}])
def test_what_is_damaged_is_an_error(change: dict[str, object]):
    with pytest.raises(RecordError):
        from_document(dict(written(KeptMemory())) | change)
