"""The one source of how an account stands: cgroup files, the policy and DS01's state files.

Asks neither Docker nor a GPU's driver, takes no lock and changes nothing, so that any account can read it at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime

from ds01.core.jsonstate import StateError, read_bytes, read_json
from ds01.core.limits import BY_NAME, Kind, LimitValue, ResolvedLimits, format_value
from ds01.core.names import cgroup_path, slice_parts
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.runtime.accounts import limits_of, uid_of
from ds01.runtime.cgroup.pressure import Resource, read_pressure
from ds01.runtime.cgroup.tree import CannotTell, Cause, LimitReading, Reading
from ds01.runtime.cgroup.usage import AccountUsage, ContainerUsage, SliceUsage, read_usage, slices_of
from ds01.runtime.gpu.checksum import is_sealed
from ds01.runtime.overview.figures import (
    ContainerShare,
    GpuHolding,
    Measure,
    Overview,
    Unknown,
    Used,
)
from ds01.runtime.overview.notices import read_notices
from ds01.runtime.telemetry.rates import Rates, from_document

# The kernel keeps memory limits in whole pages; those of some machines are this large.
_PAGE_BYTES: Final = 64 * 1024


def read_overview(paths: HostPaths, policy: Policy, account: str, now: datetime) -> Overview:
    """Return how an account stands.

    Raises:
        BadInputError: no name, or one that DS01 refuses.
        PolicyError: the policy does not say when holds end.
    """
    limits, uid = limits_of(policy, account), uid_of(account)
    usage = _read_usage(paths, slice_parts(limits.slice_name, account, uid))
    rates = _read_rates(paths, now)
    holdings = _read_holdings(paths, policy, limits)
    shares = _shares(usage, rates)
    waited_some, waited_full = _waited(paths, usage)
    return Overview(
        limits=limits,
        account=account,
        slices=() if isinstance(usage, Unknown) else tuple(each.name for each in usage.slices),
        memory=_measure(_of(usage, lambda each: each.working_set_bytes), limits["aggregate.memory_max"]),
        memory_cache_bytes=_of(usage, lambda each: each.inactive_file_bytes),
        waited_some=waited_some,
        waited_full=waited_full,
        tasks=_measure(_of(usage, lambda each: each.pids_current), limits["aggregate.tasks_max"]),
        cpu=_measure(_cpu(usage, rates), limits["aggregate.cpu_quota"]),
        gpus=_measure(_units(holdings), limits["max_mig_instances"]),
        containers=_measure(shares if isinstance(shares, Unknown) else len(shares), limits["max_containers"]),
        holdings=holdings,
        shares=shares,
        notices=read_notices(paths, uid, now),
        differing=() if isinstance(usage, Unknown) else _differing(usage, limits),
    )


def _measure(used: Used, limit: LimitValue) -> Measure:
    value = limit.value
    return Measure(used, value if isinstance(value, int | float) else None, limit.origin)


# --- Control groups ---------------------------------------------------------------------------------------------------


def _read_usage(paths: HostPaths, parts: tuple[str, ...]) -> AccountUsage | Unknown:
    slices = slices_of(paths.cgroup, parts)
    found = slices if isinstance(slices, CannotTell) else read_usage(paths.cgroup, slices)
    return Unknown(found.words) if isinstance(found, CannotTell) else found


def _of(usage: AccountUsage | Unknown, what: Callable[[AccountUsage], Reading]) -> int | Unknown:
    return usage if isinstance(usage, Unknown) else _known(what(usage))


def _known(reading: Reading) -> int | Unknown:
    return Unknown(reading.words) if isinstance(reading, CannotTell) else reading


def _waited(paths: HostPaths, usage: AccountUsage | Unknown) -> tuple[Used, Used]:
    """Return the percent of the last minute in which some, and in which all processes waited for memory."""
    if isinstance(usage, Unknown):
        return usage, usage
    some, full = 0.0, 0.0
    for each in usage.slices:
        found = read_pressure(paths.cgroup / cgroup_path(each.name), Resource.MEMORY)
        if isinstance(found, CannotTell):
            return Unknown(found.words), Unknown(found.words)
        if isinstance(found.full, CannotTell):
            return Unknown(found.full.words), Unknown(found.full.words)
        some, full = max(some, found.some.avg60), max(full, found.full.avg60)
    return some, full


def _shares(usage: AccountUsage | Unknown, rates: Rates | Unknown) -> tuple[ContainerShare, ...] | Unknown:
    if isinstance(usage, Unknown):
        return usage
    found = usage.containers
    return Unknown(found.words) if isinstance(found, CannotTell) else tuple(_share(each, rates) for each in found)


def _share(container: ContainerUsage, rates: Rates | Unknown) -> ContainerShare:
    limit, counted = container.memory_max_bytes, container.counted
    return ContainerShare(
        id=container.id,
        memory_used_bytes=_known(counted.working_set_bytes),
        memory_limit_bytes=None if limit is None else _known(limit),
        tasks=_known(counted.pids_current),
        cpu_usec=_known(counted.cpu_usec),
        cpu_percent=rates if isinstance(rates, Unknown) else _rate(rates.containers, container.id),
    )


def _differing(usage: AccountUsage, limits: ResolvedLimits) -> tuple[str, ...]:
    """Return for which limits the kernel has another value in the account's present slice."""
    there = next((each for each in usage.slices if each.name == limits.slice_name), None)
    return () if there is None else tuple(words for words in _differences(there, limits) if words)


