"""Containers without a Docker that answers: ids stand for names, and nobody is blamed without a sign.

With a real engine: tests/integration/test_pressure.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.engines import engine_with, inspected

from ds01.runtime.containers.engine import Engine
from ds01.runtime.telemetry.oom import Kills, Victim, Whose
from ds01.runtime.telemetry.victims import Containers

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
A, B = "a" * 64, "b" * 64
LIVES = Victim("c" * 64, ended=False, whose=Whose.CONTAINER)


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    return Containers(lambda: Engine(tmp_path / "no.sock", timeout_seconds=1))


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ({A: 5}, (Victim(A, ended=True, whose=Whose.CONTAINER, limit_bytes=5),)),
        ({A: 5, B: 5}, ()),
        ({}, ()),
    ],
)
def test_the_only_one_that_is_gone_is_named(
    containers: Containers, gone: dict[str, int | None], named: tuple[Victim, ...]
) -> None:
    kills = Kills(2, (LIVES,), 1, gone, Whose.CONTAINER)
    assert containers.victims(kills, "ds01-student-alice.slice", NOW) == (LIVES, *named)


def test_without_a_rest_docker_is_not_needed(containers: Containers) -> None:
    kills = Kills(1, (LIVES,), 0, {A: 5}, Whose.CONTAINER)
    assert containers.victims(kills, "ds01-student-alice.slice", NOW) == (LIVES,)


def test_names_are_kept_of_those_that_are_there(containers: Containers) -> None:
    containers.names = {A: "train", B: "old"}
    containers.learn([A])
    assert containers.names == {A: "train"}


def test_one_that_docker_cannot_describe_hides_no_other(tmp_path: Path) -> None:
    ended = inspected("ended", status="exited")
    ended["HostConfig"] |= {"CgroupParent": "ds01-student-alice.slice", "Memory": 5}  # type: ignore[operator] # an object
    ended["State"] |= {"OOMKilled": True, "ExitCode": 137}  # type: ignore[operator] # an object
    long_ago = datetime(2026, 3, 1, tzinfo=UTC)
    kills = Kills(1, (), 1, {}, Whose.CONTAINER)
    with engine_with(tmp_path / "docker.sock", inspected("stuck"), ended, broken={"stuck"}) as engine:
        (found,) = Containers(lambda: engine).victims(kills, "ds01-student-alice.slice", long_ago)
    assert (found.id, found.ended) == (ended["Id"], True)
