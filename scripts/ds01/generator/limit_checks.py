"""What a schema cannot say about limits, held against each other and against the host's hardware. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ds01.core.limits import BY_NAME, ResolvedLimits, format_value, resolve, resolve_group, stated
from ds01.core.policy import Layer, Policy
from ds01.core.units import MIB, format_number, format_size
from ds01.generator.problems import Place, Problem
from ds01.generator.subject import Subject

# What Docker refuses to go below. Source: moby, daemon/daemon_unix.go, linuxMinMemory.
_LEAST_MEMORY: Final = 6 * MIB
_NOT_ZERO: Final = (
    "shm_size",
    "aggregate.memory_max",
    "aggregate.memory_high",
    "aggregate.io_read_bw_max",
    "aggregate.io_write_bw_max",
)
_IO_MAXIMA: Final = ("read_bw_max", "write_bw_max", "read_iops_max", "write_iops_max")
# Aggregate, what one container counts in it, and the factor between their units.
_TOTALS: Final = (("memory_max", "memory", 1), ("cpu_quota", "max_cpus", 100), ("tasks_max", "pids_limit", 1))

_GPU_KINDS: Final = ("allow_full_gpu", "gpu_unit")
_GPU_QUOTAS: Final = ("max_mig_instances", "max_mig_per_container", "max_gpu_equivalents")

_Path = tuple[str, ...]


def _too_small(subject: Subject, policy: Policy) -> Iterator[Problem]:
    """A limit of 0 means no limit to Docker, and is ignored by systemd."""
    for path, layer in _layers(policy):
        memory = layer.get("memory_bytes")
        if isinstance(memory, int) and memory < _LEAST_MEMORY:
            text = f"{path[-1]}: memory {format_size(memory)} is less than the 6M that Docker asks for"
            yield Problem(subject.value(*path, "memory"), text, "raise it, or write null for no limit")
        for name in _NOT_ZERO:
            aggregate = layer.get("aggregate")
            section = aggregate if name.startswith("aggregate.") else layer
            if isinstance(section, Mapping) and section.get(BY_NAME[name].field) == 0:
                text = f"{path[-1]}: {name.split('.')[-1]} 0 would not hold: a limit cannot be 0"
                yield Problem(subject.value(*path, *name.split(".")), text, "raise it, or write null for no limit")


def _high_above_max(subject: Subject, policy: Policy) -> Iterator[Problem]:
    for path, limits in _resolved(policy):
        high, most = limits.whole("aggregate.memory_high"), limits.whole("aggregate.memory_max")
        if high is None or most is None or high <= most:
            continue
        if _decided_here(path, limits, "aggregate.memory_high", "aggregate.memory_max"):
            text = f"{path[-1]}: memory_high {format_size(high)} is above memory_max {format_size(most)}"
            place = _place(subject, path, limits, "aggregate", "memory_high")
            yield Problem(place, text, "lower memory_high, or leave it out")


def _below_one_container(subject: Subject, policy: Policy) -> Iterator[Problem]:
    for path, limits in _resolved(policy):
        for key, factor, scale in _TOTALS:
            total, one = limits.whole(f"aggregate.{key}"), limits[factor].value
            if not total or not isinstance(one, (int, float)) or total >= one * scale:
                continue
            if _decided_here(path, limits, f"aggregate.{key}", factor):
                shown = format_value(BY_NAME[f"aggregate.{key}"], total)
                each = format_value(BY_NAME[factor], one)
                text = f"{path[-1]}: {key} {shown} over all containers is below one container's {factor} {each}"
                place = _place(subject, path, limits, "aggregate", key)
                yield Problem(place, text, f"raise aggregate.{key}, or lower {factor}")


def _tasks(subject: Subject, policy: Policy) -> Iterator[Problem]:
    for path, limits in _resolved(policy):
        total, one, count = (limits.whole(key) for key in ("aggregate.tasks_max", "pids_limit", "max_containers"))
        if total is None or one is None or not count or total == one * count:
            continue
        if _decided_here(path, limits, "aggregate.tasks_max"):
            text = f"{path[-1]}: tasks_max {total} is not pids_limit × max_containers = {one} × {count} = {one * count}"
            place = _place(subject, path, limits, "aggregate", "tasks_max")
            yield Problem(place, text, "check that this is meant", notice=True)


def _vacuous(subject: Subject, policy: Policy) -> Iterator[Problem]:
    memory, cpus = _host(policy)["memory_bytes"], policy.host_cpus
    for path, limits in _resolved(policy):
        quota, most = limits.whole("aggregate.cpu_quota"), limits.whole("aggregate.memory_max")
        if quota is not None and quota > cpus * 100 and _decided_here(path, limits, "aggregate.cpu_quota"):
            place, product = _origin(subject, policy, path, limits, "cpu_quota")
            text = f"{path[-1]}: cpu_quota is vacuous: {quota}% on {cpus} cores{product}"
            fix = f"it limits nothing, state aggregate.cpu_quota below {cpus * 100}%"
            yield Problem(place, text, fix, notice=True)
        if most is not None and most > memory and _decided_here(path, limits, "aggregate.memory_max"):
            place, product = _origin(subject, policy, path, limits, "memory_max")
            there = format_size(memory)
            text = f"{path[-1]}: memory_max is vacuous: {format_size(most)} on {there} of memory{product}"
            fix = f"it limits nothing, state aggregate.memory_max below {there}"
            yield Problem(place, text, fix, notice=True)
    for path, layer in _layers(policy):
        each = layer.get("max_cpus")
        if isinstance(each, (int, float)) and each > cpus:
            text = f"{path[-1]}: max_cpus is above the host's {cpus} cores, so {cpus} is applied"
            yield Problem(subject.value(*path, "max_cpus"), text, f"lower it to {cpus}", notice=True)


def _io(subject: Subject, policy: Policy) -> Iterator[Problem]:
    disks = _host(policy)["disks"]
    # A disk whose device was wrong has lost it by now; that is a problem of its own.
    deaf = [each["device"] for each in disks if "device" in each and each["scheduler"] != "bfq"]
    for path, limits in _resolved(policy):
        weight = limits.whole("aggregate.io_weight")
        if weight is not None and deaf and _decided_here(path, limits, "aggregate.io_weight"):
            text = f"{path[-1]}: io_weight has no effect on {', '.join(deaf)}: only the bfq scheduler heeds it"
            place = _place(subject, path, limits, "aggregate", "io_weight")
            yield Problem(place, text, "switch to bfq, or use io_*_bw_max", notice=True)
        limited = [f"io_{key}" for key in _IO_MAXIMA if limits[f"aggregate.io_{key}"].value]
        limited = [key for key in limited if _decided_here(path, limits, f"aggregate.{key}")]
        if limited and not disks:
            text = f"{path[-1]}: {', '.join(limited)} cannot hold: the host file names no disks"
            place = _place(subject, path, limits, "aggregate", limited[0])
            yield Problem(place, text, "list the data disks in the host file", notice=True)


def _gpus(subject: Subject, policy: Policy) -> Iterator[Problem]:
    if not _gpus_intact(subject):
        return
    gpus = _host(policy)["gpus"]
    profiles = sorted({profile for gpu in gpus for profile in gpu["mig"]})
    units = sum(len(gpu["mig"]) or 1 for gpu in gpus)
    profile = subject.section("gpu_allocation").get("mig_profile")
    if isinstance(profile, str) and profile not in profiles:
        there = f"it has {', '.join(profiles)}" if profiles else "none of its GPUs is split"
        text = f"host {subject.host} has no MIG instance of profile {profile} ({there})"
        yield Problem(subject.value("gpu_allocation", "mig_profile"), text, "correct it, or the host file's gpus")
    maxima = {"max_mig_instances": units, "max_mig_per_container": units, "max_gpu_equivalents": len(gpus)}
    for path, layer in _layers(policy):
        for key, most in maxima.items():
            value = layer.get(key)
            if isinstance(value, (int, float)) and value > most:
                text = f"{path[-1]}: {key} {format_number(value)} is above the {most} that host {subject.host} has"
                fix = "lower it, write null for no limit, or correct the host file's gpus"
                yield Problem(subject.value(*path, key), text, fix)


def _no_gpu(subject: Subject, policy: Policy) -> Iterator[Problem]:
    """A quota of GPUs of which its holder may have none.

    With gpu_unit mig and allow_full_gpu true a whole GPU can still be asked for by name, so that is no fault.
    """
    gpus = _host(policy)["gpus"]
    if not gpus or not _gpus_intact(subject):
        return
    split = any(gpu["mig"] for gpu in gpus)
    mig = split and subject.section("gpu_allocation").get("enable_mig") is not False
    whole = any(not gpu["mig"] for gpu in gpus)
    for path, limits in _resolved(policy):
        full, allowed = limits["gpu_unit"].value == "full", limits["allow_full_gpu"].value is True
        if (mig and not full) or (whole and allowed) or any(limits[key].value == 0 for key in _GPU_QUOTAS):
            continue
        if _decided_here(path, limits, *_GPU_KINDS, *_GPU_QUOTAS) and _intact(subject, path, limits):
            no_mig = "enable_mig is false" if split else f"host {subject.host} has no MIG instances"
            no_whole = f"all GPUs of host {subject.host} are split" if allowed else "allow_full_gpu is false"
            text = f"{path[-1]}: can hold no GPU: {'gpu_unit is full' if full else no_mig} and {no_whole}"
            fix = f"set {_way_out(full=full, mig=mig, whole=whole)}, or max_mig_instances: 0"
            yield Problem(_kind_place(subject, path, limits), text, fix, notice=True)


def _way_out(*, full: bool, mig: bool, whole: bool) -> str:
    if whole:
        return "allow_full_gpu: true" if full else "allow_full_gpu: true with gpu_unit: any"
    if mig:
        return "gpu_unit: mig"
    return "gpu_allocation.enable_mig: true" + (" with gpu_unit: mig" if full else "")


def _kind_place(subject: Subject, path: _Path, limits: ResolvedLimits) -> Place:
    places = (_place(subject, path, limits, key) for key in _GPU_KINDS)
    return next((place for place in places if place != subject.key(*path)), subject.key(*path))


def _intact(subject: Subject, path: _Path, limits: ResolvedLimits) -> bool:
    layers = (path, ("groups", limits.group), ("defaults",))
    return all(subject.intact(*layer, key) for layer in layers for key in (*_GPU_KINDS, *_GPU_QUOTAS))


def _gpus_intact(subject: Subject) -> bool:
    """Whether the host file's GPUs are right by the schema."""
    file = subject.documents.hosts[subject.host]
    return None not in subject.host_section("gpus") and (("gpus",) not in file.keys or "gpus" in file.data)


