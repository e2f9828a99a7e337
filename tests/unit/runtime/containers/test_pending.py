"""How long a promise counts: by what Docker shows of its container, and by the process that keeps it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.value import replace
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.pending import LAPSE_SECONDS, Pending, PendingError, from_rows, lapse, review, to_rows
from ds01.runtime.containers.request import Verb
from ds01.runtime.identity import ProcessRef

NOW = 1000.0
DOCKER = ProcessRef(4711, 99, "boot-1")
STARTED = datetime(2026, 3, 1, 10, tzinfo=UTC)


def promise(verb: Verb = Verb.RUN, gone_at: float | None = None) -> Pending:
    return Pending("2026-03-01T09:00:00.000001Z", verb, 2**30, DOCKER, gone_at)


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
KEPT, OVER, GOING = "kept", "over", "kept from now on for a minute"

# Verb and what Docker shows: what becomes of it while its process runs, and once that is gone.
REVIEWS: dict[str, tuple[Verb, Container | None, str, str]] = {
    "run, pulling its image": (Verb.RUN, None, KEPT, OVER),
    "run, created": (Verb.RUN, CREATED, KEPT, GOING),
    "run, runs": (Verb.RUN, RUNNING, OVER, OVER),
    "run, paused": (Verb.RUN, PAUSED, OVER, OVER),
    "run, has run": (Verb.RUN, EXITED, OVER, OVER),
    "run, could not start": (Verb.RUN, FAILED, KEPT, OVER),
    "create, pulling its image": (Verb.CREATE, None, KEPT, OVER),
    "create, created": (Verb.CREATE, CREATED, OVER, OVER),
    "create, runs": (Verb.CREATE, RUNNING, OVER, OVER),
    "start, not yet": (Verb.START, EXITED, KEPT, GOING),
    "start, never started before": (Verb.START, CREATED, KEPT, GOING),
    "start, failed once": (Verb.START, FAILED, KEPT, GOING),
    "start, runs": (Verb.START, RUNNING, OVER, OVER),
    "start, removed": (Verb.START, None, KEPT, OVER),
    "restart, not yet": (Verb.RESTART, EXITED, KEPT, GOING),
    "restart, runs still or again": (Verb.RESTART, RUNNING, KEPT, OVER),
    "unpause, paused": (Verb.UNPAUSE, PAUSED, OVER, OVER),
}


def becomes(before: Pending, after: Pending | None) -> str:
    if after is None:
        return OVER
    return {before: KEPT, replace(before, gone_at=NOW): GOING}[after]


@pytest.mark.parametrize(("verb", "container", "alive", "gone"), REVIEWS.values(), ids=REVIEWS)
def test_a_promise_ends_with_what_came_of_it(verb: Verb, container: Container | None, alive: str, gone: str) -> None:
    each = promise(verb)
    found_alive = review(each, container, alive=True, boot_seconds=NOW)
    found_gone = review(each, container, alive=False, boot_seconds=NOW)
    assert (becomes(each, found_alive), becomes(each, found_gone)) == (alive, gone)


@pytest.mark.parametrize("ask", [lambda each, **now: review(each, CREATED, **now), lapse], ids=["review", "lapse"])
def test_a_minute_after_its_process_a_promise_is_over(ask: object) -> None:
    assert callable(ask)
    fresh, gone = promise(), promise(gone_at=NOW)
    assert [
        ask(fresh, alive=True, boot_seconds=NOW),
        ask(fresh, alive=False, boot_seconds=NOW),
        ask(gone, alive=False, boot_seconds=NOW),
        ask(gone, alive=False, boot_seconds=NOW + LAPSE_SECONDS - 0.001),
        ask(gone, alive=False, boot_seconds=NOW + LAPSE_SECONDS),
        ask(gone, alive=True, boot_seconds=NOW + LAPSE_SECONDS),
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
}
promises = st.builds(
    Pending,
    id=st.text(),
    verb=st.sampled_from(Verb),
    memory_bytes=st.integers(0, 2**63 - 1),
    process=st.builds(ProcessRef, st.integers(1, 2**22), st.integers(0, 2**63), st.text()),
    gone_at=st.none() | st.floats(0, 1e9),
)


def test_a_promise_is_written_as_a_row() -> None:
    assert to_rows([promise(gone_at=7.5)]) == [ROW]
    assert from_rows([ROW]) == (promise(gone_at=7.5),)


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
    **{f"without {key}": {name: value for name, value in ROW.items() if name != key} for key in ROW},
}


@pytest.mark.parametrize("row", WRONG.values(), ids=WRONG)
def test_a_promise_that_is_not_whole_is_none(row: object) -> None:
    with pytest.raises(PendingError, match=r"^a promise is not whole: "):
        from_rows([ROW, row])
