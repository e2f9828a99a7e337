"""Whether DS01 reads the lines of the installed docker client as that client does. Runs the client, never a daemon."""

from __future__ import annotations

from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.process import Run
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.runtime.client.helptext import difference
from ds01.runtime.client.realclient import read_texts, read_version
from ds01.runtime.client.tables import UnknownClientError, nearest, pick

_MOST_LINES: Final = 30
# Of a version that has a table: where an option read wrongly would go past a limit. All of them are fifty programs.
_LOOKED_AT: Final = ("", "run", "create", "exec", "update")


class OtherOptionsError(Ds01Error):
    """The installed client takes other options than the table for its version says."""


def check_client(docker: Path, run: Run) -> str:
    """Return the client's version when there is a table for it and that is true.

    Raises:
        ClientError: it cannot be asked.
        UnknownClientError: its version has no table; says how the client differs from the nearest one.
        OtherOptionsError: its table is not true.
    """
    version = read_version(docker, run)
    try:
        table = pick(version)
    except UnknownClientError as error:
        table = nearest(version)
        differs = difference(table, read_texts(docker, run))
        words = f"its options are those of docker {table.version}" if not differs else _lines(differs)
        raise UnknownClientError(
            error.brief, f"{error.details}; compared with {table.version}:\n{words}", error.resolution
        ) from error
    differs = difference(table, read_texts(docker, run, _LOOKED_AT), _LOOKED_AT)
    if differs:
        raise OtherOptionsError(
            f"{docker} {visible(version)} takes other options than DS01's table for docker {table.version}",
            _lines(differs),
            f"make the table anew (./inv client-table --docker {docker}) and look at what git diff shows",
        )
    return version


def _lines(differs: str) -> str:
    lines = differs.splitlines()
    more = [f"… and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    return "\n".join(f"  {visible(line)}" for line in [*lines[:_MOST_LINES], *more])
