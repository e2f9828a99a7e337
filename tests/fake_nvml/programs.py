"""A virtual environment with programs of others that are run on the fake driver; DS01's own stays free of them."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from ds01.core.jsonstate import exclusive

# In the checkout's own environment, and made anew with it.
FOLDER: Final = Path(__file__).resolve().parents[2] / ".venv/fake-nvml-programs"
_LOCK: Final = Path(__file__).resolve().parent / "requirements.txt"
_STAMP: Final = "ds01-lock"


class NoProgramsError(Exception):
    """pip could not install them; says why in its own words."""


def ensure_programs() -> Path:
    """Make the environment from requirements.txt unless it is there already, and return its Python.

    Raises:
        NoProgramsError: pip could not install them, as without a network.
    """
    python = FOLDER / "bin/python"
    wanted = f"{sys.version}\n{_LOCK.read_text(encoding='utf-8')}"
    with exclusive(FOLDER.with_name("fake-nvml-programs.lock"), wait_seconds=600, work="making of the programs"):
        stamp = FOLDER / _STAMP
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return python
        venv.create(FOLDER, clear=True, with_pip=True, symlinks=True)
        argv = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            _LOCK,
        ]
        done = subprocess.run(list(map(os.fspath, argv)), capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise NoProgramsError("\n".join(errors) or done.stderr[-1500:])
        stamp.write_text(wanted, encoding="utf-8")
        return python
