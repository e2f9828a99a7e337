"""Answers about GPUs as text and as JSON: the same facts in both, and nothing that drives a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest

from ds01.runtime.commands.gpu_words import (
    allocation_json,
    grant_json,
    holding_lines,
    refusal_json,
    refusal_words,
    since,
    way_out,
)
from ds01.runtime.gpu.answer import Grant, Holding, Reason, Refusal
from ds01.runtime.gpu.hardware import GpuUuid, Unit
from ds01.runtime.gpu.ledger import Allocation

THEN = datetime(2026, 3, 1, 9, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
MIG = Unit("2:1", GpuUuid("MIG-1"), 2, GpuUuid("GPU-2"), "2g.20gb", Fraction(2, 7), 20 * 1024**3)
ALLOCATION = Allocation("train", "token123", "alice", ("2:1",), (GpuUuid("MIG-1"),), THEN, 10)


def test_a_refusal_says_why_and_who_has_what_in_columns() -> None:
    refusal = Refusal(
        Reason.TAKEN,
        "0 of 3 GPU units are free, 1 is asked for",
        "wait",
        (
            Holding("2:0", "alice", "train", THEN, command="jupyter", command_since=LATER),
            Holding("2:10", "bob", "nb", THEN, LATER),
            Holding("0", "carol", None, process="carol's python (pid 4711) outside a container"),
            Holding("1", None, "stray", THEN),
        ),
        waitable=True,
    )
    assert refusal_words(refusal) == (
        "0 of 3 GPU units are free, 1 is asked for\n"
        f"  2:0   alice's train (jupyter)                        since {since(THEN)}\n"
        f"  2:10  bob's nb                                       stopped {since(LATER)}, held\n"
        "  0     carol's python (pid 4711) outside a container\n"
        f"  1     stray                                          since {since(THEN)}"
    )
    assert refusal_json(refusal) == {
        "version": 1,
        "granted": False,
        "reason": "taken",
        "text": "0 of 3 GPU units are free, 1 is asked for",
        "fix": "wait",
        "waitable": True,
        "holdings": [
            {
                "slot": "2:0",
                "user": "alice",
                "container": "train",
                "since": "2026-03-01T09:12:00Z",
                "stopped_at": None,
                "process": None,
                "command": "jupyter",
                "command_since": "2026-03-01T10:30:00Z",
            },
            {
                "slot": "2:10",
                "user": "bob",
                "container": "nb",
                "since": "2026-03-01T09:12:00Z",
                "stopped_at": "2026-03-01T10:30:00Z",
                "process": None,
                "command": None,
                "command_since": None,
            },
            {
                "slot": "0",
                "user": "carol",
                "container": None,
                "since": None,
                "stopped_at": None,
                "process": "carol's python (pid 4711) outside a container",
                "command": None,
                "command_since": None,
            },
            {
                "slot": "1",
                "user": None,
                "container": "stray",
                "since": "2026-03-01T09:12:00Z",
                "stopped_at": None,
                "process": None,
                "command": None,
                "command_since": None,
            },
        ],
    }


@pytest.mark.parametrize(
    ("reason", "fix", "words"),
    [
        (Reason.TAKEN, None, "wait for one (--wait), or see ds01 gpu status for who holds them"),
        (Reason.BUSY_OUTSIDE, None, "wait for one (--wait), or see ds01 gpu status for who holds them"),
        (Reason.IN_LINE, None, "wait in the line (--wait)"),
        (Reason.DIFFERENT, None, "release it first (sudo ds01 gpu release --container nb)"),
        (Reason.TAKEN, "ask for fewer", "ask for fewer"),
    ],
)
def test_the_way_out_is_in_words_of_this_command(reason: Reason, fix: str | None, words: str) -> None:
    refusal = Refusal(reason, "no", fix, (Holding("2:0", "bob", "nb"), Holding("2:1", "bob", "nb")))
    assert (way_out(refusal), refusal_json(refusal)["fix"]) == (words, words)


def test_nobody_holds_anything_is_no_line_at_all() -> None:
    assert list(holding_lines(())) == []


def test_names_of_containers_drive_no_terminal() -> None:
    assert list(holding_lines([Holding("0", "a\x1b[2J", "b\n", THEN)])) == [
        f"  0  a\\x1b[2J's b\\n  since {since(THEN)}"
    ]


def test_a_time_is_said_in_the_machines_own_zone() -> None:
    assert since(None) == "-"
    assert since(THEN) == f"{THEN.astimezone():%Y-%m-%d %H:%M}"


def test_a_grant_says_what_the_container_is_to_be_started_with() -> None:
    assert grant_json(Grant(ALLOCATION, (MIG,), ("a note",))) == {
        "version": 1,
        "granted": True,
        **allocation_json(ALLOCATION),
        "profiles": ["2g.20gb"],
        "docker_args": [
            "--gpus=device=MIG-1",
            "--env=NVIDIA_VISIBLE_DEVICES=MIG-1",
            "--env=CUDA_VISIBLE_DEVICES=MIG-1",
            "--label=ds01.allocation=token123",
            "--label=ds01.gpu.uuids=MIG-1",
            "--label=ds01.gpu.slots=2:1",
            "--label=ds01.user=alice",
        ],
        "environment": {"NVIDIA_VISIBLE_DEVICES": "MIG-1", "CUDA_VISIBLE_DEVICES": "MIG-1"},
        "labels": {
            "ds01.allocation": "token123",
            "ds01.gpu.uuids": "MIG-1",
            "ds01.gpu.slots": "2:1",
            "ds01.user": "alice",
        },
        "notes": ["a note"],
    }
    assert allocation_json(ALLOCATION) == {
        "container": "train",
        "allocation": "token123",
        "user": "alice",
        "gpu_id": "2:1",
        "gpu_uuids": ["MIG-1"],
        "allocated_at": "2026-03-01T09:12:00Z",
        "priority": 10,
        "stopped_at": None,
        "container_id": None,
        "reserved_by": None,
    }
