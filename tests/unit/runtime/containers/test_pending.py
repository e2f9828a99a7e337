"""How long a promise counts: by what Docker shows of its container, and by the process that keeps it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.pending import LAPSE_SECONDS, Pending, PendingError, from_rows, lapse, review, to_rows
from ds01.runtime.containers.request import Verb
from ds01.runtime.identity import ProcessRef

NOW = 1000.0
DOCKER = ProcessRef(4711, 99, "boot-1")
STARTED = datetime(2026, 3, 1, 10, tzinfo=UTC)


BEFORE = STARTED - timedelta(hours=1)


def promise(verb: Verb = Verb.RUN, gone_at: float | None = None, started_at: datetime | None = None) -> Pending:
    return Pending("2026-03-01T09:00:00.000001Z", verb, 2**30, DOCKER, gone_at, started_at)


def found(state: State, *, started: bool = False, exit_code: int = 0) -> Container:
    return Container(
        id="c" * 64,
        name="train",
        state=state,
        created_at=STARTED,
        started_at=STARTED if started else None,
        finished_at=None,
        image="pytorch",
        cgroup_parent="",
        restart_policy="no",
        pid=None,
        gpu=None,
        exit_code=exit_code,
    )


CREATED = found(State.CREATED)
FAILED = found(State.CREATED, exit_code=127)
RUNNING = found(State.RUNNING, started=True)
PAUSED = found(State.PAUSED, started=True)
EXITED = found(State.EXITED, started=True, exit_code=1)
KEPT, OVER = "kept", "over"

# Verb, since when the container had run as it was promised, and what Docker shows: what becomes of it while its process
# runs.
REVIEWS: dict[str, tuple[Verb, datetime | None, Container | None, str]] = {
    "run, pulling its image": (Verb.RUN, None, None, KEPT),
    "run, created": (Verb.RUN, None, CREATED, KEPT),
    "run, runs": (Verb.RUN, None, RUNNING, OVER),
    "run, paused": (Verb.RUN, None, PAUSED, OVER),
    "run, has run": (Verb.RUN, None, EXITED, OVER),
    "run, could not start": (Verb.RUN, None, FAILED, KEPT),
    "create, pulling its image": (Verb.CREATE, None, None, KEPT),
    "create, created": (Verb.CREATE, None, CREATED, OVER),
    "create, runs": (Verb.CREATE, None, RUNNING, OVER),
    "start, not yet": (Verb.START, STARTED, EXITED, KEPT),
    "start, never started before": (Verb.START, None, CREATED, KEPT),
    "start, failed": (Verb.START, None, FAILED, KEPT),
    "start, runs": (Verb.START, BEFORE, RUNNING, OVER),
    "start, has run and ended": (Verb.START, BEFORE, EXITED, OVER),
    "start, has run and ended for the first time": (Verb.START, None, EXITED, OVER),
    "start, removed": (Verb.START, STARTED, None, KEPT),
    "restart, runs still": (Verb.RESTART, STARTED, RUNNING, KEPT),
    "restart, down for a moment": (Verb.RESTART, STARTED, EXITED, KEPT),
    "restart, runs again": (Verb.RESTART, BEFORE, RUNNING, OVER),
    "restart, has run and ended": (Verb.RESTART, BEFORE, EXITED, OVER),
    "update, runs": (Verb.UPDATE, STARTED, RUNNING, KEPT),
    "update, has ended": (Verb.UPDATE, STARTED, EXITED, OVER),
    "unpause, paused": (Verb.UNPAUSE, STARTED, PAUSED, OVER),
}


@pytest.mark.parametrize(("verb", "started_at", "container", "becomes"), REVIEWS.values(), ids=REVIEWS)
def test_a_promise_ends_with_what_came_of_it(
    verb: Verb, started_at: datetime | None, container: Container | None, becomes: str
) -> None:
    each = promise(verb, started_at=started_at)
    assert review(each, container, alive=True) == {KEPT: each, OVER: None}[becomes]


@pytest.mark.parametrize(("verb", "started_at", "container", "becomes"), REVIEWS.values(), ids=REVIEWS)
def test_with_its_process_a_promise_is_over_whatever_docker_shows(
    verb: Verb, started_at: datetime | None, container: Container | None, becomes: str
) -> None:
    """A start that failed and one that was called off count for nothing, at the first look and at once."""
    assert becomes in {KEPT, OVER}
    assert review(promise(verb, started_at=started_at), container, alive=False) is None


def test_one_whose_process_runs_after_all_is_gone_no_more() -> None:
    assert review(promise(gone_at=NOW), CREATED, alive=True) == promise()


def test_where_docker_cannot_be_asked_a_promise_is_over_a_minute_after_its_process() -> None:
    fresh, gone = promise(), promise(gone_at=NOW)
    assert [
        lapse(fresh, alive=True, boot_seconds=NOW),
        lapse(fresh, alive=False, boot_seconds=NOW),
        lapse(gone, alive=False, boot_seconds=NOW),
        lapse(gone, alive=False, boot_seconds=NOW + LAPSE_SECONDS - 0.001),
        lapse(gone, alive=False, boot_seconds=NOW + LAPSE_SECONDS),
        lapse(gone, alive=True, boot_seconds=NOW + LAPSE_SECONDS),
    ] == [fresh, gone, gone, gone, None, fresh]


# --- As it is written -------------------------------------------------------------------------------------------------

ROW = {
    "id": "2026-03-01T09:00:00.000001Z",
    "verb": "run",
    "memory_bytes": 2**30,
    "pid": 4711,
    "started": 99,
    "boot": "boot-1",
    "gone_at": 7.5,
    "started_at": "2026-03-01T10:00:00+00:00",
}
promises = st.builds(
    Pending,
    id=st.text(),
    verb=st.sampled_from(Verb),
    memory_bytes=st.integers(0, 2**63 - 1),
    process=st.builds(ProcessRef, st.integers(1, 2**22), st.integers(0, 2**63), st.text()),
    gone_at=st.none() | st.floats(0, 1e9),
    started_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


def test_a_promise_is_written_as_a_row() -> None:
    one = promise(gone_at=7.5, started_at=STARTED)
    assert to_rows([one]) == [ROW]
    assert from_rows([ROW]) == (one,)


def test_a_row_of_before_says_nothing_of_an_earlier_start() -> None:
    row = {name: value for name, value in ROW.items() if name != "started_at"}
    assert from_rows([row]) == (promise(gone_at=7.5),)


@given(st.lists(promises))
def test_promises_read_back(written: list[Pending]) -> None:
    assert from_rows(to_rows(written)) == tuple(written)


@pytest.mark.parametrize("rows", [None, {}, "", 7, {"0": ROW}], ids=repr)
def test_what_is_no_list_has_no_promises(rows: object) -> None:
    with pytest.raises(PendingError, match=r"^it has no list of promises$"):
        from_rows(rows)


WRONG: dict[str, object] = {
    "no row": "run",
    "null": None,
    "a list": [],
    "a verb that makes nothing run": {**ROW, "verb": "stop"},
    "no verb": {**ROW, "verb": ["run"]},
    "memory in words": {**ROW, "memory_bytes": "1g"},
    "memory in parts": {**ROW, "memory_bytes": 1.5},
    "a pid in words": {**ROW, "pid": None},
    "an instant in words": {**ROW, "gone_at": "now"},
    "a time in words": {**ROW, "started_at": "now"},
    **{
        f"without {key}": {name: value for name, value in ROW.items() if name != key}
        for key in ROW
        if key != "started_at"
    },
}


@pytest.mark.parametrize("row", WRONG.values(), ids=WRONG)
def test_a_promise_that_is_not_whole_is_none(row: object) -> None:
    with pytest.raises(PendingError, match=r"^a promise is not whole: "):
        from_rows([ROW, row])
