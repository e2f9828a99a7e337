"""What a container must be started with to have the units it was granted, and no others. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ds01.core import labels
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.gpu.ledger import Allocation


def gpu_labels(allocation: Allocation) -> Mapping[str, str]:
    """Return the labels from which the ledger can be rebuilt."""
    return {
        labels.ALLOCATION: allocation.id,
        labels.GPU_UUIDS: ",".join(allocation.uuids),
        labels.GPU_SLOTS: ",".join(allocation.slots),
        **({} if allocation.user is None else {labels.USER: allocation.user}),
    }


def environment(grant: Grant) -> Mapping[str, str]:
    """Return the variables that programs in the container read.

    They are no boundary, since whoever runs in the container can change them: the device request is.
    """
    uuids = ",".join(grant.allocation.uuids)
    mig = any(not unit.is_whole for unit in grant.units)
    return {"NVIDIA_VISIBLE_DEVICES": uuids, **({"CUDA_VISIBLE_DEVICES": uuids} if mig else {})}


def docker_args(grant: Grant) -> tuple[str, ...]:
    """Return options for `docker run`, an argument each; none has a space in it."""
    devices = f"device={','.join(grant.allocation.uuids)}"
    # The client reads the value as a line of CSV. Source: docker run reference, "--gpus".
    quoted = f'"{devices}"' if "," in devices else devices
    settings = [f"--env={name}={value}" for name, value in environment(grant).items()]
    named = [f"--label={name}={value}" for name, value in gpu_labels(grant.allocation).items()]
    return f"--gpus={quoted}", *settings, *named