def _reserves(subject: Subject, policy: Policy) -> Iterator[Problem]:
    host, file = _host(policy), subject.documents.hosts[subject.host]
    if host["cpus"] - host["reserve_cpus"] < 0.01:  # noqa: PLR2004 - one percent of a CPU, the least systemd takes
        place = file.value_place(("reserve_cpus",))
        yield Problem(place, f"reserve_cpus leaves nothing of {host['cpus']} CPUs for users", "lower it")
    if host["reserve_memory_bytes"] >= host["memory_bytes"]:
        text = f"reserve_memory leaves nothing of {format_size(host['memory_bytes'])} for users"
        yield Problem(file.value_place(("reserve_memory",)), text, "lower it")


def _host(policy: Policy) -> Mapping[str, Any]:
    host = policy.document["host"]
    return host if isinstance(host, dict) else {}


def _layers(policy: Policy) -> Iterator[tuple[_Path, Layer]]:
    """Yield every layer in canonical units, with its path in the policy file."""
    yield ("defaults",), policy.defaults
    for name, group in policy.groups.items():
        yield ("groups", name), group.limits
    for name, override in policy.overrides.items():
        yield ("user_overrides", name), override


def _resolved(policy: Policy) -> Iterator[tuple[_Path, ResolvedLimits]]:
    """Yield each group and each overridden account with what holds for it."""
    for group in policy.groups:
        yield ("groups", group), resolve_group(policy, group)
    for account in policy.overrides:
        if account in policy.users:
            yield ("user_overrides", account), resolve(policy, account)


