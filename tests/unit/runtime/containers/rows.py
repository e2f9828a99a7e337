"""Containers as they are seen and remembered, for the tests of what keeps and shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ds01.core.labels import ContainerType
from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.containers.record import Row
from ds01.runtime.containers.seen import Attribution, Evidence, Kind

NOON: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALICE: Final = Attribution("alice", Evidence.LABEL)


def id_of(name: str) -> str:
    """The id of the container of that name."""
    return f"{name.encode().hex():0<64}"[:64]


def row(name: str = "train", **changes: object) -> Row:
    """What is remembered of a container of alice's that runs; changes are fields of Row."""
    made = Row(
        id=id_of(name),
        name=name,
        state=State.RUNNING,
        image="pytorch",
        kind=Kind.MANAGED,
        owner=ALICE,
        admitted=True,
        of_site=False,
        type=ContainerType.DOCKER,
        created_at=NOON,
        started_at=NOON,
        finished_at=None,
        first_seen=NOON,
        token="2026-03-01T11:59:58.123456Z",
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields by name


def stray(name: str, **changes: object) -> Row:
    """One that nobody admitted and that tells nobody whose it is; changes as for row()."""
    plain = {"kind": Kind.DOCKER, "owner": None, "admitted": False, "token": None}
    return row(name, **(plain | changes))
