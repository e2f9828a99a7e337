"""Tells an account something: at its next login, and on the terminals at which it sits now.

Never waits for a terminal and never fails its caller: what could not be done is in the answer. The event log is the
caller's own affair.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import exclusive, read_bytes, write_bytes
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.core.visible import visible
from ds01.runtime.lifecycle.notices import (
    KEEP_SECONDS,
    Notice,
    Weight,
    added,
    current,
    format_notices,
    new_notice,
    parse_notices,
    restated,
    without,
)
from ds01.runtime.machine import Machine

_WIDTH: Final = 78
_MODE: Final = 0o640
# Its holder writes one small file.
_WAIT_SECONDS: Final = 2.0
_FULL: Final = "too many warnings of other things to come wait already"
# An account can open thousands of terminals that nobody reads; the journal need not name each.
_MOST_MISSED: Final = 3


@dataclass(frozen=True, slots=True)
class Told:
    """What of it reached the account; true when anything did.

    Attributes:
        kept: whether its next login shows it.
        terminals: those that took it, such as `pts/3`.
        remarks: what was in the way, in words.
    """

    kept: bool = False
    terminals: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.kept or bool(self.terminals)


@dataclass(frozen=True, slots=True)
class Notifier:
    """Who tells accounts of a host something."""

    paths: HostPaths
    now: Callable[[], datetime] = field(default_factory=lambda: Machine().now)

    def tell(
        self, user: str, text: str, *, key: str, keep_seconds: float = KEEP_SECONDS, weight: Weight = Weight.NEWS
    ) -> Told:
        """Tell an account something, in one sentence or two.

        A warning for which there is no place among the others is not said on terminals either: it does not count as
        given, and whoever gives it tries again.

        Args:
            key: what it is about; another notice with the same key replaces this one.
            keep_seconds: how long a login shows it.
        """
        account = _account(user)
        if account is None:
            return Told(remarks=(f"this machine has no account {visible(user)}, so nobody was told",))
        notice = new_notice(text, key, self.now(), keep_seconds, weight)
        try:
            kept, remarks = self._keep(account, notice)
        except (OSError, Ds01Error) as error:
            kept, remarks = False, (f"the next login does not show it: {_words(error)}",)
        else:
            if kept is None:
                return Told(remarks=(*remarks, _FULL))
        reached, missed = _write_to_all(self.paths.terminals, account.pw_uid, terminal_block(notice.text))
        return Told(bool(kept), reached, (*remarks, *missed))

    def restate(
        self, user: str, text: str, *, key: str, keep_seconds: float = KEEP_SECONDS, weight: Weight = Weight.NEWS
    ) -> str | None:
        """Bring up to date what an account was told, at its next login alone.

        Returns:
            Why that was not possible; None when all is well.
        """
        account = _account(user)
        if account is None:
            return None
        notice = new_notice(text, key, self.now(), keep_seconds, weight)
        try:
            self._change(account, lambda notices: restated(notices, notice))
        except (OSError, Ds01Error) as error:
            return _words(error)
        return None

    def clear(self, user: str, key: str) -> str | None:
        """Take a notice back, where there is one; returns why that was not possible, None when all is well."""
        account = _account(user)
        if account is None:
            return None
        try:
            if self.paths.notices(account.pw_uid).exists():
                self._change(account, lambda notices: without(notices, key))
        except (OSError, Ds01Error) as error:
            return _words(error)
        return None

    def clear_everywhere(self, beginnings: tuple[str, ...]) -> None:
        """Take back what any account was told under keys that begin so; what cannot be changed ends with its time."""
        for uid in _numbers(self.paths.notices_folder):
            with suppress(KeyError, OverflowError, OSError, Ds01Error):
                self._change(
                    pwd.getpwuid(uid),
                    lambda notices: tuple(each for each in notices if not (each.key or "").startswith(beginnings)),
                )

    def _keep(self, account: pwd.struct_passwd, notice: Notice) -> tuple[bool | None, tuple[str, ...]]:
        """Put a notice into the account's file; returns whether its logins can read it there, and remarks.

        None is that there was no place for it.

        Raises:
            OSError, Ds01Error: the file cannot be changed.
        """
        file = self._change(account, lambda notices: added(current(notices, notice.at), notice))
        full = notice.weight.is_binding and notice not in file.notices
        return None if full else file.readable, file.remarks

    def _change(self, account: pwd.struct_passwd, change: Callable[[tuple[Notice, ...]], tuple[Notice, ...]]) -> _File:
        """Change the account's file; returns how it is then."""
        path = self.paths.notices(account.pw_uid)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock")
        with exclusive(lock, wait_seconds=_WAIT_SECONDS, work="notice", mode=_MODE):
            before, remarks = _read(path)
            after = current(change(before), self.now())
            trouble: tuple[str, ...] = ()
            if after == before:
                return _File(after, remarks=remarks)
            if after:
                trouble = _write(path, format_notices(after), account.pw_gid)
            else:
                path.unlink(missing_ok=True)
            return _File(after, not trouble, (*remarks, *trouble))


