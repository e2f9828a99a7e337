"""The generations: what each deploy wanted, who ran it and when; the last ten are kept."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

from ds01.core.errors import BadInputError
from ds01.core.jsonstate import StateError, read_json
from ds01.core.paths import HostPaths
from ds01.core.tree import Tree, TreeFile

GENERATION_VERSION: Final = 1
KEPT: Final = 10
_FOLDER: Final = "generations"
_UID: Final = re.compile(r"\d{1,10}", re.ASCII)
_GENERATION: Final = re.compile(r"\d{6,}\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Generation:
    """One deploy.

    Attributes:
        when: UTC, ISO 8601 with Z.
        what: the plan's summary, or which generation it went back to.
    """

    number: int
    host: str
    policy_hash: str
    who: str
    when: str
    what: str
    tree: Tree

    def to_json(self, *, files: bool = True) -> dict[str, object]:
        """Return the generation as it is stored, or without its files for listings."""
        head: dict[str, object] = {
            "version": GENERATION_VERSION,
            "generation": self.number,
            "host": self.host,
            "policy_hash": self.policy_hash,
            "who": self.who,
            "when": self.when,
            "what": self.what,
        }
        return head | {"files": {str(file.path): file.to_json() for file in self.tree}} if files else head


def generation_path(number: int) -> PurePosixPath:
    """Return where a generation is stored."""
    return PurePosixPath(f"/var/lib/ds01/deploy/{_FOLDER}/{number:06d}.json")


def numbers(paths: HostPaths) -> tuple[int, ...]:
    """Return the numbers of the kept generations, oldest first.

    Raises:
        StateError: they may not be read.
    """
    folder = paths.deploy / _FOLDER
    try:
        # Not glob(), which takes a folder that may not be read for an empty one.
        return tuple(sorted(int(file.stem) for file in folder.iterdir() if _GENERATION.fullmatch(file.name)))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StateError(f"{folder} may not be read", str(error), "run the command as root (sudo)") from error


def read_generation(paths: HostPaths, number: int) -> Generation:
    """Read one generation.

    Raises:
        BadInputError: there is no such generation.
        StateError: its file cannot be used.
    """
    path = paths.at(generation_path(number))
    stored = read_json(path, of_root=True)
    if stored is None:
        known = ", ".join(map(str, numbers(paths))) or "none"
        raise BadInputError(f"there is no generation {number}", None, f"kept are: {known}; see ./inv history")
    try:
        return _generation(stored)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path} is not a generation of DS01", f"{type(error).__name__}: {error}") from error


def _generation(stored: Mapping[str, object]) -> Generation:
    if stored["version"] != GENERATION_VERSION:
        raise ValueError(f"version {stored['version']}")
    files = stored["files"]
    if not isinstance(files, dict):
        raise TypeError("files is not an object")
    host, policy_hash = str(stored["host"]), str(stored["policy_hash"])
    tree = Tree.of(host, policy_hash, [TreeFile.from_json(path, entry) for path, entry in files.items()])
    number = int(str(stored["generation"]))
    return Generation(number, host, policy_hash, str(stored["who"]), str(stored["when"]), str(stored["what"]), tree)


def who_runs(environment: Mapping[str, str]) -> str:
    """Return the account behind this process: as sudo set SUDO_UID when we are root, else our own uid's."""
    uid = os.getuid()
    sudo_uid = environment.get("SUDO_UID", "")
    if uid == 0 and _UID.fullmatch(sudo_uid):
        uid = int(sudo_uid)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def stamp(now: datetime) -> str:
    """Return a time as DS01 writes it: UTC, whole seconds, Z."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
