"""Looks for slices that hold more memory than a plan leaves them, where the kernel would kill. Only reads.

Source: kernel cgroup-v2.rst, memory.max: what is over it is reclaimed, and what cannot be is killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ds01.core.names import cgroup_path
from ds01.core.paths import HostPaths
from ds01.core.units import MIB, format_size
from ds01.deployer.directives import expected_properties, is_prefix, is_slice, unit_of
from ds01.deployer.plan import Plan

_LIMIT: Final = "MemoryMax"


def overfull(plan: Plan, paths: HostPaths) -> tuple[str, ...]:
    """Return a line for every slice whose new limit is below what it cannot give back."""
    return tuple(
        f"{unit} holds {format_size(held - held % MIB)} and is to have {format_size(limit)}: the kernel will kill"
        " processes in it; have its containers make room first"
        for unit, limit in sorted(_limits(plan, paths).items())
        if (held := _held_bytes(paths.cgroup / cgroup_path(unit))) is not None and held > limit
    )


def _limits(plan: Plan, paths: HostPaths) -> Mapping[str, int]:
    """Return the limit that each slice gets by the plan; those that no file of their own names get their group's."""
    own: dict[str, int] = {}
    groups: dict[str, int] = {}
    named = {unit_of(action.path) for action in plan.actions if action.file is not None and not is_prefix(action.path)}
    for action in plan.changes:
        unit = unit_of(action.path)
        limit = expected_properties(action.after).get(_LIMIT) if action.after and is_slice(action.path) else None
        if unit is None or limit is None:
            continue
        if is_prefix(action.path):
            groups[unit.removesuffix("-any.slice")] = limit
        else:
            own[unit] = limit
    return {
        **{
            unit: limit
            for group, limit in groups.items()
            for unit in _children(paths.cgroup / cgroup_path(f"{group}.slice"), f"{group}-")
            if unit not in named
        },
        **own,
    }


def _children(folder: Path, begin: str) -> Iterator[str]:
    try:
        names = sorted(each.name for each in folder.iterdir() if each.is_dir())
    except OSError:
        return
    yield from (name for name in names if name.startswith(begin) and name.endswith(".slice"))


def _held_bytes(folder: Path) -> int | None:
    """Return what a slice holds without files it read once, None when there is no such slice or it says nothing."""
    try:
        current = int((folder / "memory.current").read_text())
        rows = (row.split() for row in (folder / "memory.stat").read_text().splitlines())
        inactive = next((int(row[1]) for row in rows if row[0] == "inactive_file"), 0)
    except (OSError, ValueError, IndexError):
        return None
    return current - inactive
