"""An account's control groups as files, with containers in them that run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FILES: Final = {
    "memory.current": "5000000\n",
    "memory.stat": "anon 4000000\ninactive_file 1000000\n",
    "memory.max": "1073741824\n",
    "memory.high": "max\n",
    "pids.current": "70\n",
    "pids.max": "4096\n",
    "cpu.stat": "usage_usec 7000000\n",
    "cpu.max": "max 100000\n",
    "memory.pressure": (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    ),
}


def lay_down(root: Path, account: str, containers: int) -> None:
    """Lay down a student's slice, and a scope for each container, below a mount point of control groups."""
    slice_ = root / f"ds01.slice/ds01-student.slice/ds01-student-{account}.slice"
    for folder in (slice_, *(slice_ / f"docker-{str(number) * 64}.scope" for number in range(containers))):
        folder.mkdir(parents=True)
        for name, text in _FILES.items():
            (folder / name).write_text(text)
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
