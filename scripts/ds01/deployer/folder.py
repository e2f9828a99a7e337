"""What can be done inside one opened folder: read, create, remove, list, make durable.

Every name is a single component below a descriptor, so nothing here can be led elsewhere by a link.
"""

from __future__ import annotations

import os
from typing import Final

# Far above any configuration file; a log or disk image in the way should not fill the memory.
LARGEST_BYTES: Final = 16 * 1024**2
# O_NONBLOCK, because what was a file a moment ago may have become a pipe that nobody writes to.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def read_at(folder: int, name: str, size_hint: int = 4096) -> bytes:
    """Return the first LARGEST_BYTES of a file in an opened folder.

    Args:
        size_hint: its likely size; when right, one read does.

    Raises:
        OSError: it cannot be opened; ELOOP when it is a symbolic link.
    """
    fd = os.open(name, _READ, dir_fd=folder)
    try:
        parts: list[bytes] = []
        room = LARGEST_BYTES
        while room > 0:
            # One byte more than is there: a short answer then says that this was the end.
            asked = min(room, max(size_hint, 4095) + 1)
            part = os.read(fd, asked)
            parts.append(part)
            room -= len(part)
            if len(part) < asked:
                break
        return b"".join(parts)
    finally:
        os.close(fd)


def write_new(folder: int, name: str, content: bytes, mode: int, owner: tuple[int, int] = (-1, -1)) -> None:
    """Create a file in an opened folder and make its content durable.

    Args:
        owner: user and group id; -1 leaves what the system gives.

    Raises:
        FileExistsError: the name is taken, by a link for instance; nothing is opened or followed.
        OSError: as the system says; an incomplete file may be there.
    """
    fd = os.open(name, _CREATE, 0o600, dir_fd=folder)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        # The owner first: a change of owner clears setuid bits. Source: chown(2).
        if owner != (-1, -1):
            os.fchown(fd, *owner)
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)


def link_new(folder: int, name: str, goal: str, owner: tuple[int, int] = (-1, -1)) -> None:
    """Create a symbolic link in an opened folder; it is durable once the folder is.

    Args:
        owner: user and group id of the link itself; -1 leaves what the system gives.

    Raises:
        FileExistsError: the name is taken.
        OSError: as the system says.
    """
    os.symlink(goal, name, dir_fd=folder)
    if owner != (-1, -1):
        os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)


def drop(folder: int, name: str) -> None:
    """Remove a file or link in an opened folder, if it is there; a folder is not ours and stays."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return
    except OSError:
        # A read-only file system refuses before it looks whether there is anything to remove.
        if is_there(folder, name):
            raise


def is_there(folder: int, name: str) -> bool:
    """Whether an opened folder holds this name, whatever it stands for."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def sync_folder(folder: int) -> None:
    """Make the names in an opened folder durable.

    Source: fsync(2); a descriptor of O_PATH cannot be synced, so the folder is opened once more.
    """
    fd = os.open(".", _FOLDER, dir_fd=folder)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def names_in(folder: int) -> frozenset[str]:
    """Return what an opened folder holds."""
    fd = os.open(".", _FOLDER, dir_fd=folder)
    try:
        return frozenset(os.listdir(fd))  # noqa: PTH208 - pathlib knows no descriptors
    finally:
        os.close(fd)
