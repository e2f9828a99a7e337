"""Containers that DS01 had no say in: an alert, a second at half the grace, a stop only where the rule is enforced."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.lifecycle.subjects import DAY, HOUR, NOON, RULES, id_of, mode, moment, subject, written

from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.containers.seen import Kind
from ds01.runtime.lifecycle.decision import Action, Decision, Decisions, LifecycleRule, clock
from ds01.runtime.lifecycle.record import RecordError
from ds01.runtime.lifecycle.settings import LifecycleRules
from ds01.runtime.lifecycle.unmanaged import (
    Stranger,
    StrangerMemory,
    from_document,
    settle,
    sweep_unmanaged,
)  # fmt: skip

KEY = f"unmanaged:{id_of('web')}"


@dataclass
class Watch:
    """A container that DS01 did not make, and what sweeps find of it."""

    rules: LifecycleRules = RULES
    memory: StrangerMemory = field(default_factory=StrangerMemory)
    last: Decisions = field(default_factory=Decisions)

    def check(self, hours: float, *, told: bool = True, **found: Any) -> str:
        """Sweep so many hours after noon; returns what is done, or why nothing is."""
        clocks = {key: found.pop(key) for key in ("boot", "asleep", "jumped") if key in found}
        at = moment(hours * HOUR, **clocks)
        stranger = subject(**({"kind": Kind.DOCKER, "admitted": False} | found))
        sweep = sweep_unmanaged([stranger], self.memory, self.rules, at)
        self.last = sweep.decisions
        done = [each for each in sweep.decisions.wanted if told or each.action is not Action.WARN]
        self.memory = settle(sweep.memory, done)
        return sweep.decisions.wanted[0].action.value if sweep.decisions.wanted else sweep.decisions.remarks[0].words

    def decision(self) -> Decision:
        assert len(self.last.wanted) == 1
        return self.last.wanted[0]

    def actions(self, hours: range | list[float], **found: Any) -> dict[float, str]:
        said = {each: self.check(each, **found) for each in hours}
        return {each: words for each, words in said.items() if words in {"warn", "stop"}}


def test_there_are_two_alerts_and_then_a_stop():
    watch = Watch()
    assert watch.actions(range(49)) == {0: "warn", 24: "warn", 48: "stop"}
    assert watch.memory.strangers == {}


def test_the_words_name_the_end_and_whom_to_ask():
    watch = Watch()
    watch.check(0)
    end = clock(NOON + timedelta(hours=48))
    alert = Decision(
        container_id=id_of("web"),
        name="web",
        user="alice",
        action=Action.WARN,
        rule=LifecycleRule.UNMANAGED,
        reason="DS01 had no say in it (unmanaged-docker), noticed 0s of 48h ago",
        text=f"container web is stopped after {end}: it was not made through DS01; "
        "make it anew with docker run, or ask the admins to keep it",
        key=KEY,
        state_since=NOON,
        grace_seconds=60,
        mark=1,
        ahead_seconds=48 * HOUR,
    )
    assert watch.decision() == alert
    watch.check(25)
    assert watch.decision() == replace(
        alert,
        reason="DS01 had no say in it (unmanaged-docker), noticed 25h of 48h ago",
        mark=2,
        ahead_seconds=23 * HOUR,
    )
    watch.check(50)
    assert watch.decision() == replace(
        alert,
        action=Action.STOP,
        reason="DS01 had no say in it (unmanaged-docker), noticed 50h of 48h ago",
        text=f"container web was stopped {clock(NOON + timedelta(hours=50))}: it was not made through DS01; "
        "ask the admins",
        mark=0,
        ahead_seconds=0,
    )


def test_a_grace_that_becomes_shorter_stops_nobody_before_the_time_that_was_told():
    watch = Watch()
    assert watch.actions(range(31)) == {0: "warn", 24: "warn"}
    watch.rules = replace(RULES, unmanaged_grace_seconds=24 * HOUR)
    assert watch.actions(range(31, 49)) == {48: "stop"}


@pytest.mark.parametrize("found", [{"user": None}, {"user": "alice", "asserted": True}])
def test_who_only_may_be_its_owner_is_not_told(found: dict[str, Any]):
    watch = Watch()
    assert watch.check(0, **found) == "warn"
    assert (watch.decision().user, watch.decision().text) == (None, None)
    assert watch.actions(range(1, 49), **found) == {24: "warn", 48: "stop"}
    assert (watch.decision().user, watch.decision().text) == (None, None)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"kind": Kind.MANAGED}, "DS01 let it come to be"),
        ({"name": "legacy-db"}, "policies.unmanaged_whitelist names it"),
        ({"of_site": True}, "it is the site's own"),
        ({"protected": True}, "it is protected"),
    ],
)
def test_who_may_stay_is_left_alone(found: dict[str, Any], words: str):
    watch = Watch()
    watch.check(0)
    assert watch.check(100, **found) == words
    assert watch.last.cleared == (("alice", KEY),)
    assert watch.memory.strangers == {}


def test_a_whitelist_may_name_an_id():
    watch = Watch(replace(RULES, unmanaged_whitelist=frozenset({id_of("web")})))
    assert watch.check(0) == "policies.unmanaged_whitelist names it"


def test_whoever_it_counts_for_now_was_told_nothing_yet():
    watch = Watch()
    assert watch.actions(range(48), user=None) == {0: "warn", 24: "warn"}
    assert watch.check(48) == "warn"
    assert watch.decision().user == "alice"
    assert watch.actions(range(49, 97)) == {72: "warn", 96: "stop"}


def test_a_stop_and_a_start_in_between_begin_nothing_anew():
    watch = Watch()
    watch.check(0)
    assert watch.check(10, state=State.EXITED) == ("DS01 had no say in it (unmanaged-docker), and it does not run")
    again = {"started_at": NOON + timedelta(hours=20)}
    assert watch.actions(range(20, 49), **again) == {24: "warn", 48: "stop"}


def test_one_that_does_not_run_is_no_alert():
    watch = Watch()
    assert watch.actions(range(0, 200, 10), state=State.EXITED) == {}
    assert watch.check(200) == "warn"
    assert watch.check(201).endswith("noticed 1h of 48h ago; 1 alerts")


def test_the_second_alert_always_comes_before_the_stop():
    watch = Watch()
    assert watch.actions([0, 60, 60.5, 61]) == {0: "warn", 60: "warn", 61: "stop"}


def test_an_alert_that_could_not_be_given_stops_nobody():
    watch = Watch()
    assert watch.actions(range(0, 500, 50), told=False) == dict.fromkeys(range(0, 500, 50), "warn")
    assert watch.actions([500, 524, 548]) == {500: "warn", 524: "warn", 548: "stop"}


@pytest.mark.parametrize("jumped", [-400 * DAY, 400 * DAY])
def test_a_jump_of_the_wall_clock_changes_nothing(jumped: float):
    watch = Watch()
    watch.check(0)
    assert watch.actions(range(1, 49), jumped=jumped) == {24: "warn", 48: "stop"}


def test_the_time_that_the_machine_slept_does_not_count():
    watch = Watch()
    watch.check(0)
    assert watch.actions(range(1, 49), asleep=100 * HOUR) == {24: "warn", 48: "stop"}


def test_a_boot_in_between_begins_nothing_anew():
    watch = Watch()
    assert watch.actions(range(25)) == {0: "warn", 24: "warn"}
    off = moment(0).awake_seconds / HOUR
    found = {"boot": "boot-2", "jumped": off * HOUR + 30 * HOUR}
    assert watch.check(1 - off, **found).endswith("noticed 25h of 48h ago; 2 alerts")
    assert watch.check(24 - off, **found) == "stop"


def test_a_lost_record_stops_nobody():
    watch = Watch()
    watch.actions(range(48))
    watch.memory = StrangerMemory()
    assert watch.check(48) == "warn"
    assert watch.decision().mark == 1


def test_a_rule_that_only_warns_says_once_what_it_would_do():
    watch = Watch(mode(LifecycleRule.UNMANAGED, Mode.WARN))
    assert watch.check(0) == "warn"
    assert watch.decision() == Decision(
        container_id=id_of("web"),
        name="web",
        user="alice",
        action=Action.WARN,
        rule=LifecycleRule.UNMANAGED,
        reason="would be stopped in 48h: DS01 had no say in it (unmanaged-docker)",
        text="container web was not made through DS01; were the rule enforced, it would be stopped in 48h",
        key=KEY,
        state_since=NOON,
        grace_seconds=60,
        binding=False,
    )
    assert watch.actions(range(1, 200)) == {}
    # Enforced from now on: what was said was no alert.
    watch.rules = RULES
    assert watch.actions(range(200, 249)) == {200: "warn", 224: "warn", 248: "stop"}


def test_alerts_of_before_the_rule_only_warned_are_taken_back_and_stop_nobody_later():
    watch = Watch()
    assert watch.actions(range(41)) == {0: "warn", 24: "warn"}
    watch.rules = mode(LifecycleRule.UNMANAGED, Mode.WARN)
    assert watch.check(41) == "warn"
    assert (watch.decision().binding, watch.last.cleared) == (False, (("alice", KEY),))
    watch.rules = RULES
    assert watch.actions(range(50, 99)) == {50: "warn", 74: "warn", 98: "stop"}


def test_a_rule_that_is_off_is_silent_and_takes_back_what_it_said():
    watch = Watch()
    watch.check(0)
    off = mode(LifecycleRule.UNMANAGED, Mode.OFF)
    sweep = sweep_unmanaged([subject(kind=Kind.DOCKER)], watch.memory, off, moment(HOUR))
    assert sweep.decisions == Decisions(cleared=(("alice", KEY),))


FULL = Stranger("bob", 2, 12.5, 6.25, 18.75, told=True)


@pytest.mark.parametrize("memory", [StrangerMemory(), StrangerMemory(moment(), {"a": FULL, "b": Stranger(None)})])
def test_a_memory_comes_back_from_disk_as_it_was(memory: StrangerMemory):
    assert from_document(written(memory)) == memory


@pytest.mark.parametrize("change", [{"strangers": 1}, {"strangers": {"a": dict(written(FULL)) | {"alerts": 1.5}}}])
def test_what_is_damaged_is_an_error(change: dict[str, object]):
    with pytest.raises(RecordError):
        from_document(dict(written(StrangerMemory())) | change)
