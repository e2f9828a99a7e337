"""pressure.json: what it says, that it is read back whole, and that nothing else is believed."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.telemetry.looks import BLIND, CONTAINER, GIB, LOOK, STUDENT

from ds01.core.value import replace
from ds01.runtime.cgroup.pressure import Resource
from ds01.runtime.telemetry.growth import Totals
from ds01.runtime.telemetry.oom import ContainerCounters, Counters, SliceCounters
from ds01.runtime.telemetry.pressure import Lifted, Wait, Watch
from ds01.runtime.telemetry.pressure_record import Memory, Remembered, from_document, since, to_document
from ds01.runtime.telemetry.quota import Quota

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WATCH = Watch(1.5, None, 3.0, 4.0, 5.0, Lifted(86 * GIB), {Resource.CPU: Wait(None, 6.0)})
MEMORY = Memory(
    NOW,
    1000.25,
    {
        STUDENT: Remembered(LOOK.counters, WATCH, LOOK.totals),
        BLIND.name: Remembered(BLIND.counters, totals=BLIND.totals),
    },
    {"alice": {Quota.MEMORY: 0.8, Quota.GPUS: 0.95}},
)


def written(memory: Memory = MEMORY, before: Memory | None = None) -> dict[str, Any]:
    came = since(before, [LOOK, BLIND], memory.seconds)
    return json.loads(json.dumps(to_document(memory, [LOOK, BLIND], "boot-1", came)))


def test_the_file_says_what_every_slice_showed() -> None:
    document = written()
    assert {key: value for key, value in document.items() if key != "slices"} == {
        "version": 1,
        "updated_at": "2026-03-01T12:00:00Z",
        "boot": "boot-1",
        "seconds": 1000.25,
        "since_seconds": None,
        "quota": {"alice": {"memory": 0.8, "gpus": 0.95}},
    }
    some = {"avg10": 14.21, "avg60": 12.5, "avg300": 4.07, "total_usec": 81733240}
    full = {"avg10": 9.8, "avg60": 8.25, "avg300": 2.91, "total_usec": 60192803}
    why = "/x/memory.pressure: there is no such file"
    assert document["slices"][STUDENT] == {
        "memory": {
            "current_bytes": 90 * GIB,
            "working_set_bytes": 88 * GIB,
            "high_bytes": 86 * GIB,
            "max_bytes": 96 * GIB,
        },
        "pids": {"current": 120, "max": 12288},
        "cpu": {"usage_usec": 500_000_000, "cpus": None},
        "pressure": {"memory": {"some": some, "full": full}, "cpu": {"some": some, "full": None}, "io": None},
        "events": {"low": 0, "high": 1289, "max": 34, "oom": 2, "oom_kill": 2, "oom_group_kill": None},
        "events_delta": None,
        "own_events": {"low": 0, "high": 1289, "max": 0, "oom": 0, "oom_kill": 0, "oom_group_kill": 0},
        "counters": {"group": 7, "oom_kill": 2, "oom": 2, "own_oom": 0},
        "containers": {CONTAINER: {"group": 8, "oom_kill": 2, "oom": 2, "own_oom": None, "memory_max_bytes": 32 * GIB}},
        "watch": {
            "above_since": 1.5,
            "high_since": None,
            "stuck_since": 3.0,
            "stalled_since": 4.0,
            "eased_since": 5.0,
            "lifted": {"was_bytes": 86 * GIB},
            "others": {"cpu": {"above_since": None, "high_since": 6.0}},
        },
        "unknown": {"pressure.cpu.full": why, "pressure.io": why, "events.oom_group_kill": why},
    }


def test_what_nobody_can_tell_is_null_with_its_reason_and_no_limit_is_null_without() -> None:
    blind = written()["slices"][BLIND.name]
    assert blind["memory"] == dict.fromkeys(("current_bytes", "working_set_bytes", "high_bytes", "max_bytes"))
    assert (blind["pids"], blind["cpu"]) == ({"current": None, "max": None}, {"usage_usec": None, "cpus": None})
    assert sorted(blind["unknown"]) == [
        "cpu.usage_usec",
        "events",
        "memory.current_bytes",
        "memory.max_bytes",
        "memory.working_set_bytes",
        "own_events",
        "pids.current",
        "pressure.cpu",
        "pressure.io",
        "pressure.memory",
    ]


def test_what_came_since_the_look_before_stands_beside_what_was_counted_in_all() -> None:
    earlier = Totals(7, 410_000_000, {"low": 0, "high": 1200, "max": 34, "oom": 1, "oom_kill": None})
    before = Memory(NOW, 940.0, {STUDENT: Remembered(LOOK.counters, totals=earlier)})
    document = written(before=before)
    assert document["since_seconds"] == 60.25
    assert document["slices"][STUDENT]["cpu"] == {"usage_usec": 500_000_000, "cpus": 1.494}
    assert document["slices"][STUDENT]["events_delta"] == {
        "low": 0, "high": 89, "max": 0, "oom": 1, "oom_kill": None, "oom_group_kill": None,
    }  # fmt: skip
    # Of this one nothing is known.
    assert (document["slices"][BLIND.name]["cpu"]["cpus"], document["slices"][BLIND.name]["events_delta"]) == (
        None,
        None,
    )


def test_what_a_release_before_wrote_is_gone_on_from() -> None:
    older = written()
    for each in older["slices"].values():
        for key in ("pids", "cpu", "events_delta"):
            del each[key]
        del each["watch"]["others"]
    found = from_document(older, "boot-1")
    assert isinstance(found, Memory)
    assert found.slices[STUDENT] == Remembered(
        LOOK.counters, replace(WATCH, others={}), replace(LOOK.totals, cpu_usec=None)
    )


def test_it_is_read_back_whole() -> None:
    assert from_document(written(), "boot-1") == MEMORY


COUNTS = st.none() | st.integers(0, 2**64 - 1)
COUNTERS = st.builds(Counters, COUNTS, COUNTS, COUNTS, COUNTS)
TIMES = st.none() | st.floats(0, 1e9)
REMEMBERED = st.builds(
    Remembered,
    st.builds(
        SliceCounters,
        COUNTERS,
        st.none()
        | st.dictionaries(st.text("abcdef0123456789", min_size=1), st.builds(ContainerCounters, COUNTERS, COUNTS)),
    ),
    st.builds(
        Watch,
        TIMES,
        TIMES,
        TIMES,
        TIMES,
        TIMES,
        st.none() | st.builds(Lifted, st.integers(0, 2**63)),
        st.dictionaries(st.sampled_from(Resource), st.builds(Wait, TIMES, TIMES)),
    ),
)


@given(REMEMBERED, st.dictionaries(st.text(), st.dictionaries(st.sampled_from(Quota), st.floats(0, 1))))
def test_whatever_is_remembered_is_read_back(remembered: Remembered, said: dict[str, dict[Quota, float]]) -> None:
    group = remembered.counters.counters.group
    remembered = replace(remembered, totals=replace(LOOK.totals, group=group))
    memory = Memory(NOW, 5.0, {STUDENT: remembered}, said)
    assert from_document(json.loads(json.dumps(to_document(memory, [LOOK], "b"))), "b") == memory


def test_one_of_another_boot_or_version_says_nothing() -> None:
    assert from_document(written(), "boot-2") == "it is from before the machine was booted"
    assert from_document(written() | {"version": 2}, "boot-1") == "it has version 2, this DS01 reads version 1"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), {}),
        (("updated_at",), "yesterday"),
        (("seconds",), "1"),
        (("slices",), []),
        (("quota",), {"alice": {"disk": 0.8}}),
        (("quota",), {"alice": {"memory": "0.8"}}),
        (("slices", STUDENT), None),
        (("slices", STUDENT, "counters"), {}),
        (("slices", STUDENT, "counters", "oom_kill"), True),
        (("slices", STUDENT, "counters", "oom_kill"), 1.5),
        (("slices", STUDENT, "cpu"), {}),
        (("slices", STUDENT, "cpu"), {"usage_usec": "1"}),
        (("slices", STUDENT, "events"), {"high": 1.5}),
        (("slices", STUDENT, "watch", "others"), {"disk": {}}),
        (("slices", STUDENT, "watch", "others"), {"cpu": {}}),
        (("slices", STUDENT, "containers"), []),
        (("slices", STUDENT, "containers", CONTAINER), {}),
        (("slices", STUDENT, "watch"), {}),
        (("slices", STUDENT, "watch", "high_since"), "1"),
        (("slices", STUDENT, "watch", "lifted"), {}),
        (("slices", STUDENT, "watch", "lifted"), {"was_bytes": None}),
    ],
)
def test_one_that_is_not_complete_says_nothing(path: tuple[str, ...], value: object) -> None:
    document: Any = copy.deepcopy(written())
    if not path:
        document = value
    else:
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    found = from_document(document, "boot-1")
    assert isinstance(found, str)
    assert found.startswith("it is not complete: ")
