"""The only resolver: which limits hold for an account, and where each one comes from.

Pure. Used when the tree is rendered and again on the host, so that both always agree. Precedence for each key:
user_overrides, then group, then defaults, then built-in; an absent key is inherited, None is unlimited. An aggregate
that nobody states is computed; one that is stated holds until an override changes what it is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum

from ds01.core import names
from ds01.core.errors import Ds01Error
from ds01.core.policy import Layer, Policy
from ds01.core.typed import Final
from ds01.core.units import (
    MOST,
    MOST_PERCENT,
    exact,
    format_duration,
    format_number,
    format_rate,
    format_size,
    ninety_percent,
)
from ds01.core.value import dataclass, replace

Value = int | float | bool | str | None


class Kind(Enum):
    """What a limit measures."""

    COUNT = "count"
    NUMBER = "number"
    FLAG = "flag"
    CHOICE = "choice"
    SIZE = "bytes"
    DURATION = "seconds"
    PERCENT = "percent"
    RATE = "bytes_per_second"


_WITH_UNIT: Final = frozenset({Kind.SIZE, Kind.DURATION, Kind.PERCENT, Kind.RATE})


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that can be limited.

    Attributes:
        key: as in resource-limits.yaml; the part behind `aggregate.` for aggregates.
        label: as in the sheet that people read.
        builtin: what holds when no layer says anything.
    """

    key: str
    kind: Kind
    label: str
    builtin: Value = None
    aggregate: bool = False

    @property
    def name(self) -> str:
        """Full key, such as `memory` or `aggregate.memory_max`."""
        return f"aggregate.{self.key}" if self.aggregate else self.key

    @property
    def field(self) -> str:
        """Name in JSON, ending in its unit: `memory_bytes`."""
        return f"{self.key}_{self.kind.value}" if self.kind in _WITH_UNIT else self.key


LIMITS: Final = (
    Limit("priority", Kind.COUNT, "Priority", builtin=10),
    Limit("max_mig_instances", Kind.COUNT, "Max MIG Instances"),
    Limit("max_mig_per_container", Kind.COUNT, "Max MIG Per Container"),
    Limit("gpu_unit", Kind.CHOICE, "GPU Unit", builtin="mig"),
    Limit("allow_full_gpu", Kind.FLAG, "Allow Full GPU", builtin=False),
    Limit("max_gpu_equivalents", Kind.NUMBER, "Max GPU Equivalents"),
    Limit("max_cpus", Kind.NUMBER, "Max CPUs"),
    Limit("memory", Kind.SIZE, "Memory"),
    Limit("shm_size", Kind.SIZE, "Shared Memory"),
    Limit("ipc_mode", Kind.CHOICE, "IPC Mode", builtin="private"),
    Limit("pids_limit", Kind.COUNT, "Max Processes"),
    Limit("max_containers", Kind.COUNT, "Max Containers"),
    Limit("idle_timeout", Kind.DURATION, "Idle Timeout"),
    Limit("max_runtime", Kind.DURATION, "Max Runtime"),
    Limit("gpu_hold_after_stop", Kind.DURATION, "GPU Hold After Stop"),
    Limit("container_hold_after_stop", Kind.DURATION, "Container Hold After Stop"),
    Limit("sigterm_grace", Kind.DURATION, "SIGTERM Grace", builtin=60),
)
AGGREGATES: Final = tuple(
    Limit(key, kind, label, aggregate=True)
    for key, kind, label in (
        ("cpu_quota", Kind.PERCENT, "CPU Quota"),
        ("memory_max", Kind.SIZE, "Memory Max"),
        ("memory_high", Kind.SIZE, "Memory High"),
        ("tasks_max", Kind.COUNT, "Tasks Max"),
        ("io_weight", Kind.COUNT, "IO Weight"),
        ("io_read_bw_max", Kind.RATE, "IO Read Bandwidth"),
        ("io_write_bw_max", Kind.RATE, "IO Write Bandwidth"),
        ("io_read_iops_max", Kind.COUNT, "IO Read IOPS"),
        ("io_write_iops_max", Kind.COUNT, "IO Write IOPS"),
    )
)
BY_NAME: Final = {limit.name: limit for limit in (*LIMITS, *AGGREGATES)}
# Which per-container limit, times max_containers, makes an aggregate that nobody states.
_FACTOR: Final = {"cpu_quota": "max_cpus", "memory_max": "memory", "tasks_max": "pids_limit"}


# Stands for the uid in the slice's name of an account that this machine does not know.
_UNKNOWN_UID: Final = "UID"


class UnknownGroupError(Ds01Error):
    """A group that the policy does not have; callers refuse, they never fall back."""


@dataclass(frozen=True, slots=True)
class LimitValue:
    """A resolved limit.

    Attributes:
        value: in the unit of the limit's kind; None is unlimited.
        origin: in words: `user:alice`, `group:student`, `default`, `built-in`, or how it was computed.
        rank: how strong the layer is that decided: 0 user, 1 group, 2 defaults, 3 built-in.
    """

    value: Value
    origin: str
    rank: int