@dataclass(frozen=True, slots=True)
class _File:
    """An account's notices after a change.

    Attributes:
        readable: whether its logins can read them.
    """

    notices: tuple[Notice, ...]
    readable: bool = True
    remarks: tuple[str, ...] = ()


def _account(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user)
    except (KeyError, ValueError):
        return None


def _numbers(folder: Path) -> tuple[int, ...]:
    """Return what in a folder is called by a number, sorted; none without the folder."""
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(int(each.name) for each in entries if each.name.isascii() and each.name.isdigit()))
    except OSError:
        return ()


def _words(error: OSError | Ds01Error) -> str:
    if isinstance(error, Ds01Error):
        return f"{error.brief} ({error.details})" if error.details else error.brief
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


# --- The file ---------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[tuple[Notice, ...], tuple[str, ...]]:
    """Return the notices there are; a file that cannot be believed is put aside."""
    try:
        return parse_notices(read_bytes(path, of_root=True)), ()
    except FileNotFoundError:
        return (), ()
    except (ValueError, Ds01Error) as error:
        aside = path.with_name(f".{path.name}.bad")
        path.replace(aside)
        why = error.brief if isinstance(error, Ds01Error) else str(error)
        return (), (f"{path} could not be used and lies in {aside.name} now: {why}",)


def _write(path: Path, content: bytes, group: int) -> tuple[str, ...]:
    """Write the notices; what is returned is why the account cannot read them."""
    try:
        write_bytes(path, content, mode=_MODE, group=group)
    except PermissionError:
        # Without the right to give files away, which a service may lack.
        write_bytes(path, content, mode=_MODE)
        return (f"{path} may be read by root alone: giving it to group {group} is not permitted",)
    return ()


# --- Terminals --------------------------------------------------------------------------------------------------------


def terminal_block(text: str) -> bytes:
    """Return a text as it is written to a terminal: lines of its own, nothing in it that a terminal acts on.

    It is ASCII, since nobody can tell what a terminal of somebody else's takes.
    """
    plain = visible(text, len(text)).replace("…", "...").encode("ascii", "backslashreplace").decode()
    lines = textwrap.wrap(f"DS01: {plain}", _WIDTH, subsequent_indent="      ")
    return "".join(f"\r\n{line}" for line in lines).encode() + b"\r\n"


def _write_to_all(folder: Path, uid: int, block: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write to an account's terminals; returns those that took it, and what was in the way of others."""
    reached: list[str] = []
    missed: list[str] = []
    for name in _terminals(folder, uid):
        shown = f"pts/{name}"
        try:
            whole = _write_to_one(folder / name, uid, block)
        except OSError as error:
            # One that was closed meanwhile has nobody before it.
            if error.errno not in {errno.ENOENT, errno.EIO, errno.ENXIO}:
                missed.append(f"{shown}: {error.strerror}")
        else:
            (reached if whole else missed).append(shown if whole else f"{shown}: its reader stands still")
    more = len(missed) - _MOST_MISSED
    return tuple(reached), (*missed[:_MOST_MISSED], *((f"and {more} more terminals",) if more > 0 else ()))


def _terminals(folder: Path, uid: int) -> Iterator[str]:
    """Yield the names of an account's terminals that take messages: `mesg n` takes the group's right away.

    Source: mesg(1); tty(4).
    """
    for number in _numbers(folder):
        # One may end while it is looked at.
        with suppress(OSError):
            if _takes_messages((folder / str(number)).lstat(), uid):
                yield str(number)


def _takes_messages(found: os.stat_result, uid: int) -> bool:
    return found.st_uid == uid and stat.S_ISCHR(found.st_mode) and bool(found.st_mode & stat.S_IWGRP)


def _write_to_one(path: Path, uid: int, block: bytes) -> bool:
    """Write a block to a terminal; false when it did not take all of it at once.

    Source: open(2), tty_ioctl(4): with O_NONBLOCK neither opening nor writing waits, also after Ctrl-S.
    """
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # The number may be another account's by now.
        if not _takes_messages(os.fstat(fd), uid) or not os.isatty(fd):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return os.write(fd, block) == len(block)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
