"""The file of bare-metal grants: read without a lock, changed under one. Decides nothing; grants.py does."""

from __future__ import annotations

from collections.abc import Callable

from ds01.core.jsonstate import StateError, exclusive, read_json, write_json
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.runtime.gpu.grants import Grant, from_document, to_document

_MODE: Final = 0o644
_WAIT_SECONDS: Final = 10.0


def read_grants(paths: HostPaths) -> tuple[Grant, ...]:
    """Return the grants there are, also those that are over; none where nobody ever gave one.

    Raises:
        StateError: the file is not to be believed or cannot be read.
        GrantsError: it says something else.
    """
    document = read_json(paths.bare_metal_grants, of_root=True)
    return () if document is None else from_document(document)


def change_grants(paths: HostPaths, change: Callable[[tuple[Grant, ...]], tuple[Grant, ...]]) -> None:
    """Replace the grants by what becomes of them, in one step that nobody else can come between.

    Raises:
        StateError: as read_grants(), or it cannot be written; nothing was changed.
        GrantsError: as read_grants().
        BusyError: somebody else is at it, still.
    """
    path = paths.bare_metal_grants
    try:
        with exclusive(path.with_suffix(".lock"), wait_seconds=_WAIT_SECONDS, work="change of grants"):
            before = read_grants(paths)
            after = change(before)
            if after != before:
                write_json(path, to_document(after), mode=_MODE)
    except OSError as error:
        raise StateError(
            f"{path} cannot be written, so nothing was changed", error.strerror, "make room there, or run it as root"
        ) from error
