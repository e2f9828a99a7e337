"""Who is charged for a container, and what counts as managed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen

THEN = datetime(2026, 3, 1, tzinfo=UTC)
CONTAINER = Container("a" * 64, "train", State.RUNNING, THEN, THEN, None, "alpine", "", "no", 4711, None)


@pytest.mark.parametrize(
    ("owner", "charged"),
    [
        (None, None),
        (Attribution("alice", Evidence.LABEL), "alice"),
        (Attribution("alice", Evidence.SLICE, asserted=True), None),
        (Attribution("alice", Evidence.CLAIM), "alice"),
        (Attribution("alice", Evidence.LABEL, asserted=True), None),
    ],
)
def test_what_only_its_maker_says_charges_nobody(owner: Attribution | None, charged: str | None):
    assert Seen(CONTAINER, Kind.DOCKER, owner, False, False, THEN).charged == charged  # noqa: FBT003


def test_only_one_kind_is_managed():
    managed = [kind for kind in Kind if Seen(CONTAINER, kind, None, False, False, THEN).is_managed]  # noqa: FBT003
    assert managed == [Kind.MANAGED]