@dataclass(frozen=True, slots=True)
class ResolvedLimits:
    """All limits of one account.

    Attributes:
        account: None when only a group was asked about.
        listed: whether the account is in the inventory.
        slice_name: the account's systemd slice; the group's when account is None.
    """

    account: str | None
    group: str
    listed: bool
    slice_name: names.SliceName
    values: Mapping[str, LimitValue]

    def __getitem__(self, name: str) -> LimitValue:
        return self.values[name]

    def whole(self, name: str) -> int | None:
        """Return a count, size, duration, percentage or rate; None is unlimited."""
        value = self.values[name].value
        return None if value is None else int(value)

    @property
    def has_aggregate(self) -> bool:
        """Whether anything at all is capped over all containers of the account."""
        return any(self.values[limit.name].value is not None for limit in AGGREGATES)


@dataclass(frozen=True, slots=True)
class _Stack:
    """The layers that hold for one account, strongest first, with their names."""

    layers: tuple[tuple[str, Layer], ...]
    group: str

    def find(self, field: str, builtin: Value) -> LimitValue:
        for rank, (origin, layer) in enumerate(self.layers):
            if field in layer:
                return LimitValue(_plain(layer[field]), origin, rank)
        return LimitValue(builtin, "built-in", len(self.layers))

    def aggregate(self, field: str) -> LimitValue | None:
        """Return what a layer states for an aggregate, or None when nobody does."""
        for rank, (origin, layer) in enumerate(self.layers):
            section = layer.get("aggregate", {})
            if section is None:
                return LimitValue(None, origin, rank)
            if isinstance(section, Mapping) and field in section:
                return LimitValue(_plain(section[field]), origin, rank)
            if origin == f"group:{names.ADMIN_GROUP}" and field != "memory_high_bytes":
                return LimitValue(None, f"{origin} has no aggregate", rank)
        return None

    def without_user(self) -> _Stack:
        """Return what holds for the rest of the account's group; ranks stay."""
        return _Stack((("user", {}), *self.layers[1:]), self.group)


def group_of(policy: Policy, account: str, unix_groups: Sequence[str] = ()) -> str:
    """Return the account's group: where it is listed, else by its Linux groups, else the default group.

    Of several groups with a matching unix_group the first in the policy counts.
    """
    listed = policy.users.get(account)
    if listed is not None:
        return listed
    return next((g.name for g in policy.groups.values() if g.unix_group in unix_groups), policy.default_group)


def resolve(policy: Policy, account: str, *, uid: int | None = None, unix_groups: Sequence[str] = ()) -> ResolvedLimits:
    """Decide one account's limits, and remember where each came from.

    Args:
        uid: needed for an unlisted account's slice name when the plain name could be somebody else's; None when the
            account does not exist on this machine.
        unix_groups: Linux groups of the account; only read when it is not listed.

    Raises:
        names.BadNameError: the name has a character that DS01 refuses.
    """
    listed = account in policy.users
    group = group_of(policy, account, unix_groups)
    taken = () if listed else {names.safe(name).lower() for name in policy.users}
    part = names.user_part(account, uid=None if listed else _UNKNOWN_UID if uid is None else uid, listed=taken)
    layers = ((f"user:{account}", policy.overrides.get(account, {})), *_group_layers(policy, group))
    values = _resolve_layers(policy, _Stack(layers, group))
    return ResolvedLimits(account, group, listed, names.user_slice(group, part), values)


def resolve_listed(policy: Policy) -> Iterator[ResolvedLimits]:
    """Yield what holds for every listed account; those without an override share their group's values."""
    shared = {group: resolve_group(policy, group) for group in policy.groups}
    for account, group in policy.users.items():
        if account in policy.overrides:
            yield resolve(policy, account)
        else:
            slice_name = names.user_slice(group, names.user_part(account))
            yield replace(shared[group], account=account, slice_name=slice_name)


def resolve_group(policy: Policy, group: str) -> ResolvedLimits:
    """Decide what holds for every account of a group that has no override.

    Raises:
        UnknownGroupError: the policy has no such group.
    """
    if group not in policy.groups:
        known = ", ".join(policy.groups)
        raise UnknownGroupError(f"there is no group {group!r}", None, f"the policy has: {known}")
    stack = _Stack((("user", {}), *_group_layers(policy, group)), group)
    values = _resolve_layers(policy, stack)
    return ResolvedLimits(account=None, group=group, listed=True, slice_name=names.group_slice(group), values=values)


def stated(policy: Policy, resolved: ResolvedLimits, name: str) -> tuple[tuple[str, Value], ...]:
    """Return what each layer itself says about a limit, strongest first; layers that are silent are left out.

    Raises:
        KeyError: no such limit.
    """
    limit = BY_NAME[name]
    layers: Iterable[tuple[str, Layer]] = _group_layers(policy, resolved.group)
    if resolved.account is not None:
        layers = ((f"user:{resolved.account}", policy.overrides.get(resolved.account, {})), *layers)
    found: list[tuple[str, Value]] = []
    for origin, layer in layers:
        section = layer.get("aggregate", {}) if limit.aggregate else layer
        if section is None:
            found.append((origin, None))
        elif isinstance(section, Mapping) and limit.field in section:
            found.append((origin, _plain(section[limit.field])))
    return tuple(found)


