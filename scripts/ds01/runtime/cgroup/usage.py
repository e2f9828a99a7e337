"""What an account uses right now, over all its slices, and each of its containers, as the kernel counts it.

Only reads. What cannot be told stays a value beside what can; nothing is ever taken for 0 because a file was missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ds01.core.names import ROOT_SLICE, SliceName, cgroup_path
from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.cgroup.tree import (
    CannotTell,
    Cause,
    LimitReading,
    Reading,
    check_mount,
    folders,
    is_folder,
    read_cpu_limit,
    read_entry,
    read_limit,
    read_number,
)

# How Docker names a container's group with the systemd driver. Source: runc, libcontainer/cgroups/systemd, getUnitName.
_SCOPE: Final = pattern(r"docker-([0-9a-f]{64})\.scope", re.ASCII)
_SLICE: Final = pattern(r"ds01-([A-Za-z0-9_]+)\.slice", re.ASCII)


@dataclass(frozen=True, slots=True)
class Counted:
    """What the kernel counts for one group of processes and all below it.

    Attributes:
        memory_current_bytes: with the page cache.
        inactive_file_bytes: the part of it that is page cache nobody has used for long.
        cpu_usec: CPU time since the group was made.
    """

    memory_current_bytes: Reading
    inactive_file_bytes: Reading
    pids_current: Reading
    cpu_usec: Reading

    @property
    def working_set_bytes(self) -> Reading:
        """Memory without the cache that the kernel would drop first, as the kubelet counts; never below 0."""
        current, inactive = self.memory_current_bytes, self.inactive_file_bytes
        if isinstance(current, CannotTell):
            return current
        if isinstance(inactive, CannotTell):
            return inactive
        # Two files, read one after the other.
        return max(0, current - inactive)


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """A container that runs or is paused.

    Attributes:
        id: all 64 hex digits.
        memory_max_bytes: its own limit; None is none.
    """

    id: str
    memory_max_bytes: LimitReading
    counted: Counted


@dataclass(frozen=True, slots=True)
class SliceLimits:
    """The limits of a slice as the kernel has them; None is none.

    Attributes:
        cpu_percent: whole percent of one CPU.
    """

    memory_max_bytes: LimitReading
    memory_high_bytes: LimitReading
    pids_max: LimitReading
    cpu_percent: LimitReading


@dataclass(frozen=True, slots=True)
class SliceUsage:
    """One slice that there is.

    Attributes:
        containers: in the order of their ids.
    """

    name: SliceName
    counted: Counted
    limits: SliceLimits
    containers: tuple[ContainerUsage, ...] | CannotTell


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """What an account uses over all its slices.

    Attributes:
        slices: those that exist; none when nothing of the account runs.
    """

    slices: tuple[SliceUsage, ...]

    @property
    def memory_current_bytes(self) -> Reading:
        """Memory with the page cache."""
        return total(each.counted.memory_current_bytes for each in self.slices)

    @property
    def inactive_file_bytes(self) -> Reading:
        """Page cache that nobody has used for long."""
        return total(each.counted.inactive_file_bytes for each in self.slices)

    @property
    def working_set_bytes(self) -> Reading:
        """Memory without that cache: what counts against the limit."""
        return total(each.counted.working_set_bytes for each in self.slices)

    @property
    def pids_current(self) -> Reading:
        """Processes and threads."""
        return total(each.counted.pids_current for each in self.slices)

    @property
    def cpu_usec(self) -> Reading:
        """CPU time since the slices were made."""
        return total(each.counted.cpu_usec for each in self.slices)

    @property
    def containers(self) -> tuple[ContainerUsage, ...] | CannotTell:
        """Every container that runs or is paused; not known as soon as one slice's are not."""
        found: list[ContainerUsage] = []
        for each in self.slices:
            if isinstance(each.containers, CannotTell):
                return each.containers
            found.extend(each.containers)
        return tuple(found)


def total(readings: Iterable[Reading]) -> Reading:
    """Add up; what cannot be told makes the sum unknown, for the first such reason."""
    known = 0
    for each in readings:
        if isinstance(each, CannotTell):
            return each
        known += each
    return known


