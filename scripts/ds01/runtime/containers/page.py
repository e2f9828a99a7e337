"""The page of an account: what it was promised and how often it was refused, under one lock: check and start are one.

Written by root alone, in a folder of root's own. A file that cannot be read is kept aside, and the account begins with
an empty page; where none can be written, it has one for the moment. Both are better than a machine on which nobody can
start anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ds01.core.jsonstate import StateError, exclusive, read_json, write_bytes
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.containers.denials import Denials
from ds01.runtime.containers.pending import Pending, PendingError, from_rows, to_rows

# A command that computes under the lock takes some ten milliseconds; who waits longer stands behind a hundred.
_WAIT_SECONDS: Final = 20.0
_MODE: Final = 0o600
VERSION: Final = 1
# So many containers of an account may come before the events daemon has looked; it looks within milliseconds.
_MOST_ADMITTED: Final = 200


@dataclass(slots=True)
class Page:
    """What stands on one account's page while it is locked; what it says at the end is written.

    Attributes:
        admitted: what the label `ds01.created_at` says of the containers that were let come to be, the newest last. It
            stays when a promise is over: a container that carries none of these has come past DS01.
        trouble: why an older file was put aside, or why this page is kept nowhere; None when all is well.
    """

    promises: tuple[Pending, ...] = ()
    denials: Denials = field(default_factory=Denials)
    admitted: tuple[str, ...] = ()
    trouble: str | None = None


@contextmanager
def locked_page(folder: Path, uid: int) -> Iterator[Page]:
    """Hold an account's page; what the block leaves in it is written.

    On a full disk, or without the folder and with nowhere to make it, it is not; `trouble` then says so, for what goes
    wrong at the end only after the block.

    Raises:
        BusyError: somebody else holds it for too long.
    """
    path = folder / f"{uid}.json"
    with ExitStack() as lock:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.enter_context(
                exclusive(
                    folder / f"{uid}.lock", wait_seconds=_WAIT_SECONDS, work="docker command of yours", mode=_MODE
                )
            )
            page = _read(path)
        except OSError as error:
            # Not written later either: without the lock that would take away what others have on it.
            yield Page(trouble=_unwritten(path, error))
            return
        before = _document(page)
        yield page
        after = _document(page)
        if after != before or page.trouble is not None:
            try:
                write_bytes(path, json.dumps(after).encode(), mode=_MODE, durable=False)
            except OSError as error:
                page.trouble = _unwritten(path, error)


def _unwritten(path: Path, error: OSError) -> str:
    return f"{path} cannot be written, so what is being started counts only once it runs: {error.strerror or error}"


def _document(page: Page) -> Mapping[str, object]:
    return {
        "version": VERSION,
        "pending": to_rows(page.promises),
        "denied_at": list(page.denials.times),
        "denied_unsaid": page.denials.unsaid,
        "admitted": list(page.admitted[-_MOST_ADMITTED:]),
    }


def _read(path: Path) -> Page:
    try:
        document = read_json(path, of_root=True)
        return Page() if document is None else _from_document(document)
    except PendingError as error:
        return _put_aside(path, str(error))
    except StateError as error:
        return _put_aside(path, error.details or error.brief)


def _from_document(document: Mapping[str, object]) -> Page:
    if document.get("version") != VERSION:
        raise PendingError(f"its version is {document.get('version')!r}")
    times, unsaid = document.get("denied_at"), document.get("denied_unsaid")
    if not isinstance(times, list) or not all(isinstance(each, (int, float)) for each in times):
        raise PendingError("it has no list of refusals")
    if not isinstance(unsaid, int):
        raise PendingError("it has no number of refusals")
    admitted = document.get("admitted", [])
    if not isinstance(admitted, list) or not all(isinstance(each, str) for each in admitted):
        raise PendingError("it has no list of what was admitted")
    return Page(from_rows(document.get("pending")), Denials(tuple(times), unsaid), tuple(admitted))


def admitted_on(folder: Path, uid: int) -> tuple[str, ...]:
    """Return what was admitted of late on an account's page, without its lock; none when it cannot be read."""
    try:
        document = read_json(folder / f"{uid}.json", of_root=True)
        return () if document is None else _from_document(document).admitted
    except (PendingError, StateError):
        return ()


def all_admitted(folder: Path) -> frozenset[str] | None:
    """Return what was admitted of late on the pages of all accounts; None when one cannot be read."""
    found: set[str] = set()
    try:
        for path in folder.glob("*.json"):
            document = read_json(path, of_root=True)
            found.update(() if document is None else _from_document(document).admitted)
    except (PendingError, StateError):
        return None
    return frozenset(found)


def asked_elsewhere(folder: Path, matches: Callable[[Pending], bool]) -> int | None:
    """Return the uid on whose page such a promise stands, without locks; None when it stands on none."""
    for path in folder.glob("*.json"):
        try:
            document = read_json(path, of_root=True)
            page = Page() if document is None else _from_document(document)
        except (PendingError, StateError):
            continue
        if path.stem.isdecimal() and any(map(matches, page.promises)):
            return int(path.stem)
    return None


def _put_aside(path: Path, why: str) -> Page:
    aside = path.with_name(f"{path.name}.bad")
    path.replace(aside)
    return Page(trouble=f"{path} could not be used and lies in {aside.name} now: {why}")


def take_back(folder: Path, uid: int, matches: Callable[[Pending], bool]) -> None:
    """Take promises back, because nothing will come of them."""
    with locked_page(folder, uid) as page:
        page.promises = tuple(each for each in page.promises if not matches(each))
