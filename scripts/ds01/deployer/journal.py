"""The journal: what a deploy is about to change, on disk before the first change, and how far it has come.

Knows its own files below /var/lib/ds01/deploy and nothing of what they describe.

`journal.json` is small. That it exists says that a deploy is under way; it names the state and the digest of
`journal.files.json`, the list of changes, which never changes. The text of every later state is written and
made durable before the deploy begins, as `.journal.json.<state>`. Going on to a state is a rename of that
file over `journal.json`: one step for every reader and for a crash. It needs no space, since the name is there
and only gets another inode; so a disk that fills up half way stops neither the deploy nor its undoing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Final, cast

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.tree import sha256
from ds01.deployer.files import ObstacleError, Walk, explain, make_folder, observe_file
from ds01.deployer.folder import drop, names_in, sync_folder, write_new
from ds01.deployer.observed import Kind

FOLDER: Final = PurePosixPath("/var/lib/ds01/deploy")
_STATE_NAME: Final = "journal.json"
_LIST_NAME: Final = "journal.files.json"
_VERSION: Final = 1
# Anybody may see that a deploy was interrupted, so that plan can say so without being root.
_STATE_MODE: Final = 0o644
_LIST_MODE: Final = 0o600


class State(Enum):
    """How far a deploy has come, and so what the next command does when it ends here."""

    STAGING = "staging"  # nothing visible has changed: sweep up
    APPLYING = "applying"  # some files may be new: put the old ones back
    APPLIED = "applied"  # all files are new, not yet proved good: go on or put back
    FINISHING = "finishing"  # proved good: only the old versions are left to remove
    UNDOING = "undoing"  # some files may be old again: put the others back too


class JournalError(Ds01Error):
    """The journal cannot be used; it and everything it speaks of is left as it is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change as the journal remembers it.

    Attributes:
        sha256: digest of the new content; None when the file is removed.
        existed: whether a file was there before.
    """

    path: PurePosixPath
    sha256: str | None
    existed: bool


@dataclass(frozen=True, slots=True)
class Record:
    """All that is needed to finish or undo a deploy.

    Attributes:
        entries: in the order in which the files are put in place.
        made: folders that did not exist, outermost first.
        prune: folders to remove at the end if they are empty then, in this order.
        context: what the caller wants to know again after a crash; plain JSON.
    """

    entries: tuple[Entry, ...]
    made: tuple[PurePosixPath, ...]
    prune: tuple[PurePosixPath, ...]
    context: Mapping[str, object]

    def to_bytes(self) -> bytes:
        """Return the text of the list."""
        value = {
            "version": _VERSION,
            "made": list(map(os.fspath, self.made)),
            "prune": list(map(os.fspath, self.prune)),
            "context": dict(self.context),
            "files": [
                {"path": os.fspath(each.path), "sha256": each.sha256, "existed": each.existed} for each in self.entries
            ],
        }
        return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Record:
        """Rebuild what to_bytes() wrote.

        Raises:
            KeyError, TypeError, ValueError: it is not one of ours.
        """
        value = json.loads(content)
        if value["version"] != _VERSION:
            raise ValueError(f"it has version {value['version']}, this DS01 knows {_VERSION}")
        entries = (Entry(PurePosixPath(each["path"]), each["sha256"], bool(each["existed"])) for each in value["files"])
        return cls(
            tuple(entries),
            tuple(map(PurePosixPath, value["made"])),
            tuple(map(PurePosixPath, value["prune"])),
            cast("dict[str, object]", value["context"]),
        )


def pending(paths: HostPaths) -> State | None:
    """Return how far an interrupted deploy came, None when there is none; read-only, works without root.

    Raises:
        JournalError: the journal is there but cannot be read.
    """
    found = _read_state(paths)
    return None if found is None else found[0]


def load(paths: HostPaths) -> tuple[State, Record] | None:
    """Return the journal of an interrupted deploy, None when there is none.

    Raises:
        JournalError: it is there but cannot be read, or its parts do not belong together.
    """
    found = _read_state(paths)
    if found is None:
        return None
    state, digest = found
    content = _read(paths, _LIST_NAME)
    if content is None:
        raise _unusable(_LIST_NAME, "it is missing")
    if sha256(content) != digest:
        raise _unusable(_LIST_NAME, f"it is not the list that {_STATE_NAME} speaks of")
    try:
        return state, Record.from_bytes(content)
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(_LIST_NAME, f"{type(error).__name__}: {error}") from error


def begin(paths: HostPaths, record: Record) -> None:
    """Write the journal in state STAGING, and beforehand all that later states need.

    Raises:
        FilesError: it could not be written; nothing else was changed.
        JournalError: there is a journal already.
    """
    make_folder(paths, FOLDER)
    sweep(paths)
    try:
        with Walk(paths) as walk:
            _write(walk.enter(FOLDER), record.to_bytes())
    except BaseException as error:
        # What cannot be removed now is swept up by the next command.
        with suppress(OSError, Ds01Error):
            end(paths)
        if isinstance(error, OSError):
            raise explain(error, FOLDER / _STATE_NAME) from error
        raise


def _write(folder: int, content: bytes) -> None:
    write_new(folder, _LIST_NAME, content, _LIST_MODE)
    for state in State:
        write_new(folder, _waiting(state), _state_text(state, sha256(content)), _STATE_MODE)
    # What the journal leans on has to be durable before the journal is there.
    sync_folder(folder)
    _rename(folder, State.STAGING)


def switch(paths: HostPaths, state: State) -> None:
    """Go on to another state, durably, in one step and without needing space.

    Raises:
        FilesError: the system refused; the journal says the old state or the new one.
    """
    try:
        with Walk(paths) as walk:
            _rename(walk.enter(FOLDER), state)
    except OSError as error:
        raise explain(error, FOLDER / _STATE_NAME) from error


def end(paths: HostPaths) -> None:
    """Remove the journal: the deploy is over, one way or the other.

    Raises:
        FilesError: the system refused; recovery will come here again.
    """
    try:
        with Walk(paths) as walk:
            folder = walk.enter(FOLDER)
            drop(folder, _STATE_NAME)
            # The list may only go once nothing can bring the journal back.
            sync_folder(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain(error, FOLDER / _STATE_NAME) from error
    sweep(paths)


def sweep(paths: HostPaths) -> None:
    """Remove what a crash left beside a journal that is not there (any more).

    Raises:
        FilesError: the system refused.
        JournalError: there is a journal, so nothing here is a leftover.
    """
    try:
        with Walk(paths) as walk:
            folder = walk.enter(FOLDER)
            # Looking first keeps a run with nothing to do from asking for the right to write.
            present = names_in(folder)
            if _STATE_NAME in present:
                raise JournalError(
                    "an earlier deploy was interrupted and is not cleared up yet",
                    f"its journal is {FOLDER / _STATE_NAME}",
                    "run ./inv deploy again: it first finishes or undoes what was left",
                )
            for name in sorted(present & {_LIST_NAME, *map(_waiting, State)}):
                drop(folder, name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain(error, FOLDER) from error


def _waiting(state: State) -> str:
    return f".{_STATE_NAME}.{state.value}"


def _rename(folder: int, state: State) -> None:
    os.rename(_waiting(state), _STATE_NAME, src_dir_fd=folder, dst_dir_fd=folder)
    sync_folder(folder)


def _state_text(state: State, digest: str) -> bytes:
    return (json.dumps({"version": _VERSION, "state": state.value, "list": digest}) + "\n").encode()


def _read_state(paths: HostPaths) -> tuple[State, str] | None:
    content = _read(paths, _STATE_NAME)
    if content is None:
        return None
    try:
        value = json.loads(content)
        state, digest = State(value["state"]), str(value["list"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(_STATE_NAME, f"{type(error).__name__}: {error}") from error
    if value.get("version") != _VERSION:
        raise _unusable(_STATE_NAME, f"it has version {value.get('version')}, this DS01 knows {_VERSION}")
    return state, digest


def _read(paths: HostPaths, name: str) -> bytes | None:
    found = observe_file(paths, FOLDER / name)
    match found.kind:
        case Kind.ABSENT:
            return None
        case Kind.FILE:
            return found.content
        case Kind.UNREADABLE | Kind.FOLDER:
            raise JournalError(f"{FOLDER / name} cannot be used", found.obstacle, "run the command as root (sudo)")
        case Kind.SYMLINK | Kind.OTHER:
            raise ObstacleError(found.kind, found.obstacle or f"{FOLDER / name} is in the way")


def _unusable(name: str, cause: str) -> JournalError:
    return JournalError(
        f"the journal of an interrupted deploy cannot be read: {FOLDER / name}",
        f"{cause}. Nothing was touched",
        "the former version of each changed file lies beside it as .NAME.ds01-old~; put back what you need,"
        f" move the journal away (mv {FOLDER / _STATE_NAME} {FOLDER / _STATE_NAME}.bad) and deploy again",
    )
