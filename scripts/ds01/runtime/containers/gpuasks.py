"""Which ways of asking for a GPU there are, and which are refused: one table for command lines and API calls. Pure.

A device request (`--gpus`), a CDI name, the nvidia runtime and its environment are requests, and each is answered with
the units that were handed out. A device file is refused: it would give a GPU that nobody wrote down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ds01.core.errors import BadInputError, RefusedError
from ds01.core.gpurequest import Asked, GpuRequest, gpu_request
from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.visible import visible

VISIBLE: Final = "NVIDIA_VISIBLE_DEVICES"
CUDA: Final = "CUDA_VISIBLE_DEVICES"
# What the container without a GPU gets, whatever its image says. Source: nvidia-container-toolkit, "void".
NONE: Final = "void"
_NO_GPU: Final = frozenset({"", NONE, "none"})
# GPUs, their control nodes, the driver's devices by number, and folders that Docker opens with all devices in them.
_FILE: Final = pattern(r"dev|dev/char|dev/char/195:.*|dev/nvidia.*", re.DOTALL)
# Where anybody can lay a link to a GPU, which Docker follows. Source: moby, oci/devices_linux.go.
_ANYBODYS: Final = frozenset({"shm", "mqueue", "fd"})
# Source: Container Device Interface specification, "vendor/class=name"; the client's --device takes it from 25 on.
_CDI: Final = pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*=[A-Za-z0-9][A-Za-z0-9._:-]*", re.ASCII)
# It goes before the environment too. Source: nvidia-container-toolkit, "annotation-prefixes" of the nvidia runtime.
_CDI_ANNOTATION: Final = "cdi.k8s.io/"
_DRIVERS: Final = frozenset({"", "nvidia", "cdi"})
_ONE: Final = r'(?:"(?:[^"\r\n]|"")*"|[^",\r\n]*)'
_ROW: Final = pattern(rf"{_ONE}(?:,{_ONE})*")
_FIELD: Final = pattern(rf"(?:\A|,)({_ONE})")
_USE_GPUS: Final = "use --gpus 1, --gpus all or --gpus device=SLOT, and leave --device for other devices"


class GpuAskError(RefusedError):
    """A way to a GPU that is not given, or one that cannot be read to its end."""


def asked_gpus(host_config: Mapping[str, object], environment: Sequence[str]) -> GpuRequest | None:
    """Return what a container asks for; None when it asks for no GPU.

    Args:
        host_config: `DeviceRequests`, `Devices`, `Runtime` and `Annotations` of it, as the API has them; other keys are
            not read.
        environment: what its user sets, `NAME=value` each; not the image's.

    Raises:
        GpuAskError: by a way that is refused, or in words that cannot be understood.
    """
    _refuse_files(host_config)
    _refuse_annotations(host_config)
    requests = _rows(host_config.get("DeviceRequests"))
    for each in requests:
        driver = str(each.get("Driver") or "")
        if driver not in _DRIVERS:
            raise GpuAskError(f"the device driver {visible(driver)!r} is not given here", None, _USE_GPUS)
    if requests:
        # It goes before the environment. Source: moby, daemon/nvidia_linux.go.
        found = gpu_request({"DeviceRequests": requests}, environment)
    else:
        found = _by_environment(environment, nvidia=str(host_config.get("Runtime") or "").startswith("nvidia"))
    if found is not None and found.asked is Asked.UNKNOWN:
        raise GpuAskError(
            "which GPUs are asked for cannot be understood", None, "use --gpus 1, --gpus all or --gpus device=SLOT"
        )
    return found


def _refuse_files(host_config: Mapping[str, object]) -> None:
    for each in _rows(host_config.get("Devices")):
        path = str(each.get("PathOnHost") or "")
        # Docker takes a path without a slash before it from its own folder, which is /.
        parts = [part for part in path.split("/") if part not in {"", "."}]
        if parts[:1] != ["dev"] or ".." in parts or not _ANYBODYS.isdisjoint(parts[1:2]):
            raise GpuAskError(
                f"the device {visible(path)!r} is not given to containers",
                "it may lead to a GPU: devices are named by their own path below /dev",
                _USE_GPUS,
            )
        if _FILE.fullmatch("/".join(parts)):
            raise GpuAskError(f"the device {visible(path)!r} is not given to containers", None, _USE_GPUS)


def _refuse_annotations(host_config: Mapping[str, object]) -> None:
    names = host_config.get("Annotations")
    for name in names if isinstance(names, Mapping) else ():
        if str(name).startswith(_CDI_ANNOTATION):
            raise GpuAskError(f"the annotation {visible(str(name))!r} is not given to containers", None, _USE_GPUS)


def _by_environment(environment: Sequence[str], *, nvidia: bool) -> GpuRequest | None:
    values = [each.partition("=")[2] for each in environment if each.partition("=")[0] == VISIBLE]
    if values:
        # Of one name the last value counts.
        return (
            None if values[-1].strip() in _NO_GPU else gpu_request({"Runtime": "nvidia"}, [f"{VISIBLE}={values[-1]}"])
        )
    # Images for that runtime say `all`, and those that say nothing get nothing of it.
    return GpuRequest(Asked.ALL) if nvidia else None


def _rows(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, Iterable) else []


# --- The client's options ---------------------------------------------------------------------------------------------


def device_request(text: str) -> Mapping[str, object]:
    """Read a value of `--gpus` as the client does. Source: docker/cli, opts/gpus.go.

    Raises:
        BadInputError: the client would refuse it, or the engine.
    """
    request: dict[str, object] = {}
    for key, value in _fields(text):
        if key in request:
            raise BadInputError(f"--gpus {visible(text)!r} says {key} twice", None, "say each once")
        request[key] = value
    names = request.get("device")
    number = request.get("count")
    if names is not None and number is not None:
        raise BadInputError(
            f"--gpus {visible(text)} names devices and a number", None, "for several devices: --gpus '\"device=0,1\"'"
        )
    return {
        "Driver": request.get("driver", ""),
        "Count": 0 if names is not None else _number(text, str(number if number is not None else 1)),
        "DeviceIDs": str(names).split(",") if names is not None else [],
        "Capabilities": [[*str(request.get("capabilities", "")).split(",")]] if "capabilities" in request else [],
        "Options": str(request.get("options", "")),
    }


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for field in _row(text):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", key
        if key not in {"driver", "count", "device", "capabilities", "options"}:
            raise BadInputError(f"--gpus has no {visible(key)!r}", None, "write a number, all, or device=SLOT")
        if key == "options":
            _row(value)
        yield key, value


def _row(text: str) -> list[str]:
    """Read one row of CSV. Source: Go, encoding/csv: a quote stands in a field only where it begins with one."""
    if text == "" or not _ROW.fullmatch(text):
        raise BadInputError(f"--gpus {visible(text)!r} is no list", None, "write a number, all, or device=SLOT")
    fields = _FIELD.findall(text)
    return [field[1:-1].replace('""', '"') if field.startswith('"') else field for field in fields]


def _number(text: str, number: str) -> int:
    if number == "all":
        return -1
    if not re.fullmatch(r"\d{1,6}", number, re.ASCII) or int(number) == 0:
        raise BadInputError(
            f"--gpus {visible(text)!r} is no number of GPUs", None, "write a number, all, or device=SLOT"
        )
    return int(number)


def is_cdi(text: str) -> bool:
    """Whether a value of `--device` is a CDI name and no path."""
    return _CDI.fullmatch(text) is not None
