"""What rules remember from one sweep to the next: a file for each below /var/lib/ds01/lifecycle, root's alone.

A file that cannot be believed is kept aside and the rule begins anew: nothing is stopped by a lost record.
"""

from __future__ import annotations

import itertools
import logging
import os.path
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import StateError, read_json, write_json
from ds01.core.paths import HostPaths
from ds01.core.typed import Final, TypeVar
from ds01.runtime.lifecycle.record import RecordError, plain, rows

logger = logging.getLogger(__name__)
VERSION: Final = 1
_MODE: Final = 0o640
_Memory = TypeVar("_Memory")


def path_of(paths: HostPaths, rule: str) -> Path:
    """Return where a rule's memory lies."""
    return paths.lifecycle / f"{rule}.json"


def recall(
    paths: HostPaths, rule: str, read: Callable[[Mapping[str, object]], _Memory], nothing: _Memory
) -> tuple[_Memory, str | None]:
    """Return what a rule remembers, and why that is nothing where there is a file.

    Args:
        nothing: what is remembered where nothing is.
    """
    path = path_of(paths, rule)
    try:
        document = read_json(path, of_root=True)
        if document is None:
            return nothing, None
        if document.get("version") != VERSION:
            return nothing, f"it has version {document.get('version')!r}, this DS01 reads version {VERSION}"
        return read(rows(document.get("memory"))), None
    except RecordError as error:
        return nothing, str(error)
    except StateError as error:
        return nothing, error.details or error.brief


def put_aside(paths: HostPaths, rule: str, why: str, now: datetime) -> None:
    """Keep a file that cannot be believed beside the new one.

    Raises:
        StateError: it cannot be moved; then nothing could be remembered either.
    """
    path = path_of(paths, rule)
    stamp = f"{path}.damaged-{now:%Y%m%dT%H%M%SZ}"
    names = (stamp if number == 0 else f"{stamp}.{number}" for number in itertools.count())
    aside = next(Path(name) for name in names if not os.path.lexists(name))
    try:
        path.rename(aside)
    except OSError as error:
        raise _unwritable(path, error) from error
    logger.warning("%s could not be believed: %s. It is kept as %s; the rule begins anew.", path, why, aside)


def remember(paths: HostPaths, rule: str, memory: object) -> None:
    """Keep what a rule remembers.

    Raises:
        StateError: it cannot be written.
    """
    path = path_of(paths, rule)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_json(path, {"version": VERSION, "rule": rule, "memory": plain(memory)}, mode=_MODE)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> Ds01Error:
    return StateError(f"{path} cannot be written", error.strerror, "make room on the disk (df -h); look at the folder")
