"""What the rules look at and decide: clocks, protection, words."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.runtime.lifecycle.subjects import DAY, HOUR, MINUTE, NOON, id_of, moment, seen, subject

from ds01.runtime.lifecycle.decision import (
    Action,
    Decision,
    LifecycleRule,
    Subject,
    awake_between,
    clock,
    key_of,
    last_grace,
    spoken,
    untouchable,
    would_be,
)


def decision(**changes: object) -> Decision:
    settings = {"user": "alice", "action": Action.STOP, "rule": LifecycleRule.IDLE, "reason": "idle for 2h"} | changes
    return Decision(id_of("web"), "web", **settings)  # type: ignore[arg-type] # fields by name


def decision_of(name: str) -> Decision:
    return Decision(id_of(name), name, "alice", Action.STOP, LifecycleRule.IDLE, "idle for 2h")


def test_what_the_machine_slept_is_between_two_clocks():
    assert moment(asleep=90).asleep_seconds == 90
    assert moment().after(60) == NOON + timedelta(minutes=1)


def test_time_awake_between_two_looks_knows_no_sleep_and_no_jump():
    assert awake_between(moment(100), moment(160, asleep=3600, jumped=-7200)) == 60


def test_of_the_time_before_a_boot_nothing_is_known():
    later = moment(160, boot="boot-2")
    assert awake_between(moment(100), later) == later.awake_seconds


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (subject(), None),
        (subject(protected=True), "it is protected"),
        (subject(of_site=True), "it is the site's own"),
        (subject(user=None), None),
    ],
)
def test_the_sites_own_and_protected_containers_are_untouchable(found: Subject, why: str | None):
    assert untouchable(found) == why


def test_names_are_safe_to_show():
    assert subject(name="a\x1bb").name == "a\\x1bb"
    assert Subject(seen(name=""), None).name == "0" * 12


def test_a_long_name_is_cut_in_sentences_alone_and_a_command_takes_the_id():
    long = subject(name="c" * 300)
    assert (long.name, long.called, long.argument) == ("c" * 300, f"{'c' * 59}…", id_of("c" * 300)[:12])
    assert (subject().name, subject().called, subject().argument) == ("web", "web", "web")
    assert f"container {'c' * 59}… would be" in str(would_be(decision_of("c" * 300)).text)
    assert would_be(decision_of("c" * 300)).name == "c" * 300


def test_nobody_is_charged_for_what_is_only_asserted():
    assert subject(user="alice", asserted=True).user is None
    assert subject(user="alice").user == "alice"


@pytest.mark.parametrize(
    ("action", "done"),
    [
        (Action.STOP, "stopped"),
        (Action.REMOVE, "removed"),
        (Action.RELEASE, "relieved of its GPU"),
    ],
)
def test_a_rule_that_is_not_enforced_says_what_it_would_do(action: Action, done: str):
    said = would_be(decision(action=action))
    assert said == decision(
        action=Action.WARN,
        binding=False,
        reason=f"would be {done}: idle for 2h",
        text=f"container web would be {done} now, were the rule enforced: idle for 2h",
    )


def test_nobody_is_told_of_what_counts_for_nobody():
    assert would_be(decision(user=None)).text is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59.9, "59s"), (61, "1m"), (3600, "1h"), (5430, "1h30m"), (3660, "1h01m"), (86400, "24h"),
     (7 * 86400, "7d"), (7 * 86400 + 61, "168h01m")],
)  # fmt: skip
def test_lengths_of_time_are_said_as_people_say_them(seconds: float, words: str):
    assert spoken(seconds) == words


def test_a_time_is_told_in_the_zone_of_the_machine():
    assert clock(NOON) == f"{NOON.astimezone():%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("limit", "grace"), [(HOUR, 6 * MINUTE), (10 * HOUR, HOUR), (24 * HOUR, HOUR), (0, 0), (7 * DAY, HOUR)]
)
def test_the_last_grace_is_a_tenth_and_an_hour_at_most(limit: float, grace: float):
    assert last_grace(limit) == grace


def test_a_key_names_rule_and_container():
    assert key_of(LifecycleRule.MAX_RUNTIME, "abc") == "max_runtime:abc"
