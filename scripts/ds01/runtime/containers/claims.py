"""Whose containers are that no label gives to anybody, as an administrator said: /var/lib/ds01/claims.json.

Never begun anew when it cannot be read: what was said would be lost without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime

from ds01.core.clock import InstantError, format_instant, parse_instant
from ds01.core.jsonstate import StateError, exclusive, read_json, write_json
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.core.value import dataclass

VERSION: Final = 1
# A claim is written within milliseconds; whoever holds the lock longer waits for Docker.
_WAIT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What an administrator said of one container.

    Attributes:
        container_id: the whole id: a name may be another container's tomorrow.
        user: whose it is.
        by: who said so.
        name: of the container at that time; only to be shown.
    """

    container_id: str
    user: str
    by: str
    at: datetime
    name: str


def read_claims(paths: HostPaths) -> Mapping[str, Claim]:
    """Return all claims by the container's id; none when there is no file.

    Raises:
        StateError: the file may not be read, or is damaged; says what to do.
    """
    document = read_json(paths.claims, of_root=True)
    if document is None:
        return {}
    try:
        return _from_document(document)
    except (InstantError, KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"{paths.claims} is not as DS01 wrote it",
            f"{type(error).__name__}: {error}",
            f"mend it, or move it aside (mv {paths.claims} {paths.claims}.bad) and claim again what it names",
        ) from error


def write_claim(paths: HostPaths, claim: Claim) -> None:
    """Add a claim; one for the same container is replaced.

    Raises:
        StateError: what is there cannot be read, or nothing can be written; it is as it was.
        BusyError: somebody else holds the lock for too long.
    """
    with _changing(paths) as claims:
        claims[claim.container_id] = claim


def remove_claim(paths: HostPaths, container_id: str) -> Claim | None:
    """Take a claim back and return it; None when there is none.

    Raises:
        StateError, BusyError: as write_claim().
    """
    with _changing(paths) as claims:
        return claims.pop(container_id, None)


def prune_claims(paths: HostPaths, existing: Callable[[], Collection[str]]) -> tuple[Claim, ...]:
    """Drop the claims of containers that are gone, and return them.

    Args:
        existing: asks Docker for the ids of all containers, in whatever state. It is called under the lock, or a
            container that was made and claimed meanwhile would lose its claim; what it raises leaves all as it is.

    Raises:
        StateError, BusyError: as write_claim().
    """
    if not read_claims(paths):
        return ()
    with _changing(paths) as claims:
        there = existing()
        gone = tuple(claim for container_id, claim in claims.items() if container_id not in there)
        for claim in gone:
            del claims[claim.container_id]
    return gone


@contextmanager
def _changing(paths: HostPaths) -> Iterator[dict[str, Claim]]:
    """Hold the lock and yield what is claimed; what the block leaves of it is written."""
    with ExitStack() as lock:
        try:
            lock.enter_context(exclusive(paths.claims_lock, wait_seconds=_WAIT_SECONDS, work="ds01 claim"))
        except OSError as error:
            raise _unwritten(paths, error) from error
        before = read_claims(paths)
        claims = dict(before)
        yield claims
        if claims == before:
            return
        try:
            write_json(paths.claims, {"version": VERSION, "claims": {key: _row(each) for key, each in claims.items()}})
        except OSError as error:
            raise _unwritten(paths, error) from error


def _unwritten(paths: HostPaths, error: OSError) -> StateError:
    fix = "make room there (df /var/lib), or deploy when the folder is missing (sudo ./inv deploy)"
    return StateError(f"{paths.claims} cannot be written, and is as it was", error.strerror, fix)


def _from_document(document: Mapping[str, object]) -> Mapping[str, Claim]:
    if document.get("version") != VERSION:
        raise ValueError(f"its version is {document.get('version')!r}")
    rows = document.get("claims")
    if not isinstance(rows, dict):
        raise TypeError("it has no claims")
    return {container_id: _from_row(container_id, row) for container_id, row in rows.items()}


def _row(claim: Claim) -> Mapping[str, object]:
    return {"user": claim.user, "by": claim.by, "at": format_instant(claim.at), "name": claim.name}


def _from_row(container_id: str, row: Mapping[str, object]) -> Claim:
    texts = [row[key] for key in ("user", "by", "at", "name")]
    if not all(isinstance(each, str) and each for each in texts):
        raise TypeError(f"the claim of {container_id[:12]} is not whole")
    user, by, at, name = map(str, texts)
    return Claim(container_id, user, by, parse_instant(at), name)
