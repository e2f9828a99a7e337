"""Old spellings: what keys of earlier policy files mean now. Pure.

Every old key is either moved to its new name or left out with the reason, and told as a notice; nothing changes its
meaning silently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ds01.generator.problems import Problem
from ds01.generator.yamltext import Document, Path


@dataclass(frozen=True, slots=True)
class Alias:
    """One old key.

    Attributes:
        old: path, where `*` stands for any key; `{layer}` for defaults, a group or an override.
        new: its key today, relative to the same place; None when it is no longer used.
        meaning: what it meant, or why it is gone.
        convert: how the value changes; None when it stays.
    """

    old: str
    new: str | None
    meaning: str
    convert: Callable[[Any], Any] | None = None


def _hours(value: Any) -> Any:
    return f"{value}h" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _layer(old: str, new: str | None, meaning: str, convert: Callable[[Any], Any] | None = None) -> Alias:
    return Alias(f"{{layer}}.{old}", new, meaning, convert)


_SLICE: Final = "a limit of the account's slice, now under aggregate"
_DISK: Final = "disk quotas are not enforced (docs/policy.md says why)"
_RESERVED: Final = "reservations of GPUs are not part of DS01; give the account a quota and a priority"
ALIASES: Final = (
    _layer("max_gpus", "max_mig_instances", "GPU units an account may hold over all its containers"),
    _layer("max_gpus_per_container", "max_mig_per_container", "GPU units one container may hold"),
    _layer("max_containers_per_user", "max_containers", "containers of an account at once"),
    _layer("max_tasks", "aggregate.tasks_max", "tasks in the account's slice"),
    *(
        _layer(key, f"aggregate.{key}", _SLICE)
        for key in (
            "cpu_quota",
            "memory_max",
            "memory_high",
            "tasks_max",
            "io_weight",
            "io_read_bw_max",
            "io_write_bw_max",
            "io_read_iops_max",
            "io_write_iops_max",
        )
    ),
    _layer("aggregate.gpu_limit", "max_mig_instances", "GPU units an account may hold"),
    *(
        _layer(f"{key}_h", key, "the same as a number of hours", _hours)
        for key in ("idle_timeout", "max_runtime", "gpu_hold_after_stop", "container_hold_after_stop")
    ),
    _layer("memory_swap", None, "swap is always the same as memory, so that no container swaps"),
    _layer("gpu_memory", None, "a MIG instance has its own memory; a whole GPU has all of its"),
    _layer("io_read_bps", None, "was never enforced; aggregate.io_read_bw_max is, for all containers together"),
    _layer("io_write_bps", None, "was never enforced; aggregate.io_write_bw_max is, for all containers together"),
    _layer("ulimit_nofile", None, "was never enforced; set default-ulimits in daemon.json"),
    *(_layer(key, None, _DISK) for key in ("storage_workspace", "storage_data", "storage_tmp")),
    *(_layer(key, None, _RESERVED) for key in ("reservation_start", "reservation_end", "reserved_gpus")),
    Alias("enforcement.cgroup_driver", None, "the driver is always systemd; ds01-verify-cgroup checks it"),
    Alias("gpu_allocation.mig_instances_per_gpu", None, "the host file lists the MIG instances of each GPU"),
    Alias("gpu_allocation.mig_gpus", None, "the host file lists the MIG instances of each GPU"),
    Alias("gpu_allocation.mig_strategy", None, "DS01 never repartitions a GPU"),
    Alias("gpu_allocation.allocation_method", None, "GPUs are always allocated when a container is made"),
    Alias("gpu_allocation.respect_reservations", None, _RESERVED),
    Alias(
        "policies.auto_stop_idle",
        None,
        "idle containers are stopped unless enforcement.rules.idle says otherwise",
    ),
    Alias("policies.checkpoint_warning", None, "policies.runtime_warnings says when people are warned"),
    Alias("policies.soft_limit_threshold", None, "policies.quota_warnings says when people are told"),
    Alias("policies.require_workspace_mount", None, "was never enforced"),
    Alias("policies.enforce_storage_quotas", None, _DISK),
    Alias("policies.graceful_errors", None, "refusals always explain themselves"),
    Alias("policies.suggest_alternatives", None, "refusals always say how to go on"),
    Alias(
        "container_types.*.default_mig_count",
        None,
        "a request says how many; max_mig_per_container bounds it",
    ),
    Alias("monitoring.infrastructure_label", None, "the label is always ds01.protected"),
    Alias("bare_metal_access.admin_group", None, "access_control.admin_group holds here too"),
    Alias("bare_metal_access.state_dir", None, "grants are kept under /var/lib/ds01"),
    Alias("access_control.wrapper", None, "enforcement.rules holds the mode of each rule"),
    Alias("advanced", None, "was never enforced"),
    Alias("wizard", None, "belongs to the commands, not to the policy"),
)
_OLD_STRATEGY: Final = "round_robin"


def modernise(document: Document) -> tuple[Document, tuple[Problem, ...]]:
    """Replace old spellings by today's.

    Returns:
        The document with today's keys only (unknown ones are left for the schema), and one notice for each old key.
        The document given is not changed.
    """
    if not isinstance(document.data, dict):
        return document, ()
    draft = _Draft(document)
    for alias in ALIASES:
        for path in draft.matches(alias.old):
            draft.apply(alias, path)
    draft.shorthands()
    return Document(document.file, draft.data, draft.keys, draft.values), tuple(draft.notices)


class _Draft:
    """A document under change, with its places kept in step."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.data = copy.deepcopy(document.data)
        self.keys = dict(document.keys)
        self.values = dict(document.values)
        self.notices: list[Problem] = []

    def matches(self, pattern: str) -> Iterator[Path]:
        """Yield the paths that are there; the list is complete before anything is changed."""
        starts: list[Path] = [()]
        if pattern.startswith("{layer}."):
            pattern = pattern.removeprefix("{layer}.")
            starts = [("defaults",), *self._below("groups"), *self._below("user_overrides")]
        for start in starts:
            yield from list(self._expand(start, pattern.split(".")))

    def _below(self, section: str) -> list[Path]:
        entries = self.data.get(section)
        return [(section, name) for name in entries] if isinstance(entries, dict) else []

    def _expand(self, start: Path, steps: list[str]) -> Iterator[Path]:
        node = self.at(start)
        if not steps:
            yield start
        elif isinstance(node, dict):
            for key in list(node) if steps[0] == "*" else [steps[0]] if steps[0] in node else []:
                yield from self._expand((*start, key), steps[1:])

    def at(self, path: Path) -> Any:
        node = self.data
        for step in path:
            node = node.get(step) if isinstance(node, dict) else None
        return node

    def apply(self, alias: Alias, path: Path) -> None:
        value = self.at(path[:-1]).pop(path[-1])
        shown = ".".join(map(str, path))
        if alias.new is None:
            self.notice(path, f"{shown} is no longer used: {alias.meaning}", "remove it")
            return
        # `new` is relative to the layer, which is as long as the old key is short.
        base = path[: len(path) - len(alias.old.removeprefix("{layer}.").split("."))]
        target = (*base, *alias.new.split("."))
        if not self._room_for(target):
            self.notice(path, f"{shown} is an old name of {alias.new}, which is there too and counts", "remove it")
            return
        self.at(target[:-1])[target[-1]] = alias.convert(value) if alias.convert else value
        for places in (self.keys, self.values):
            for old in [each for each in places if each[: len(path)] == path]:
                places[(*target, *old[len(path) :])] = places[old]
        self.notice(path, f"{shown} is an old name: {alias.meaning}", f"write {alias.new}")

    def _room_for(self, target: Path) -> bool:
        """Make the sections above a target; False when the target is there or cannot be."""
        node = self.data
        for step in target[:-1]:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                return False
        return target[-1] not in node

    def shorthands(self) -> None:
        """Values with a short form, and values that have an old spelling."""
        ports = self.at(("access_control", "publish_ports"))
        if isinstance(ports, str):
            self.data["access_control"]["publish_ports"] = {"range": ports}
        if self.at(("gpu_allocation", "strategy")) == _OLD_STRATEGY:
            self.data["gpu_allocation"]["strategy"] = "least_allocated"
            path = ("gpu_allocation", "strategy")
            self.notice(path, f"strategy {_OLD_STRATEGY} is an old name", "write least_allocated")

    def notice(self, path: Path, text: str, fix: str) -> None:
        self.notices.append(Problem(self.document.key_place(path), text, fix, notice=True))
