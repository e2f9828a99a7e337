"""Who uses which unit: every way to use one, as a row, in the table and in JSON."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.gpu.hosts import LAB, NOON, PROCESS, held, ledger, split, whole

from ds01.core.value import replace
from ds01.runtime.commands.who_words import Facts, Kind, rows_json, rows_of, who_table, with_recorded
from ds01.runtime.gpu.activity import UnitActivity
from ds01.runtime.gpu.hardware import Devices, GpuProcess, GpuUuid, Usage
from ds01.runtime.gpu.hostprocesses import HostProcess, Verdict
from ds01.runtime.gpu.hostrecord import HostRecord
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation

GIB = 1024**3
AT = f"{NOON.astimezone():%Y-%m-%d %H:%M}"
LATER = NOON + timedelta(minutes=15)
UNTIL = f"{LATER.astimezone():%Y-%m-%d %H:%M}"
TRAIN, NB = held("bob", "0", name="train"), held("alice", "2:0", name="nb", stopped_at=NOON)
SOON = replace(held("alice", "2:1", name="soon"), container_id=None, reservation=Reservation(PROCESS))
KEPT = held("carol", "3:0", name="kept", stopped_at=NOON)
STRAY = held(None, "3:1", name="stray\x1b[2J")
BOOK = ledger(TRAIN, NB, SOON, KEPT, STRAY)


def process(pid: int, uuid: str, user: str = "root", command: str = "python", **changes: Any) -> GpuProcess:
    return replace(GpuProcess(pid, GpuUuid(uuid), user, command, since=NOON, memory_bytes=GIB), **changes)


PROCESSES = (
    process(9, "GPU-0", command="worker", container_id=TRAIN.container_id),
    process(7, "GPU-0", container_id=TRAIN.container_id),
    process(4711, "GPU-0", "dan", "mine\x1b"),
    process(4712, "GPU-1", "dan", "jupyter"),
    process(4713, "MIG-22", "uid 54321", doubt="it may run in a container of something else than Docker"),
    process(4714, "MIG-32", "erin", container_id="f" * 64),
)
USAGE = {GpuUuid("GPU-0"): Usage(93, 71 * GIB), GpuUuid("MIG-20"): Usage(None, 5 * GIB)}
WATCHED = {
    GpuUuid("GPU-0"): UnitActivity(41.6, NOON, NOON, known_at=NOON),
    GpuUuid("GPU-1"): UnitActivity(0.0, None, NOON, known_at=NOON),
    GpuUuid("MIG-22"): UnitActivity(None, None, NOON, "only DCGM can tell"),
}


def facts(**changes: Any) -> Facts:
    def hold_ends(allocation: Allocation) -> Any:
        return LATER if allocation.user == "alice" else None

    return replace(Facts(replace(LAB, processes=PROCESSES), BOOK, USAGE, WATCHED, hold_ends), **changes)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_every_way_to_use_a_unit_has_its_line() -> None:
    model = "A100-SXM4-80GB"
    no_such = "not known"
    assert no_such not in who_table(rows_of(facts()))
    assert cells(who_table(rows_of(facts()))) == [
        ["GPU", "SLOT", "PROFILE", "USER", "USED BY", "SINCE", "BUSY", "MEMORY", "HELD UNTIL"],
        [model, "0", "whole", "bob", "train: python (pid 7) and 1 more", AT, "42%", "71.0/80G", "-"],
        ["dan", "mine\\x1b (pid 4711) on the host", AT, "-"],
        [model, "1", "whole", "dan", "jupyter (pid 4712) on the host", AT, "0%", "80G", "-"],
        [model, "2:0", "2g.20gb", "alice", "nb (stopped)", AT, "?", "5.0/20G", UNTIL],
        [model, "2:1", "2g.20gb", "alice", "soon (about to start)", AT, "?", "20G", "-"],
        [model, "2:2", "2g.20gb", "uid 54321", "python (pid 4713) outside Docker", AT, "?", "20G", "-"],
        [model, "3:0", "2g.20gb", "carol", "kept (stopped)", AT, "?", "20G", "removed"],
        [model, "3:1", "2g.20gb", "?", "stray\\x1b[2J", AT, "?", "20G", "-"],
        [
            model,
            "3:2",
            "2g.20gb",
            "erin",
            "container ffffffffffff, which was given no GPU: python (pid 4714)",
            AT,
            "?",
            "20G",
            "-",
        ],
    ]


def test_free_broken_and_not_known_are_three_things() -> None:
    lost = Devices((whole(0), split(1, 2, problem="fell off the bus")))
    assert [(line[1], line[4]) for line in cells(who_table(rows_of(facts(devices=lost, ledger=Ledger()))))[1:]] == [
        ("0", "free"),
        ("1:0", "broken: fell off the bus"),
    ]
    unknown = rows_of(facts(devices=lost, ledger=None))
    assert [row.free for row in unknown] == [None, None]
    assert cells(who_table(unknown))[1][4] == "not known"
    assert who_table(()) == "this machine has no GPU"


def test_where_holders_are_not_known_no_container_is_said_to_have_been_given_nothing() -> None:
    uses = [use for row in rows_of(facts(ledger=None)) for use in row.uses]
    assert {use.kind for use in uses} == {Kind.CONTAINER, Kind.HOST, Kind.UNSURE}
    assert "which was given no GPU" not in who_table(rows_of(facts(ledger=None)))
    assert f"{str(TRAIN.container_id)[:12]}: python (pid 7)" in who_table(rows_of(facts(ledger=None)))


def test_without_a_watcher_the_drivers_own_figures_are_shown() -> None:
    rows = {row.unit.slot: row for row in rows_of(facts(activity=None))}
    assert (rows["0"].busy_percent, rows["0"].busy_unknown) == (93.0, None)
    assert rows["2:0"].busy_unknown == "ds01-gpuwatch does not tell, and the driver has no figure for it"


def test_a_gpu_that_was_split_under_its_holder_is_its_holders_with_all_parts() -> None:
    rows = rows_of(facts(devices=Devices((split(0, 3, 3),), PROCESSES[:3]), ledger=ledger(TRAIN)))
    assert [(row.unit.slot, row.uses[0].container, len(row.uses[0].processes)) for row in rows] == [
        ("0:0", "train", 2),
        ("0:1", "train", 2),
    ]


def test_json_has_the_same_facts_and_says_why_something_is_not_known() -> None:
    by_slot = {str(each["slot"]): each for each in rows_json(rows_of(facts()))}
    assert by_slot["0"] == {
        "gpu": "A100-SXM4-80GB",
        "slot": "0",
        "uuid": "GPU-0",
        "gpu_uuid": "GPU-0",
        "profile": None,
        "problem": None,
        "free": False,
        "busy_percent": 41.6,
        "busy_unknown": None,
        "memory_bytes": 80 * GIB,
        "memory_used_bytes": 71 * GIB,
        "uses": [
            {
                "kind": "container",
                "user": "bob",
                "container": "train",
                "state": "running",
                "since": "2026-03-01T12:00:00Z",
                "held_until": None,
                "processes": [
                    {
                        "pid": pid,
                        "user": "root",
                        "command": command,
                        "since": "2026-03-01T12:00:00Z",
                        "memory_bytes": GIB,
                    }
                    for pid, command in ((7, "python"), (9, "worker"))
                ],
            },
            {
                "kind": "host",
                "user": "dan",
                "container": None,
                "state": None,
                "since": "2026-03-01T12:00:00Z",
                "held_until": None,
                "processes": [
                    {
                        "pid": 4711,
                        "user": "dan",
                        "command": "mine\x1b",
                        "since": "2026-03-01T12:00:00Z",
                        "memory_bytes": GIB,
                    }
                ],
            },
        ],
    }
    assert (by_slot["2:2"]["busy_percent"], by_slot["2:2"]["busy_unknown"]) == (None, "only DCGM can tell")
    (stopped,) = by_slot["2:0"]["uses"]  # type: ignore[misc] # an object of JSON
    assert (stopped["state"], stopped["held_until"]) == ("held", "2026-03-01T12:15:00Z")


@pytest.mark.parametrize(("seen", "more"), [((), 2), (PROCESSES[2:3], 1)])
def test_processes_that_may_not_be_seen_are_taken_from_the_record(seen: tuple[GpuProcess, ...], more: int) -> None:
    uuids = (GpuUuid("GPU-0"), GpuUuid("GPU-1"))
    one = HostProcess(4711, 77, 1000, "dan", "x", uuids, ("0", "1"), None, NOON, 3, Verdict.WARNED)
    found = with_recorded(replace(LAB, processes=seen), HostRecord(NOON, "boot", (one,)))
    assert found.processes[: len(seen)] == seen
    added = found.processes[len(seen) :]
    assert added == tuple(
        GpuProcess(4711, uuid, "dan", "x", uid=1000, started=77, since=NOON) for uuid in uuids[2 - more :]
    )
    assert with_recorded(LAB, HostRecord(NOON, "boot")) is LAB
