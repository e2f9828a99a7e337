"""Reads single files of a cgroup tree; whatever is in the way is a value with its cause, never an exception.

Only reads. The mount point is an argument, so that a test's tree is read as the machine's own.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from ds01.core.typed import Final
from ds01.core.value import dataclass

# The kernel's counters have 64 bits.
_MOST_DIGITS: Final = 20
# How a file answers that belongs to a group the kernel has just removed. Source: cgroup v2, "Basic Operations".
_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENOTDIR})


class Cause(Enum):
    """Why something cannot be told."""

    NOT_MOUNTED = "not_mounted"
    VERSION_1 = "cgroup_v1"
    HYBRID = "cgroup_hybrid"
    NO_ROOT_SLICE = "no_root_slice"
    NO_FILE = "no_file"
    UNREADABLE = "unreadable"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True)
class CannotTell:
    """What is not known, and why.

    Attributes:
        path: the file or folder that is in the way.
        reason: the cause in words, without the path.
    """

    cause: Cause
    path: Path
    reason: str

    @property
    def words(self) -> str:
        """The cause with its path."""
        return f"{self.path}: {self.reason}"


# What is known, or why it is not; of a limit None is `max`: the kernel has none.
Reading = int | CannotTell
LimitReading = int | None | CannotTell


def check_mount(root: Path) -> CannotTell | None:
    """Return why a folder is no cgroup tree of version 2, or None when it is one.

    Source: cgroup v2, "Mounting" and "Controllers": only a mount of version 2 has `cgroup.controllers`; systemd's
    hybrid set-up has it one level deeper, in `unified`, where no controller counts anything.
    """
    if _mode(root / "cgroup.controllers") != 0:
        return None
    if _mode(root / "unified" / "cgroup.controllers") != 0:
        return CannotTell(Cause.HYBRID, root, "version 1 and 2 side by side; DS01 needs version 2 alone")
    if any(_mode(root / controller) != 0 for controller in ("memory", "cpu", "systemd")):
        return CannotTell(Cause.VERSION_1, root, "control groups of version 1; DS01 needs version 2")
    return CannotTell(Cause.NOT_MOUNTED, root, "no control groups are mounted here")


def is_folder(path: Path) -> bool:
    """Whether there is such a group; one that cannot be looked at may be there."""
    found = _mode(path)
    return found is None or stat.S_ISDIR(found)


def folders(path: Path) -> tuple[str, ...] | CannotTell:
    """Return the names of the groups right below one, sorted; none when it is gone."""
    try:
        with os.scandir(path) as entries:
            return tuple(sorted(each.name for each in entries if each.is_dir(follow_symlinks=False)))
    except OSError as error:
        return () if error.errno in _GONE else _unreadable(path, error)


def read_number(path: Path) -> Reading:
    """Return the one number in a file such as memory.current."""
    text = _read(path)
    return text if isinstance(text, CannotTell) else _number(path, text.strip())


def read_limit(path: Path) -> LimitReading:
    """Return the limit in a file such as memory.max; None is `max`."""
    text = _read(path)
    if isinstance(text, CannotTell):
        return text
    return None if text.strip() == b"max" else _number(path, text.strip())


def read_entry(path: Path, key: str) -> Reading:
    """Return one number of a file of names and numbers, such as `inactive_file` in memory.stat."""
    text = _read(path)
    if isinstance(text, CannotTell):
        return text
    wanted = key.encode()
    for line in text.split(b"\n"):
        name, _, value = line.partition(b" ")
        if name == wanted:
            return _number(path, value)
    return CannotTell(Cause.GARBAGE, path, f"has no {key}")


def read_entries(path: Path) -> Mapping[str, int] | CannotTell:
    """Return all of a file of names and numbers, such as memory.events."""
    text = _read(path)
    if isinstance(text, CannotTell):
        return text
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(b" ")
        number = _number(path, value)
        if isinstance(number, CannotTell):
            return number
        found[name.decode(errors="replace")] = number
    return found


def read_lines(path: Path) -> tuple[str, ...] | CannotTell:
    """Return the lines of a file that has a form of its own."""
    text = _read(path)
    return text if isinstance(text, CannotTell) else tuple(text.decode(errors="replace").splitlines())


def group_id(path: Path) -> Reading:
    """Return what tells a group from an earlier one of the same name: the number of its folder.

    Source: cgroup v2 gives a new number to each group that is made, as long as the machine is up (kernfs_node id).
    """
    try:
        return path.stat().st_ino
    except OSError as error:
        if error.errno in _GONE:
            return CannotTell(Cause.NO_FILE, path, "there is no such group any more")
        return _unreadable(path, error)


def read_cpu_limit(path: Path) -> LimitReading:
    """Return the limit in cpu.max in whole percent of one CPU, rounded up; None is `max`.

    Source: cgroup v2, "CPU Interface Files": `$MAX $PERIOD`, both in microseconds.
    """
    text = _read(path)
    if isinstance(text, CannotTell):
        return text
    quota, _, rest = text.strip().partition(b" ")
    period = _number(path, rest)
    if isinstance(period, CannotTell) or quota == b"max":
        return period if isinstance(period, CannotTell) else None
    allowed = _number(path, quota)
    if isinstance(allowed, CannotTell):
        return allowed
    return -(-allowed * 100 // period) if period else CannotTell(Cause.GARBAGE, path, "has a period of 0")


def _mode(path: Path) -> int | None:
    """Return kind and mode of what is there, 0 for nothing, None when nobody lets us look."""
    try:
        return path.stat().st_mode
    except OSError as error:
        return 0 if error.errno in _GONE else None


def _read(path: Path) -> bytes | CannotTell:
    try:
        # O_NONBLOCK: a pipe in its place must not hang us.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as source:
            return source.readall()
    except OSError as error:
        if error.errno in _GONE:
            return CannotTell(Cause.NO_FILE, path, "there is no such file; its controller may be off")
        return _unreadable(path, error)


def _unreadable(path: Path, error: OSError) -> CannotTell:
    return CannotTell(Cause.UNREADABLE, path, error.strerror or type(error).__name__)


def _number(path: Path, text: bytes) -> Reading:
    # isdigit() of bytes takes ASCII digits only;
    if text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    return CannotTell(Cause.GARBAGE, path, f"expected a number, found {text[:40]!r}")
