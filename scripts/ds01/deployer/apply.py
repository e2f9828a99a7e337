"""Changes files below a root so that all of them change or none, also when the power goes.

Decides nothing about what should change, runs nothing, and needs the caller to hold the deploy lock.

1. stage()   writes the journal, then the new content and a second link to the old file beside every target
             (swap.py). All that can run out of space or permission happens here; nothing a program reads has
             changed yet, and any failure sweeps everything away again.
2. commit()  renames the new files over the targets. From here on no step needs space: renames over names
             that exist, removals, and state switches that were written before (journal.py).
3. finish()  removes the old links, or undo() renames them back. A link keeps the old file itself: content,
             owner, times and attributes come back exactly, and keeping it cost no space.

A crash at any point leaves a journal from which recover() either goes back to all-old or, once all files were
in place, hands the transaction back. Every step of undo() and finish() may be repeated.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.tree import sha256
from ds01.deployer import journal, swap
from ds01.deployer.files import FilesError, Walk, explain
from ds01.deployer.folder import LARGEST_BYTES, is_there, link_new, sync_folder, write_new
from ds01.deployer.journal import Entry, Record, State

Progress = Callable[[int, int], None]
# What keeps rmdir from removing a folder is never our business.
_LEAVE: Final = frozenset({errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Write:
    """A file that should have this content.

    Attributes:
        path: absolute path on the host; missing folders are made with mode 0755.
        mode: permission bits, such as 0o644.
        uid: of the owner; None leaves what the system gives a new file. So does gid.
    """

    path: PurePosixPath
    content: bytes
    mode: int
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """A file that should be gone; nothing happens when it is not there."""

    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link that should lead there.

    Attributes:
        path: absolute path on the host; missing folders are made with mode 0755.
        goal: as the link holds it; whether anything is there is not looked at.
        uid: as for Write; so is gid.
    """

    path: PurePosixPath
    goal: str
    uid: int | None = None
    gid: int | None = None


Change = Write | Link | Remove


