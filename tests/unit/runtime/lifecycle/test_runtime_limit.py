"""The max_runtime rule: each warning once, an end that was told, and a last grace for who is found over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.lifecycle.subjects import (
    DAY,
    HOUR,
    NOON,
    RULES,
    TIMES,
    brought_back,
    id_of,
    mode,
    moment,
    subject,
    waiting,
    written,
)  # fmt: skip

from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.containers.start import Start
from ds01.runtime.lifecycle.decision import Action, Decision, Decisions, LifecycleRule, clock
from ds01.runtime.lifecycle.record import RecordError
from ds01.runtime.lifecycle.runtime_limit import (
    Run,
    RuntimeMemory,
    from_document,
    settle,
    sweep_runtime,
)  # fmt: skip
from ds01.runtime.lifecycle.settings import LifecycleRules

KEY = f"max_runtime:{id_of('web')}"


@dataclass
class Watch:
    """A container that runs, and what sweeps find of it."""

    rules: LifecycleRules = RULES
    memory: RuntimeMemory = field(default_factory=RuntimeMemory)
    last: Decisions = field(default_factory=Decisions)
    settings: dict[str, Any] = field(default_factory=dict)

    def check(self, hours: float, *, told: bool = True, **found: Any) -> str:
        """Sweep so many hours after noon; returns what is done with the moment it names, or why nothing is."""
        clocks = {key: found.pop(key) for key in ("boot", "asleep", "jumped") if key in found}
        at = moment(hours * HOUR, **clocks)
        age = found.pop("age", hours * HOUR + clocks.get("asleep", 0))
        sweep = sweep_runtime([subject(age=age, **(self.settings | found))], self.memory, self.rules, at)
        self.last = sweep.decisions
        done = [each for each in sweep.decisions.wanted if told or each.action is not Action.WARN]
        self.memory = settle(sweep.memory, done, at)
        return sweep.decisions.wanted[0].action.value if sweep.decisions.wanted else sweep.decisions.remarks[0].words

    def decision(self) -> Decision:
        assert len(self.last.wanted) == 1
        return self.last.wanted[0]

    def actions(self, hours: range | list[float], **found: Any) -> dict[float, str]:
        said = {each: self.check(each, **found) for each in hours}
        return {each: words for each, words in said.items() if words in {"warn", "stop"}}


def test_an_owner_is_warned_at_each_share_once_and_the_end_comes_as_it_was_told():
    watch = Watch()
    assert watch.actions(range(25)) == {18: "warn", 22: "warn", 24: "stop"}


def test_the_words_name_the_end():
    watch = Watch()
    watch.check(0)
    assert watch.check(18.5) == "warn"
    end = clock(NOON + timedelta(hours=24))
    warning = Decision(
        container_id=id_of("web"),
        name="web",
        user="alice",
        action=Action.WARN,
        rule=LifecycleRule.MAX_RUNTIME,
        reason="it has run for 18h30m of 24h",
        text=f"container web is stopped {end}: it has run for 18h30m of 24h; save what you need",
        key=KEY,
        state_since=NOON,
        grace_seconds=60,
        mark=0.75,
        ahead_seconds=5.5 * HOUR,
    )
    assert watch.decision() == warning
    assert watch.check(19) == "it has run for 19h of 24h; its owner was told"
    assert watch.check(24.5) == "stop"
    assert watch.decision() == replace(
        warning,
        action=Action.STOP,
        reason="it has run for 24h30m of 24h",
        text=f"container web was stopped {clock(NOON + timedelta(hours=24.5))}: it has run for 24h30m of 24h; "
        "docker start web starts it again",
        mark=0,
        ahead_seconds=0,
    )
    assert watch.memory.runs == {}


def test_of_two_shares_passed_at_once_the_higher_is_said():
    watch = Watch()
    watch.check(0)
    assert watch.check(23) == "warn"
    assert watch.decision().mark == 0.9
    assert watch.check(23.5) == "it has run for 23h30m of 24h; its owner was told"


def test_who_is_found_over_the_limit_is_warned_first_and_has_a_last_grace():
    watch = Watch()
    assert watch.check(50) == "warn"
    assert f"is stopped {clock(NOON + timedelta(hours=51))}: it has run for 50h of 24h" in str(watch.decision().text)
    assert watch.check(50.9) == "it has run for 50h54m of 24h; its owner was told"
    assert watch.check(51) == "stop"


def test_who_was_warned_late_has_the_last_grace_too():
    watch = Watch()
    watch.check(0)
    assert watch.check(23.75) == "warn"
    assert f"is stopped {clock(NOON + timedelta(hours=24.75))}" in str(watch.decision().text)
    assert watch.check(24.1) == "warn"
    assert f"is stopped {clock(NOON + timedelta(hours=24.75))}" in str(watch.decision().text)
    assert watch.check(24.5) == "it has run for 24h30m of 24h; its owner was told"
    assert watch.check(24.75) == "stop"


def test_a_shorter_limit_is_told_before_it_ends_anything():
    watch = Watch(settings={"times": replace(TIMES, max_runtime=72 * HOUR)})
    assert watch.actions(range(56)) == {54: "warn"}
    watch.settings = {}
    assert watch.check(56) == "warn"
    assert watch.check(56.5) == "it has run for 56h30m of 24h; its owner was told"
    assert watch.check(57) == "stop"


def test_a_longer_limit_begins_its_warnings_anew():
    watch = Watch()
    assert watch.actions(range(24)) == {18: "warn", 22: "warn"}
    watch.settings = {"times": replace(TIMES, max_runtime=72 * HOUR)}
    assert watch.actions(range(24, 73)) == {54: "warn", 65: "warn", 72: "stop"}


def test_without_shares_the_last_grace_is_the_only_warning():
    watch = Watch(replace(RULES, runtime_warnings=()))
    assert watch.actions([0, 12, 23.9, 24, 24.9, 25]) == {24: "warn", 25: "stop"}


def test_who_could_not_be_told_is_not_stopped():
    watch = Watch()
    for hours in range(0, 100, 5):
        assert watch.check(hours, told=False) != "stop"
    assert watch.check(100) == "warn"
    assert watch.check(101) == "stop"


def test_a_new_start_is_a_new_run():
    watch = Watch()
    watch.actions(range(23))
    again = {"started_at": NOON + timedelta(hours=23), "age": 0}
    assert watch.check(23, **again) == "it has run for 0s of 24h"
    assert watch.last.cleared == (("alice", KEY),)


def test_after_a_boot_nothing_of_before_counts():
    watch = Watch()
    watch.actions(range(23))
    assert watch.check(50, boot="boot-2", age=50 * HOUR) == "warn"
    assert watch.last.cleared == (("alice", KEY),)


def test_a_lost_record_stops_nobody():
    watch = Watch()
    watch.actions(range(24))
    watch.memory = RuntimeMemory()
    assert watch.check(24) == "warn"
    assert watch.check(24.5).endswith("its owner was told")


def test_the_time_that_the_machine_slept_was_no_run_time():
    watch = Watch()
    watch.check(1)
    assert watch.check(14, asleep=10 * HOUR) == "it has run for 14h of 24h"
    assert watch.check(18, asleep=10 * HOUR) == "warn"
    assert f"is stopped {clock(NOON + timedelta(hours=34))}" in str(watch.decision().text)
    assert watch.check(23.9, asleep=10 * HOUR) == "warn"
    assert watch.check(24, asleep=10 * HOUR) == "stop"


@pytest.mark.parametrize("jumped", [-400 * DAY, 400 * DAY])
def test_a_jump_of_the_wall_clock_changes_nothing(jumped: float):
    watch = Watch()
    assert watch.actions(range(25), jumped=jumped) == {18: "warn", 22: "warn", 24: "stop"}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"protected": True}, "it is protected"),
        ({"of_site": True}, "it is the site's own"),
        ({"user": None}, "nobody can be charged for it, so nobody's limits hold"),
        ({"asserted": True}, "nobody can be charged for it, so nobody's limits hold"),
        ({"times": replace(TIMES, max_runtime=None)}, "no max_runtime holds for it"),
        ({"state": State.EXITED}, "it is exited"),
        ({"age": None}, "it cannot be told how long it has run"),
    ],
)
def test_who_has_no_end_is_left_alone_and_its_warning_is_cleared(found: dict[str, Any], words: str):
    watch = Watch()
    watch.actions(range(23))
    assert watch.check(30, **found) == words
    assert watch.last.cleared == (("alice", KEY),)
    assert watch.memory.runs == {}


def test_a_paused_container_goes_on_ageing():
    watch = Watch(settings={"state": State.PAUSED})
    assert watch.actions(range(25)) == {18: "warn", 22: "warn", 24: "stop"}


ENDS = {18: "warn", 22: "warn", 24: "stop"}


def acts(said: dict[int, str]) -> dict[int, str]:
    return {each: words for each, words in said.items() if words in {"warn", "stop"}}


@pytest.mark.parametrize("asked", [0, None])
def test_one_that_comes_back_again_and_again_is_as_old_as_its_first_start(asked: float | None):
    """A restart each 25 minutes: each sweep finds another process, and the warnings hold."""

    def came_back(hours: float) -> dict[str, Any]:
        restarts = int(hours * 60 // 25)
        return brought_back(restarts, restarts * 25 * 60.0, asked=asked) | {"age": hours * HOUR - restarts * 25 * 60.0}

    watch = Watch()
    assert acts({each: watch.check(each, **came_back(each)) for each in range(25)}) == ENDS
    assert watch.decision().restarts == 57
    assert watch.last.cleared == ()


def test_one_that_waits_to_come_back_goes_on_ageing():
    watch = Watch()
    assert acts({each: watch.check(each, **waiting(each * 60, each * HOUR - 30)) for each in range(25)}) == ENDS


def test_one_whose_process_ended_during_the_sweep_goes_on_ageing():
    watch = Watch()
    watch.actions(range(23))
    assert watch.check(24, **(brought_back(3, 20 * HOUR) | {"age": None})) == "stop"


def test_a_start_that_somebody_asked_for_is_a_new_run_however_often_it_came_back_since():
    watch = Watch()
    watch.actions(range(23))
    again = brought_back(2, 22.9 * HOUR, asked=22.5 * HOUR)
    assert watch.check(23, age=360, **again) == "it has run for 6m of 24h"
    assert watch.last.cleared == (("alice", KEY),)


def test_sleep_of_the_machine_makes_one_that_comes_back_no_older():
    watch = Watch()
    watch.check(0)
    assert (
        watch.check(17, asleep=10 * HOUR, **(brought_back(9, 16 * HOUR) | {"age": HOUR})) == "it has run for 17h of 24h"
    )


def test_another_owner_is_told_anew_and_the_run_is_as_old_as_it_was():
    watch = Watch()
    watch.actions(range(23))
    assert watch.check(25, user="bob") == "warn"
    assert watch.last.cleared == (("alice", KEY),)
    assert watch.check(26.5, user="bob") == "stop"


def test_a_rule_that_only_warns_says_once_what_it_would_do():
    watch = Watch(mode(LifecycleRule.MAX_RUNTIME, Mode.WARN))
    assert watch.actions(range(24)) == {}
    assert watch.check(24) == "warn"
    assert (watch.decision().binding, watch.decision().reason) == (
        False, "would be stopped: it has run for 24h of 24h",
    )  # fmt: skip
    assert watch.actions(range(25, 60)) == {}
    # Enforced from now on: what was said was no warning.
    watch.rules = RULES
    assert watch.actions([60.0, 60.5, 61.0]) == {60: "warn", 61: "stop"}


def test_a_warning_of_before_the_rule_only_warned_is_taken_back_and_stops_nobody_later():
    watch = Watch()
    assert watch.actions(range(23)) == {18: "warn", 22: "warn"}
    watch.rules = mode(LifecycleRule.MAX_RUNTIME, Mode.WARN)
    assert watch.check(23) == "it has run for 23h of 24h"
    assert watch.last.cleared == (("alice", KEY),)
    watch.rules = RULES
    assert watch.check(25) == "warn"
    assert watch.check(26) == "stop"


def test_a_rule_that_is_off_is_silent_and_takes_back_what_it_said():
    watch = Watch()
    watch.actions(range(23))
    sweep = sweep_runtime(
        [subject(age=30 * HOUR)], watch.memory, mode(LifecycleRule.MAX_RUNTIME, Mode.OFF), moment(30 * HOUR)
    )
    assert sweep.decisions == Decisions(cleared=(("alice", KEY),))


FULL = Run("bob", Start(None, 3, NOON), 3600.5, 2.5, warned_at=12.25, share=0.75, told=True)


@pytest.mark.parametrize(
    "memory", [RuntimeMemory(), RuntimeMemory("boot-1", {"a": FULL, "b": Run("alice", Start(NOON, 0, NOON), 60, 0)})]
)
def test_a_memory_comes_back_from_disk_as_it_was(memory: RuntimeMemory):
    assert from_document(written(memory)) == memory


@pytest.mark.parametrize("change", [{"runs": []}, {"runs": {"a": dict(written(FULL)) | {"limit": "1h"}}}, {"boot": 5}])
def test_what_is_damaged_is_an_error(change: dict[str, object]):
    with pytest.raises(RecordError):
        from_document(dict(written(RuntimeMemory())) | change)
