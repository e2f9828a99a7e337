"""What people and the event log are told of memory and quotas."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.unit.runtime.telemetry.looks import CONTAINER, FIGURES, GIB, UNKNOWN

from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.cgroup.pressure import Pressure, Resource
from ds01.runtime.telemetry.oom import Victim, Whose
from ds01.runtime.telemetry.pressure import High, Over, PressureRules, Stalled, What
from ds01.runtime.telemetry.pressure_words import (
    near_details,
    near_text,
    oom_details,
    oom_text,
    pressure_details,
    stall_details,
    stall_text,
    wait_details,
)
from ds01.runtime.telemetry.quota import Near, Quota

NOW = datetime(2026, 3, 1, 9, 12, tzinfo=UTC).astimezone()
CLOCK = f"{NOW:%H:%M}"
TOGETHER = "out of memory (all your containers together reached 96G)"
NOT_YOURS = "out of memory (not by your limits: the machine had none left)"
NAMES = {CONTAINER: "train"}
MEMORY = {
    "memory_current_bytes": 90 * GIB,
    "memory_used_bytes": 88 * GIB,
    "memory_high_bytes": 86 * GIB,
    "memory_max_bytes": 96 * GIB,
}
RULES = PressureRules(Mode.ENFORCE, 40, 20, 300, 120, releases=False)


def victim(whose: Whose, limit: int | None = None, *, ended: bool = True, at: datetime | None = None) -> Victim:
    return Victim(CONTAINER, ended, whose, limit, at)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            victim(Whose.CONTAINER, 32 * GIB, at=NOW),
            f"container train was ended at {CLOCK}: out of memory (its own limit of 32G)",
        ),
        (victim(Whose.CONTAINER), f"container train was ended at {CLOCK}: out of memory (its own limit)"),
        (
            victim(Whose.ACCOUNT),
            f"container train was ended at {CLOCK}: {TOGETHER}",
        ),
        (
            victim(Whose.ABOVE, ended=False),
            f"a process in container train was ended at {CLOCK}: {NOT_YOURS}",
        ),
        (victim(Whose.UNKNOWN), f"container train was ended at {CLOCK}: out of memory"),
        (
            None,
            f"a process in a container of yours was ended at {CLOCK}: {TOGETHER}",
        ),
    ],
)
def test_an_account_is_told_which_container_and_which_limit(found: Victim | None, text: str) -> None:
    assert oom_text(found, Whose.ACCOUNT, NAMES, FIGURES, NOW) == text


def test_of_a_long_name_the_account_is_told_the_beginning_and_the_log_all() -> None:
    names = {"a" * 64: "c" * 300}
    found = victim(Whose.UNKNOWN)
    assert oom_text(found, Whose.UNKNOWN, names, FIGURES, NOW) == (
        f"container {'c' * 59}… was ended at {CLOCK}: out of memory"
    )
    (row,) = oom_details(1, [found], Whose.UNKNOWN, names, FIGURES)["containers"]  # type: ignore[misc] # of objects
    assert row["name"] == "c" * 300


def test_without_a_name_a_container_is_called_by_its_id() -> None:
    text = oom_text(victim(Whose.ACCOUNT), Whose.ACCOUNT, {}, replace(FIGURES, max_bytes=None), NOW)
    assert text == (
        f"container {'a' * 12} was ended at {CLOCK}: out of memory (all your containers together reached their limit)"
    )


def test_the_event_names_all_containers_with_figures() -> None:
    victims = [victim(Whose.CONTAINER, 32 * GIB), replace(victim(Whose.ACCOUNT, ended=False), id="b" * 64)]
    assert oom_details(3, victims, Whose.UNKNOWN, NAMES, FIGURES) == {
        "kills": 3,
        "limit": "container",
        "containers": [
            {"name": "train", "id": "a" * 12, "ended": True, "limit": "container", "limit_bytes": 32 * GIB},
            {"name": "b" * 12, "id": "b" * 12, "ended": False, "limit": "account", "limit_bytes": None},
        ],
        **MEMORY,
    }
    assert oom_details(1, [], Whose.ABOVE, NAMES, replace(FIGURES, current_bytes=UNKNOWN)) == {
        "kills": 1,
        "limit": "above",
        "containers": [],
        **MEMORY,
        "memory_current_bytes": None,
    }


def test_pressure_is_told_as_far_as_it_is_known() -> None:
    assert pressure_details(FIGURES) == {"some_avg60": 12.5, "full_avg60": 8.25, "full_avg10": 9.8, **MEMORY}
    assert isinstance(FIGURES.memory, Pressure)
    half = replace(FIGURES, memory=Pressure(FIGURES.memory.some, UNKNOWN))
    assert pressure_details(half) == {"some_avg60": 12.5, **MEMORY}
    assert pressure_details(replace(FIGURES, memory=UNKNOWN)) == MEMORY
    assert pressure_details(FIGURES, Resource.CPU) == {"some_avg60": 12.5, **MEMORY}
    assert (
        pressure_details(FIGURES, Resource.IO) == pressure_details(replace(FIGURES, others={}), Resource.CPU) == MEMORY
    )


@pytest.mark.parametrize("change", [High(299.6, Resource.CPU), Over(What.HIGH, 299.6, Resource.CPU)])
def test_high_pressure_says_of_what(change: High | Over) -> None:
    wanted = {"resource": "cpu", "seconds": 300, "some_avg60": 12.5, **MEMORY}
    assert wait_details(change, FIGURES) == wanted
    assert wait_details(replace(change, resource=Resource.MEMORY), FIGURES) == {
        "resource": "memory", "seconds": 300, **pressure_details(FIGURES),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (RULES, {"stall": "notify"}),
        (replace(RULES, releases=True), {"stall": "release"}),
        (replace(RULES, releases=True, mode=Mode.WARN), {"stall": "notify", "would": "release"}),
        (replace(RULES, mode=Mode.WARN), {"stall": "notify"}),
    ],
)
def test_the_event_of_a_stall_says_what_is_done_and_what_would_be(rules: PressureRules, said: dict[str, str]) -> None:
    assert stall_details(Stalled(120.4), rules, FIGURES) == {"seconds": 120, **said, **pressure_details(FIGURES)}


def test_a_stalled_account_is_told_what_it_can_do() -> None:
    begin = "your containers hardly move: together they need more memory than the 86G at which they are slowed down."
    assert stall_text(FIGURES, lifted=False) == (
        f"{begin} Stop one or let it use less; check-limits shows what each one takes."
    )
    assert stall_text(FIGURES, lifted=True) == (
        f"{begin} They are let go on now, and at 96G the kernel ends the largest process."
    )


@pytest.mark.parametrize(
    ("near", "text"),
    [
        (
            Near(Quota.MEMORY, 77 * GIB, 96 * GIB, 0.8),
            "you use 77G of 96G of memory (80 %): at the limit a process is ended. check-limits shows more.",
        ),
        (
            Near(Quota.TASKS, 10000, 12288, 0.8),
            "you use 10000 of 12288 processes and threads (81 %). check-limits shows more.",
        ),
        (Near(Quota.GPUS, 3, 3, 0.95), "you use 3 of 3 GPUs: there are no more for you. check-limits shows more."),
        (
            Near(Quota.CONTAINERS, 5, 6, 0.8),
            "you use 5 of 6 containers (83 %). check-limits shows more.",
        ),
    ],
)
def test_an_account_is_told_how_near_it_is(near: Near, text: str) -> None:
    assert near_text(near) == text
    assert near_details(near) == {
        "limit": near.quota.value,
        "percent": near.percent,
        "level": near.level,
        "used": near.used,
        "allowed": near.limit,
    }


def test_details_are_values_of_json() -> None:
    details = [oom_details(1, [victim(Whose.ABOVE)], Whose.ABOVE, {}, FIGURES), pressure_details(FIGURES)]
    assert json.loads(json.dumps(details)) == details
