"""The steps of a deploy for one file in an opened folder: prepare, put in place, take back.

Knows nothing of other files; apply.py takes the steps in an order that survives a crash. Between prepare()
and the end the folder holds up to two more names: `.NAME.ds01-new~` is the new content, `.NAME.ds01-old~` a
second name of the old file. A symbolic link is swapped as a file is, itself and never where it leads.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import PurePosixPath

from ds01.core.tree import sha256
from ds01.deployer.files import FilesError, ObstacleError, describe
from ds01.deployer.folder import drop, read_at
from ds01.deployer.journal import Entry

# Inode, time of change in nanoseconds, size: differs once a file was replaced or written to.
Identity = tuple[int, int, int]
# Makes the new content in an opened folder under a name that is free.
Maker = Callable[[int, str], None]


def new_name(name: str) -> str:
    """Return where the new content waits."""
    # Dotted, with a tilde at the end: cron, run-parts, sudo, logrotate, systemd, tmpfiles all pass it over.
    return f".{name}.ds01-new~"


def old_name(name: str) -> str:
    """Return where the old file is kept."""
    return f".{name}.ds01-old~"


def exists(folder: int, path: PurePosixPath) -> bool:
    """Whether a regular file or a symbolic link is there.

    Raises:
        ObstacleError: something else is there.
    """
    found = _stat(folder, path.name)
    if found is None:
        return False
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        raise ObstacleError(*describe(found.st_mode, os.fspath(path), folder, path.name))
    return True


def prepare(folder: int, entry: Entry, make: Maker | None) -> Identity | None:
    """Put the new content and a second name of the old file beside the target.

    Args:
        make: None when the file is to be removed.

    Returns:
        The old file's identity, None when there is none.
    """
    name = entry.path.name
    # An earlier crash whose journal is gone may have left these; they are removed, never followed.
    drop(folder, new_name(name))
    drop(folder, old_name(name))
    if make is not None:
        make(folder, new_name(name))
    if not entry.existed:
        return None
    os.link(name, old_name(name), src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    return _identity(os.stat(old_name(name), dir_fd=folder, follow_symlinks=False))


def refuse_changed(folder: int, entry: Entry, prepared: Identity | None) -> None:
    """Make sure that the target is still what prepare() found.

    Raises:
        FilesError: somebody replaced, wrote, made or removed it since.
    """
    found = _stat(folder, entry.path.name)
    if (None if found is None else _identity(found)) != prepared:
        raise FilesError(
            f"{entry.path} was changed by somebody else while it was being deployed",
            None,
            "run ./inv plan to see the file as it is now, then deploy again",
        )


def put_in_place(folder: int, entry: Entry) -> None:
    """Let the new content take the target's name, or remove the target."""
    name = entry.path.name
    if entry.sha256 is None:
        os.unlink(name, dir_fd=folder)
    else:
        os.rename(new_name(name), name, src_dir_fd=folder, dst_dir_fd=folder)


def sweep(folder: int, entry: Entry) -> None:
    """Remove what prepare() made; the target has not been touched."""
    drop(folder, new_name(entry.path.name))
    drop(folder, old_name(entry.path.name))


def forget(folder: int, entry: Entry) -> None:
    """Remove the old file for good."""
    if entry.existed:
        drop(folder, old_name(entry.path.name))


def take_back(folder: int, entry: Entry) -> bool:
    """Put the old file back, whether the new one is in place or not; may be repeated.

    Only after prepare() was through: before, a link to an old file may be a leftover of another deploy.

    Returns:
        False when somebody edited the target since: it stays, and so does the link to the old file.
    """
    name = entry.path.name
    drop(folder, new_name(name))
    present, old = _stat(folder, name), _stat(folder, old_name(name))
    if present is not None and not _is_known(folder, entry, present, old):
        return False
    if old is not None:
        os.rename(old_name(name), name, src_dir_fd=folder, dst_dir_fd=folder)
        # When both names are one file, rename(2) does nothing at all.
        drop(folder, old_name(name))
    elif not entry.existed:
        drop(folder, name)
    return True


def _is_known(folder: int, entry: Entry, present: os.stat_result, old: os.stat_result | None) -> bool:
    """Whether a target is the old file or the new one, and not what somebody made of it since."""
    if old is None and entry.existed:
        return True  # put back already
    if old is not None and os.path.samestat(present, old):
        return True
    if stat.S_ISLNK(present.st_mode):
        return sha256(os.fsencode(os.readlink(entry.path.name, dir_fd=folder))) == entry.sha256
    if not stat.S_ISREG(present.st_mode):
        return False
    return sha256(read_at(folder, entry.path.name, present.st_size)) == entry.sha256


def _stat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _identity(found: os.stat_result) -> Identity:
    return found.st_ino, found.st_mtime_ns, found.st_size
