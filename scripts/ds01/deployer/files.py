"""Reaches files below a root, one folder at a time, and looks at them; changes nothing but missing folders.

Never follows a symbolic link below the root, and never opens what is not a regular file: a link or device in
the way is an answer, not a place to write to. The root itself may be reached through links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import PurePosixPath
from types import TracebackType
from typing import Final, Self

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.paths import HostPaths
from ds01.deployer.folder import LARGEST_BYTES, read_at, sync_folder
from ds01.deployer.observed import Kind, Observed

FOLDER_MODE: Final = 0o755
# O_PATH needs only the right to pass through a folder, so that plan sees most of the tree without being root.
# With O_DIRECTORY and O_NOFOLLOW a link fails with ENOTDIR. Source: open(2), O_PATH.
_PASS: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Debian gives ordinary accounts ids from 1000 on. Source: adduser.conf(5), FIRST_GID.
_LAST_SYSTEM_GROUP: Final = 999
# What root runs, or takes for what DS01 knows: no group but root's may write there.
_BELIEVED: Final = ("/var/lib/ds01", "/opt/ds01", "/etc/ds01", "/etc/systemd")
_STRANGE: Final = {
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class FilesError(Ds01Error):
    """The host's files cannot be read or changed as asked."""


class UnsafeFolderError(FilesError):
    """Root would have to trust a folder that others can change."""

    exit_code = ExitCode.REFUSED


class ObstacleError(FilesError):
    """Something that is no folder of its own lies on the way to a file.

    Attributes:
        kind: SYMLINK, or OTHER for a file or device where a folder should be.
    """

    def __init__(self, kind: Kind, brief: str) -> None:
        self.kind = kind
        super().__init__(
            brief,
            "DS01 never writes through links or over things it does not know",
            "move it out of the way, or mount the other place there (mount --bind), and try again",
        )


