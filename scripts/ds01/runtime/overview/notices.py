"""What an account is to be told at its next login: /var/lib/ds01/notices/<uid>, a JSON list. Only reads.

    [{"at": "2026-03-01T09:12:00Z", "text": "container train was ended: out of memory"}]

The file is root's, readable by the account's own group; the newest notice is the last.
"""

from __future__ import annotations

import json

from ds01.core.clock import parse_instant
from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import read_bytes
from ds01.core.paths import HostPaths
from ds01.runtime.overview.figures import Notice, Unknown


def read_notices(paths: HostPaths, uid: int | None) -> tuple[Notice, ...] | Unknown:
    """Return an account's notices, oldest first; none when there is no file.

    Args:
        uid: None for an account that this machine does not know: nobody can have left it anything.
    """
    if uid is None:
        return ()
    path = paths.notices(uid)
    try:
        found = json.loads(read_bytes(path, of_root=True))
        return tuple(Notice(parse_instant(each["at"]), _text(each["text"])) for each in found)
    except FileNotFoundError:
        return ()
    except PermissionError:
        return Unknown(f"{path} may not be read: it is for the account itself")
    except Ds01Error as error:
        return Unknown(f"{path} cannot be read: {error.brief}")
    except OSError as error:
        return Unknown(f"{path} cannot be read: {error.strerror}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Unknown(f"{path} is no list of notices: {type(error).__name__}: {error}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value
