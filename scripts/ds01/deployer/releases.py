"""Looks at the installed releases of the runtime, and removes those that nothing needs any more.

Every file of a release stands in its release.json with a digest, so that an edited one is known. Builds nothing:
that is install.py's.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Final, cast

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import StateError, read_json
from ds01.core.paths import HostPaths
from ds01.core.tree import Form, sha256
from ds01.deployer.files import Walk, observe_file
from ds01.deployer.history import numbers, read_generation
from ds01.deployer.plan import Plan
from ds01.deployer.release import (
    CURRENT,
    RELEASES,
    Found,
    Release,
    State,
    candidates,
    gone,
    judge,
    release_of,
    releases_to_keep,
)

MANIFEST: Final = "release.json"
MANIFEST_VERSION: Final = 1
UNFINISHED: Final = ".new-"
_PYTHON: Final = "venv/bin/python"
# A release that may not be read is for the plan to show, not a reason to take another.
_STAYS: Final = frozenset({State.WHOLE, State.UNKNOWN})
_USABLE: Final = _STAYS | {State.ABSENT}


def release_manifest(release: Release, folder: Path) -> dict[str, object]:
    """Return what release.json says of a finished folder.

    Raises:
        OSError: something in it may not be read.
    """
    return {
        "version": MANIFEST_VERSION,
        "release": release.name,
        "packages": dict(release.packages),
        "files": dict(sorted(_digests(folder))),
    }


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield path and digest of every file, and where every link leads; not what Python compiles for itself.

    Raises:
        OSError: something may not be read.
    """
    for shown, entry in _entries(folder):
        if shown == MANIFEST or "__pycache__" in shown.split("/"):
            continue
        if entry.is_symlink():
            yield shown, f"-> {os.readlink(entry)}"  # noqa: PTH115 - there are hundreds, and no Path is needed
        elif entry.is_file(follow_symlinks=False):
            yield shown, sha256(Path(entry).read_bytes())
        elif not entry.is_dir(follow_symlinks=False):
            yield shown, "no file"