def _differences(there: SliceUsage, limits: ResolvedLimits) -> list[str | None]:
    kernel: Mapping[str, LimitReading] = {
        "aggregate.memory_max": there.limits.memory_max_bytes,
        "aggregate.memory_high": there.limits.memory_high_bytes,
        "aggregate.tasks_max": there.limits.pids_max,
        "aggregate.cpu_quota": there.limits.cpu_percent,
    }
    return [_difference(name, reading, limits) for name, reading in kernel.items()]


def _difference(name: str, reading: LimitReading, limits: ResolvedLimits) -> str | None:
    if isinstance(reading, CannotTell) and reading.cause is not Cause.NO_FILE:
        return None
    # Without the file its controller is off, and the kernel limits nothing.
    wanted, actual = limits.whole(name), None if isinstance(reading, CannotTell) else reading
    limit = BY_NAME[name]
    step = _PAGE_BYTES if limit.kind is Kind.SIZE else 1
    if wanted == actual or (wanted is not None and actual is not None and abs(wanted - actual) < step):
        return None
    return f"{limit.label}: the policy says {format_value(limit, wanted)}, the kernel has {format_value(limit, actual)}"


# --- CPU rates --------------------------------------------------------------------------------------------------------


def _read_rates(paths: HostPaths, now: datetime) -> Rates | Unknown:
    path = paths.rates
    try:
        document = read_json(path, of_root=True)
    except StateError as error:
        return Unknown(error.brief)
    if document is None:
        return Unknown(f"there is no {path}; systemctl status ds01-sampler says why nobody writes it")
    found = from_document(document, now)
    return Unknown(f"{path}: {found}") if isinstance(found, str) else found


def _cpu(usage: AccountUsage | Unknown, rates: Rates | Unknown) -> Used:
    if isinstance(usage, Unknown):
        return usage
    if isinstance(rates, Unknown):
        return rates
    found = [_rate(rates.slices, each.name) for each in usage.slices]
    unknown = next((each for each in found if isinstance(each, Unknown)), None)
    return unknown or round(sum(each for each in found if not isinstance(each, Unknown)), 1)


def _rate(rates: Mapping[str, float], name: str) -> float | Unknown:
    found = rates.get(name)
    return Unknown("not measured yet; try again in half a minute") if found is None else found


# --- GPUs -------------------------------------------------------------------------------------------------------------


def _read_holdings(paths: HostPaths, policy: Policy, limits: ResolvedLimits) -> tuple[GpuHolding, ...] | Unknown:
    path, account = paths.gpu_state, limits.account or ""
    try:
        content = read_bytes(path, of_root=True)
    except FileNotFoundError:
        # Nothing was ever handed out here.
        return ()
    except StateError as error:
        return Unknown(error.brief)
    except OSError as error:
        return Unknown(f"{path} cannot be read: {error.strerror}")
    # Most who log in hold nothing, and what reads the file takes a fifth of the time to load. A name that JSON writes
    # in another way may stand in it and not be found.
    if is_sealed(content) and json.dumps(account) == f'"{account}"' and account.encode() not in content:
        return ()
    from ds01.runtime.overview.holdings import holdings_of  # noqa: PLC0415 - see above

    return holdings_of(path, content, policy, limits)


def _units(holdings: tuple[GpuHolding, ...] | Unknown) -> int | Unknown:
    return holdings if isinstance(holdings, Unknown) else sum(len(each.uuids) for each in holdings)
