"""What the templates are given: every unit with its directives, computed. Pure; templates only lay it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ds01.core import names
from ds01.core.limits import ResolvedLimits, resolve_group, resolve_listed
from ds01.core.policy import Policy
from ds01.core.units import format_number, format_rate, format_size

# Share of the machine's tasks that users may have together: a fork bomb must leave room for a login.
_TASKS_SHARE: Final = "90%"
_IO_DIRECTIVES: Final = (
    ("io_read_bw_max", "IOReadBandwidthMax", format_rate),
    ("io_write_bw_max", "IOWriteBandwidthMax", format_rate),
    ("io_read_iops_max", "IOReadIOPSMax", str),
    ("io_write_iops_max", "IOWriteIOPSMax", str),
)
# Each of the jobs of `ds01 lifecycle`, with what it is for; policies.schedule has a key for each.
JOBS: Final[Mapping[str, str]] = {
    "idle": "Stop what has done nothing for longer than its account's idle_timeout.",
    "max-runtime": "Stop what has run for longer than its account's max_runtime.",
    "stale-gpu": "Take back GPUs of containers that stopped gpu_hold_after_stop ago, or are gone.",
    "stale-containers": "Remove what stopped container_hold_after_stop ago; volumes stay.",
    "unmanaged": "Look for containers that came past DS01; after unmanaged_grace they are stopped.",
}
# Stopping containers one after the other takes each its sigterm_grace. Half an hour lies between two runs of a job.
_LONGEST_JOB_SECONDS: Final = 1500
# Engine versions from which daemon.json may have a key; an unknown one keeps the daemon down.
_ENTITLEMENTS: Final = (
    ("network-host", (19, 3)),
    ("security-insecure", (19, 3)),
    ("device", (28, 0)),
)


@dataclass(frozen=True, slots=True)
class Directive:
    """One line of a unit's [Slice] section. An empty value resets what a more general file set."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SliceUnit:
    """A slice or a drop-in for one.

    Attributes:
        group: safe form of the group's name, as in the slice's name; empty outside groups.
        user: safe form of the account's name; empty for whole groups.
        account: the account's own name, None for whole groups.
        note: one comment line that says whose limits these are and where they come from.
    """

    slice_name: str
    description: str
    group: str
    user: str
    account: str | None
    note: str
    directives: tuple[Directive, ...]


@dataclass(frozen=True, slots=True)
class Wrapper:
    """What the docker command must know before it asks anybody.

    Attributes:
        gateway: whether the host has one, so that the command is for comfort only.
        only_own: whether lists show an account's own containers alone.
        admins: accounts that see all, in order.
        admin_group: Linux group whose members do, too.
        contact: whom to tell that something is out of order.
    """

    gateway: bool
    only_own: bool
    admins: tuple[str, ...]
    admin_group: str
    contact: str


@dataclass(frozen=True, slots=True)
class Job:
    """One line of cron's file.

    Attributes:
        name: as `ds01 lifecycle` calls it.
        times: cron's five fields.
        limit_seconds: how long it may take.
    """

    name: str
    purpose: str
    times: str
    limit_seconds: int


@dataclass(frozen=True, slots=True)
class Model:
    """Everything a template may ask for.

    Attributes:
        root, other, build: DS01's own slices.
        groups: one slice a group.
        limited_groups: the drop-ins that hold for every account of a limited group, listed or not.
        limited_users: one drop-in for each listed account that is limited, or that a limited group would limit.
        daemon: DS01's keys of daemon.json.
        wrapper: what stands before the docker client.
        jobs: what cron starts, in the order in which people read it.
        lifts_memory_high: whether the sampler may write to control groups, to end what is stuck above memory_high.
        document: the compiled policy.
    """

    host: str
    root: SliceUnit
    other: SliceUnit
    build: SliceUnit
    groups: tuple[SliceUnit, ...]
    limited_groups: tuple[SliceUnit, ...]
    limited_users: tuple[SliceUnit, ...]
    daemon: Mapping[str, Any]
    wrapper: Wrapper
    jobs: tuple[Job, ...]
    lifts_memory_high: bool
    document: Mapping[str, Any]
    switches: frozenset[str]


def make_model(document: Mapping[str, Any]) -> Model:
    """Compute every unit from the compiled policy.

    Args:
        document: what compile_policy() returned, valid by its schema.
    """
    policy = Policy.from_document(document)
    host = document["host"]
    devices = [disk["device"] for disk in host["disks"]]
    by_group = {group: resolve_group(policy, group) for group in policy.groups}
    limited = {group for group, limits in by_group.items() if limits.has_aggregate}
    default = by_group[policy.default_group]
    return Model(
        host=host["name"],
        root=_root_slice(host),
        other=_shared_slice("other", "containers that reach the daemon without a parent", default, devices),
        build=_shared_slice("build", "image builds", default, devices),
        groups=tuple(_group_slice(group, by_group[group]) for group in sorted(policy.groups)),
        limited_groups=tuple(_prefix(group, by_group[group], devices) for group in sorted(limited)),
        limited_users=tuple(
            _user(limits, policy.overrides.get(limits.account or ""), devices)
            for limits in resolve_listed(policy)
            if limits.has_aggregate or limits.group in limited
        ),
        daemon=daemon_keys(host["engine_version"]),
        wrapper=_wrapper(policy, document),
        jobs=_jobs(document),
        lifts_memory_high=_lifts_memory_high(document),
        document=document,
        switches=_switches(policy, document),
    )


