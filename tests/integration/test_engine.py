"""The reader of the engine's socket, asked of a real engine."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.integration.dockers import docker

from ds01.core.gpurequest import Asked, GpuRequest
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.describe import inspect_all

if TYPE_CHECKING:
    from ds01.runtime.containers.engine import Engine

pytestmark = pytest.mark.docker
MIG = "MIG-6f3a1c1e-0b0f-5d5c-9d63-0a1b2c3d4e5f"


def test_the_engine_says_who_it_is(engine: Engine) -> None:
    engine.ping()
    told = json.loads(docker("version", "--format", "{{json .Server}}"))
    version = engine.version()
    assert (version.engine, version.api) == (told["Version"], told["ApiVersion"])


def test_a_container_from_create_to_removal(engine: Engine, image: list[str], prefix: str) -> None:
    begin = datetime.now(UTC)
    # A label of many kilobytes, with what breaks lines: the answer no longer fits one read.
    long = "x\n\u2028" * 20_000
    made = docker(
        "create", "--name", prefix, "--network=none", "--restart=on-failure:2", "-l", "ds01.user=j.doe@lab-x.org",
        "-l", f"long={long}", *image,
    )  # fmt: skip
    created = engine.inspect(prefix)
    assert created is not None
    assert created == engine.inspect(made)
    assert (created.id, created.name, created.state, created.image) == (made, prefix, State.CREATED, image[0])
    assert (created.started_at, created.finished_at, created.pid, created.gpu) == (None, None, None, None)
    assert (created.restart_policy, created.labels) == (
        "on-failure",
        {"ds01.user": "j.doe@lab-x.org", "long": long},
    )
    assert created.created_at is not None
    assert abs(created.created_at - begin) < timedelta(minutes=10)

    docker("start", prefix)
    running = engine.inspect(prefix)
    assert running is not None
    assert (running.state, running.finished_at) == (State.RUNNING, None)
    assert running.pid is not None
    assert running.started_at is not None
    assert prefix in {each.name for each in engine.containers(all_states=False)}

    docker("kill", prefix)
    docker("wait", prefix)
    ended = engine.inspect(prefix)
    assert ended is not None
    assert (ended.state, ended.pid) == (State.EXITED, None)
    assert ended.finished_at is not None
    assert ended.finished_at >= running.started_at
    listed = {each.name: each for each in engine.containers()}
    assert (listed[prefix].id, listed[prefix].state, listed[prefix].labels) == (made, State.EXITED, ended.labels)
    assert prefix not in {each.name for each in engine.containers(all_states=False)}
    assert engine.inspect(made[:12]) is None

    docker("rm", prefix)
    assert engine.inspect(prefix) is None
    assert engine.inspect(made) is None


def test_those_with_a_gpu_are_found(engine: Engine, image: list[str], prefix: str) -> None:
    asked = {
        "all": ["--gpus", "all"],
        "count": ["--gpus", "2"],
        "names": ["--gpus", f'"device=0:1,{MIG}"'],
        "label": ["-l", "ds01.allocation=7f3a"],
        "none": ["-e", "NVIDIA_VISIBLE_DEVICES=all"],
    }
    for name, words in asked.items():
        docker("create", "--name", f"{prefix}-{name}", *words, *image)
    found = {
        each.name.removeprefix(f"{prefix}-"): each.gpu
        for each in inspect_all(engine)
        if isinstance(each, Container) and each.name.startswith(prefix) and each.has_gpu
    }
    assert found == {
        "all": GpuRequest(Asked.ALL),
        "count": GpuRequest(Asked.COUNT, ("0", "1")),
        "names": GpuRequest(Asked.NAMED, ("0:1", MIG)),
        "label": None,
    }


def test_many_are_listed_whole(engine: Engine, image: list[str], prefix: str) -> None:
    for number in range(30):
        docker("create", "--name", f"{prefix}-{number}", "-l", f"long={'y' * 20_000}", *image)
    mine = [each for each in engine.containers() if each.name.startswith(prefix)]
    assert {each.name for each in mine} == {f"{prefix}-{number}" for number in range(30)}