def _entries(folder: Path, below: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that a folder holds, each with its path in it; no link is followed."""
    with os.scandir(folder / below) as found:
        for entry in found:
            yield f"{below}{entry.name}", entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(folder, f"{below}{entry.name}/")


def look_at(paths: HostPaths, name: str) -> Found:
    """Return the state of one release; never raises for what is wrong with it."""
    nothing = Release(name)
    try:
        with Walk(paths) as walk:
            walk.enter(RELEASES / name)
    except FileNotFoundError:
        return Found(State.ABSENT, nothing)
    except Ds01Error as error:
        return Found(State.EDITED, nothing, error.brief)
    except OSError as error:
        return Found(State.UNKNOWN, nothing, _denied(RELEASES / name, error))
    try:
        return _look_inside(paths.releases / name, nothing)
    except OSError as error:
        return Found(State.UNKNOWN, nothing, _denied(error.filename, error))


def _denied(what: object, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{what} may not be read; run the command as root (sudo)"
    return f"{what} cannot be read: {error.strerror}"


def _look_inside(folder: Path, nothing: Release) -> Found:
    """Hold a release against its release.json.

    Raises:
        OSError: something in it may not be read, or vanished meanwhile.
    """
    try:
        release, files = _read_manifest(folder)
    except StateError as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from error
        return Found(State.EDITED, nothing, f"{MANIFEST} cannot be used: {error.brief}")
    except (KeyError, TypeError, AttributeError) as error:
        return Found(State.EDITED, nothing, f"{MANIFEST} cannot be used ({type(error).__name__}: {error})")
    if release.name != nothing.name:
        return Found(State.EDITED, nothing, f"it is a copy of {release.name}")
    why = _difference(files, dict(_digests(folder))) or _writable(folder)
    if why is not None:
        return Found(State.EDITED, release, why)
    python = folder / _PYTHON
    try:
        python.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Found(State.BROKEN, release, f"its Python is gone: {os.path.realpath(python)}")
    return Found(State.WHOLE, release)


def _read_manifest(folder: Path) -> tuple[Release, Mapping[str, str]]:
    stored = read_json(folder / MANIFEST)
    if stored is None:
        raise StateError("it is missing")
    packages, files = cast("dict[str, str]", stored["packages"]), cast("dict[str, str]", stored["files"])
    return Release(str(stored["release"]), dict(packages.items())), dict(files.items())


def _difference(wanted: Mapping[str, str], there: Mapping[str, str]) -> str | None:
    for name in sorted({*wanted, *there}):
        if name not in there:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} was added"
        if wanted[name] != there[name]:
            return f"{name} differs"
    return None


def _writable(folder: Path) -> str | None:
    """Return what others than the owner of the release could change in it, compiled code too."""
    own = folder.stat()
    found = ((shown, entry.stat(follow_symlinks=False)) for shown, entry in _entries(folder))
    for shown, status in chain([(".", own)], found):
        if status.st_uid != own.st_uid:
            return f"{shown} belongs to uid {status.st_uid}"
        if not stat.S_ISLNK(status.st_mode) and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{shown} can be written by others"
    return None


def in_force(paths: HostPaths) -> str | None:
    """Return the name of the release that /opt/ds01/current names; None when there is none."""
    there = observe_file(paths, CURRENT)
    return release_of(os.fsdecode(there.content or b"")) if there.form is Form.LINK else None


def usable_name(paths: HostPaths, name: str) -> str:
    """Return under which name a release is whole or can be built: its own, or another when what lies there is spoilt.

    The one in force stays as long as it will do, also when a name before it becomes free.

    Raises:
        FilesError: root would have to trust what others can change.
    """
    present = in_force(paths)
    if present is not None and present in candidates(name) and look_at(paths, present).state in _STAYS:
        return present
    return next((each for each in candidates(name) if look_at(paths, each).state in _USABLE), name)


def plan_runtime(plan: Plan, paths: HostPaths, offered: Release | None) -> Plan:
    """Return the plan with what is to be said of the release it puts in force, if it puts any.

    Args:
        offered: the release that can be built here; None when only installed ones can be used.
    """
    goal = next((action.after for action in plan.actions if action.path == CURRENT), None)
    name = release_of(goal)
    if name is None:
        return plan
    wanted = found = look_at(paths, name)
    if found.state is State.ABSENT:
        wanted = Found(State.ABSENT, offered) if offered is not None and offered.name == name else gone(name)
    present = in_force(paths)
    before = found if present in {None, name} else look_at(paths, present)
    return judge(plan, wanted, None if present is None else before)


def remove_unused(paths: HostPaths) -> tuple[str, ...]:
    """Remove what a deploy left unfinished, and releases that neither this generation nor the one before needs.

    Returns:
        Edited releases that would have gone too: they are left for somebody to look at.

    Raises:
        FilesError: root would have to trust what others can change, or links are in the way.
        OSError: the system refused.
    """
    try:
        with Walk(paths) as walk:
            walk.enter(RELEASES)
    except FileNotFoundError:
        return ()
    kept = releases_to_keep(in_force(paths), _used(paths))
    left = []
    for path in sorted(paths.releases.iterdir()):
        if path.name.startswith(UNFINISHED):
            discard(path)
        elif path.name not in kept and look_at(paths, path.name).state in {State.WHOLE, State.BROKEN}:
            shutil.rmtree(path)
        elif path.name not in kept:
            left.append(path.name)
    return tuple(left)


def discard(path: Path) -> None:
    """Remove a folder with all in it, or whatever lies in its place; no link is followed.

    Raises:
        OSError: the system refused.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _used(paths: HostPaths) -> Iterator[str | None]:
    """Yield what the generations put in force, newest first; what cannot be read counts for nothing."""
    for number in reversed(numbers(paths)):
        try:
            link = read_generation(paths, number).tree.files.get(CURRENT)
        except Ds01Error:
            continue
        yield None if link is None else release_of(link.content)
