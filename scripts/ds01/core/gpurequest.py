"""Which GPUs a container was given, from what Docker's inspect says of it. Pure.

There are many ways to one GPU: a device request, a CDI name, the nvidia runtime with an environment that images carry,
a device file. Of a way that cannot be read to its end the answer is UNKNOWN, never "none".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.value import dataclass

_VISIBLE: Final = "NVIDIA_VISIBLE_DEVICES"
_NAME: Final = pattern(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,127}", re.ASCII)
_CDI_VENDOR: Final = "nvidia.com"
_CDI_GPU: Final = pattern(r"(?:[a-z.]+\.)?nvidia\.com/gpu=(.+)", re.ASCII)
# nvidia0, nvidia1, … are GPUs; nvidiactl, nvidia-uvm and nvidia-caps alone compute nothing.
_FILE: Final = pattern(r"dev/nvidia\d{1,4}", re.ASCII)
# Character devices of the driver by number, and folders that Docker opens with all devices in them.
_FILES_UNREAD: Final = pattern(r"dev/char/195:\d+|dev|dev/char|", re.ASCII)
# More than one machine has; who asks for so many asks for all.
_MOST: Final = 1024


class Asked(Enum):
    """How a container names the GPUs it was given."""

    NAMED = "named"
    COUNT = "count"
    ALL = "all"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """The GPUs a container was given.

    Attributes:
        names: indices, slots such as `0:1`, UUIDs, in the order asked; of a COUNT the indices 0 to N-1, which is what
            Docker makes of it; empty for ALL and UNKNOWN. A device file stands as its path, `/dev/nvidia0`: its number
            is the driver's minor number, which need not be the index.
    """

    asked: Asked
    names: tuple[str, ...] = ()


def gpu_request(host_config: Mapping[str, object], environment: Iterable[str]) -> GpuRequest | None:
    """Return which GPUs a container was given; None when none.

    Args:
        host_config: `HostConfig` of Docker's inspect.
        environment: `Config.Env` of it.
    """
    requests = list(_objects(host_config.get("DeviceRequests")))
    found = [_of_request(each, environment) for each in requests]
    # What a device request says goes to the same variable, behind the image's, and the last one counts.
    # Source: moby, daemon/nvidia_linux.go.
    if str(host_config.get("Runtime") or "").startswith("nvidia") and all(map(_is_cdi, requests)):
        found.append(_of_environment(environment))
    found += [_of_file(str(each.get("PathOnHost") or "")) for each in _objects(host_config.get("Devices"))]
    return _together(found)


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    yield from (each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _is_cdi(request: Mapping[str, object]) -> bool:
    return request.get("Driver") == "cdi"


def _of_request(request: Mapping[str, object], environment: Iterable[str]) -> GpuRequest | None:
    names, count = request.get("DeviceIDs"), request.get("Count")
    names = list(map(str, names)) if isinstance(names, list) else []
    if _is_cdi(request):
        return _together(map(_of_cdi, names))
    if names:
        return _named(names)
    if not isinstance(count, int) or count == 0:
        # Only the nvidia hook is added then, and what it gives is said by the environment.
        return _of_environment(environment) or GpuRequest(Asked.UNKNOWN)
    if 0 < count <= _MOST:
        return GpuRequest(Asked.COUNT, tuple(map(str, range(count))))
    return GpuRequest(Asked.ALL)


def _of_environment(environment: Iterable[str]) -> GpuRequest | None:
    """Source: nvidia-container-toolkit, "Environment variables (OCI spec)"; older images say CUDA_VERSION alone."""
    known = dict(each.split("=", 1) for each in environment if "=" in each)
    return _named(known.get(_VISIBLE, "all" if "CUDA_VERSION" in known else "").split(","))


def _named(names: Iterable[str]) -> GpuRequest | None:
    return _together(_of_name(name) for each in names if (name := each.strip()) not in {"", "void", "none"})


def _of_name(name: str) -> GpuRequest:
    if "=" in name:
        return _of_cdi(name) or GpuRequest(Asked.UNKNOWN)
    if name == "all":
        return GpuRequest(Asked.ALL)
    return GpuRequest(Asked.NAMED, (name,)) if _NAME.fullmatch(name) else GpuRequest(Asked.UNKNOWN)


def _of_cdi(name: str) -> GpuRequest | None:
    """Source: Container Device Interface, vendor/class=name; nvidia-ctk cdi generate names `nvidia.com/gpu`."""
    if gpu := _CDI_GPU.fullmatch(name):
        return _of_name(gpu[1])
    vendor = name.partition("/")[0]
    return GpuRequest(Asked.UNKNOWN) if vendor.endswith(_CDI_VENDOR) else None


def _of_file(path: str) -> GpuRequest | None:
    # The engine keeps a path as it was written, and takes one that begins without a slash from its own folder, /.
    parts = [part for part in path.split("/") if part not in {"", "."}]
    plain = "/".join(parts)
    if _FILE.fullmatch(plain):
        return GpuRequest(Asked.NAMED, (f"/{plain}",))
    if ".." in parts or _FILES_UNREAD.fullmatch(plain):
        return GpuRequest(Asked.UNKNOWN)
    return _of_cdi(path)


def _together(found: Iterable[GpuRequest | None]) -> GpuRequest | None:
    """Return one request for several: what is most, or least certain, decides."""
    requests = [each for each in found if each is not None]
    if len(requests) <= 1:
        return requests[0] if requests else None
    asked = {each.asked for each in requests}
    for wide in (Asked.ALL, Asked.UNKNOWN):
        if wide in asked:
            return GpuRequest(wide)
    names = tuple(dict.fromkeys(name for each in requests for name in each.names))
    return GpuRequest(Asked.COUNT if asked == {Asked.COUNT} else Asked.NAMED, names)
