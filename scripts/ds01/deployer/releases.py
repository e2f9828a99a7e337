"""Looks at the installed releases of the runtime, and removes those that nothing needs any more.

Every file of a release stands in its release.json with a digest, so that an edited one is known. Builds nothing:
that is install.py's.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.tree import sha256
from ds01.deployer.files import Walk, explain, observe_file
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


def release_manifest(release: Release, folder: Path) -> dict[str, object]:
    """Return what release.json says of a finished folder."""
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

    def fail(error: OSError) -> None:
        raise error

    for above, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*files, *folders):
            path = Path(above, name)
            mode = path.lstat().st_mode
            shown = path.relative_to(folder).as_posix()
            if stat.S_ISLNK(mode):
                yield shown, f"-> {path.readlink()}"
            elif stat.S_ISREG(mode) and shown != MANIFEST:
                yield shown, sha256(path.read_bytes())
            elif not stat.S_ISDIR(mode) and shown != MANIFEST:
                yield shown, "no file"


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
        return Found(State.UNKNOWN, nothing, explain(error, RELEASES / name).brief)
    folder = paths.releases / name
    try:
        stored = json.loads((folder / MANIFEST).read_bytes())
        release = Release(name, {str(key): str(value) for key, value in stored["packages"].items()})
        files: Mapping[str, str] = stored["files"]
        why = _difference(files, dict(_digests(folder))) or _writable(folder)
    except PermissionError as error:
        return Found(State.UNKNOWN, nothing, f"{error.filename} may not be read; run the command as root (sudo)")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Found(State.EDITED, nothing, f"{MANIFEST} cannot be used ({type(error).__name__}: {error})")
    if why is not None:
        return Found(State.EDITED, release, why)
    if not (folder / _PYTHON).exists():
        why = f"its Python is gone: {os.path.realpath(folder / _PYTHON)}; deploy again, with the Python of today"
        return Found(State.BROKEN, release, why)
    return Found(State.WHOLE, release)


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
    owner = folder.stat().st_uid
    for above, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            path = Path(above, name)
            found = path.lstat()
            shown = path.relative_to(folder)
            if found.st_uid != owner:
                return f"{shown} belongs to uid {found.st_uid}"
            if not stat.S_ISLNK(found.st_mode) and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return f"{shown} can be written by others"
    return None


def in_force(paths: HostPaths) -> str | None:
    """Return the name of the release that /opt/ds01/current names; None when there is none."""
    content = observe_file(paths, CURRENT).content
    return release_of(None if content is None else os.fsdecode(content))


def usable_name(paths: HostPaths, name: str) -> str:
    """Return the first name under which a release is whole, or free to be built under."""
    return next(each for each in candidates(name) if look_at(paths, each).state in {State.WHOLE, State.ABSENT})


def plan_runtime(plan: Plan, paths: HostPaths, offered: Release | None) -> Plan:
    """Return the plan with what is to be said of the release it puts in force, if it puts any.

    Args:
        offered: the release that can be built here; None when only installed ones can be used.
    """
    goal = next((action.after for action in plan.actions if action.path == CURRENT), None)
    name = release_of(goal)
    if name is None:
        return plan
    wanted = look_at(paths, name)
    if wanted.state is State.ABSENT:
        wanted = Found(State.ABSENT, offered) if offered is not None and offered.name == name else gone(name)
    present = in_force(paths)
    return judge(plan, wanted, None if present is None else look_at(paths, present))


def remove_unused(paths: HostPaths) -> tuple[str, ...]:
    """Remove what a deploy left unfinished, and releases that neither this generation nor the one before needs.

    Returns:
        Edited releases that would have gone too: they are left for somebody to look at.

    Raises:
        OSError: the system refused.
    """
    if not paths.releases.is_dir():
        return ()
    kept = releases_to_keep(in_force(paths), _used(paths))
    left = []
    for folder in sorted(paths.releases.iterdir()):
        if folder.name in kept:
            continue
        unfinished = folder.name.startswith(UNFINISHED)
        if unfinished or look_at(paths, folder.name).state in {State.WHOLE, State.BROKEN}:
            shutil.rmtree(folder)
        else:
            left.append(folder.name)
    return tuple(left)


def _used(paths: HostPaths) -> Iterator[str | None]:
    """Yield what the generations put in force, newest first; what cannot be read counts for nothing."""
    for number in reversed(numbers(paths)):
        try:
            link = read_generation(paths, number).tree.files.get(CURRENT)
        except Ds01Error:
            continue
        yield None if link is None else release_of(link.content)
