"""The file of an account's promises: read, decide and write under one lock, so that check and start are one step.

Written by root alone, in a folder of root's own. A file that cannot be read is kept aside, and the account begins with
no promise: that is better than a machine on which nobody can start anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ds01.core.jsonstate import StateError, exclusive, read_json, write_bytes
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.containers.pending import Pending, PendingError, from_document, to_document

# A command that computes under the lock takes some ten milliseconds; who waits longer stands behind a hundred.
_WAIT_SECONDS: Final = 20.0
_MODE: Final = 0o600


@dataclass(slots=True)
class Page:
    """The promises of one account while they are locked.

    Attributes:
        promises: what is written when the lock is given back, if it is not what was read.
        trouble: why an older file was put aside; None when it was not.
    """

    promises: tuple[Pending, ...] = ()
    trouble: str | None = None
    seen: tuple[Pending, ...] = field(default=())


@contextmanager
def locked_page(folder: Path, uid: int) -> Iterator[Page]:
    """Hold an account's promises; what the block leaves in them is written.

    Raises:
        BusyError: somebody else holds them for too long.
        StateError: they cannot be written, or are not root's.
        OSError: the folder cannot be made or written; nothing was promised.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{uid}.json"
    with exclusive(folder / f"{uid}.lock", wait_seconds=_WAIT_SECONDS, work="docker command of yours", mode=_MODE):
        page = _read(path)
        yield page
        if page.promises != page.seen or page.trouble is not None:
            write_bytes(path, json.dumps(to_document(page.promises)).encode(), mode=_MODE)


def _read(path: Path) -> Page:
    try:
        document = read_json(path, of_root=True)
        promises = () if document is None else from_document(document)
    except PendingError as error:
        return _put_aside(path, str(error))
    except StateError as error:
        return _put_aside(path, error.details or error.brief)
    return Page(promises, None, promises)


def _put_aside(path: Path, why: str) -> Page:
    aside = path.with_name(f"{path.name}.bad")
    os.replace(path, aside)  # noqa: PTH105 - says which of the two names is in the way
    return Page(trouble=f"{path} could not be used and lies in {aside.name} now: {why}")


def drop(folder: Path, uid: int, matches: Callable[[Pending], bool]) -> None:
    """Take promises back, because nothing will come of them."""
    with locked_page(folder, uid) as page:
        page.promises = tuple(each for each in page.promises if not matches(each))
