"""Which docker client is installed, so that lines are read by its own table; asked once for each client file."""

from __future__ import annotations

from contextlib import suppress

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import StateError, read_json, write_json
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.runtime.client.table import Table
from ds01.runtime.client.tables import nearest

VERSION: Final = 1
_MODE: Final = 0o644


def installed_table(paths: HostPaths) -> Table:
    """Return the table of the installed client, or of the nearest version that DS01 knows.

    Raises:
        ClientError: there is none, or it does not say its version.
    """
    return nearest(_installed_version(paths))


def _installed_version(paths: HostPaths) -> str:
    try:
        found = paths.docker_client.stat()
    except OSError as error:
        from ds01.runtime.client.realclient import ClientError  # noqa: PLC0415 - a broken installation alone

        brief = f"there is no docker client at {paths.docker_client}"
        raise ClientError(brief, error.strerror, "an administrator installs it: sudo apt install docker-cli") from error
    sign = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
    try:
        seen = read_json(paths.docker_client_seen, of_root=True) or {}
    except StateError:
        seen = {}
    if seen.get("version") == VERSION and seen.get("sign") == sign and isinstance(seen.get("client"), str):
        return str(seen["client"])
    from ds01.core.process import run  # noqa: PLC0415 - once for each client
    from ds01.runtime.client.realclient import read_version  # noqa: PLC0415 - once for each client

    client = read_version(paths.docker_client, run)
    # Without the folder, or on a full one, it is asked again next time.
    with suppress(OSError, Ds01Error):
        write_json(paths.docker_client_seen, {"version": VERSION, "sign": sign, "client": client}, mode=_MODE)
    return client