def format_value(limit: Limit, value: Value) -> str:
    """Return a limit's value as people write it in the policy; None is `unlimited`."""
    if value is None:
        return "unlimited"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    match limit.kind:
        case Kind.SIZE:
            return format_size(int(value))
        case Kind.DURATION:
            return format_duration(int(value))
        case Kind.PERCENT:
            return f"{value}%"
        case Kind.RATE:
            return format_rate(int(value))
        case _:
            return format_number(value)


def _group_layers(policy: Policy, group: str) -> tuple[tuple[str, Layer], ...]:
    return ((f"group:{group}", policy.groups[group].limits), ("default", policy.defaults))


def _resolve_layers(policy: Policy, stack: _Stack) -> dict[str, LimitValue]:
    values = {limit.name: stack.find(limit.field, limit.builtin) for limit in LIMITS}
    values["max_cpus"] = _within_host(values["max_cpus"], policy.host_cpus)
    values |= _one_of_ipc_and_shm(values["ipc_mode"], values["shm_size"])
    for limit in AGGREGATES:
        if not policy.aggregate_limits:
            values[limit.name] = LimitValue(None, "enforcement.aggregate_limits is off", 0)
        elif limit.key == "memory_high":
            values[limit.name] = _memory_high(stack, values["aggregate.memory_max"])
        else:
            values[limit.name] = _aggregate(stack, limit)
    return values


def _within_host(cpus: LimitValue, host_cpus: int) -> LimitValue:
    """Docker refuses `--cpus` above the engine's count, so the smaller of the two is what can be applied."""
    if isinstance(cpus.value, (int, float)) and cpus.value > host_cpus:
        stated_cpus = format_number(cpus.value)
        return LimitValue(host_cpus, f"{cpus.origin} ({stated_cpus}, capped at the host's {host_cpus})", cpus.rank)
    return cpus


def _one_of_ipc_and_shm(ipc: LimitValue, shm: LimitValue) -> dict[str, LimitValue]:
    """Docker takes `--ipc=host` or `--shm-size`, never both: the stronger layer decides which."""
    if ipc.value != "host":
        return {}
    if shm.rank < ipc.rank and shm.value is not None:
        return {"ipc_mode": LimitValue("private", f"{shm.origin} states shm_size instead", shm.rank)}
    return {"shm_size": LimitValue(None, f"{ipc.origin} shares the host's (ipc_mode: host)", ipc.rank)}


def _aggregate(stack: _Stack, limit: Limit) -> LimitValue:
    stated_value = stack.aggregate(limit.field)
    factor = _FACTOR.get(limit.key)
    if factor is None:
        return stated_value or LimitValue(None, "not configured", len(stack.layers))
    inputs = tuple(stack.find(BY_NAME[key].field, BY_NAME[key].builtin) for key in (factor, "max_containers"))
    changed = [each for each in inputs if each.rank == 0]
    if stated_value is not None and (stated_value.rank == 0 or stated_value.value is None or not changed):
        return stated_value
    if changed and any(each.value is None for each in inputs):
        # Nothing to multiply with. Only `aggregate:` itself lifts what an account may use in all.
        rest = _aggregate(stack.without_user(), limit)
        return LimitValue(rest.value, f"{rest.origin} ({changed[0].origin} does not change it)", rest.rank)
    return _product(limit, BY_NAME[factor], inputs[0], inputs[1])


def _product(limit: Limit, factor: Limit, one: LimitValue, count: LimitValue) -> LimitValue:
    rank = min(one.rank, count.rank)
    origin = one.origin if one.rank == rank else count.origin
    if not isinstance(one.value, (int, float)) or not isinstance(count.value, (int, float)):
        return LimitValue(None, f"{origin}: no limit a container, so none over all", rank)
    percent = limit.kind is Kind.PERCENT
    # Who may have no container at all still has a slice, whose limits cannot be 0.
    factor_exactly = one.value if isinstance(one.value, int) else exact(one.value)
    total = factor_exactly * max(1, int(count.value)) * (100 if percent else 1)
    words = f"{format_value(factor, one.value)} {factor.key} × {format_number(count.value)} containers"
    return LimitValue(min(int(total), MOST_PERCENT if percent else MOST), f"{origin}: {words}", rank)


def _memory_high(stack: _Stack, memory_max: LimitValue) -> LimitValue:
    own = stack.aggregate("memory_high_bytes")
    # A weaker layer's value was meant for a weaker layer's memory_max.
    if own is not None and own.rank <= memory_max.rank:
        return own
    if memory_max.value is None:
        return LimitValue(None, memory_max.origin, memory_max.rank)
    return LimitValue(ninety_percent(int(memory_max.value)), "90% of memory_max", memory_max.rank)


def _plain(value: object) -> Value:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a limit cannot be {type(value).__name__}")
