"""The benchmark's own virtual environment, with the peers in it; DS01's own stays free of them."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from measure import BenchError

FOLDER: Final = Path(__file__).resolve().parent / ".venv"
_LOCK: Final = Path(__file__).resolve().parent / "requirements.txt"
_STAMP: Final = "ds01-lock"


def ensure_environment() -> Path:
    """Make bench/.venv from requirements.txt unless it is there already, and return its folder of programs.

    Raises:
        BenchError: pip could not install the peers.
    """
    wanted = f"{sys.version}\n{_LOCK.read_text(encoding='utf-8')}"
    stamp = FOLDER / _STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return FOLDER / "bin"
    print(f"bench: making {FOLDER} from {_LOCK.name} (only now and when it changes) ...", file=sys.stderr)
    venv.create(FOLDER, clear=True, with_pip=True, symlinks=True)
    argv: list[str | Path] = [
        FOLDER / "bin/pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "-r",
        _LOCK,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"pip could not install {_LOCK}\n{done.stderr[-1500:]}")
    stamp.write_text(wanted, encoding="utf-8")
    return FOLDER / "bin"
