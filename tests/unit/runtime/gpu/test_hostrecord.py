"""host-processes.json: as others read it, back to the same, and what is said of one that is old or damaged."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.gpu.hosts import NOON

from ds01.core.value import replace
from ds01.runtime.gpu.announced import Announced
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.hostprocesses import HostProcess, Verdict
from ds01.runtime.gpu.hostrecord import HostRecord, current, from_document, to_document

ONE = HostProcess(
    pid=4711,
    started=77,
    uid=1000,
    user="alice",
    command="python",
    gpu_uuids=(GpuUuid("GPU-0"),),
    slots=("0",),
    memory_bytes=5,
    since=NOON,
    sightings=2,
    verdict=Verdict.WARNED,
    warned_at=NOON.replace(microsecond=123_000),
    ends_seconds=5900.5,
    ends_at=NOON,
)
OTHER = HostProcess(1, 2, 0, "root", "x", (), (), None, NOON, 1, Verdict.GRANTED, granted_until=NOON, note="why")
TOLD = {"alice": Announced(5900.5, 5000), "bob": Announced(None, 4000.25)}
RECORD = HostRecord(NOON, "boot-1", (ONE, OTHER), (OTHER,), "the driver hangs", {4711: 77, 4712: None}, TOLD)


def document(**changes: object) -> dict[str, Any]:
    made = json.loads(json.dumps(to_document(RECORD)))
    assert isinstance(made, dict)
    return made | changes


def row(**changes: object) -> dict[str, Any]:
    found: dict[str, Any] = document()["processes"][0]
    return found | changes


def test_the_file_is_as_others_read_it() -> None:
    assert document()["processes"][0] == {
        "pid": 4711,
        "started": 77,
        "uid": 1000,
        "user": "alice",
        "command": "python",
        "gpu_uuids": ["GPU-0"],
        "slots": ["0"],
        "memory_bytes": 5,
        "container_id": None,
        "since": "2026-03-01T12:00:00Z",
        "sightings": 2,
        "verdict": "warned",
        "warned_at": "2026-03-01T12:00:00.123Z",
        "ends_at": "2026-03-01T12:00:00Z",
        "ends_seconds": 5900.5,
        "granted_until": None,
        "note": None,
    }
    assert (document()["version"], document()["unknown"]) == (1, "the driver hangs")


def test_the_file_reads_back_to_the_same() -> None:
    assert from_document(document()) == RECORD
    empty = HostRecord(NOON, "boot-1")
    assert from_document(to_document(empty)) == empty
    older = document()
    del older["meant"], older["announced"]
    assert from_document(older) == replace(RECORD, meant={}, announced={})


@pytest.mark.parametrize(("seconds", "fresh"), [(-121, False), (-120, True), (0, True), (120, True), (121, False)])
def test_one_of_another_time_says_nothing_about_now(seconds: int, *, fresh: bool) -> None:
    found = current(RECORD, NOON + timedelta(seconds=seconds))
    old = "it is from 2026-03-01T12:00:00Z; systemctl status ds01-gpuwatch says why nobody writes it"
    assert found == (RECORD if fresh else old)
    assert current("damaged", NOON) == "damaged"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"updated_at": "soon"},
        {"boot": None},
        {"unknown": 5},
        {"processes": {}},
        {"quiet": None},
        {"meant": []},
        {"meant": {"x": 1}},
        {"meant": {"1": "2"}},
        {"announced": []},
        {"announced": {"alice": None}},
        {"announced": {"alice": {"ends_seconds": 5}}},
        {"announced": {"alice": {"ends_seconds": "5", "seen_seconds": 5}}},
        {"announced": {"alice": {"ends_seconds": 5, "seen_seconds": None}}},
        {"processes": [None]},
        {"processes": [{}]},
        *(
            {"processes": [row(**wrong)]}
            for wrong in (
                {"pid": "1"},
                {"pid": True},
                {"started": 1.5},
                {"user": None},
                {"verdict": "killed"},
                {"slots": "0"},
                {"slots": [0]},
                {"since": None},
                {"ends_seconds": "soon"},
                {"ends_at": 5},
                {"memory_bytes": "5"},
            )
        ),
    ],
)
def test_a_damaged_file_says_why(changes: dict[str, object]) -> None:
    assert isinstance(from_document(document(**changes)), str)
    assert from_document({}) == "it is not complete: KeyError: 'version'"
