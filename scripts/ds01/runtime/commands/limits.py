"""`ds01 limits`: the limits of an account, with where each comes from. Reads the compiled policy and nothing else.

Runs under any Python from 3.11 on with the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.limits import (
    AGGREGATES,
    BY_NAME,
    LIMITS,
    Kind,
    ResolvedLimits,
    format_value,
    stated,
)
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, PolicyError, read_policy
from ds01.core.typed import Final
from ds01.core.units import format_number, format_size
from ds01.runtime.accounts import limits_of

JSON_VERSION: Final = 1
_OTHERWISE: Final = ", or name one: --policy generated/<host>/root/etc/ds01/policy.json"
_SHEET: Final = (
    "priority",
    "max_mig_instances",
    "max_mig_per_container",
    "max_cpus",
    "memory",
    "shm_size",
    "pids_limit",
    "max_containers",
    "idle_timeout",
    "max_runtime",
    "gpu_hold_after_stop",
    "container_hold_after_stop",
)
# Single values that scripts ask for; the flag's name and the limit it prints.
_VALUES: Final = {
    "max-gpus": "max_mig_instances",
    "max-containers": "max_containers",
    "max-ram": "memory",
    "idle-timeout": "idle_timeout",
    "max-runtime": "max_runtime",
    "gpu-hold-time": "gpu_hold_after_stop",
    "container-hold-time": "container_hold_after_stop",
    "aggregate-gpu-limit": "max_mig_instances",
}
_LIFECYCLE: Final = (
    "idle_timeout",
    "max_runtime",
    "gpu_hold_after_stop",
    "container_hold_after_stop",
    "sigterm_grace",
)
_POLICIES: Final = {
    "high-demand-threshold": "high_demand_threshold",
    "high-demand-reduction": "high_demand_idle_reduction",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was asked for; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        print(_answer(options), flush=True)
    except Ds01Error as error:
        print(f"error: {error.render()}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ds01 limits",
        usage="ds01 limits [OPTION…] [NAME]",
        description="Show the limits of an account and where each comes from.",
        epilog="Without an account: the limits of the one who asks. Unlisted accounts get the default group.",
    )
    parser.add_argument("account", nargs="?", metavar="NAME", help="account, as in `id -un`")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="compiled policy (default: /etc/ds01/policy.json)")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="folder that stands for /")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="every limit with its value and origin, as one JSON object")
    what.add_argument("--aggregate", action="store_true", help="limits over all containers, as JSON; null when none")
    what.add_argument("--docker-args", action="store_true", help="options for docker run, one line")
    what.add_argument("--group", action="store_true", help="the account's group")
    what.add_argument(
        "--explain", metavar="KEY", choices=tuple(BY_NAME), help="how one limit came about, such as memory"
    )
    what.add_argument("--all-lifecycle", action="store_true", help="idle, run time and hold limits, as JSON")
    what.add_argument("--lifecycle-policies", action="store_true", help="thresholds of the lifecycle rules, as JSON")
    what.add_argument("--check-exemption", choices=("idle_timeout", "max_runtime"), help="prints exempt or enforced")
    for flag, name in _VALUES.items():
        what.add_argument(f"--{flag}", action="store_true", help=f"only {name}; unlimited when there is none")
    for flag, key in _POLICIES.items():
        what.add_argument(f"--{flag}", action="store_true", help=f"only policies.{key}")
    return parser


def _answer(options: argparse.Namespace) -> str:
    policy = read_policy(options.policy or HostPaths(options.root).policy, otherwise=_OTHERWISE)
    limits = limits_of(policy, _own_name() if options.account is None else options.account)
    if options.explain:
        return explain(policy, limits, options.explain)
    if options.check_exemption:
        return "exempt" if limits[options.check_exemption].value is None else "enforced"
    for flag, answer in _ANSWERS.items():
        if getattr(options, flag):
            return answer(policy, limits)
    for flag, name in _VALUES.items():
        if getattr(options, flag.replace("-", "_")):
            return format_value(BY_NAME[name], limits[name].value)
    for flag, key in _POLICIES.items():
        if getattr(options, flag.replace("-", "_")):
            return _policy_number(policy, key)
    return sheet(limits)


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise BadInputError(f"uid {os.getuid()} has no account name", None, "name an account") from error


def sheet(limits: ResolvedLimits) -> str:
    """Return the sheet that people read: one limit a line, aggregates behind a blank line."""
    group = limits.group if limits.listed else f"{limits.group} (not listed)"
    rows = [("User", str(limits.account)), ("Group", group)]
    rows += [(BY_NAME[name].label, format_value(BY_NAME[name], limits[name].value)) for name in _SHEET]
    lines = [f"{label}: {value}" for label, value in rows]
    totals = [limit for limit in AGGREGATES if limits[limit.name].value is not None]
    if totals:
        lines += ["", "Over all containers"]
        lines += [f"{limit.label}: {format_value(limit, limits[limit.name].value)}" for limit in totals]
    else:
        lines += ["", "Over all containers: unlimited"]
    return "\n".join(lines)


def explain(policy: Policy, limits: ResolvedLimits, name: str) -> str:
    """Return how one limit came about: the value, what decided, and what each layer says."""
    limit, value = BY_NAME[name], limits[name]
    lines = [f"{name} of {limits.account} is {format_value(limit, value.value)} ({value.origin})"]
    lines += [f"  {origin} says {format_value(limit, said)}" for origin, said in stated(policy, limits, name)]
    if limits.account not in policy.users:
        lines.append(f"  {limits.account} is not listed, so group {limits.group} holds")
    return "\n".join(lines)


def docker_args(limits: ResolvedLimits) -> str:
    """Return what `docker run` would be given; unlimited ones are left out."""
    args = []
    cpus, memory, shm, pids = (limits[name].value for name in ("max_cpus", "memory", "shm_size", "pids_limit"))
    if cpus is not None:
        args.append(f"--cpus={format_number(float(cpus))}")
    if memory is not None:
        args += [f"--memory={_docker_size(memory)}", f"--memory-swap={_docker_size(memory)}"]
    if shm is not None:
        args.append(f"--shm-size={_docker_size(shm)}")
    if limits["ipc_mode"].value != "private":
        args.append(f"--ipc={limits['ipc_mode'].value}")
    if pids is not None:
        args.append(f"--pids-limit={pids}")
    return " ".join([*args, f"--cgroup-parent={limits.slice_name}"])


def _docker_size(size: object) -> str:
    return format_size(int(str(size))).lower()


def as_json(limits: ResolvedLimits) -> dict[str, object]:
    """Return everything, as --json prints it."""
    return {
        "version": JSON_VERSION,
        "account": limits.account,
        "group": limits.group,
        "listed": limits.listed,
        "slice": limits.slice_name,
        "limits": _values(limits, [limit.name for limit in LIMITS]),
        "aggregate": _values(limits, [limit.name for limit in AGGREGATES]) if limits.has_aggregate else None,
    }


def _values(limits: ResolvedLimits, names: Sequence[str]) -> dict[str, object]:
    return {BY_NAME[name].field: {"value": limits[name].value, "origin": limits[name].origin} for name in names}


def _aggregate(limits: ResolvedLimits) -> str:
    if not limits.has_aggregate:
        return "null"
    # As units and daemon.json spell them, so that scripts can hand them on.
    shown = {
        limit.key: value if limit.kind is Kind.COUNT else format_value(limit, value)
        for limit in AGGREGATES
        if (value := limits[limit.name].value) is not None
    }
    return json.dumps(shown)


def _lifecycle(limits: ResolvedLimits) -> str:
    return json.dumps({BY_NAME[name].field: limits[name].value for name in _LIFECYCLE})


def _policy_number(policy: Policy, key: str) -> str:
    value = _section(policy, "policies").get(key)
    if not isinstance(value, int | float):
        raise PolicyError(f"the compiled policy has no number policies.{key}", None, "deploy again")
    return format_number(value)


def _section(policy: Policy, name: str) -> Mapping[str, object]:
    section = policy.document.get(name)
    return section if isinstance(section, dict) else {}


_ANSWERS: Final[Mapping[str, Callable[[Policy, ResolvedLimits], str]]] = {
    "json": lambda _, limits: json.dumps(as_json(limits), indent=2, ensure_ascii=False),
    "aggregate": lambda _, limits: _aggregate(limits),
    "docker_args": lambda _, limits: docker_args(limits),
    "group": lambda _, limits: limits.group,
    "all_lifecycle": lambda _, limits: _lifecycle(limits),
    "lifecycle_policies": lambda policy, _: json.dumps(_section(policy, "policies")),
}
