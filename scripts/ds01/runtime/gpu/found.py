"""Ask Docker which containers have GPUs, and say it in units of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Container as AnyOf
from datetime import UTC, datetime

from ds01.core import labels
from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.names import BadNameError, user_part
from ds01.core.typed import Final
from ds01.runtime.containers.container import LIVE, Container, Undescribed
from ds01.runtime.containers.describe import inspect_all
from ds01.runtime.containers.engine import Engine
from ds01.runtime.gpu.hardware import Devices, GpuUuid, Unit
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.reconcile import Present, Sight
from ds01.runtime.gpu.request import AccountLimits, Named, Request

_DEVICE_FILE: Final = "/dev/nvidia"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def find_containers(engine: Engine, devices: Devices, ledger: Ledger, ignored: AnyOf[str]) -> tuple[Present, ...]:
    """Return the containers that have GPUs or are in the ledger, and those that Docker cannot describe, each once.

    Args:
        ignored: names of the site's own containers that look at all GPUs and compute on none, such as a metrics
            exporter; only believed of one that belongs to nobody.

    Raises:
        EngineError: Docker cannot be asked.
    """
    known = {each.container_id for each in ledger.allocations.values()} | set(ledger.allocations)
    found = {each.id: each for each in inspect_all(engine) if not _only_looks_on(each, ignored)}
    return tuple(
        present(each, devices) if isinstance(each, Container) else undescribed(each, devices)
        for each in found.values()
        if isinstance(each, Undescribed) or each.has_gpu or not known.isdisjoint({each.id, each.name})
    )


def _only_looks_on(container: Container | Undescribed, ignored: AnyOf[str]) -> bool:
    said = container.labels if isinstance(container, Container) else container.summary.labels
    return container.name in ignored and labels.owner(said) is None and labels.allocation_id(said) is None


def present(container: Container, devices: Devices) -> Present:
    """Return what the ledger needs to know of a container."""
    units = _units(container, devices)
    owner = container.owner
    made = container.created_at or _EPOCH
    return Present(
        name=container.name,
        id=container.id,
        user=None if owner is None or owner.is_older or not _can_be_account(owner.name) else owner.name,
        allocation_id=container.allocation_id,
        slots=tuple(slot for slot, _ in units),
        uuids=tuple(uuid for _, uuid in units),
        running=is_running(container),
        created_at=made,
        since=container.finished_at or made,
        ran=container.started_at is not None,
    )


def undescribed(container: Undescribed, devices: Devices) -> Present:
    """Return what the ledger needs to know of a container of which there is the engine's list alone.

    One that runs may have any unit, unless its labels name some, or say that DS01 gave it none.
    """
    said, runs = container.summary.labels, container.summary.state in LIVE
    owner = labels.owner(said)
    units = _of_names(labels.gpu_uuids(said), devices)
    without = labels.is_managed(said) and labels.ALLOCATION not in said
    sight = Sight.LIST
    if runs and not units and not without:
        units, sight = [(unit.slot, unit.uuid) for unit in devices.units], Sight.NOTHING
    return Present(
        name=container.name,
        id=container.id,
        user=None if owner is None or owner.is_older or not _can_be_account(owner.name) else owner.name,
        allocation_id=labels.allocation_id(said),
        slots=tuple(slot for slot, _ in units),
        uuids=tuple(uuid for _, uuid in units),
        running=runs,
        created_at=container.summary.created_at,
        since=container.summary.created_at,
        sight=sight,
    )


def is_running(container: Container) -> bool:
    """Whether a container has its units in use, or will have without anybody starting it."""
    return container.is_live


def _can_be_account(name: str) -> bool:
    """Whether a label names what could be an account; it is text that users write."""
    try:
        user_part(name, uid=0)
    except BadNameError:
        return False
    return True


def lost_request(
    engine: Engine, devices: Devices, name: str, account_of: Callable[[str], AccountLimits]
) -> Request | None:
    """Return what a container of ours had, as a request for just that; None when it never had a GPU from us.

    Raises:
        EngineError: Docker cannot be asked.
    """
    container = engine.inspect(name)
    if container is None or container.allocation_id is None:
        return None
    had = present(container, devices)
    if had.user is None or not had.uuids:
        return None
    return Request(
        id=container.allocation_id,
        user=had.user,
        wanted=Named(had.uuids),
        priority=account_of(had.user).priority,
        container=container.name,
    )


def _units(container: Container, devices: Devices) -> Sequence[tuple[str, GpuUuid]]:
    """Return slot and UUID of what a container really was given; its labels only count where that cannot be read.

    One without any GPU has none, whatever it is labelled: an image that was made of a container keeps its labels.
    """
    request = container.gpu
    if request is None:
        return ()
    if request.asked is Asked.UNKNOWN:
        return _of_names(container.gpu_uuids, devices)
    return _of_request(request, devices)


def _of_request(request: GpuRequest, devices: Devices) -> Sequence[tuple[str, GpuUuid]]:
    if request.asked is Asked.ALL:
        return [(unit.slot, unit.uuid) for unit in devices.units]
    return _of_names(request.names, devices)


def _of_names(names: Sequence[str], devices: Devices) -> Sequence[tuple[str, GpuUuid]]:
    found: dict[GpuUuid, str] = {}
    for name in names:
        units = _called(name.removeprefix(_DEVICE_FILE), devices)
        found.update({unit.uuid: unit.slot for unit in units})
        if not units and name.startswith(("GPU-", "MIG-")):
            # The machine has it no more, or not now: whoever has it keeps it when it comes back.
            found[GpuUuid(name)] = name
    return [(slot, uuid) for uuid, slot in found.items()]


def _called(name: str, devices: Devices) -> Sequence[Unit]:
    """Return the units that a name gives: of a GPU in MIG mode all its instances."""
    unit = devices.find(name)
    if unit is not None:
        return [unit]
    return [each for each in devices.units if name in {str(each.gpu_index), each.gpu_uuid}]