def _decided_here(path: _Path, limits: ResolvedLimits, *keys: str) -> bool:
    """Whether an account's own override decided one of these; what its group decided is told once, for the group."""
    return path[0] == "groups" or any(limits[key].rank == 0 for key in keys)


def _place(subject: Subject, path: _Path, limits: ResolvedLimits, *key: str) -> Place:
    """Return where the layer that states a limit does so, or else the account's or group's own key."""
    for layer in (path, ("groups", limits.group), ("defaults",)):
        if subject.written(*layer, *key):
            return subject.value(*layer, *key)
    return subject.key(*path)


def _origin(subject: Subject, policy: Policy, path: _Path, limits: ResolvedLimits, key: str) -> tuple[Place, str]:
    """Return where an aggregate is stated; or whose it is, and in parentheses what it is the product of."""
    value = limits[f"aggregate.{key}"]
    if any(origin == value.origin for origin, _ in stated(policy, limits, f"aggregate.{key}")):
        return _place(subject, path, limits, "aggregate", key), ""
    return subject.key(*path), f" ({value.origin.rpartition(': ')[2]})"


CHECKS: Final[tuple[Callable[[Subject, Policy], Iterator[Problem]], ...]] = (
    _too_small,
    _high_above_max,
    _below_one_container,
    _tasks,
    _vacuous,
    _io,
    _gpus,
    _no_gpu,
    _reserves,
)
