"""Every way to a GPU that Docker's inspect can tell of, and those that only look like one."""

from __future__ import annotations

import pytest

from ds01.core.gpurequest import Asked, GpuRequest, gpu_request

ALL, UNKNOWN = GpuRequest(Asked.ALL), GpuRequest(Asked.UNKNOWN)
MIG = "MIG-6f3a1c1e-0b0f-5d5c-9d63-0a1b2c3d4e5f"


def named(*names: str) -> GpuRequest:
    return GpuRequest(Asked.NAMED, names)


def asks(*ids: str, count: object = 0, driver: str = "") -> dict[str, object]:
    return {"Driver": driver, "Count": count, "DeviceIDs": list(ids) or None, "Capabilities": [["gpu"]]}


def cdi(*names: str) -> dict[str, object]:
    return {"Driver": "cdi", "Count": 0, "DeviceIDs": list(names), "Capabilities": None, "Options": None}


def files(*paths: str) -> dict[str, object]:
    return {"Devices": [{"PathOnHost": path, "PathInContainer": "/dev/x"} for path in paths]}


CASES: dict[str, tuple[dict[str, object], list[str], GpuRequest | None]] = {
    "nothing": ({}, [], None),
    "nulls": ({"DeviceRequests": None, "Devices": None, "Runtime": None}, [], None),
    "another runtime": ({"Runtime": "runc"}, ["NVIDIA_VISIBLE_DEVICES=all"], None),
    "all": ({"DeviceRequests": [asks(count=-1)]}, [], ALL),
    "a count": ({"DeviceRequests": [asks(count=2)]}, [], GpuRequest(Asked.COUNT, ("0", "1"))),
    "two counts": ({"DeviceRequests": [asks(count=2), asks(count=1)]}, [], GpuRequest(Asked.COUNT, ("0", "1"))),
    "a count beyond any machine": ({"DeviceRequests": [asks(count=2**62)]}, [], ALL),
    "names": ({"DeviceRequests": [asks("1", "0:1", MIG)]}, [], named("1", "0:1", MIG)),
    "names, and an image that says all": (
        {"DeviceRequests": [asks("1")], "Runtime": "nvidia"},
        ["NVIDIA_VISIBLE_DEVICES=all"],
        named("1"),
    ),
    "a name that says all": ({"DeviceRequests": [asks("all")]}, [], ALL),
    "a name that is none": ({"DeviceRequests": [asks("none")]}, [], None),
    "a name that cannot be one": ({"DeviceRequests": [asks("0\n1")]}, [], UNKNOWN),
    "a name and a count": ({"DeviceRequests": [asks("3"), asks(count=1)]}, [], named("3", "0")),
    "one name twice": ({"DeviceRequests": [asks("3"), asks("3")]}, [], named("3")),
    "neither name nor count": ({"DeviceRequests": [asks()]}, [], UNKNOWN),
    "neither, and the environment says": ({"DeviceRequests": [asks()]}, ["NVIDIA_VISIBLE_DEVICES=1"], named("1")),
    "a count that is none": ({"DeviceRequests": [asks(count="2")]}, [], UNKNOWN),
    "all and one": ({"DeviceRequests": [asks(count=-1), asks("0")]}, [], ALL),
    "the runtime": ({"Runtime": "nvidia"}, ["PATH=/bin", f"NVIDIA_VISIBLE_DEVICES={MIG},0"], named(MIG, "0")),
    "the runtime, all": ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=all"], ALL),
    "the runtime, the last one counts": (
        {"Runtime": "nvidia"},
        ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=void"],
        None,
    ),
    "the runtime, nothing": ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES="], None),
    "the runtime, no word": ({"Runtime": "nvidia"}, ["PATH=/bin"], None),
    "the runtime, an old image": ({"Runtime": "nvidia"}, ["CUDA_VERSION=10.2"], ALL),
    "the runtime's kin": ({"Runtime": "nvidia-legacy"}, ["NVIDIA_VISIBLE_DEVICES=0"], named("0")),
    "the runtime, CDI names": ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0:1"], named("0:1")),
    "the runtime, just in time": (
        {"Runtime": "nvidia"},
        ["NVIDIA_VISIBLE_DEVICES=runtime.nvidia.com/gpu=all"],
        ALL,
    ),
    "the runtime, what is no name": ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=a=b"], UNKNOWN),
    "the runtime beside CDI": (
        {"Runtime": "nvidia", "DeviceRequests": [cdi("nvidia.com/gpu=0")]},
        ["NVIDIA_VISIBLE_DEVICES=1"],
        named("0", "1"),
    ),
    "CDI": ({"DeviceRequests": [cdi("nvidia.com/gpu=0", f"nvidia.com/gpu={MIG}")]}, [], named("0", MIG)),
    "CDI, all": ({"DeviceRequests": [cdi("nvidia.com/gpu=all")]}, [], ALL),
    "CDI, another class": ({"DeviceRequests": [cdi("nvidia.com/pgpu=0")]}, [], UNKNOWN),
    "CDI, another vendor": ({"DeviceRequests": [cdi("vendor.example/nic=0")]}, [], None),
    "CDI as a device": (files("nvidia.com/gpu=0:1"), [], named("0:1")),
    "a device file": (files("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"), [], named("/dev/nvidia0")),
    "the driver's files alone": (files("/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap1"), [], None),
    "another device": (files("/dev/fuse"), [], None),
    "all devices": (files("/dev"), [], UNKNOWN),
    "a device by number": (files("/dev/char/195:0"), [], UNKNOWN),
    "a device file, written oddly": (files("//dev/.//nvidia0"), [], named("/dev/nvidia0")),
    "a device file, from the engine's folder": (files("dev/nvidia1"), [], named("/dev/nvidia1")),
    "a device file on a winding way": (files("/dev/../dev/nvidia0"), [], UNKNOWN),
    "all devices of the machine": (files("/"), [], UNKNOWN),
    "a device file and a name": (
        {"DeviceRequests": [asks("1")], **files("/dev/nvidia0")},
        [],
        named("1", "/dev/nvidia0"),
    ),
}


@pytest.mark.parametrize(("host_config", "environment", "expected"), CASES.values(), ids=CASES)
def test_what_a_container_was_given(
    host_config: dict[str, object], environment: list[str], expected: GpuRequest | None
) -> None:
    assert gpu_request(host_config, environment) == expected
