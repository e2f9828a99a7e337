"""The GPUs and MIG instances of the last look, kept in /run so that not every command waits for the driver to start.

Only a cache: whatever is wrong with the file, it is as if there were none. Root believes only what root wrote.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from ds01.core.errors import BusyError, Ds01Error
from ds01.core.jsonstate import exclusive, read_json, write_json
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.core.value import asdict
from ds01.core.visible import visible
from ds01.runtime.gpu.hardware import Gpu, MigInstance
from ds01.runtime.gpu.sighting import read_profile, read_uuid

VERSION: Final = 1
OLDEST_SECONDS: Final = 300.0

logger = logging.getLogger(__name__)


def recall(paths: HostPaths, sign: str | None, now: float) -> tuple[Gpu, ...] | None:
    """Return the GPUs of the last look if nothing changed since; None when somebody must look.

    Args:
        sign: what driver.fingerprint() says now; with None nothing is believed.
        now: seconds since boot; the wall clock may jump.
    """
    found = _read(paths)
    if sign is None or found is None or found.get("fingerprint") != sign:
        return None
    seen_at = found.get("seen_at")
    if not isinstance(seen_at, (int, float)) or not 0 <= now - seen_at <= OLDEST_SECONDS:
        return None
    return _gpus(found)


def recall_any(paths: HostPaths) -> tuple[Gpu, ...]:
    """Return the GPUs of the last look whatever has changed since, to name one that says nothing any more."""
    found = _read(paths)
    return () if found is None else _gpus(found) or ()


def remember(paths: HostPaths, gpus: tuple[Gpu, ...], sign: str | None, now: float) -> None:
    """Keep a look for others; only root does, and never one with a problem, which may have passed the next moment."""
    if sign is None or os.geteuid() != 0 or any(gpu.problem for gpu in gpus):
        return
    value = {"version": VERSION, "fingerprint": sign, "seen_at": now, "gpus": [asdict(gpu) for gpu in gpus]}
    try:
        paths.gpu_topology.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with exclusive(paths.gpu_topology.with_suffix(".lock"), work="look at the GPUs"):
            write_json(paths.gpu_topology, value, mode=0o644)
    except BusyError:
        # Who writes it at this moment has seen the same.
        return
    except OSError as error:
        # It costs the next command a moment, no more.
        logger.warning("the GPUs found were not kept in %s: %s", paths.gpu_topology, error.strerror)


def _read(paths: HostPaths) -> dict[str, object] | None:
    try:
        found = read_json(paths.gpu_topology, of_root=True)
    except Ds01Error:
        return None
    return None if found is None or found.get("version") != VERSION else found


def _gpus(found: Mapping[str, object]) -> tuple[Gpu, ...] | None:
    """Give the file's GPUs their types; None when one of them is not what remember() writes."""
    try:
        listed = found["gpus"]
        return tuple(_gpu(_mapping(each)) for each in listed) if isinstance(listed, list) else None
    except (KeyError, TypeError, ValueError):
        return None


def _gpu(entry: Mapping[str, object]) -> Gpu:
    instances = entry["instances"]
    mig, known = entry["mig"], entry["slices_known"]
    if not isinstance(instances, list) or entry["problem"] is not None:
        raise TypeError("not a GPU that is well")
    if not isinstance(mig, bool) or not isinstance(known, bool):
        raise TypeError("neither yes nor no")
    return Gpu(
        index=_number(entry["index"]),
        uuid=read_uuid(str(entry["uuid"])),
        name=visible(str(entry["name"])),
        memory_bytes=_number(entry["memory_bytes"]),
        slices=_number(entry["slices"], least=1),
        slices_known=known,
        mig=mig,
        instances=tuple(_instance(_mapping(each)) for each in instances),
    )


def _instance(entry: Mapping[str, object]) -> MigInstance:
    return MigInstance(
        uuid=read_uuid(str(entry["uuid"])),
        gpu_instance_id=_number(entry["gpu_instance_id"]),
        compute_instance_id=_number(entry["compute_instance_id"]),
        profile=read_profile(str(entry["profile"])).name,
        compute_slices=_number(entry["compute_slices"], least=1),
        memory_bytes=_number(entry["memory_bytes"]),
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {type(value).__name__}")
    return value


def _number(value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TypeError(f"expected a number from {least} up, found {value!r}")
    return value
