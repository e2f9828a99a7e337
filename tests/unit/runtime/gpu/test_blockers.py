"""Of what is in a request's way Docker is asked, container by container; what it does not tell is as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.runtime.gpu.engines import engine_of, engine_with, inspected
from tests.unit.runtime.gpu.hosts import NOON, PROCESS, held

from ds01.core.value import replace
from ds01.runtime.containers.engine import Engine
from ds01.runtime.gpu.blockers import are_outdated
from ds01.runtime.gpu.ledger import Allocation, Reservation

ID = "f" * 64
RUNS = replace(held("alice", "2:0", name="train"), container_id=ID)
HELD = replace(RUNS, stopped_at=NOON)


@pytest.mark.parametrize(
    ("there", "docker", "outdated"),
    [
        (RUNS, inspected("train", id=ID), False),
        (HELD, inspected("train", id=ID, status="exited"), False),
        (RUNS, inspected("train", id=ID, status="paused"), False),
        (RUNS, inspected("train", id=ID, status="exited"), True),
        (HELD, inspected("train", id=ID), True),
        (RUNS, inspected("renamed", id=ID), True),
        (RUNS, inspected("", id=ID), False),
        (RUNS, inspected("train", id="a" * 64), True),
        (HELD, inspected("train", id="a" * 64), True),
        (replace(RUNS, reservation=Reservation(PROCESS)), inspected("another"), False),
        (replace(RUNS, container_id=None), inspected("another"), False),
    ],
    ids=[
        "it runs", "it is stopped", "it is paused", "it has stopped", "it runs again", "it was renamed",
        "it is being removed", "another has its name", "another has the name of a stopped one",
        "a container is to come", "nobody knows which it is",
    ],
)  # fmt: skip
def test_docker_says_whether_it_is_so(
    tmp_path: Path, there: Allocation, docker: dict[str, object], *, outdated: bool
) -> None:
    with engine_with(tmp_path / "docker.sock", docker) as engine:
        assert are_outdated(engine, [there]) is outdated
        assert not are_outdated(engine, [])


def test_what_docker_does_not_tell_hides_nothing_else(tmp_path: Path) -> None:
    broken: dict[str, object] = {"Id": "b" * 64, "Name": "/broken"}
    with engine_with(tmp_path / "docker.sock", broken, inspected("train", id=ID)) as engine:
        other = replace(RUNS, container_id="b" * 64)
        assert not are_outdated(engine, [other, RUNS])
        assert are_outdated(engine, [other, RUNS, replace(RUNS, container_id="c" * 64)])
    assert not are_outdated(Engine(tmp_path / "nobody.sock"), [RUNS])


def test_no_more_is_asked_when_the_time_is_over(tmp_path: Path) -> None:
    asked: list[str] = []

    def containers() -> list[dict[str, object]]:
        asked.append("once more")
        return [inspected("train", id=ID)]

    with engine_of(tmp_path / "docker.sock", containers) as engine:
        assert not are_outdated(engine, [RUNS] * 3)
        assert not are_outdated(engine, [*[RUNS] * 3, replace(RUNS, container_id="c" * 64)], seconds=-1)
    assert len(asked) == 3
