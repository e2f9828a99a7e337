"""What an account holds of GPUs, out of the text of gpu-state.json. Pure; reader.py reads the file."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from ds01.core.limits import ResolvedLimits
from ds01.core.policy import Policy
from ds01.runtime.gpu.ledger import Allocation
from ds01.runtime.gpu.record import DamagedError, parse_ledger
from ds01.runtime.gpu.request import holds_end
from ds01.runtime.overview.figures import GpuHolding, GpuState, Unknown


def holdings_of(path: Path, content: bytes, policy: Policy, limits: ResolvedLimits) -> tuple[GpuHolding, ...] | Unknown:
    """Return an account's holdings, in the order in which they were given.

    Args:
        path: where the text is from, for the reason when it cannot be believed.

    Raises:
        PolicyError: the policy does not say whether holds end.
    """
    try:
        ledger = parse_ledger(content)
    except DamagedError as error:
        return Unknown(f"{path} cannot be believed: {error.brief}")
    seconds = limits.whole("gpu_hold_after_stop") if holds_end(policy) else None
    return tuple(_holding(each, seconds) for each in ledger.of_user(limits.account or ""))


def _holding(allocation: Allocation, hold_seconds: int | None) -> GpuHolding:
    stopped = allocation.stopped_at
    state = GpuState.RUNNING if stopped is None else GpuState.HELD
    return GpuHolding(
        container=allocation.container,
        slots=allocation.slots,
        uuids=allocation.uuids,
        state=GpuState.RESERVED if allocation.reservation is not None else state,
        allocated_at=allocation.allocated_at,
        held_until=None if stopped is None or hold_seconds is None else _later(stopped, hold_seconds),
    )


def _later(instant: datetime, seconds: int) -> datetime | None:
    try:
        return instant + timedelta(seconds=seconds)
    except OverflowError:
        # Longer than there are dates: until it is removed.
        return None
