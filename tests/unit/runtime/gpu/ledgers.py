"""Ledgers of every kind for Hypothesis, odd names too, and the schema of the file they become."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation, Waiter
from ds01.runtime.gpu.request import All, Count, Named
from ds01.runtime.identity import ProcessRef

SCHEMA: Final = json.loads(
    (Path(__file__).resolve().parents[4] / "schemas/gpu-state.schema.json").read_text(encoding="utf-8")
)
VALIDATOR: Final = Draft202012Validator(SCHEMA)

# Quotes, brackets, line ends of every kind, what is no UTF-8 on a command line, and what the file itself is made of.
ODD: Final = (
    "",
    "my-project._.alice",
    "j.doe@lab-x.org",
    "zoë",
    '"',
    "\\",
    "\n",
    "\r\u2028\x85\x00\x1b[31m",
    "\udcff",
    "version",
    '", "checksum": "00000000"\n}\n',
    ' "checksum": "',
    "💥" * 50,
)
names = st.sampled_from(ODD) | st.text(st.characters(), max_size=20)
instants = st.datetimes(timezones=st.just(UTC)).map(lambda each: each.replace(microsecond=0))
numbers = st.integers(-(2**63), 2**63)
processes = st.builds(ProcessRef, st.integers(1, 2**22), st.integers(0, 2**63), names)
reservations = st.builds(Reservation, processes, st.none() | st.floats(0, 1e9))
slots = st.sampled_from(["0", "0:1", "12:6", "GPU-4b2", "MIG-1/2/0"])
wanted = st.one_of(
    st.builds(Count, st.integers(1, 1024)),
    st.just(All()),
    st.builds(Named, st.lists(slots, min_size=1, max_size=4, unique=True).map(tuple)),
)


@st.composite
def allocations(draw: st.DrawFn, container: str) -> Allocation:
    held = draw(st.lists(slots, min_size=1, max_size=4))
    return Allocation(
        container=container,
        id=draw(names),
        user=draw(st.none() | names),
        slots=tuple(held),
        uuids=tuple(GpuUuid(draw(names)) for _ in held),
        allocated_at=draw(instants),
        priority=draw(numbers),
        stopped_at=draw(st.none() | instants),
        container_id=draw(st.none() | names),
        reservation=draw(st.none() | reservations),
    )


waiters = st.builds(
    Waiter,
    id=names,
    user=names,
    container=st.none() | names,
    wanted=wanted,
    priority=numbers,
    since=instants,
    process=processes,
    most_units=st.none() | numbers,
)


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    containers = draw(st.lists(names, max_size=4, unique=True))
    return Ledger(
        allocations=MappingProxyType({name: draw(allocations(name)) for name in containers}),
        queue=tuple(draw(st.lists(waiters, max_size=3))),
        boot=draw(st.none() | names),
    )


PROCESS: Final = ProcessRef(4711, 123_456, "b6e1ae7c-0b5f-4c11-9e0a-3e1a4b0c2d3e")
NOON: Final = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def sample() -> Ledger:
    """Two who hold, one of them for a container that is not there yet, and one who waits."""
    running = Allocation(
        "my-project._.alice", "a1", "alice", ("0:1", "0:2"), (GpuUuid("MIG-1"), GpuUuid("MIG-2")), NOON, 10,
        stopped_at=NOON, container_id="f" * 64,
    )  # fmt: skip
    coming = Allocation("b2", "b2", "bob", ("1",), (GpuUuid("GPU-b"),), NOON, 50, reservation=Reservation(PROCESS))
    waiter = Waiter("c3", "student01", None, Count(1), 10, NOON, PROCESS)
    held = MappingProxyType({each.container: each for each in (running, coming)})
    return Ledger(held, (waiter,), PROCESS.boot)