class Walk:
    """A way down from the root that keeps its folders open, so that neighbours are reached fast.

    Use it as a context manager; descriptors it returns are valid until the next step.
    """

    def __init__(self, paths: HostPaths) -> None:
        """Open the root.

        Raises:
            BadInputError: the root is no folder, or may not be entered.
        """
        self._root = os.fspath(paths.root)
        try:
            # Not _PASS: the root may be reached through links.
            self._fds = [os.open(paths.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        except OSError as error:
            raise BadInputError(
                f"the root {paths.root} cannot be opened",
                error.strerror,
                "name an existing folder with --root",
            ) from error
        self._names: list[str] = []
        self._refuse_unsafe(self._fds[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def enter(self, folder: PurePosixPath, *, make: bool = False) -> int:
        """Go to a folder and return a descriptor for use as `dir_fd`.

        Args:
            make: create what is missing with mode 0755, whatever the umask.

        Raises:
            ObstacleError: a component is a link or no folder.
            FileNotFoundError: a component is missing and `make` is off.
            OSError: anything else, such as PermissionError.
            ValueError: the path is not absolute or holds `..`.
        """
        names = folder.parts[1:]
        if not folder.is_absolute() or ".." in names:
            raise ValueError(f"{folder} is not an absolute path without ..")
        shared = 0
        for old, new in zip(self._names, names, strict=False):
            if old != new:
                break
            shared += 1
        while len(self._names) > shared:
            self._names.pop()
            os.close(self._fds.pop())
        for name in names[shared:]:
            fd = self._step(name, make=make)
            self._fds.append(fd)
            self._names.append(name)
        return self._fds[-1]

    def missing(self, folder: PurePosixPath) -> tuple[PurePosixPath, ...]:
        """Return which folders enter(make=True) would create, outermost first.

        Raises:
            ObstacleError, OSError, ValueError: as enter() does.
        """
        try:
            self.enter(folder)
        except FileNotFoundError:
            # The way ends at the last folder there is.
            reached = PurePosixPath("/", *self._names)
            above = [each for each in folder.parents if each != reached and each.is_relative_to(reached)]
            return (*reversed(above), folder)
        return ()

    def _step(self, name: str, *, make: bool) -> int:
        above = self._fds[-1]
        try:
            fd = os.open(name, _PASS, dir_fd=above)
        except FileNotFoundError:
            if not make:
                raise
        except NotADirectoryError:
            kind, obstacle = self._obstacle(name)
            raise ObstacleError(kind, obstacle) from None
        else:
            self._refuse_unsafe(fd, name)
            return fd
        os.mkdir(name, FOLDER_MODE, dir_fd=above)
        fd = os.open(name, _PASS, dir_fd=above)
        # The umask must not decide who may pass; a descriptor of O_PATH cannot be used for fchmod.
        os.chmod(".", FOLDER_MODE, dir_fd=fd)
        return fd

    def _refuse_unsafe(self, fd: int, name: str | None = None) -> None:
        """Root goes only where nobody else could have put, or could exchange, what it finds or leaves there.

        Raises:
            UnsafeFolderError: the folder is another account's, or others can write to it.
        """
        if os.geteuid() != 0:
            return
        found = os.fstat(fd)
        shown = "/" + "/".join([*self._names, *([] if name is None else [name])])
        # What is sticky, like /tmp, lets nobody exchange what is root's. Groups of the system (staff below
        # /usr/local, adm, syslog) are trusted, except with what DS01 itself will believe later.
        by_others = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
        own_state = any(shown == own or shown.startswith(f"{own}/") for own in _BELIEVED)
        by_group = found.st_mode & stat.S_IWGRP and (found.st_gid > _LAST_SYSTEM_GROUP or (own_state and found.st_gid))
        if found.st_uid == 0 and not by_others and not by_group:
            return
        if name is not None:
            os.close(fd)
        where = f"{self._root}{shown}".replace("//", "/")
        why = f"belongs to uid {found.st_uid}" if found.st_uid else "can be written by others than root"
        fix = f"chown root {where}" if found.st_uid else f"chmod go-w {where}"
        raise UnsafeFolderError(
            f"{where} {why}, so root neither reads nor writes below it",
            None,
            f"{fix}, after a look at what is in it; a folder of your own needs no root: run it without sudo",
        )

    def _obstacle(self, name: str) -> tuple[Kind, str]:
        fd = self._fds[-1]
        here = "/" + "/".join([*self._names, name])
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        return describe(found.st_mode, here, fd, name)


def describe(mode: int, shown: str, folder: int, name: str) -> tuple[Kind, str]:
    """Return what is in the way and say so in words; for anything but a regular file where one is wanted."""
    if stat.S_ISLNK(mode):
        try:
            goal = os.readlink(name, dir_fd=folder)
        except OSError:
            goal = "somewhere else"
        return Kind.SYMLINK, f"{shown} is a symbolic link to {goal}"
    if stat.S_ISDIR(mode):
        return Kind.FOLDER, f"{shown} is a folder"
    if stat.S_ISREG(mode):
        return Kind.OTHER, f"{shown} is a file, not a folder"
    return Kind.OTHER, f"{shown} is a {_STRANGE.get(stat.S_IFMT(mode), 'strange thing')}"


def observe_file(paths: HostPaths, target: PurePosixPath) -> Observed:
    """Look at one target; works without being root, as far as the permissions go.

    Raises:
        BadInputError: the root itself cannot be opened.
        ValueError: the target is not absolute or holds `..`.
    """
    return observe_files(paths, [target])[target]


def observe_files(paths: HostPaths, targets: Iterable[PurePosixPath]) -> dict[PurePosixPath, Observed]:
    """Look at many targets, in the order given; neighbours that follow one another cost the least.

    Raises:
        BadInputError: the root itself cannot be opened.
        ValueError: a target is not absolute or holds `..`.
    """
    with Walk(paths) as walk:
        return {target: _observe(walk, target) for target in targets}


def _observe(walk: Walk, target: PurePosixPath) -> Observed:
    try:
        folder = walk.enter(target.parent)
        found = os.stat(target.name or ".", dir_fd=folder, follow_symlinks=False)
    except ObstacleError as error:
        return Observed(error.kind, obstacle=error.brief)
    except FileNotFoundError:
        return Observed(Kind.ABSENT)
    except OSError as error:
        return Observed(Kind.UNREADABLE, obstacle=_denied(target, error))
    return _observe_found(folder, target, found)


def _observe_found(folder: int, target: PurePosixPath, found: os.stat_result) -> Observed:
    mode, uid, gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    if not stat.S_ISREG(found.st_mode):
        kind, obstacle = describe(found.st_mode, os.fspath(target), folder, target.name)
        content = os.fsencode(os.readlink(target.name, dir_fd=folder)) if kind is Kind.SYMLINK else None
        return Observed(kind, content, mode, uid, gid, obstacle)
    if found.st_size > LARGEST_BYTES:
        obstacle = f"{target} is larger than {LARGEST_BYTES // 1024**2} MiB"
        return Observed(Kind.UNREADABLE, None, mode, uid, gid, obstacle)
    try:
        content = read_at(folder, target.name, found.st_size)
    except OSError as error:
        return Observed(Kind.UNREADABLE, None, mode, uid, gid, _denied(target, error))
    return Observed(Kind.FILE, content, mode, uid, gid)


def _denied(target: PurePosixPath, error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{target} may not be read; run the command as root (sudo) to see it"
    return f"{target} cannot be read: {error.strerror}"


def make_folder(paths: HostPaths, folder: PurePosixPath) -> None:
    """Create a folder and those above it where they are missing, with mode 0755, durably.

    Raises:
        FilesError: something is in the way, or it may not be written; says what to do.
    """
    try:
        with Walk(paths) as walk:
            for made in walk.missing(folder):
                walk.enter(made, make=True)
                sync_folder(walk.enter(made.parent))
    except OSError as error:
        raise explain(error, folder) from error


def explain(error: OSError, target: PurePosixPath) -> FilesError:
    """Return the error for a change below the root that the system refused, with what to do about it."""
    details: str | None = None
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            cause, fix = "there is no space left", "free some space (df -h, df -i) and try again"
        case errno.EROFS:
            cause, fix = (
                "the file system is read-only",
                "remount it writable (mount -o remount,rw) and try again",
            )
        case errno.EACCES:
            cause, fix = "permission denied", "run the command as root (sudo)"
        case errno.EPERM:
            cause = "operation not permitted"
            fix = f"run the command as root (sudo); as root, look for a protection on it (lsattr {target})"
        case errno.EXDEV | errno.EBUSY:
            cause, fix = "something is mounted there", f"unmount it (umount {target}) and try again"
        case errno.EOPNOTSUPP | errno.EMLINK:
            cause, fix = (
                "its file system cannot keep the old version (no hard links)",
                "use another file system",
            )
        case _:
            cause, details, fix = error.strerror or "unknown", str(error), "mend that and try again"
    return FilesError(f"{target} cannot be written: {cause}", details, fix)
