"""The GPU step of an admission, on the real binding: what is handed out, had again, given back, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.fake_nvml.samples import instance_uuid, shipped_host
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.wrapper.desks import desk_of, make_paths

from ds01.core.errors import BadInputError
from ds01.core.gpurequest import Asked, GpuRequest
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.request import ContainerRequest, Verb
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.gpu.record import parse_ledger
from ds01.runtime.gpu.request import All, Count, Named
from ds01.runtime.wrapper.gpus import allocate, resume, wanted_of

if TYPE_CHECKING:
    from tests.fake_nvml.fixture import FakeNvml

    from ds01.core.paths import HostPaths
    from ds01.runtime.containers.engine import Engine

WISH = ContainerRequest(Verb.RUN, "train", gpu=GpuRequest(Asked.ALL))


@pytest.fixture
def paths(tmp_path: Path, student: str, loaded_nvml: FakeNvml) -> HostPaths:
    def change(document: dict[str, Any]) -> None:
        document["gpu_allocation"]["wait_seconds"] = 0

    loaded_nvml.write(shipped_host())
    paths = make_paths(tmp_path, change, me=student)
    for path in (paths.gpu_state, paths.gpu_topology):
        path.parent.mkdir(parents=True, exist_ok=True)
    return paths


def held(paths: HostPaths) -> dict[str, tuple[str, ...]]:
    return {name: each.slots for name, each in parse_ledger(paths.gpu_state.read_bytes()).allocations.items()}


def one(engine: Engine, name: str) -> Any:
    return engine.inspect(name)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (GpuRequest(Asked.ALL), All()),
        (GpuRequest(Asked.COUNT, ("0", "1")), Count(2)),
        (GpuRequest(Asked.NAMED, ("0:1", "GPU-a")), Named(("0:1", "GPU-a"))),
    ],
)
def test_a_wish_is_what_the_allocator_takes(asked: GpuRequest, wanted: object):
    assert wanted_of(asked) == wanted


def test_what_is_no_device_is_refused():
    with pytest.raises(BadInputError):
        wanted_of(GpuRequest(Asked.NAMED, ("everything",)))


def test_a_new_container_gets_its_units_and_they_can_be_given_back(paths: HostPaths):
    with engine_with(paths.engine):
        desk = desk_of(paths)
        answer = allocate(desk, WISH)
        assert isinstance(answer, Grant)
        assert held(paths) == {"train": ("2:0",)}
        assert answer.allocation.reservation is not None
        assert answer.allocation.reservation.process == desk.keeper
        for undo in desk.undo:
            undo()
    assert held(paths) == {}


def test_what_a_container_had_already_is_not_given_back(paths: HostPaths):
    with engine_with(paths.engine):
        allocate(desk_of(paths), WISH)
        desk = desk_of(paths)
        again = allocate(desk, WISH)
        assert isinstance(again, Grant)
        assert not again.fresh
        for undo in desk.undo:
            undo()
    assert held(paths) == {"train": ("2:0",)}


def test_a_refusal_is_a_box_that_names_who_holds_what(paths: HostPaths, student: str):
    with engine_with(paths.engine):
        desk = desk_of(paths)
        for name in ("a", "b", "c"):
            allocate(desk, ContainerRequest(Verb.RUN, name, gpu=GpuRequest(Asked.COUNT, ("0",))))
        answer = allocate(desk, ContainerRequest(Verb.RUN, "d", gpu=GpuRequest(Asked.COUNT, ("0",))))
    assert isinstance(answer, Refusal)
    assert answer.title == "DS01 GPU Quota Exceeded"
    assert answer.rows[0] == ("Requested", "GPU 1")
    assert [name for name, _ in answer.rows[1:]] == ["In use", "", ""]
    assert all(student in value for _, value in answer.rows[1:])
    assert answer.figures == {"reason": "quota", "wanted": "1"}


@pytest.mark.parametrize(
    ("seconds", "way"), [(0, "Run it again later"), (1, "Run it again: it waits up to 1 s for a GPU")]
)
def test_what_can_be_done_is_what_docker_can_do(
    tmp_path: Path, student: str, loaded_nvml: FakeNvml, seconds: int, way: str
):
    def change(document: dict[str, Any]) -> None:
        document["gpu_allocation"]["wait_seconds"] = seconds

    loaded_nvml.write(shipped_host())
    paths = make_paths(tmp_path, change, me=student)
    for path in (paths.gpu_state, paths.gpu_topology):
        path.parent.mkdir(parents=True, exist_ok=True)
    with engine_with(paths.engine):
        desk = desk_of(paths)
        allocate(desk, ContainerRequest(Verb.RUN, "train", gpu=GpuRequest(Asked.NAMED, ("2:0",))))
        taken, different = (
            allocate(desk, ContainerRequest(Verb.RUN, name, gpu=GpuRequest(Asked.NAMED, (gpu,))))
            for name, gpu in (("nb", "2:0"), ("train", "2:1"))
        )
    assert isinstance(taken, Refusal)
    assert isinstance(different, Refusal)
    assert taken.steps == (way, "See who has which GPU: ds01 gpu status", "Check your limits: check-limits")
    assert different.steps[0] == "Remove that container first (docker rm train), or choose another name"


def test_no_such_gpu_says_so(paths: HostPaths):
    with engine_with(paths.engine):
        answer = allocate(desk_of(paths), ContainerRequest(Verb.RUN, "x", gpu=GpuRequest(Asked.NAMED, ("9:0",))))
    assert isinstance(answer, Refusal)
    assert answer.title == "DS01 No Such GPU"


def test_a_stopped_container_has_its_units_again(paths: HostPaths, student: str):
    uuid = instance_uuid(2, 0)
    labels = {"ds01.user": student, "ds01.allocation": "abc", "ds01.gpu.uuids": uuid, "ds01.gpu.slots": "2:0"}
    stopped = inspected("train", devices=[uuid], labels=labels, status="exited")
    with engine_with(paths.engine, stopped, inspected("plain")) as engine:
        desk = desk_of(paths)
        answer = resume(desk, one(engine, "train"))
        assert isinstance(answer, Grant)
        assert held(paths) == {"train": ("2:0",)}
        assert resume(desk, one(engine, "plain")) is None
