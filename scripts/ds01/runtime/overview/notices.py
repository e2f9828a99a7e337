"""What an account is to be told now: the notices in /var/lib/ds01/notices/<uid> that are not over. Only reads.

The file is root's, readable by the account's own group; lifecycle/notices.py knows its form, the newest is the last.
"""

from __future__ import annotations

from datetime import datetime

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import read_bytes
from ds01.core.paths import HostPaths
from ds01.runtime.lifecycle.notices import Notice, current, parse_notices
from ds01.runtime.overview.figures import Unknown


def read_notices(paths: HostPaths, uid: int | None, now: datetime) -> tuple[Notice, ...] | Unknown:
    """Return an account's notices, oldest first; none when there is no file.

    Args:
        uid: None for an account that this machine does not know: nobody can have left it anything.
    """
    if uid is None:
        return ()
    path = paths.notices(uid)
    try:
        return current(parse_notices(read_bytes(path, of_root=True)), now)
    except FileNotFoundError:
        return ()
    except PermissionError:
        return Unknown(f"{path} may not be read: it is for the account itself")
    except Ds01Error as error:
        return Unknown(f"{path} cannot be read: {error.brief}")
    except OSError as error:
        return Unknown(f"{path} cannot be read: {error.strerror}")
    except ValueError as error:
        return Unknown(f"{path} is no list of notices: {error}")
