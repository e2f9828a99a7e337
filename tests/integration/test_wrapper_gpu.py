"""GPUs through the wrapper: every way of asking gives what was handed out, and nothing else gives any."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.image import IMAGE
from tests.fake_nvml.samples import gpu_uuid, instance_uuid, shipped_host
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ALICE, BOB, inspected

from ds01.runtime.gpu.record import parse_ledger

if TYPE_CHECKING:
    from tests.fake_nvml.fixture import FakeNvml
    from tests.integration.wrapper_host import WrapperHost

    from ds01.runtime.gpu.ledger import Allocation

pytestmark = pytest.mark.docker
SLEEP = (IMAGE, "sleep", "600")
FIRST, SECOND = instance_uuid(2, 0), instance_uuid(3, 0)


@pytest.fixture
def gpus(host: WrapperHost, fake_nvml: FakeNvml) -> WrapperHost:
    """The host with the shipped hardware: two whole GPUs, and two split in three."""
    fake_nvml.write(shipped_host())
    return replace(host, environment=fake_nvml.environment)


def held(host: WrapperHost) -> list[Allocation]:
    if not host.paths.gpu_state.exists():
        return []
    return list(parse_ledger(host.paths.gpu_state.read_bytes()).allocations.values())


def given(name: str) -> tuple[list[Any], dict[str, str], dict[str, str]]:
    """Return a container's device requests, what it says of visible devices, and its labels about GPUs."""
    found = inspected(name)
    requests = [
        (each["Driver"], each["Count"], each["DeviceIDs"]) for each in found["HostConfig"]["DeviceRequests"] or []
    ]
    environment = dict(each.split("=", 1) for each in found["Config"]["Env"])
    labels = found["Config"]["Labels"]
    return (
        requests,
        {name: value for name, value in environment.items() if "DEVICES" in name},
        {name: value for name, value in labels.items() if "gpu" in name or "allocation" in name},
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--gpus", "1"),
        ("--gpus=all",),
        ("--gpus", "device=2:0"),
        ("--gpus", f"device={FIRST}"),
        ("-e", "NVIDIA_VISIBLE_DEVICES=all"),
        ("--env=NVIDIA_VISIBLE_DEVICES=2:0",),
        ("--runtime", "nvidia"),
        ("--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=all"),
        ("--device=nvidia.com/gpu=all",),
        ("--device", "nvidia.com/gpu=2:0"),
    ],
    ids=" ".join,
)
def test_every_way_of_asking_gives_the_units_that_were_handed_out(gpus: WrapperHost, words: tuple[str, ...]):
    gpus.must("create", "--name", "train", *words, *SLEEP)
    (allocation,) = held(gpus)
    assert (allocation.user, allocation.slots, allocation.uuids) == (ALICE, ("2:0",), (FIRST,))
    assert given("train") == (
        [("", 0, [FIRST])],
        {"NVIDIA_VISIBLE_DEVICES": FIRST, "CUDA_VISIBLE_DEVICES": FIRST},
        {"ds01.allocation": allocation.id, "ds01.gpu.uuids": FIRST, "ds01.gpu.slots": "2:0"},
    )


def test_the_running_container_sees_just_that(gpus: WrapperHost):
    seen = gpus.must("run", "--rm", "--gpus", "1", IMAGE, "env")
    assert f"NVIDIA_VISIBLE_DEVICES={FIRST}" in seen.splitlines()
    seen = gpus.must("run", "--rm", "-e", "NVIDIA_VISIBLE_DEVICES=none", IMAGE, "env")
    assert "NVIDIA_VISIBLE_DEVICES=void" in seen.splitlines()


def test_what_kind_of_access_is_wanted_stays(gpus: WrapperHost):
    gpus.must("create", "--name", "train", "--gpus", '1,"capabilities=compute,utility"', *SLEEP)
    (request,) = inspected("train")["HostConfig"]["DeviceRequests"]
    assert (request["DeviceIDs"], sorted(request["Capabilities"][0])) == ([FIRST], ["compute", "gpu", "utility"])


