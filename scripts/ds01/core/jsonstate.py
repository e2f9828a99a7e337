"""The only writer of DS01's own state files: temporary file, fsync, rename, fsync of the folder.

A reader sees the old file or the new one, never a part; a file that cannot be read is reported, never reset.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ds01.core.errors import BusyError, Ds01Error
from ds01.core.typed import Final

# Ten times what 10,000 accounts need.
LARGEST_BYTES: Final = 64 * 1024**2


class StateError(Ds01Error):
    """A state file is there but cannot be used; it is left as it is."""


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable.

    Source: fsync(2), "an explicit fsync() on a file descriptor for the directory is also needed".
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_json(path: Path, value: Mapping[str, object], *, mode: int = 0o640) -> None:
    """Replace a state file in one step.

    Args:
        mode: permission bits; the umask does not change them.

    Raises:
        OSError: nothing was changed; the temporary file is gone again.
    """
    write_bytes(path, f"{json.dumps(value, indent=1, ensure_ascii=False)}\n".encode(), mode=mode)


def write_bytes(
    path: Path, content: bytes, *, mode: int = 0o640, durable: bool = True, group: int | None = None
) -> None:
    """Replace a state file in one step, as write_json() does, by text that its caller made.

    Args:
        durable: False for what means nothing after a power cut: nobody waits for the disk then.
        group: gid that the file is to have; None is the writer's own.

    Raises:
        OSError: nothing was changed; also for a group that the writer may not give it.
    """
    temporary = path.with_name(f".{path.name}.ds01-tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as out:
            if group is not None:
                os.fchown(out.fileno(), -1, group)
            os.fchmod(out.fileno(), mode)
            out.write(content)
            out.flush()
            if durable:
                os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def read_json(path: Path, *, of_root: bool = False) -> dict[str, object] | None:
    """Return the object in a state file, or None when there is no such file.

    Args:
        of_root: root believes the file only when it is root's own and nobody else can write it.

    Raises:
        StateError: unreadable, not JSON, not an object, or not to be believed; says what to do.
    """
    try:
        value = json.loads(read_bytes(path, of_root=of_root))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise StateError(f"{path} may not be read", str(error), "run the command as root (sudo)") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StateError(
            f"{path} cannot be read", str(error), f"look at it; move it aside (mv {path} {path}.bad) and try again"
        ) from error
    if not isinstance(value, dict):
        raise StateError(f"{path} is not a JSON object", None, f"look at it; move it aside (mv {path} {path}.bad)")
    return value


def read_bytes(path: Path, *, of_root: bool = False) -> bytes:
    """Return what is in a state file.

    Args:
        of_root: as in read_json().

    Raises:
        StateError: it is no file, too large, or not to be believed.
        OSError: there is none, or it cannot be read.
    """
    # O_NONBLOCK: a pipe in its place must not hang us. Only the last component is guarded against links here.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if of_root else 0))
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise StateError(f"{path} is not a file", None, "name the file itself, or move what is there out of the way")
    with os.fdopen(fd, "rb") as source:
        if of_root and os.geteuid() == 0 and (found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            raise StateError(
                f"root does not believe {path}: others than root can write it",
                f"owner uid {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}",
                "look at what it says; restore it from a backup, or move it aside",
            )
        if found.st_size > LARGEST_BYTES:
            raise StateError(f"{path} is larger than {LARGEST_BYTES} bytes", None, "move it aside")
        return source.read(LARGEST_BYTES)


@contextmanager
def exclusive(lock: Path, *, wait_seconds: float = 0, work: str = "deploy", mode: int = 0o640) -> Iterator[None]:
    """Hold a lock file that is never replaced; its text names the holder's pid for the one who finds it taken.

    Args:
        wait_seconds: how long to stand in the kernel's own line for it; 0 is not at all.
        work: what its holder is at, for the message.

    Raises:
        BusyError: somebody else holds it, still.

    Source: flock(2); the kernel drops the lock when the holder dies, so it is never stale.
    """
    fd = _locked(lock, mode, wait_seconds)
    if fd is None:
        raise BusyError(
            f"another {work} is at work (pid {_holder(lock)})",
            f"it holds {lock}",
            "wait until it has ended and try again",
        )
    try:
        # Only for the message: a full disk has no room for it, and the lock holds all the same.
        with suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _holder(lock: Path) -> str:
    fd = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        text = os.pread(fd, 64, 0).strip()
    except OSError:
        return "unknown"
    finally:
        os.close(fd)
    return text.decode() if text.isdigit() else "unknown"


def _locked(lock: Path, mode: int, wait_seconds: float) -> int | None:
    """Return the open and locked file, or None when somebody else has it still."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if wait_seconds > 0:
            return _locked_in_line(fd, wait_seconds)
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _locked_in_line(fd: int, wait_seconds: float) -> int | None:
    """Stand in the kernel's line: no polling, and whoever came first is served first."""
    import threading  # noqa: PLC0415 - few wait, and everybody who reads a file would load it

    # flock(2) has no time limit of its own, and an alarm would need the main thread. One of the two sides takes
    # `owner`: this one when it gives up, and then the other closes the file as soon as it has the lock.
    taken, owner = threading.Event(), threading.Lock()

    def stand() -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if owner.acquire(blocking=False):
            taken.set()
        else:
            os.close(fd)

    threading.Thread(target=stand, daemon=True).start()
    try:
        if taken.wait(wait_seconds) or not owner.acquire(blocking=False):
            return fd
    except BaseException:
        if not owner.acquire(blocking=False):
            os.close(fd)
        raise
    return None
