"""What the event log says of containers: whole events, held against what they are told of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.containers.rows import NOON, id_of, row, stray
from tests.unit.runtime.containers.test_scan import container
from tests.unit.runtime.telemetry.played import START_NANO

from ds01.core.events import Event
from ds01.core.value import replace
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.telemetry.happening import Action, Happening
from ds01.runtime.telemetry.telling import end_of, tell_bypass, tell_gap, tell_happening

WHICH: dict[str, Any] = {
    "container_id": id_of("train"), "container": "train", "type": "docker", "kind": "managed", "image": "pytorch",
}  # fmt: skip
ASSERTED = Attribution("bob", Evidence.LABEL, asserted=True)


def test_what_happened_is_told_with_its_container_its_account_and_its_time() -> None:
    happening = Happening(Action.KILL, id_of("train"), "train", "pytorch", START_NANO + 1_500_000)
    assert tell_happening(happening, row(), {"signal": "9"}) == Event(
        event_type="container.kill",
        user="alice",
        source="eventsd",
        timestamp=NOON + timedelta(milliseconds=1, microseconds=500),
        details={**WHICH, "signal": "9", "time_nano": START_NANO + 1_500_000},
    )


def test_what_is_reconstructed_says_so_and_names_no_message() -> None:
    happening = Happening(Action.CREATE, id_of("train"), "train", "pytorch", START_NANO, reconstructed=True)
    told = tell_happening(happening, row(), {})
    assert (told.timestamp, told.details) == (NOON, {**WHICH, "reconstructed": True})


def test_whom_only_its_maker_named_is_not_whom_the_event_is_about() -> None:
    happening = Happening(Action.START, id_of("dev"), "dev", "pytorch", START_NANO)
    told = tell_happening(happening, stray("dev", owner=ASSERTED, kind=Kind.DEVCONTAINER), {})
    assert (told.user, told.details["asserted"]) == (None, "bob")


def test_a_container_that_came_past_ds01_is_told_with_how_it_was_made() -> None:
    there = replace(container(), cgroup_parent="evil\x1b.slice")
    owner = Attribution("bob", Evidence.SLICE, asserted=True)
    seen = Seen(there, Kind.COMPOSE, owner, admitted=False, of_site=False, first_seen=NOON)
    told = tell_bypass(seen, stray("train", owner=seen.owner, kind=Kind.COMPOSE, gpu="all"), NOON)
    assert told == Event(
        event_type="container.bypass",
        user=None,
        source="eventsd",
        timestamp=NOON,
        details={
            **WHICH,
            "kind": "unmanaged-compose",
            "asserted": "bob",
            "evidence": "slice",
            "cgroup_parent": r"evil\x1b.slice",
            "gpu": "all",
            "created_at": "2026-03-01T12:00:00Z",
        },
    )
    nobodys = tell_bypass(replace(seen, container=container()), stray("train", created_at=None), NOON)
    assert (nobodys.user, nobodys.details["evidence"], nobodys.details["cgroup_parent"]) == (None, None, None)
    assert nobodys.details["created_at"] is None


def test_a_gap_says_between_when_and_when() -> None:
    told = tell_gap(NOON, NOON + timedelta(seconds=90), "the engine was started anew")
    assert told == Event(
        event_type="events.gap",
        user=None,
        source="eventsd",
        timestamp=NOON + timedelta(seconds=90),
        details={
            "from": "2026-03-01T12:00:00.000Z",
            "to": "2026-03-01T12:01:30.000Z",
            "why": "the engine was started anew",
        },
    )
    assert tell_gap(None, NOON, "x").details["from"] is None


@pytest.mark.parametrize("action", list(Action))
def test_only_an_end_says_how_it_ended(action: Action) -> None:
    said = end_of(Happening(action, "", "", "", 0), exit_code=137, oom_killed=False)
    expected = {Action.DIE: {"exit_code": 137, "oom_killed": False}, Action.OOM: {"oom_killed": True}}
    assert said == expected.get(action, {})
