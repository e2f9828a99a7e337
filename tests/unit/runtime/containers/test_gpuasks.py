"""Every way to ask for a GPU and what it comes to, and every way that is refused: one table for lines and API calls."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.errors import BadInputError
from ds01.core.gpurequest import Asked, GpuRequest, gpu_request
from ds01.core.visible import visible
from ds01.runtime.containers.gpuasks import GpuAskError, asked_gpus, device_request, is_cdi

ALL = GpuRequest(Asked.ALL)
ONE = GpuRequest(Asked.COUNT, ("0",))
VISIBLE = "NVIDIA_VISIBLE_DEVICES"


def named(*names: str) -> GpuRequest:
    return GpuRequest(Asked.NAMED, names)


def gpus(*texts: str) -> dict[str, object]:
    """What the client makes of `--gpus`, each."""
    return {"DeviceRequests": [device_request(text) for text in texts]}


def api(**request: object) -> dict[str, object]:
    """What a program says in a call of its own."""
    return {"DeviceRequests": [request]}


def files(*paths: object) -> dict[str, object]:
    return {"Devices": [{"PathOnHost": path, "PathInContainer": "/dev/x"} for path in paths]}


ASKS: dict[str, tuple[Mapping[str, object], list[str], GpuRequest | None]] = {
    "nothing": ({}, [], None),
    "nulls": ({"DeviceRequests": None, "Devices": None, "Runtime": None}, [], None),
    "--gpus 1": (gpus("1"), [], ONE),
    "--gpus 2": (gpus("2"), [], GpuRequest(Asked.COUNT, ("0", "1"))),
    "--gpus count=1": (gpus("count=1"), [], ONE),
    "--gpus all": (gpus("all"), [], ALL),
    "--gpus device=0": (gpus("device=0"), [], named("0")),
    "--gpus of two devices": (gpus('"device=0:1,GPU-4b2c"'), [], named("0:1", "GPU-4b2c")),
    "--gpus device=all": (gpus("device=all"), [], ALL),
    "--gpus device=none": (gpus("device=none"), [], None),
    "--gpus driver=nvidia": (gpus("driver=nvidia"), [], ONE),
    "--gpus capabilities=utility": (gpus("capabilities=utility"), [], ONE),
    "--gpus twice": (gpus("device=1", "device=0"), [], named("1", "0")),
    "--gpus beside an environment of all": (gpus("device=1"), [f"{VISIBLE}=all"], named("1")),
    "an API's count of all": (api(Driver="", Count=-1, DeviceIDs=None, Capabilities=[["gpu"]]), [], ALL),
    "an API's request that says nothing, with an environment": (api(Driver="nvidia"), [f"{VISIBLE}=2"], named("2")),
    "CDI, as --device": (api(Driver="cdi", DeviceIDs=["nvidia.com/gpu=0:1"]), [], named("0:1")),
    "CDI, all": (api(Driver="cdi", DeviceIDs=["nvidia.com/gpu=all"]), [], ALL),
    "CDI, another vendor": (api(Driver="cdi", DeviceIDs=["vendor.example/nic=0"]), [], None),
    "--runtime nvidia": ({"Runtime": "nvidia"}, [], ALL),
    "--runtime nvidia, another name": ({"Runtime": "nvidia-experimental"}, [], ALL),
    "--runtime nvidia, and one": ({"Runtime": "nvidia"}, [f"{VISIBLE}=0"], named("0")),
    "--runtime nvidia, and none": ({"Runtime": "nvidia"}, [f"{VISIBLE}=void"], None),
    "--runtime runc": ({"Runtime": "runc"}, [], None),
    "the environment": ({}, ["A=1", f"{VISIBLE}=0,0:1"], named("0", "0:1")),
    "the environment, all": ({}, [f"{VISIBLE}=all"], ALL),
    "the environment, CDI": ({}, [f"{VISIBLE}=nvidia.com/gpu=1"], named("1")),
    "the environment, none": ({}, [f"{VISIBLE}=none"], None),
    "the environment, empty": ({}, [f"{VISIBLE}="], None),
    "the environment, the last one counts": ({}, [f"{VISIBLE}=all", f"{VISIBLE}= void "], None),
    "the environment, not removed again": ({}, [f"{VISIBLE}=void", f"{VISIBLE}=1"], named("1")),
    "another variable": ({}, ["CUDA_VISIBLE_DEVICES=0", f"X{VISIBLE}=all", f"{VISIBLE.lower()}=all"], None),
    "other devices": (
        files("/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/snd", "/dev/fd0", "/dev/shmem", "/dev/char/10:229"),
        [],
        None,
    ),
    "other annotations": ({"Annotations": {"io.podman.x": "cdi.k8s.io/x", "x-cdi.k8s.io/": ""}}, [], None),
    "no annotations": ({"Annotations": None}, [], None),
    "another device beside a GPU": ({**files("/dev/fuse"), **gpus("1")}, [], ONE),
}


@pytest.mark.parametrize(("host_config", "environment", "asked"), ASKS.values(), ids=ASKS)
def test_a_way_that_is_given(
    host_config: Mapping[str, object], environment: list[str], asked: GpuRequest | None
) -> None:
    assert asked_gpus(host_config, environment) == asked


GPU_FILES = ["/dev/nvidia0", "/dev/nvidia15", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools",
             "/dev/nvidia-modeset", "/dev/nvidia-caps", "/dev/nvidia-caps/nvidia-cap1", "//dev//nvidia0",
             "/dev/./nvidia0", "/./dev/nvidia0/", "dev/nvidia0", "./dev/nvidia0", "/dev/nvidia0\n", "/dev/char/195:0",
             "/dev//char//195:255", "/dev", "/dev/", "//dev/.", "dev", "/dev/char", "/dev/char/"]  # fmt: skip
WINDING = ["/dev/../dev/nvidia0", "/dev/fuse/../nvidia0", "/..", "/home/alice/gpu", "/proc/1/root/dev/nvidia0",
           "/proc/self/cwd/dev/nvidia0", "/dev/shm/gpu", "/dev//shm/./gpu", "/dev/mqueue/gpu", "/dev/fd/9", "/", "",
           "//", "nvidia0", "nvidia.com/gpu=0", "/DEV/nvidia0", None, 0]  # fmt: skip


@pytest.mark.parametrize("path", GPU_FILES, ids=repr)
def test_a_gpus_file_is_refused_in_every_spelling(path: str) -> None:
    for host_config in (files(path), files("/dev/fuse", path), {**files(path), **gpus("1")}):
        with pytest.raises(GpuAskError) as caught:
            asked_gpus(host_config, [])
        assert caught.value.render() == (
            f"the device {visible(path)!r} is not given to containers\n"
            "To fix: use --gpus 1, --gpus all or --gpus device=SLOT, and leave --device for other devices"
        )


@pytest.mark.parametrize("path", WINDING, ids=repr)
def test_a_path_that_may_lead_to_a_gpu_is_refused(path: object) -> None:
    with pytest.raises(GpuAskError) as caught:
        asked_gpus(files(path), [])
    assert caught.value.details == "it may lead to a GPU: devices are named by their own path below /dev"


@given(st.lists(st.sampled_from(["dev", "nvidia0", "..", ".", "", "char", "195:0", "shm", "fuse", "proc"])))
def test_no_path_to_a_gpus_file_gets_through(parts: list[str]) -> None:
    path = "/".join(parts)
    walked: list[str] = []
    for part in parts:
        if part == "..":
            walked[-1:] = []
        elif part not in {"", "."}:
            walked.append(part)
    leads_there = walked in ([], ["dev"], ["dev", "nvidia0"], ["dev", "char"], ["dev", "char", "195:0"])
    if leads_there:
        with pytest.raises(GpuAskError):
            asked_gpus(files(path), [])


REFUSED: dict[str, tuple[Mapping[str, object], list[str], str]] = {
    "another driver": (api(Driver="amd", Count=1), [], "the device driver 'amd' is not given here"),
    "another driver beside ours": (
        {"DeviceRequests": [device_request("1"), {"Driver": "habana\x1b[31m"}]},
        [],
        r"the device driver 'habana\\x1b[31m' is not given here",
    ),
    "a driver in other letters": (api(Driver="NVIDIA", Count=1), [], "the device driver 'NVIDIA' is not given here"),
    "a request that says nothing": (api(Driver="nvidia"), [], "which GPUs are asked for cannot be understood"),
    "a count that is none": (api(Count="1"), [], "which GPUs are asked for cannot be understood"),
    "a name that is none": (gpus("device=0 1"), [], "which GPUs are asked for cannot be understood"),
    "CDI, another class": (
        api(Driver="cdi", DeviceIDs=["nvidia.com/pgpu=0"]),
        [],
        "which GPUs are asked for cannot be understood",
    ),
    "a name that a shell would act on": (gpus("device=;rm"), [], "which GPUs are asked for cannot be understood"),
    "CDI, a vendor below ours": (
        api(Driver="cdi", DeviceIDs=["other.nvidia.com/thing=1"]),
        [],
        "which GPUs are asked for cannot be understood",
    ),
    "a driver of the toolkit's": (
        api(Driver="nvidia.runtime-hook", Count=1),
        [],
        "the device driver 'nvidia.runtime-hook' is not given here",
    ),
    "an annotation of the runtime's": (
        {"Annotations": {"cdi.k8s.io/x": "nvidia.com/gpu=all"}},
        [],
        "the annotation 'cdi.k8s.io/x' is not given to containers",
    ),
    "an environment that is none": ({}, [f"{VISIBLE}=a=b"], "which GPUs are asked for cannot be understood"),
}


@pytest.mark.parametrize(("host_config", "environment", "brief"), REFUSED.values(), ids=REFUSED)
def test_a_way_that_is_refused(host_config: Mapping[str, object], environment: list[str], brief: str) -> None:
    with pytest.raises(GpuAskError) as caught:
        asked_gpus(host_config, environment)
    assert caught.value.brief == brief


# --- The client's options ---------------------------------------------------------------------------------------------


def request(
    count: int = 0, *devices: str, driver: str = "", capabilities: list[list[str]] | None = None, options: str = ""
) -> Mapping[str, object]:
    return {
        "Driver": driver,
        "Count": count,
        "DeviceIDs": list(devices),
        "Capabilities": capabilities or [],
        "Options": options,
    }


VALUES = {
    "all": request(-1),
    "1": request(1),
    "007": request(7),
    "count=all": request(-1),
    "count=999999": request(999999),
    "device=0": request(0, "0"),
    "device=": request(0, ""),
    "device==0": request(0, "=0"),
    '"device=0,1"': request(0, "0", "1"),
    '"device=0","driver=nvidia"': request(0, "0", driver="nvidia"),
    "driver=": request(1),
    "2,capabilities=utility": request(2, capabilities=[["utility"]]),
    '"capabilities=utility,compute",device=3': request(0, "3", capabilities=[["utility", "compute"]]),
    "options=a=b": request(1, options="a=b"),
    '"options=a=1,b=2"': request(1, options="a=1,b=2"),
    '"options=""a=b,c=d"""': request(1, options='"a=b,c=d"'),
}
NO_VALUES = {
    "": "is no list",
    "two": "is no number of GPUs",
    "ALL": "is no number of GPUs",
    "0": "is no number of GPUs",
    "-1": "is no number of GPUs",
    "+1": "is no number of GPUs",
    "1000000": "is no number of GPUs",
    "١": "is no number of GPUs",
    " 1": "is no number of GPUs",
    "1.5": "is no number of GPUs",
    ",": "says count twice",
    "1,": "says count twice",
    "1,1": "says count twice",
    "count=2,1": "says count twice",
    "device=0,device=1": "says device twice",
    "device=0,1": "names devices and a number",
    "device=0,count=all": "names devices and a number",
    "devices=0": "has no 'devices'",
    "Device=0": "has no 'Device'",
    '"1"x': "is no list",
    '"all': "is no list",
    'device="0"': "is no list",
    "1\n": "is no list",
    "\r1": "is no list",
    '"device=0\n"': "is no list",
    "options=": "is no list",
    'options="x': "is no list",
}


