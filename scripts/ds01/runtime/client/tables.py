"""The tables that come with DS01, one for each version of the docker client that it knows."""

from __future__ import annotations

import json
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.runtime.client.table import Table

FOLDER: Final = Path(__file__).with_name("tables")


class UnknownClientError(Ds01Error):
    """There is no table for this version of the docker client."""


def known_versions() -> tuple[str, ...]:
    """Return the versions that have a table, oldest first."""
    return tuple(sorted((path.stem for path in FOLDER.glob("*.json")), key=_number))


def load(version: str) -> Table:
    """Return the table of a version that is known, such as "28.2".

    Raises:
        OSError: there is none; callers ask pick() or nearest().
    """
    stored = json.loads((FOLDER / f"{version}.json").read_bytes())
    return Table(stored["version"], stored["aliases"], stored["options"])


def pick(client_version: str) -> Table:
    """Return the table of a client, which has to be for exactly its major and minor number.

    Args:
        client_version: as the client says it, such as "28.2.2" or "20.10.24+dfsg1".

    Raises:
        UnknownClientError: there is none; names those there are.
    """
    version = ".".join(client_version.split(".")[:2])
    known = known_versions()
    if version not in known:
        raise UnknownClientError(
            f"DS01 has no table of options for docker {visible(client_version)}",
            f"it knows the clients {', '.join(known)}",
            "install one of these, or make its table: ./inv client-table --docker PATH",
        )
    return load(version)


def nearest(client_version: str) -> Table:
    """Return the table that fits a client best: its own, else the newest that is not newer than it, else the oldest.

    A version that cannot be read counts as newer than all.
    """
    known = known_versions()
    number = _number(client_version)
    older = [version for version in known if not number or _number(version) <= number]
    return load(older[-1] if older else known[0])


def _number(version: str) -> tuple[int, ...]:
    """Return major and minor number; () when there are none."""
    parts = version.split(".")[:2]
    return tuple(map(int, parts)) if len(parts) > 1 and all(map(_is_number, parts)) else ()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