def test_a_variable_of_the_callers_environment_counts_where_a_line_passes_it_on(gpus: WrapperHost):
    gpus.must("create", "--name", "train", "-e", "NVIDIA_VISIBLE_DEVICES", *SLEEP, NVIDIA_VISIBLE_DEVICES="all")
    assert given("train")[0] == [("", 0, [FIRST])]
    gpus.must("create", "--name", "plain", "-e", "NVIDIA_VISIBLE_DEVICES", *SLEEP)
    assert given("plain") == ([], {"NVIDIA_VISIBLE_DEVICES": "void"}, {})


@pytest.mark.parametrize(
    "device", ["/dev/nvidia0", "/dev/nvidia0:/dev/nvidia0", "//dev//nvidiactl", "/dev/nvidia-caps"]
)
def test_device_files_are_refused(gpus: WrapperHost, device: str):
    said = gpus.docker("run", f"--device={device}", IMAGE)
    assert said.code == 125
    assert "is not given to containers" in said.err
    assert "use --gpus" in said.err
    assert held(gpus) == []


def test_above_the_quota_there_is_a_box_that_says_who_holds_what(gpus: WrapperHost):
    gpus.override(max_containers=10, max_mig_instances=2, max_mig_per_container=1)
    for name in ("one", "two"):
        gpus.must("run", "-d", "--name", name, "--memory=1g", "--gpus=1", *SLEEP)
    said = gpus.docker("run", "-d", "--name", "three", "--memory=1g", "--gpus=1", *SLEEP)
    assert said.code == 125
    assert "|  DS01 GPU Quota Exceeded" in said.err
    assert "|  Requested:  GPU 1 " in said.err
    assert "one" in said.err
    assert "two" in said.err
    said = gpus.docker("create", "--memory=1g", "--gpus=2", *SLEEP)
    assert said.code == 1
    assert "DS01 GPU" in said.err
    assert sorted(each.user or "" for each in held(gpus)) == [ALICE, ALICE]
    assert "admission.refused" in [each.event_type for each in gpus.events()]


def test_memory_is_refused_before_any_gpu_is_touched(gpus: WrapperHost):
    gpus.override(aggregate={"memory_max_bytes": 1024**3})
    said = gpus.docker("run", "--memory=2g", "--gpus=1", IMAGE)
    assert said.code == 125
    assert "DS01 Aggregate Memory Quota Exceeded" in said.err
    assert held(gpus) == []
    assert not gpus.paths.gpu_state.exists()


def test_a_container_that_never_came_gives_its_gpu_back_once_its_client_is_gone(gpus: WrapperHost):
    said = gpus.docker("run", "--pull=never", "--gpus=1", "no-such-image")
    assert said.code == 125
    (allocation,) = held(gpus)
    # Kept by the docker command's own process, which has ended: a minute later it is free.
    assert allocation.reservation is not None
    assert allocation.container_id is None
    assert not Path(f"/proc/{allocation.reservation.process.pid}").exists()
    assert gpus.docker("run", "--gpus=1", "--rm", IMAGE, "true").code == 0


def test_a_stopped_container_gets_the_same_again(gpus: WrapperHost):
    gpus.must("run", "-d", "--name", "train", "--memory=1g", "--gpus=device=3:0", *SLEEP)
    docker("kill", "train")
    docker("wait", "train")
    assert gpus.must("start", "train") == "train"
    (allocation,) = held(gpus)
    assert (allocation.slots, allocation.stopped_at) == (("3:0",), None)


