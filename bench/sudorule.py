"""A sudo rule for this process and what it starts, and for nobody else on the machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

# Source: linux/sched.h.
_CLONE_NEWNS: Final = 0x00020000
_SUDOERS: Final = Path("/etc/sudoers")


def let_everybody_ask(rule: str, folder: Path) -> bool:
    """Put a rule in the place of /etc/sudoers, in a mount namespace of this process's own.

    The machine's file is not touched, and the namespace ends with this process.

    Returns:
        Whether it could be done: sudo is there, and we are a root that may mount.
    """
    if os.geteuid() != 0 or shutil.which("sudo") is None or not _SUDOERS.exists():
        return False
    own = folder / "sudoers"
    own.write_text(rule)
    own.chmod(0o440)
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        return False
    return _mount("--make-rprivate", "/") and _mount("--bind", os.fspath(own), os.fspath(_SUDOERS))


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0
