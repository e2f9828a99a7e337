"""Looks for what an older DS01 left on a host: its files, what calls them, which of its units run. Only reads.

Follows no link, opens nothing but regular files up to a size, and reads only files that could be the older system's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from ds01.core.paths import HostPaths
from ds01.core.process import Run
from ds01.deployer.files import ObstacleError, UnsafeFolderError, Walk, observe_file, observe_files
from ds01.deployer.folder import names_in
from ds01.deployer.observed import Kind
from ds01.deployer.older import (
    CALLERS,
    LONE_CALLERS,
    SLICE_MAKER,
    UNITS,
    Remains,
    calls_older,
    folders,
    is_candidate,
    recognise,
)
from ds01.deployer.systemd import active_units, is_running

_STATE: Final = PurePosixPath("/var/lib/ds01")


@dataclass(frozen=True, slots=True)
class _Said:
    """What could not be looked at so far, as in Remains."""

    unseen: list[str]
    unsafe: list[str]


def find_remains(paths: HostPaths, ours: Collection[PurePosixPath], run: Run) -> Remains:
    """Look for an older DS01's files; works without root, as far as the permissions go.

    Args:
        ours: what this DS01 writes or wrote.
    """
    said = _Said([], [])
    with Walk(paths) as walk:
        listed = list(_listed(walk, said))
        _look_at_state(walk, said)
    wanted = [path for path, mode in listed if path not in ours and _worth_a_look(path, mode)]
    seen = observe_files(paths, sorted({*wanted, *LONE_CALLERS}))
    older = tuple(found for path, there in seen.items() if (found := recognise(path, there, ours)) is not None)
    others = {path: there for path, there in seen.items() if path not in {each.path for each in older}}
    return Remains(
        older=older,
        callers=tuple(path for path, there in others.items() if calls_older(there)),
        foreign=tuple(
            (path, (there.content or b"").decode(errors="surrogateescape"))
            for path, there in others.items()
            if _is_slice(path) and path not in ours
        ),
        running=active_units(sorted({each.runs for each in older if each.runs}), run)
        if is_running(paths)
        else frozenset(),
        makes_slices=observe_file(paths, SLICE_MAKER).kind is not Kind.ABSENT,
        unseen=tuple(said.unseen),
        unsafe=tuple(said.unsafe),
    )


def _worth_a_look(path: PurePosixPath, mode: int) -> bool:
    if stat.S_ISLNK(mode):
        return is_candidate(path, is_link=True) or _is_slice(path)
    return stat.S_ISREG(mode) and (is_candidate(path, is_link=False) or path.parent in CALLERS or _is_slice(path))


def _is_slice(path: PurePosixPath) -> bool:
    """Whether a file is a slice in DS01's name space, or a drop-in of one."""
    if path.parent == UNITS:
        return fnmatchcase(path.name, "ds01*.slice")
    return fnmatchcase(f"{path.parent}", f"{UNITS}/ds01*.slice.d") and path.suffix == ".conf"


def _listed(walk: Walk, said: _Said) -> Iterator[tuple[PurePosixPath, int]]:
    """Yield every entry of the folders in question, with its mode."""
    # Those below systemd's folder are patterns, and are found in it.
    below = [pattern for pattern in folders() if pattern.startswith(f"{UNITS}/")]
    for folder in dict.fromkeys((*(PurePosixPath(each) for each in folders() if each not in below), *CALLERS)):
        for path, mode in _entries(walk, folder, said):
            yield path, mode
            if folder == UNITS and stat.S_ISDIR(mode) and any(fnmatchcase(f"{path}", each) for each in below):
                yield from _entries(walk, path, said)


def _entries(walk: Walk, folder: PurePosixPath, said: _Said) -> list[tuple[PurePosixPath, int]]:
    found = []
    try:
        fd = walk.enter(folder)
        for name in sorted(names_in(fd)):
            try:
                found.append((folder / name, os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode))
            except FileNotFoundError:
                continue  # gone since it was listed
    except (ObstacleError, FileNotFoundError):
        return found
    except UnsafeFolderError as error:
        said.unsafe.append(
            f"whether files of an older DS01 lie there was not looked at: {error.brief}; {error.resolution}"
        )
    except OSError as error:
        why = "run it with sudo" if isinstance(error, PermissionError) else f"{error.strerror}"
        said.unseen.append(f"whether {folder} holds files of an older DS01 cannot be seen: {why}")
    return found


def _look_at_state(walk: Walk, said: _Said) -> None:
    """Say beforehand that deploy will refuse to write where the older DS01 lets a group write."""
    try:
        walk.enter(_STATE)
    except UnsafeFolderError as error:
        said.unsafe.append(f"deploy will refuse this: {error.brief}; {error.resolution}")
    except (ObstacleError, OSError):
        return