def test_a_gpu_that_somebody_else_has_is_waited_for_and_the_line_can_be_left(gpus: WrapperHost):
    gpus.change_policy(gpu_allocation={"wait_seconds": 60})
    gpus.must("run", "-d", "--name", "train", "--memory=1g", "--gpus=device=2:0", *SLEEP, account=BOB)
    gpus.gpu("reconcile")  # now it is known which container that is
    argv = gpus.argv("run", "--rm", "--memory=1g", "--gpus", "device=2:0", IMAGE, "echo", "mine")
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=gpus.env(), stdout=pipe, stderr=pipe, text=True, start_new_session=True) as client:
        assert client.stderr is not None
        said = ""
        while "place 1 of 1 in the line" not in said:
            said += client.stderr.readline()
        assert BOB in said
        os.killpg(client.pid, signal.SIGINT)
        assert client.wait(30) in {130, -signal.SIGINT}
    deadline = time.monotonic() + 20
    while parse_ledger(gpus.paths.gpu_state.read_bytes()).queue:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with subprocess.Popen(argv, env=gpus.env(), stdout=pipe, stderr=pipe, text=True) as client:
        assert client.stderr is not None
        client.stderr.readline()
        docker("rm", "--force", "train")
        gpus.gpu("reconcile")
        out, _ = client.communicate(timeout=60)
    assert (client.returncode, out) == (0, "mine\n")


def test_where_the_gpus_cannot_be_told_none_is_given(gpus: WrapperHost):
    gpus.paths.gpu_state.write_text("{")
    engine = gpus.paths.engine
    engine.unlink()
    engine.symlink_to(gpus.folder / "nobody-listens")
    said = gpus.docker("run", "--gpus=1", IMAGE)
    assert said.code == 125
    assert said.err.startswith("docker: ")


def test_a_whole_gpu_comes_without_the_variable_for_instances(gpus: WrapperHost):
    gpus.override(gpu_unit="full", allow_full_gpu=True)
    gpus.must("create", "--name", "train", "--gpus=1", *SLEEP)
    assert given("train")[:2] == ([("", 0, [gpu_uuid(0)])], {"NVIDIA_VISIBLE_DEVICES": gpu_uuid(0)})


def test_several_units_are_one_request(gpus: WrapperHost):
    gpus.override(gpu_unit="any", allow_full_gpu=True, max_mig_instances=6, max_mig_per_container=4)
    gpus.must("create", "--name", "train", "--gpus", '"device=0,2:0"', *SLEEP)
    (allocation,) = held(gpus)
    assert allocation.slots == ("0", "2:0")
    both = f"{gpu_uuid(0)},{FIRST}"
    assert given("train") == (
        [("", 0, [gpu_uuid(0), FIRST])],
        {"NVIDIA_VISIBLE_DEVICES": both, "CUDA_VISIBLE_DEVICES": both},
        {"ds01.allocation": allocation.id, "ds01.gpu.uuids": both, "ds01.gpu.slots": "0,2:0"},
    )


def test_a_container_whose_gpu_another_has_by_now_does_not_start(gpus: WrapperHost):
    gpus.must("create", "--name", "train", "--gpus=device=3:1", *SLEEP)
    gpus.gpu("release", "--container", "train")
    gpus.must("run", "-d", "--name", "other", "--gpus=device=3:1", *SLEEP, account=BOB)
    said = gpus.docker("start", "train")
    assert said.code == 1
    assert "other" in said.err
    assert not inspected("train")["State"]["Running"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--gpus", "2"), f"{ALICE} asks for 2 GPU units, one container may have 1."),
        (("--gpus", "device=0"), f"GPU 0 cannot be given: {ALICE} may not have a whole GPU."),
        (("--gpus", "device=9:9"), "This machine has no GPU 9:9 now."),
        (("--gpus", "none"), "is no number of GPUs"),
        (("--gpus", "0"), "is no number of GPUs"),
        (("--gpus", "driver=other,count=1"), "device driver 'other'"),
        (("-e", "NVIDIA_VISIBLE_DEVICES=$(x)"), "cannot be understood"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(gpus: WrapperHost, words: tuple[str, ...], why: str):
    said = gpus.docker("create", *words, IMAGE)
    assert said.code == 1
    assert why in said.err
    assert held(gpus) == []