@pytest.mark.parametrize(("text", "expected"), VALUES.items(), ids=VALUES)
def test_a_value_of_gpus_is_read_as_the_client_does(text: str, expected: Mapping[str, object]) -> None:
    assert device_request(text) == expected


@pytest.mark.parametrize(("text", "why"), NO_VALUES.items(), ids=map(repr, NO_VALUES))
def test_a_value_of_gpus_that_says_nothing_clear_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadInputError) as caught:
        device_request(text)
    assert why in caught.value.brief


@given(st.lists(st.sampled_from(['"', '""', ",", "=", "device=", "0", "1", "all", "options=", "driver=", "\n", " "])))
def test_any_value_is_a_request_that_can_be_answered_or_refused(pieces: list[str]) -> None:
    try:
        read = device_request("".join(pieces))
    except BadInputError:
        return
    assert gpu_request({"DeviceRequests": [read]}, []) is not None or not any(map(str.strip, read["DeviceIDs"]))  # type: ignore[call-overload] # a list


CDI = {
    "nvidia.com/gpu=0": True,
    "nvidia.com/gpu=0:1": True,
    "vendor.example/net_card=a-b.c": True,
    "nvidia.com/gpu=": False,
    "nvidia.com/gpu": False,
    "nvidia.com/=0": False,
    "/gpu=0": False,
    "/dev/nvidia.com/gpu=0": False,
    "./a/b=0": False,
    "nvidia.com/gpu=0:/dev/x": False,
    "nvidia.com/gpu=0,1": False,
    "nvidia.com/gpu=0\n": False,
    "nvidia.com/gpü=0": False,
    "/dev/fuse": False,
    "": False,
}


def test_a_cdi_name_is_told_from_a_path() -> None:
    assert {text: is_cdi(text) for text in CDI} == CDI
