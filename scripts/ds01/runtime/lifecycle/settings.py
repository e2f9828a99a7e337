"""What the policy says of lifecycle, and which times hold for a container. Pure: the compiled policy in, values out."""

from __future__ import annotations

from collections.abc import Mapping

from ds01.core.labels import ContainerType
from ds01.core.limits import ResolvedLimits
from ds01.core.policy import Policy, PolicyError
from ds01.core.rules import Mode, mode_of
from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.lifecycle.decision import LifecycleRule, Times

# Between stop signal and SIGKILL, where nothing states it; as core/limits.py has it.
_GRACE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Account:
    """What the rules need to know of an account.

    Attributes:
        is_admin: what nothing limits for an administrator, a type of container does not limit either.
    """

    times: Times
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class TypeTimes:
    """What the policy says of one type of container, in seconds; None is nothing stricter than its account's."""

    idle_timeout: float | None = None
    max_runtime: float | None = None
    sigterm_grace: float | None = None
    exempt_idle: bool = False


@dataclass(frozen=True, slots=True)
class LifecycleRules:
    """Everything the policy says of lifecycle but the limits of accounts.

    Attributes:
        high_demand_threshold: share of the units that are allocated.
        high_demand_factor: what idle_timeout is multiplied by then.
        idle_cpu_percent: of one CPU.
        idle_network: bytes per second, both ways.
        idle_window: checks in a row.
        runtime_warnings: shares of max_runtime, ascending.
        unmanaged_whitelist: names and ids.
        contact: whom accounts may ask.
    """

    modes: Mapping[LifecycleRule, Mode]
    types: Mapping[ContainerType, TypeTimes]
    high_demand_threshold: float
    high_demand_factor: float
    idle_gpu_percent: float
    idle_cpu_percent: float
    idle_network: float
    idle_window: int
    start_grace_seconds: float
    keep_alive_max_seconds: float
    runtime_warnings: tuple[float, ...]
    unmanaged_grace_seconds: float
    unmanaged_whitelist: frozenset[str]
    never_started_hold_seconds: float
    contact: str

    def mode(self, rule: LifecycleRule) -> Mode:
        """Return whether a rule acts, only says what it would do, or is silent."""
        return self.modes[rule]

    def times(self, account: Account, container_type: ContainerType) -> Times:
        """Return what holds for a container: its account's times, or its type's where they are stricter."""
        own, stricter = account.times, self.types.get(container_type, TypeTimes())
        grace = stricter.sigterm_grace
        return replace(
            own,
            idle_timeout=None if stricter.exempt_idle else _least(account, own.idle_timeout, stricter.idle_timeout),
            max_runtime=_least(account, own.max_runtime, stricter.max_runtime),
            sigterm_grace=own.sigterm_grace if grace is None else min(own.sigterm_grace, grace),
        )


def account_times(limits: ResolvedLimits) -> Times:
    """Return the times that an account's containers have."""
    grace = limits.whole("sigterm_grace")
    return Times(
        idle_timeout=limits.whole("idle_timeout"),
        max_runtime=limits.whole("max_runtime"),
        gpu_hold=limits.whole("gpu_hold_after_stop"),
        container_hold=limits.whole("container_hold_after_stop"),
        sigterm_grace=_GRACE_SECONDS if grace is None else grace,
    )


def read_rules(policy: Policy) -> LifecycleRules:
    """Take the rules out of the compiled policy.

    Raises:
        PolicyError: something is missing, or not of its kind; names it.
    """
    enforcement = _section(policy.document, "enforcement")
    modes = _section(enforcement, "rules")
    policies = _section(policy.document, "policies")
    return LifecycleRules(
        modes={rule: mode_of(modes.get(rule.value), f"enforcement.rules.{rule.value}") for rule in LifecycleRule},
        types=_types(_section(policy.document, "container_types")),
        high_demand_threshold=_number(policies, "high_demand_threshold"),
        high_demand_factor=_number(policies, "high_demand_idle_reduction"),
        idle_gpu_percent=_number(policies, "idle_gpu_percent"),
        idle_cpu_percent=_number(policies, "idle_cpu_percent"),
        idle_network=_number(policies, "idle_network_bytes_per_second"),
        idle_window=int(_number(policies, "idle_window")),
        start_grace_seconds=_number(policies, "start_grace_seconds"),
        keep_alive_max_seconds=_number(policies, "keep_alive_max_seconds"),
        runtime_warnings=tuple(sorted(_shares(policies.get("runtime_warnings")))),
        unmanaged_grace_seconds=_number(policies, "unmanaged_grace_seconds"),
        unmanaged_whitelist=frozenset(map(str, _list(policies, "unmanaged_whitelist"))),
        never_started_hold_seconds=_number(policies, "never_started_hold_seconds"),
        contact=_text(_section(policy.document, "host"), "contact"),
    )


def _types(section: Mapping[str, object]) -> Mapping[ContainerType, TypeTimes]:
    found = {}
    for kind in ContainerType:
        if kind.value in section:
            stated = _section(section, kind.value)
            found[kind] = TypeTimes(
                idle_timeout=_seconds(stated, "idle_timeout_seconds"),
                max_runtime=_seconds(stated, "max_runtime_seconds"),
                sigterm_grace=_seconds(stated, "sigterm_grace_seconds"),
                exempt_idle=stated.get("exempt_idle") is True,
            )
    return found


def _least(account: Account, own: float | None, stricter: float | None) -> float | None:
    if own is None and account.is_admin:
        return None
    stated = [each for each in (own, stricter) if each is not None]
    return min(stated) if stated else None


def _section(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = document.get(name)
    if not isinstance(section, dict):
        raise _incomplete(name, section)
    return section


def _list(section: Mapping[str, object], name: str) -> list[object]:
    value = section.get(name)
    if not isinstance(value, list):
        raise _incomplete(name, value)
    return value


def _text(section: Mapping[str, object], name: str) -> str:
    value = section.get(name)
    if not isinstance(value, str):
        raise _incomplete(name, value)
    return value


def _number(section: Mapping[str, object], name: str) -> float:
    value = section.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _incomplete(name, value)
    return value


def _seconds(section: Mapping[str, object], name: str) -> float | None:
    """Return a time that may be absent or null, both of which state nothing."""
    return None if section.get(name) is None else _number(section, name)


def _shares(value: object) -> list[float]:
    if not isinstance(value, list) or not all(isinstance(each, float) and 0 < each < 1 for each in value):
        raise _incomplete("runtime_warnings", value)
    return value


def _incomplete(name: str, value: object) -> PolicyError:
    return PolicyError(f"the compiled policy says {value!r} for {name}", None, "deploy again")
