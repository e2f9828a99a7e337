"""Who runs the tests, by name where there is one: in a container the caller's uid may have no account."""

from __future__ import annotations

import grp
import os
import pwd


def my_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def my_group() -> str:
    try:
        return grp.getgrgid(os.getegid()).gr_name
    except KeyError:
        return f"gid {os.getegid()}"
