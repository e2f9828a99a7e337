"""When a promise is over: by what Docker shows, else a minute after its process."""

from __future__ import annotations

import pytest
from tests.unit.runtime.gpu.engines import inspected

from ds01.core.value import replace
from ds01.runtime.containers.container import Container, State, read_container
from ds01.runtime.containers.pending import Pending, PendingError, from_rows, lapse, review, to_rows
from ds01.runtime.containers.request import Verb
from ds01.runtime.identity import ProcessRef

ME = ProcessRef(4711, 99, "boot")
RUN = Pending("2026-03-01T09:00:00.000001Z", Verb.RUN, 1024, ME)


def shown(state: State, *, started: bool, exit_code: int = 0) -> Container:
    found = read_container(inspected("web"))
    return replace(found, state=state, started_at=found.started_at if started else None, exit_code=exit_code)


CREATED, FAILED = shown(State.CREATED, started=False), shown(State.CREATED, started=False, exit_code=127)
RUNNING, PAUSED = shown(State.RUNNING, started=True), shown(State.PAUSED, started=True)
EXITED = shown(State.EXITED, started=True)


@pytest.mark.parametrize(
    ("verb", "found", "alive", "stands"),
    [
        (Verb.RUN, None, True, True),
        (Verb.RUN, None, False, False),
        (Verb.RUN, CREATED, True, True),
        (Verb.RUN, CREATED, False, True),  # its start may be under way
        (Verb.RUN, FAILED, True, True),
        (Verb.RUN, FAILED, False, False),
        (Verb.RUN, RUNNING, True, False),
        (Verb.RUN, PAUSED, False, False),
        (Verb.RUN, EXITED, True, False),
        (Verb.CREATE, None, True, True),
        (Verb.CREATE, None, False, False),
        (Verb.CREATE, CREATED, True, False),
        (Verb.START, EXITED, True, True),
        (Verb.START, EXITED, False, True),
        (Verb.START, RUNNING, True, False),
        (Verb.START, None, False, False),
        (Verb.RESTART, PAUSED, True, False),
    ],
)
def test_a_promise_stands_until_docker_shows_what_came_of_it(
    verb: Verb, found: Container | None, *, alive: bool, stands: bool
):
    pending = replace(RUN, verb=verb)
    answer = review(pending, found, alive=alive, boot_seconds=100.0)
    assert answer == (replace(pending, gone_at=None if alive else 100.0) if stands else None)


@pytest.mark.parametrize("judge", ["review", "lapse"])
def test_a_minute_after_its_process_it_is_over(judge: str):
    def at(pending: Pending, now: float, *, alive: bool = False) -> Pending | None:
        if judge == "lapse":
            return lapse(pending, alive=alive, boot_seconds=now)
        return review(pending, CREATED, alive=alive, boot_seconds=now)

    gone = at(RUN, 100.0)
    assert gone == replace(RUN, gone_at=100.0)
    assert at(gone, 159.9) == gone
    assert at(gone, 160.0) is None
    assert at(gone, 200.0, alive=True) == RUN


def test_what_is_written_is_read_again():
    promises = (RUN, replace(RUN, id="abc", verb=Verb.START, gone_at=1.5))
    assert from_rows(to_rows(promises)) == promises


@pytest.mark.parametrize(
    "rows",
    [None, {}, [1], [{}], [{**to_rows([RUN])[0], "verb": "stop"}], [{**to_rows([RUN])[0], "pid": "x"}]],
)
def test_another_form_is_refused(rows: object):
    with pytest.raises(PendingError):
        from_rows(rows)
