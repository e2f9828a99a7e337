"""Which start somebody asked for: what a restart policy brings back goes on where it was; tried on a real engine."""

from __future__ import annotations

import os
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.unit.runtime.lifecycle.subjects import NOON, container

from ds01.runtime.containers.container import State
from ds01.runtime.containers.engine import Engine
from ds01.runtime.containers.start import Start, after, goes_on, restarts_of, start_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ds01.runtime.containers.container import Container


def there(restarts: int, seconds: float, state: State = State.RUNNING) -> Container:
    return container(state=state, restart_count=restarts, started_at=NOON + timedelta(seconds=seconds))


def start(asked: float | None, restarts: int, seconds: float) -> Start:
    return Start(
        None if asked is None else NOON + timedelta(seconds=asked), restarts, NOON + timedelta(seconds=seconds)
    )


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        (None, there(0, 0), start(0, 0, 0)),
        # Nobody saw when it was asked for, and nobody will.
        (None, there(4, 90), start(None, 4, 90)),
        (start(None, 4, 90), there(5, 190), start(None, 5, 190)),
        (start(None, 4, 90), there(0, 190), start(190, 0, 190)),
        (start(None, 4, 90), there(2, 190), start(190, 2, 190)),
        (start(0, 0, 0), there(0, 0), start(0, 0, 0)),
        (start(0, 0, 0), there(0, 0, State.EXITED), start(0, 0, 0)),
        # Its restart policy brought it back.
        (start(0, 0, 0), there(1, 60), start(0, 1, 60)),
        (start(0, 1, 60), there(7, 600), start(0, 7, 600)),
        (start(0, 7, 600), there(7, 600), start(0, 7, 600)),
        # It waits: the count is of the next start.
        (start(0, 7, 600), there(8, 600, State.RESTARTING), start(0, 7, 600)),
        (None, there(1, 0, State.RESTARTING), start(0, 0, 0)),
        (None, there(2, 60, State.RESTARTING), start(None, 1, 60)),
        # Somebody asked: the count is back at 0, or was.
        (start(0, 0, 0), there(0, 60), start(60, 0, 60)),
        (start(0, 7, 600), there(0, 700), start(700, 0, 700)),
        (start(0, 7, 600), there(3, 700), start(700, 3, 700)),
        (start(0, 7, 600), there(7, 700), start(700, 7, 700)),
        # Times are as they are remembered.
        (None, there(0, 0.0012345), start(0.001, 0, 0.001)),
        (start(0.001, 0, 0.001), there(0, 0.0012345), start(0.001, 0, 0.001)),
    ],
)
def test_an_asked_start_begins_a_run_and_a_restart_policy_does_not(last: Start | None, now: Container, expected: Start):
    assert start_of(now, last) == expected


@pytest.mark.parametrize(
    ("last", "now", "same"),
    [
        (start(0, 0, 0), start(0, 9, 900), True),
        # Whoever saw it said so: somebody asked, and it came back more often than before.
        (start(0, 3, 300), start(400, 9, 900), False),
        # Only one of two saw it: the counts tell.
        (start(0, 3, 300), start(None, 9, 900), True),
        (start(None, 3, 300), start(0, 9, 900), True),
        (start(0, 3, 300), start(None, 3, 300), True),
        (start(None, 3, 300), start(None, 2, 900), False),
        (start(None, 3, 300), start(900, 0, 900), False),
        (start(None, 3, 300), start(None, 3, 900), False),
    ],
)
def test_a_run_goes_on_by_when_it_was_asked_for_else_by_the_counts(*, last: Start, now: Start, same: bool):
    assert goes_on(last, now) is same
    if same:
        known = last.asked_at if now.asked_at is None else now.asked_at
        assert after(last, now) == Start(known, now.restarts, now.started_at)


def test_one_that_never_ran_has_none():
    assert start_of(container(state=State.CREATED), None) is None


@given(st.lists(st.sampled_from(["ends", "comes back", "look", "asked"]), max_size=60))
def test_however_often_it_came_back_the_run_is_as_old_as_the_last_asked_start(steps: list[str]):
    """An engine as it is, looked at now and then, and at each start that somebody asks for as the daemon does."""
    count, begun, asked, state, known = 0, 0.0, 0.0, State.RUNNING, start(0, 0, 0)
    for second, step in enumerate(steps, 1):
        if step == "ends" and state is State.RUNNING:
            count, state = count + 1, State.RESTARTING
        elif step == "comes back" and state is State.RESTARTING:
            begun, state = float(second), State.RUNNING
        elif step == "asked":
            count, begun, asked, state = 0, float(second), float(second), State.RUNNING
        if step in {"look", "asked"}:
            found = start_of(there(count, begun, state), known)
            assert found == start(asked, count - (state is State.RESTARTING), begun)
            known = found


# --- A real engine ----------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(docker_host: str) -> Engine:
    return Engine(Path(docker_host.removeprefix("unix://")))


@pytest.fixture
def name() -> Iterator[str]:
    made = f"start-{os.getpid()}-{time.monotonic_ns()}"
    yield made
    subprocess.run(["docker", "rm", "--force", "--volumes", made], capture_output=True, check=False)


def until(engine: Engine, name: str, is_there: Callable[[Container], bool]) -> Container:
    end = time.monotonic() + 60
    while True:
        found = engine.inspect(name)
        assert found is not None
        if is_there(found):
            return found
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.docker
@pytest.mark.parametrize("ask", [["restart", "--time=0"], ["stop", "--time=0"]])
def test_an_engine_counts_what_its_policy_brings_back_and_begins_anew_when_asked(
    engine: Engine, name: str, ask: list[str]
):
    """It ends by itself twice, and then goes on: a file in it counts."""
    script = "echo >> /n; test $(wc -l < /n) -ge 3 && exec sleep 600; sleep 0.5; exit 1"
    docker("run", "-d", "--name", name, "--network=none", "--restart=always", IMAGE, "sh", "-c", script)
    first = until(engine, name, lambda each: each.state is State.RUNNING)
    seen: dict[str, Any] = {"start": start_of(first, None)}

    def follow(each: Container) -> bool:
        seen["start"] = start_of(each, seen["start"])
        return each.state is State.RUNNING and each.restart_count == 2

    last = until(engine, name, follow)
    assert first.started_at is not None
    assert last.started_at is not None
    assert last.started_at > first.started_at
    asked_at = first.started_at.replace(microsecond=first.started_at.microsecond // 1000 * 1000)
    assert (seen["start"].asked_at, seen["start"].restarts) == (asked_at, 2)
    docker(*ask, name)
    if ask[0] == "stop":
        docker("start", name)
    again = until(engine, name, lambda each: each.state is State.RUNNING)
    found = start_of(again, seen["start"])
    assert found is not None
    assert (restarts_of(again), found.asked_at == found.started_at, found.asked_at > asked_at) == (0, True, True)
