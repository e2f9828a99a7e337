"""One table of the ways to a GPU: which are requests, for what, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.errors import BadInputError
from ds01.core.gpurequest import Asked, GpuRequest
from ds01.runtime.containers.gpuasks import GpuAskError, asked_gpus, device_request, is_cdi

ALL, ONE, TWO = GpuRequest(Asked.ALL), GpuRequest(Asked.COUNT, ("0",)), GpuRequest(Asked.COUNT, ("0", "1"))


def named(*names: str) -> GpuRequest:
    return GpuRequest(Asked.NAMED, names)


def config(*gpus: str, runtime: str = "", devices: tuple[str, ...] = (), cdi: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "DeviceRequests": [*map(device_request, gpus), *({"Driver": "cdi", "DeviceIDs": [name]} for name in cdi)],
        "Devices": [{"PathOnHost": path} for path in devices],
        "Runtime": runtime,
    }


@pytest.mark.parametrize(
    ("host_config", "environment", "asked"),
    [
        (config(), [], None),
        (config("all"), [], ALL),
        (config("1"), [], ONE),
        (config("2"), [], TWO),
        (config("count=2"), [], TWO),
        (config("count=all"), [], ALL),
        (config("device=0"), [], named("0")),
        (config('"device=0,1:2"'), [], named("0", "1:2")),
        (config("device=GPU-a1"), [], named("GPU-a1")),
        (config("driver=nvidia"), [], ONE),
        (config("capabilities=utility"), [], ONE),
        (config('all,"capabilities=compute,utility"'), [], ALL),
        (config("1", "device=1"), [], named("0", "1")),
        (config(runtime="nvidia"), [], ALL),
        (config(runtime="nvidia-container-runtime"), [], ALL),
        (config(runtime="runc"), [], None),
        (config(), ["NVIDIA_VISIBLE_DEVICES=all"], ALL),
        (config(), ["NVIDIA_VISIBLE_DEVICES=0,1"], named("0", "1")),
        (config(), ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=0"], named("0")),
        (config(), ["NVIDIA_VISIBLE_DEVICES=void"], None),
        (config(), ["NVIDIA_VISIBLE_DEVICES=none"], None),
        (config(), ["NVIDIA_VISIBLE_DEVICES="], None),
        (config(), ["OTHER=all", "CUDA_VISIBLE_DEVICES=0"], None),
        (config(runtime="nvidia"), ["NVIDIA_VISIBLE_DEVICES=2:0"], named("2:0")),
        (config(runtime="nvidia"), ["NVIDIA_VISIBLE_DEVICES=void"], None),
        (config("1"), ["NVIDIA_VISIBLE_DEVICES=all"], ONE),
        (config(cdi=("nvidia.com/gpu=all",)), [], ALL),
        (config(cdi=("nvidia.com/gpu=0", "nvidia.com/gpu=2:1")), [], named("0", "2:1")),
        (config(devices=("/dev/fuse", "/dev/snd", "/dev/dri/card0")), [], None),
    ],
)
def test_every_way_of_asking(host_config: dict[str, Any], environment: list[str], asked: GpuRequest | None):
    assert asked_gpus(host_config, environment) == asked


@pytest.mark.parametrize(
    "path",
    [
        "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-caps/nvidia-cap1", "//dev//nvidia0",
        "/dev/./nvidia0", "/dev/../dev/nvidia0", "/dev/char/195:0", "/dev/char", "/dev/char/", "/dev", "/dev/",
        "dev/nvidia0", "/home/alice/link-to-a-gpu", "/dev/shm/link", "/dev/fd/3", "/", "",
    ],
)  # fmt: skip
def test_device_files_that_may_be_a_gpu_are_refused(path: str):
    with pytest.raises(GpuAskError) as caught:
        asked_gpus(config("all", devices=(path,)), [])
    assert caught.value.resolution is not None
    assert caught.value.resolution.startswith("use --gpus 1")


@pytest.mark.parametrize(
    ("host_config", "environment"),
    [
        ({"DeviceRequests": [{"Driver": "amd", "Count": -1}]}, []),
        ({"DeviceRequests": [{"Driver": "nvidia.runtime-hook", "Count": 1}]}, []),
        (config(cdi=("other.nvidia.com/thing=1",)), []),
        (config("device=;rm"), []),
        (config(), ["NVIDIA_VISIBLE_DEVICES=$(x)"]),
    ],
)
def test_what_cannot_be_understood_is_refused(host_config: dict[str, Any], environment: list[str]):
    with pytest.raises(GpuAskError):
        asked_gpus(host_config, environment)


def test_annotations_for_the_nvidia_runtime_are_refused_and_others_are_not():
    with pytest.raises(GpuAskError) as caught:
        asked_gpus({"Annotations": {"cdi.k8s.io/mine": "nvidia.com/gpu=all"}}, ["NVIDIA_VISIBLE_DEVICES=void"])
    assert caught.value.brief == "the annotation 'cdi.k8s.io/mine' is not given to containers"
    assert asked_gpus({"Annotations": {"org.example/cdi.k8s.io": "nvidia.com/gpu=all"}}, []) is None


@pytest.mark.parametrize(
    "text",
    ["", "none", "0", "-1", "1.5", "device=0,1", "count=1,count=2", "colour=red", '"all', "all,all", "1,device=0"],
)
def test_values_of_gpus_that_the_client_or_engine_refuses(text: str):
    with pytest.raises(BadInputError) as caught:
        device_request(text)
    assert caught.value.resolution


@given(st.text(max_size=40))
def test_any_other_value_is_read_or_refused(text: str):
    try:
        request = device_request(text)
    except BadInputError:
        return
    assert request["Count"] != 0 or request["DeviceIDs"]


@pytest.mark.parametrize(
    ("text", "cdi"),
    [("nvidia.com/gpu=0", True), ("nvidia.com/gpu=all", True), ("/dev/fuse", False), ("a/b", False), ("=x", False)],
)
def test_a_cdi_name_is_no_path(text: str, *, cdi: bool):
    assert is_cdi(text) is cdi
