"""What real engines answer (tests/data/docker), read; and answers that are none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.labels import ContainerType, Owner
from ds01.core.value import replace
from ds01.runtime.containers.container import AnswerError, Container, State, read_container, read_summary

DATA = Path(__file__).parents[3] / "data" / "docker"
MIG = "MIG-6f3a1c1e-0b0f-5d5c-9d63-0a1b2c3d4e5f"
LABELS = {
    "ds01.user": "alice",
    "ds01.managed": "true",
    "ds01.allocation": "7f3a",
    "ds01.gpu.uuids": MIG,
    "ds01.gpu.slots": "0:1",
}


def sample(name: str) -> dict[str, dict[str, object]]:
    return json.loads((DATA / "inspect" / f"{name}.json").read_text())


def test_everything_of_a_container_is_read() -> None:
    container = read_container(sample("runtime"))
    assert container == Container(
        id="af866f677636197cca8e5eebc251f13fef9b15cefb85516f28c286c85625e969",
        name="ev-run",
        state=State.RUNNING,
        created_at=container.created_at,
        started_at=container.started_at,
        finished_at=None,
        image="busybox",
        cgroup_parent="ds01-student-alice.slice",
        restart_policy="on-failure",
        pid=3302,
        gpu=GpuRequest(Asked.NAMED, (MIG,)),
        labels=LABELS,
    )
    assert container.created_at is not None
    assert container.started_at is not None
    assert (container.owner, container.type, container.allocation_id, container.gpu_uuids, container.gpu_slots) == (
        Owner("alice", "ds01.user"),
        ContainerType.UNKNOWN,
        "7f3a",
        (MIG,),
        ("0:1",),
    )
    assert (container.is_managed, container.is_protected, container.has_gpu) == (True, False, True)


def test_limits_of_a_container_are_read_and_0_is_none() -> None:
    said = sample("runtime")
    said["HostConfig"] |= {"Memory": 2**30, "NanoCpus": 10**9, "CpuQuota": -1, "CpuPeriod": 0}
    found = read_container(said)
    assert (found.memory_bytes, found.nano_cpus, found.cpu_quota_usec, found.cpu_period_usec) == (
        2**30,
        10**9,
        -1,
        None,
    )
    del said["HostConfig"]["CpuPeriod"]
    assert read_container(said) == found
    said["HostConfig"]["CpuQuota"] = "1"
    with pytest.raises(AnswerError, match="CpuQuota is no number"):
        read_container(said)


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("all", GpuRequest(Asked.ALL)),
        ("count", GpuRequest(Asked.COUNT, ("0", "1"))),
        ("names", GpuRequest(Asked.NAMED, ("0", MIG))),
        ("cdi", GpuRequest(Asked.NAMED, ("0",))),
        ("device-file", GpuRequest(Asked.NAMED, ("/dev/nvidia0",))),
        ("runtime", GpuRequest(Asked.NAMED, (MIG,))),
    ],
)
def test_each_way_to_a_gpu_is_seen(name: str, gpu: GpuRequest) -> None:
    assert read_container(sample(name)).gpu == gpu


@pytest.mark.parametrize("label", ["ds01.allocation", "ds01.gpu.uuids"])
def test_our_label_alone_tells_of_a_gpu(label: str) -> None:
    bare = replace(read_container(sample("all")), gpu=None)
    assert (bare.has_gpu, replace(bare, labels={label: "?"}).has_gpu) == (False, True)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        ("2026-11-24T15:28:50Z", datetime(2026, 11, 24, 15, 28, 50, tzinfo=UTC)),
        ("2026-11-24T15:28:50.123456789Z", datetime(2026, 11, 24, 15, 28, 50, 123456, tzinfo=UTC)),
        ("2026-11-24T15:28:50.1Z", datetime(2026, 11, 24, 15, 28, 50, 100000, tzinfo=UTC)),
        ("2026-11-24T16:28:50+01:00", datetime(2026, 11, 24, 15, 28, 50, tzinfo=UTC)),
    ],
)
def test_times(text: str, time: datetime | None) -> None:
    said = sample("all")
    said["State"]["FinishedAt"] = text
    assert read_container(said).finished_at == time


@pytest.mark.parametrize("state", State)
def test_states(state: State) -> None:
    said = sample("all")
    said["State"]["Status"] = state.value
    assert read_container(said).state is state


def test_how_often_its_restart_policy_brought_it_back_is_read() -> None:
    said = sample("runtime")
    assert read_container(said | {"RestartCount": 4}).restart_count == 4  # type: ignore[arg-type] # an object
    del said["RestartCount"]
    assert read_container(said).restart_count == 0


def test_null_is_how_the_engine_writes_nothing() -> None:
    said = sample("runtime")
    said["Config"] |= {"Labels": None, "Env": None}
    container = read_container(said)
    assert (container.labels, container.gpu, container.owner, container.has_gpu) == ({}, None, None, False)


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("State", "Status", "thinking", "a container is in a state that DS01 does not know: 'thinking'"),
        ("State", "Pid", "1", "Pid is no number"),
        ("State", "StartedAt", "soon", "StartedAt is no time: 'soon'"),
        ("State", "StartedAt", None, "StartedAt is no text"),
        ("Config", "Env", ["A=1", 2], "Env is no list of texts"),
        ("Config", "Labels", [], "Labels is no object"),
        ("HostConfig", "RestartPolicy", None, "RestartPolicy is no object"),
        ("HostConfig", "CgroupParent", 1, "CgroupParent is no text"),
    ],
)
def test_another_form_is_said_by_name(section: str, key: str, value: object, words: str) -> None:
    said = sample("all")
    said[section][key] = value
    with pytest.raises(AnswerError) as caught:
        read_container(said)
    assert str(caught.value) == words


@pytest.mark.parametrize("said", [[], None, "x", {}, {"State": {}, "Config": {}, "HostConfig": {}}])
def test_what_is_no_container(said: object) -> None:
    with pytest.raises(AnswerError):
        read_container(said)
    with pytest.raises(AnswerError):
        read_summary(said)


def test_the_list() -> None:
    listed = [read_summary(each) for each in json.loads((DATA / "containers-20.10.json").read_text())]
    assert [(each.name, each.state, each.image) for each in listed] == [
        ("ev-run", State.RUNNING, "busybox"),
        ("ev-raw", State.CREATED, "busybox"),
        ("ev-cdi", State.CREATED, "busybox"),
        ("ev-n", State.CREATED, "busybox"),
        ("ev-dev", State.CREATED, "busybox"),
        ("ev-all", State.CREATED, "busybox"),
    ]
    assert listed[0].labels == LABELS
    assert listed[0].created_at == datetime.fromtimestamp(1795534632, UTC)


@pytest.mark.parametrize(
    ("names", "name"), [(["/web/db", "/db"], "db"), (["/db", "/web/db"], "db"), (None, ""), ([], "")]
)
def test_a_link_is_no_name(names: object, name: str) -> None:
    said = json.loads((DATA / "containers-20.10.json").read_text())[0]
    assert read_summary(said | {"Names": names}).name == name


@pytest.mark.parametrize("created", [2**62, 2**70, "now", None])
def test_a_time_that_is_none(created: object) -> None:
    said = json.loads((DATA / "containers-20.10.json").read_text())[0]
    with pytest.raises(AnswerError):
        read_summary(said | {"Created": created})
