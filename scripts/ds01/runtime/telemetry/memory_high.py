"""The only place of DS01's runtime that writes to a control group: a slice's memory.high, at run time.

Never through systemctl set-property: ADR 0017 says why.
"""

from __future__ import annotations

import os
from pathlib import Path

from ds01.core.names import SliceName, cgroup_path


def write_high(cgroup_root: Path, name: SliceName, high_bytes: int | None) -> None:
    """Give a slice another memory.high; None lifts it.

    Raises:
        OSError: it is as it was.

    Source: cgroup v2, memory.high: `max` is no limit; a value below what is used reclaims first, from 6.16 on not when
    the file was opened with O_NONBLOCK.
    """
    path = cgroup_root / cgroup_path(name) / "memory.high"
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(fd, b"max\n" if high_bytes is None else b"%d\n" % high_bytes)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        os.close(fd)