def _jobs(document: Mapping[str, Any]) -> tuple[Job, ...]:
    schedule = document["policies"]["schedule"]
    return tuple(
        Job(name, purpose, schedule[name.replace("-", "_")], _LONGEST_JOB_SECONDS) for name, purpose in JOBS.items()
    )


def _lifts_memory_high(document: Mapping[str, Any]) -> bool:
    rule, stall = document["enforcement"]["rules"]["pressure"], document["pressure"]["stall"]
    return (rule, stall) == ("enforce", "release")


def _switches(policy: Policy, document: Mapping[str, Any]) -> frozenset[str]:
    on = {"aggregate_limits": policy.aggregate_limits, "no_gateway": document["enforcement"]["gateway"] == "off"}
    return frozenset(name for name, value in on.items() if value)


def _wrapper(policy: Policy, document: Mapping[str, Any]) -> Wrapper:
    access = document["access_control"]
    listed = {account for account, group in policy.users.items() if group == names.ADMIN_GROUP}
    return Wrapper(
        gateway=document["enforcement"]["gateway"] != "off",
        only_own=document["enforcement"]["rules"]["ownership"] == "enforce",
        admins=tuple(sorted(listed | set(access["admin_users"]))),
        admin_group=access["admin_group"],
        contact=document["host"]["contact"],
    )


def daemon_keys(engine_version: str) -> dict[str, Any]:
    """Return DS01's keys of daemon.json for an engine.

    Source: dockerd(8); moby daemon/config for the versions that know a key.
    """
    version = tuple(int(part) for part in engine_version.split("."))
    known = {key: False for key, since in _ENTITLEMENTS if version >= since}
    keys: dict[str, Any] = {
        "cgroup-parent": names.OTHER_SLICE,
        "exec-opts": ["native.cgroupdriver=systemd"],
        "live-restore": True,
    }
    if known:
        keys["builder"] = {"entitlements": known}
    return keys


def _root_slice(host: Mapping[str, Any]) -> SliceUnit:
    cpus = host["cpus"] - host["reserve_cpus"]
    memory = host["memory_bytes"] - host["reserve_memory_bytes"]
    reserved = f"{format_number(host['reserve_cpus'])} CPUs and {format_size(host['reserve_memory_bytes'])}"
    return SliceUnit(
        slice_name=names.ROOT_SLICE,
        description="DS01: all users' containers",
        group="",
        user="",
        account=None,
        note=f"The whole machine less the {reserved} kept for ssh, Docker and monitoring.",
        directives=(
            Directive("CPUQuota", f"{int(cpus * 100)}%"),
            Directive("MemoryMax", format_size(memory)),
            Directive("MemorySwapMax", "0"),
            Directive("TasksMax", _TASKS_SHARE),
        ),
    )


def _shared_slice(name: str, what: str, default: ResolvedLimits, devices: Sequence[str]) -> SliceUnit:
    return SliceUnit(
        slice_name=f"ds01-{name}.slice",
        description=f"DS01: {what}",
        group=name,
        user="",
        account=None,
        note=f"As much, all together, as one account of the default group {default.group} may use.",
        directives=_directives(default, devices),
    )


def _group_slice(group: str, limits: ResolvedLimits) -> SliceUnit:
    weight = limits.whole("priority")
    return SliceUnit(
        slice_name=limits.slice_name,
        description=f"DS01: containers of group {group}",
        group=names.safe(group),
        user="",
        account=None,
        note="Accounts are limited one level below; here is only the group's weight against other groups.",
        directives=(Directive("CPUWeight", str(weight)),),
    )


def _prefix(group: str, limits: ResolvedLimits, devices: Sequence[str]) -> SliceUnit:
    return SliceUnit(
        slice_name=f"ds01-{names.safe(group)}-.slice",
        description="",
        group=names.safe(group),
        user="",
        account=None,
        note=f"Every account of group {group} that has no file of its own, listed or not.",
        directives=_directives(limits, devices),
    )


def _user(limits: ResolvedLimits, override: Mapping[str, object] | None, devices: Sequence[str]) -> SliceUnit:
    account = limits.account or ""
    own = ", with limits of its own (user_overrides)" if override else ""
    return SliceUnit(
        slice_name=limits.slice_name,
        description="",
        group=names.safe(limits.group),
        user=names.user_part(account),
        account=account,
        note=f"Account {account}, group {limits.group}{own}.",
        directives=_directives(limits, devices),
    )


def _directives(limits: ResolvedLimits, devices: Sequence[str]) -> tuple[Directive, ...]:
    """Return an account's lines. What is unlimited is said too, since the file may replace a more general one."""
    quota, most, high, tasks = (
        limits.whole(f"aggregate.{key}") for key in ("cpu_quota", "memory_max", "memory_high", "tasks_max")
    )
    lines = [
        Directive("CPUQuota", "" if quota is None else f"{quota}%"),
        Directive("CPUWeight", str(limits.whole("priority"))),
        Directive("MemoryMax", "infinity" if most is None else format_size(most)),
        Directive("MemoryHigh", "infinity" if high is None else format_size(high)),
        Directive("MemorySwapMax", "0"),
        Directive("TasksMax", "infinity" if tasks is None else str(tasks)),
    ]
    weight = limits.whole("aggregate.io_weight")
    if weight is not None:
        lines.append(Directive("IOWeight", str(weight)))
    for key, name, show in _IO_DIRECTIVES:
        maximum = limits.whole(f"aggregate.{key}")
        if maximum is not None:
            lines += [Directive(name, f"{device} {show(maximum)}") for device in devices]
    return tuple(lines)
