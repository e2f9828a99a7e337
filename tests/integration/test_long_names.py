"""Whatever a container is called, who logs in reads when it ends: each rule's own words on terminals of any width."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.runtime.lifecycle.subjects import HOUR, MINUTE, NOON, RULES, moment, subject

from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.containers.seen import Kind
from ds01.runtime.lifecycle.decision import clock
from ds01.runtime.lifecycle.idle import IdleSight, sweep_idle
from ds01.runtime.lifecycle.idle_memory import IdleMemory
from ds01.runtime.lifecycle.notices import Notice
from ds01.runtime.lifecycle.runtime_limit import RuntimeMemory, sweep_runtime
from ds01.runtime.lifecycle.stale_containers import KeptMemory, sweep_stale
from ds01.runtime.lifecycle.unmanaged import StrangerMemory, sweep_unmanaged
from ds01.runtime.overview.words import Style, notice_lines

if TYPE_CHECKING:
    from ds01.runtime.lifecycle.decision import Decisions

NAMES = ["c" * 300, "train-" * 40, "a._." * 200, "\x1b[31m" * 60]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def runtime(name: str) -> Decisions:
    return sweep_runtime([subject(name, age=18 * HOUR)], RuntimeMemory(), RULES, moment(18 * HOUR)).decisions


def stale(name: str) -> Decisions:
    first = sweep_stale([], KeptMemory(), RULES, moment(HOUR))
    return sweep_stale([subject(name, State.EXITED)], first.memory, RULES, moment(HOUR + 60)).decisions


def stale_of_several(name: str) -> Decisions:
    first = sweep_stale([], KeptMemory(), RULES, moment(HOUR))
    several = [subject(each, State.EXITED) for each in (name, "z")]
    return sweep_stale(several, first.memory, RULES, moment(HOUR + 60)).decisions


def idle(name: str) -> Decisions:
    rules = replace(RULES, idle_window=1, start_grace_seconds=0)
    sight = IdleSight(subject(name, age=HOUR), cpu_usec=0, network_bytes=0, gpus={})
    first = sweep_idle([sight], IdleMemory(), rules, moment(HOUR), demand=None)
    return sweep_idle([sight], first.memory, rules, moment(HOUR + 30 * MINUTE), demand=None).decisions


def unmanaged(name: str) -> Decisions:
    return sweep_unmanaged(
        [subject(name, kind=Kind.DOCKER, admitted=False)], StrangerMemory(), RULES, moment()
    ).decisions


@pytest.mark.parametrize("style", [Style(utf8, width=width) for utf8 in (True, False) for width in (40, 60, 80)])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("rule", "end"),
    [
        (runtime, 24 * HOUR),
        (stale, HOUR + 30 * MINUTE),
        (stale_of_several, HOUR + 30 * MINUTE),
        (idle, 2 * HOUR),
        (unmanaged, 48 * HOUR),
    ],
)
def test_the_end_is_in_the_lines_that_a_login_shows(rule, end: float, name: str, style: Style):
    decision = rule(name).wanted[0]
    shown = " ".join(" ".join(notice_lines(Notice(NOON, decision.text), style)).split())
    assert clock(NOON + timedelta(seconds=end)) in shown
    assert all(len(line) <= style.width for line in notice_lines(Notice(NOON, decision.text), style))
    assert decision.name.startswith(name[:10].replace("\x1b", "\\x1b"))
