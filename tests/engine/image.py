"""The one image that an engine of the tests has: busybox, made here, without any registry."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

IMAGE: Final = "busybox:latest"
_USERS: Final = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUPS: Final = b"root:x:0:\nnogroup:x:65534:\n"


def packed(busybox: Path) -> bytes:
    """Return the image's files as a tar archive: busybox under each of its names, and two accounts."""
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, content in (
            ("bin/busybox", busybox.read_bytes()),
            ("etc/passwd", _USERS),
            ("etc/group", _GROUPS),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(content))
        for name in names:
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
    return archive.getvalue()
