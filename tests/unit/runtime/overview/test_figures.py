"""The JSON object that every command prints."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.runtime.overview.hosts import (
    FIRST,
    LAB,
    NOW,
    RATES,
    SECOND,
    STUDENT,
    THIRD,
    allocation,
    make_host,
    overview_of,
    put_gpus,
    put_rates,
)

from ds01.core.units import GIB
from ds01.core.value import replace
from ds01.runtime.lifecycle.notices import Notice
from ds01.runtime.overview.figures import Unknown, to_json
from ds01.runtime.telemetry.rates import Rates


def test_the_whole_as_json(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    put_rates(host, Rates(RATES.slices, {FIRST: 300.0, THIRD: 1.0}))
    put_gpus(host, allocation("old", "0:1", stopped=5))
    overview = replace(overview_of(host), notices=(Notice(NOW, "ended"),))
    found = json.loads(json.dumps(to_json(overview, {FIRST: "train"})))
    limits = found.pop("limits")
    assert limits["memory"] == {"value": 32 * GIB, "origin": "default"}
    assert set(limits) == set(overview.limits.values)
    assert found == {
        "version": 1,
        "account": "alice",
        "group": "student",
        "listed": True,
        "slice": STUDENT,
        "slices": [LAB, STUDENT],
        "memory": {
            "used_bytes": 32 * GIB,
            "limit_bytes": 96 * GIB,
            "origin": "group:student",
            "cache_bytes": 13 * GIB,
            "high_bytes": 86 * GIB,
        },
        "pressure": {"memory_some_percent": 12.5, "memory_full_percent": 8.25},
        "tasks": {"used": 74, "limit": 12288, "origin": "group:student"},
        "cpu": {"used_percent": 412.5, "limit_percent": 9600, "origin": "group:student"},
        "gpus": {
            "used": 1,
            "limit": 3,
            "origin": "default",
            "holdings": [
                {
                    "container": "old",
                    "slots": ["0:1"],
                    "uuids": ["MIG-0:1"],
                    "state": "held",
                    "allocated_at": "2026-03-01T10:00:00Z",
                    "held_until": "2026-03-01T12:10:00Z",
                }
            ],
        },
        "containers": {
            "used": 3,
            "limit": 3,
            "origin": "default",
            "running": [
                share(THIRD, None, 3 * GIB, 64 * GIB, 2, 300_000, 1.0),
                share(FIRST, "train", 20 * GIB, 32 * GIB, 60, 5_000_000, 300.0),
                share(SECOND, None, 6 * GIB, None, 9, 1_500_000, None),
            ],
        },
        "notices": [{"at": "2026-03-01T12:00:00Z", "text": "ended"}],
        "differing": [],
        "unknown": {
            f"containers.running.{SECOND}.cpu_percent": "not measured yet; try again in half a minute",
        },
    }


def share(container: str, name: str | None, *values: object) -> dict[str, object]:
    fields = ("memory_used_bytes", "memory_limit_bytes", "tasks", "cpu_usec", "cpu_percent")
    return {"id": container, "name": name, **dict(zip(fields, values, strict=True))}


def test_what_is_unknown_is_null_with_its_reason(tmp_path: Path) -> None:
    gone = Unknown("gone")
    overview = replace(overview_of(make_host(tmp_path)), holdings=gone, shares=gone, notices=gone)
    found = to_json(overview)
    assert (found["gpus"]["holdings"], found["containers"]["running"], found["notices"]) == (None, None, None)
    assert {name for name, reason in found["unknown"].items() if reason == "gone"} == {
        "gpus.holdings",
        "containers.running",
        "notices",
    }