class Outcome(Enum):
    """What became of an interrupted deploy."""

    UNDONE = "undone"  # everything is as it was before it
    APPLIED = "applied"  # all its files are in place; handlers and checks have still to run
    FINISHED = "finished"  # it had succeeded; only sweeping up was left


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recover() found and did.

    Attributes:
        context: what the interrupted deploy was given.
        transaction: for APPLIED: run handlers and checks, then finish() or undo(); else None.
        kept: for UNDONE: files that somebody edited since, left as they are (see Transaction.undo).
    """

    outcome: Outcome
    context: Mapping[str, object]
    transaction: Transaction | None = None
    kept: tuple[PurePosixPath, ...] = ()


def stage(
    paths: HostPaths,
    changes: Sequence[Change],
    *,
    prune: Sequence[PurePosixPath] = (),
    context: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Transaction:
    """Prepare everything without changing anything that others read.

    Args:
        changes: in the order in which they are to be put in place.
        prune: folders that finish() removes when they are empty then; inner ones first.
        context: plain JSON that recover() gives back after a crash.
        progress: called with the number of prepared files and of all.

    Raises:
        ValueError: two changes for one path, or a path that is not absolute.
        ObstacleError: a link, folder or device is in the way.
        FilesError: no space, read-only, no permission; says what to do.
        JournalError: an interrupted deploy has to be recovered first.
        After each of these everything is as it was.
    """
    _refuse_nonsense(changes)
    if journal.pending(paths) is not None:
        journal.sweep(paths)  # says that there is a journal, and what to do
    with Walk(paths) as walk:
        record = _survey(walk, changes, tuple(prune), context or {})
    transaction = Transaction(paths, record, State.STAGING)
    journal.begin(paths, record)
    with transaction.or_undone():
        transaction.fill(changes, progress)
    return transaction


def recover(paths: HostPaths) -> Recovered | None:
    """Clear up after an interrupted deploy; None when there was none.

    Raises:
        JournalError: the journal cannot be read; nothing was touched.
        FilesError: the system refused a step; the journal stays, so that a later call goes on.
    """
    found = journal.load(paths)
    if found is None:
        journal.sweep(paths)
        return None
    state, record = found
    transaction = Transaction(paths, record, state)
    match state:
        case State.APPLIED:
            return Recovered(Outcome.APPLIED, record.context, transaction)
        case State.FINISHING:
            transaction.finish()
            return Recovered(Outcome.FINISHED, record.context)
        case State.STAGING | State.APPLYING | State.UNDOING:
            return Recovered(Outcome.UNDONE, record.context, kept=transaction.undo())


class Transaction:
    """A set of changes on its way; made by stage() and recover()."""

    def __init__(self, paths: HostPaths, record: Record, state: State) -> None:
        self._paths = paths
        self._record = record
        self._state = state
        self._staged: dict[PurePosixPath, swap.Identity | None] = {}

    @property
    def context(self) -> Mapping[str, object]:
        """What stage() was given."""
        return self._record.context

    @property
    def paths(self) -> tuple[PurePosixPath, ...]:
        """The files it changes, in order; without removals of what was not there."""
        return tuple(entry.path for entry in self._record.entries)

    def fill(self, changes: Iterable[Change], progress: Progress | None) -> None:
        """Put new content and old links beside the targets; stage() calls this."""
        makers = {change.path: _maker(change) for change in changes}
        total = len(self._record.entries)
        with Walk(self._paths) as walk:
            for made in self._record.made:
                with _naming(made):
                    walk.enter(made, make=True)
            for done, entry in enumerate(self._record.entries, 1):
                with _naming(entry.path):
                    folder = walk.enter(entry.path.parent)
                    self._staged[entry.path] = swap.prepare(folder, entry, makers[entry.path])
                if progress is not None:
                    progress(done, total)
            self._sync(walk)

    def commit(self) -> None:
        """Put every file in place; afterwards the journal says APPLIED.

        Raises:
            FilesError: somebody changed a target since stage(), or the system refused a step. Everything was
                put back, or the message says that it could not be and the next command will go on with it.
        """
        self._expect(State.STAGING)
        with self.or_undone(), Walk(self._paths) as walk:
            for entry in self._record.entries:
                with _naming(entry.path):
                    swap.refuse_changed(walk.enter(entry.path.parent), entry, self._staged[entry.path])
            self._switch(State.APPLYING)
            for entry in self._record.entries:
                with _naming(entry.path):
                    swap.put_in_place(walk.enter(entry.path.parent), entry)
            self._sync(walk)
            self._switch(State.APPLIED)

    def finish(self) -> None:
        """Keep the changes: remove the old versions, the folders to prune, the journal.

        Raises:
            FilesError: the system refused a step; recover() goes on with it.
        """
        self._expect(State.APPLIED, State.FINISHING)
        if self._state is State.APPLIED:
            self._switch(State.FINISHING)
        with Walk(self._paths) as walk:
            for entry in self._record.entries:
                with _naming(entry.path):
                    folder = _enter(walk, entry.path.parent)
                    if folder is not None:
                        swap.forget(folder, entry)
            self._sync(walk)
            _remove_empty(walk, self._record.prune)
        journal.end(self._paths)

    def undo(self) -> tuple[PurePosixPath, ...]:
        """Take the changes back; may follow stage(), commit(), or a crash.

        Returns:
            Files that hold neither their old nor their new content, because somebody edited them since: they
            are left as they are, and their old version, if any, stays beside them as `.NAME.ds01-old~`.

        Raises:
            FilesError: the system refused a step; the journal stays and recover() goes on with it.
        """
        self._expect(State.STAGING, State.APPLYING, State.APPLIED, State.UNDOING)
        if self._state in {State.APPLYING, State.APPLIED}:
            self._switch(State.UNDOING)
        untouched = self._state is State.STAGING
        kept: list[PurePosixPath] = []
        with Walk(self._paths) as walk:
            for entry in reversed(self._record.entries):
                with _naming(entry.path):
                    folder = _enter(walk, entry.path.parent)
                    if folder is None:
                        continue
                    if untouched:
                        swap.sweep(folder, entry)
                    elif not swap.take_back(folder, entry):
                        kept.append(entry.path)
            _remove_empty(walk, tuple(reversed(self._record.made)))
            self._sync(walk)
        journal.end(self._paths)
        return tuple(reversed(kept))

    @contextmanager
    def or_undone(self) -> Iterator[None]:
        """Take everything back when the block fails, and let the failure pass."""
        try:
            yield
        except BaseException as error:
            try:
                self.undo()
            except (OSError, Ds01Error) as second:
                raise FilesError(
                    f"{error}; taking it back failed too",
                    str(second),
                    "mend the cause and run ./inv deploy again: it goes on taking it back",
                ) from error
            raise

    def _sync(self, walk: Walk) -> None:
        """Make the names in every folder we touch durable, each folder once.

        Plain fsync rather than sync(2) or syncfs(2): those wait for what others have in memory too, which on
        a machine with 1 TiB of it can take minutes, and sync(2) tells of no error.
        """
        parents = (each.parent for each in (*self.paths, *self._record.made, *self._record.prune))
        for folder in dict.fromkeys(parents):
            with _naming(folder):
                fd = _enter(walk, folder)
                if fd is not None:
                    sync_folder(fd)

    def _switch(self, state: State) -> None:
        journal.switch(self._paths, state)
        self._state = state

    def _expect(self, *states: State) -> None:
        if self._state not in states:
            raise RuntimeError(f"a transaction that is {self._state.value} cannot do this")


def _refuse_nonsense(changes: Sequence[Change]) -> None:
    seen: set[PurePosixPath] = set()
    for change in changes:
        if change.path in seen:
            raise ValueError(f"{change.path} is changed twice")
        seen.add(change.path)
        if isinstance(change, Write) and len(change.content) > LARGEST_BYTES:
            raise ValueError(f"{change.path} would be larger than {LARGEST_BYTES} bytes")


def _survey(
    walk: Walk, changes: Sequence[Change], prune: tuple[PurePosixPath, ...], context: Mapping[str, object]
) -> Record:
    """Look at every target before anything is written, so that what is in the way stops us early."""
    entries: list[Entry] = []
    made: dict[PurePosixPath, None] = {}
    for change in changes:
        with _naming(change.path):
            missing = walk.missing(change.path.parent)
            existed = not missing and swap.exists(walk.enter(change.path.parent), change.path)
        match change:
            case Write():
                made |= dict.fromkeys(missing)
                entries.append(Entry(change.path, sha256(change.content), existed))
            case Link():
                made |= dict.fromkeys(missing)
                entries.append(Entry(change.path, sha256(os.fsencode(change.goal)), existed))
            case Remove():
                if existed:
                    entries.append(Entry(change.path, None, existed))
    return Record(tuple(entries), tuple(made), prune, context)


def _maker(change: Change) -> swap.Maker | None:
    match change:
        case Write():
            return lambda folder, name: write_new(folder, name, change.content, change.mode, _owner(change))
        case Link():
            return lambda folder, name: link_new(folder, name, change.goal, _owner(change))
        case Remove():
            return None


def _owner(change: Write | Link) -> tuple[int, int]:
    return -1 if change.uid is None else change.uid, -1 if change.gid is None else change.gid


def _remove_empty(walk: Walk, folders: tuple[PurePosixPath, ...]) -> None:
    for folder in folders:
        with _naming(folder):
            above = _enter(walk, folder.parent)
            if above is None:
                continue
            try:
                os.rmdir(folder.name, dir_fd=above)
            except OSError as error:
                if error.errno not in _LEAVE and is_there(above, folder.name):
                    raise


def _enter(walk: Walk, folder: PurePosixPath) -> int | None:
    """Return the folder's descriptor, None when there is no such folder."""
    try:
        return walk.enter(folder)
    except FileNotFoundError:
        return None


@contextmanager
def _naming(path: PurePosixPath) -> Iterator[None]:
    """Turn a refusal of the system into an error that names the path and what to do."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error