def slices_of(cgroup_root: Path, parts: Iterable[str]) -> tuple[SliceName, ...] | CannotTell:
    """Return every slice that an account has in the tree, also those of groups it has left.

    The group is the parent folder's own name; a slice's name is never taken apart, since groups and accounts may both
    have `_` in them.

    Args:
        parts: what stands for the account in a slice's name: names.user_part(), and other forms it had before.
    """
    why = check_tree(cgroup_root)
    if why is not None:
        return why
    top = cgroup_root / ROOT_SLICE
    groups = folders(top)
    if isinstance(groups, CannotTell):
        return groups
    wanted = sorted(set(parts))
    names = [
        SliceName(f"ds01-{match[1]}-{part}.slice")
        for match in map(_SLICE.fullmatch, groups)
        if match is not None
        for part in wanted
    ]
    return tuple(name for name in names if is_folder(cgroup_root / cgroup_path(name)))


def user_slices(cgroup_root: Path) -> tuple[SliceName, ...] | CannotTell:
    """Return the slices of all accounts that there are; groups whose folder cannot be read have none."""
    why = check_tree(cgroup_root)
    if why is not None:
        return why
    groups = folders(cgroup_root / ROOT_SLICE)
    if isinstance(groups, CannotTell):
        return groups
    return tuple(SliceName(name) for group in groups for name in _in_group(cgroup_root / ROOT_SLICE / group, group))


def read_usage(cgroup_root: Path, slices: Sequence[str]) -> AccountUsage | CannotTell:
    """Read what the processes in an account's slices use.

    Args:
        cgroup_root: mount point of the control groups.
        slices: from slices_of(); one that does not exist uses nothing.

    Returns:
        CannotTell when nothing can be known at all: no control groups of version 2, or no `ds01.slice`.
    """
    why = check_tree(cgroup_root)
    if why is not None:
        return why
    read = (_read_slice(cgroup_root, SliceName(name)) for name in slices)
    return AccountUsage(tuple(each for each in read if each is not None))


def check_tree(cgroup_root: Path) -> CannotTell | None:
    """Return why nothing can be known of any account, or None when something can."""
    why = check_mount(cgroup_root)
    if why is None and not is_folder(cgroup_root / ROOT_SLICE):
        return CannotTell(Cause.NO_ROOT_SLICE, cgroup_root / ROOT_SLICE, "there is no such slice; nothing runs in DS01")
    return why


def read_counted(path: Path) -> Counted | None:
    """Return what is counted for a group; None when it is gone, also when that is while it is read."""
    counted = Counted(
        memory_current_bytes=read_number(path / "memory.current"),
        inactive_file_bytes=read_entry(path / "memory.stat", "inactive_file"),
        pids_current=read_number(path / "pids.current"),
        cpu_usec=read_entry(path / "cpu.stat", "usage_usec"),
    )
    return counted if is_folder(path) else None


def container_groups(path: Path) -> Iterator[tuple[str, Path] | CannotTell]:
    """Yield the ids and groups of containers, in slices below this one too.

    What is inside of a container, or of anything else that is no slice, is its own affair: a group in there is no
    container of the account's, whatever it is called.
    """
    names = folders(path)
    if isinstance(names, CannotTell):
        yield names
        return
    for name in names:
        if match := _SCOPE.fullmatch(name):
            yield match[1], path / name
        elif name.endswith(".slice"):
            yield from container_groups(path / name)


def _in_group(path: Path, group: str) -> tuple[str, ...]:
    match, names = _SLICE.fullmatch(group), folders(path)
    if match is None or isinstance(names, CannotTell):
        return ()
    one = re.compile(rf"ds01-{match[1]}-[A-Za-z0-9_]+\.slice", re.ASCII)
    return tuple(name for name in names if one.fullmatch(name))


def _read_slice(root: Path, name: SliceName) -> SliceUsage | None:
    path = root / cgroup_path(name)
    if not is_folder(path):
        return None
    limits = SliceLimits(
        memory_max_bytes=read_limit(path / "memory.max"),
        memory_high_bytes=read_limit(path / "memory.high"),
        pids_max=read_limit(path / "pids.max"),
        cpu_percent=read_cpu_limit(path / "cpu.max"),
    )
    containers = _read_containers(path)
    counted = read_counted(path)
    return None if counted is None else SliceUsage(name, counted, limits, containers)


def _read_containers(path: Path) -> tuple[ContainerUsage, ...] | CannotTell:
    found: list[ContainerUsage] = []
    for scope in container_groups(path):
        if isinstance(scope, CannotTell):
            return scope
        container, folder = scope
        memory_max, counted = read_limit(folder / "memory.max"), read_counted(folder)
        if counted is not None:
            found.append(ContainerUsage(container, memory_max, counted))
    return tuple(sorted(found, key=lambda each: each.id))
