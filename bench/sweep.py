"""What a sweep of the lifecycle rules costs with ten, a hundred and a thousand containers, and what of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from measure import BenchError, Command, Sample, Timing, interleave
from section import Lab, Row, Section

SIZES: Final = (10, 100, 1000)
ROUNDS: Final = 9
_LOAD: Final = Path(__file__).resolve().parent / "sweep_load.py"
_MEMORY: Final = Path("/dev/shm")
_PASS: Final = "python -I -S -c pass"
_COMMAND_SIZE: Final = 100
_PARTS: Final = {
    "look": "ask for all containers, whose they are",
    "idle_sights": "counters, .keep-alive",
    "rule": "the rule alone",
    "idle": "idle, whole sweep",
    "max-runtime": "max-runtime, whole sweep",
    "stale-containers": "stale-containers, whole sweep",
}


def measure(lab: Lab) -> Section:
    """Time sweeps and their parts on hosts with so many running containers, with which nothing is to be done."""
    rows: list[Row] = []
    with TemporaryDirectory(prefix="ds01-bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        base: dict[str, float] = {}
        for size in SIZES:
            root = Path(folder) / str(size)
            with _host(lab, root, size):
                rows += _parts(lab, root, size, base)
                if size == _COMMAND_SIZE:
                    rows += _command(lab, root)
    return Section("sweep", "A sweep of the lifecycle rules", _WORDS, tuple(rows))


_WORDS: Final = f"""
All containers run, belong to accounts, hold no GPU, and were looked at before; nothing is to be done. Docker is a
program that answers at once, one connection a question, as DS01 asks; a real engine takes longer for each. Files of
/proc, the control groups and the state are in a tmpfs. The ratio is to the same with {SIZES[0]} containers; that of the
command is to `{_PASS}`.
"""


def _parts(lab: Lab, root: Path, size: int, base: dict[str, float]) -> Iterator[Row]:
    rounds = 1 if lab.quick else ROUNDS
    done = subprocess.run(_argv(lab, "parts", root, {"rounds": rounds}), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"a sweep is not reported: it ended with {done.returncode}\n{done.stderr[-1500:]}")
    seconds: dict[str, list[float]] = json.loads(done.stdout)
    for part, words in _PARTS.items():
        timing = Timing(tuple(Sample(wall) for wall in seconds[part]))
        wall = base.setdefault(part, timing.wall)
        each = f"{timing.wall / size * 1000:.2f} ms a container"
        yield Row(f"{words}, {size:,} containers", timing, f"{timing.wall / wall:.1f} x", each)


def _command(lab: Lab, root: Path) -> Iterator[Row]:
    python = lab.checkout / ".venv/bin/python"
    scripts = str(lab.checkout / "scripts")
    code = f"import sys; sys.path.insert(0, {scripts!r}); from ds01.cli import main; sys.exit(main())"
    words = ("lifecycle", "idle", "--root", str(root))
    commands = [
        Command(_PASS, (python, "-I", "-S", "-c", "pass")),
        Command("ds01 lifecycle idle", (python, "-I", "-X", "utf8", "-c", code, *words), _says_looked),
    ]
    timings = interleave(commands, 1 if lab.quick else ROUNDS, lab.folder)
    bare = timings[_PASS]
    for name, timing in timings.items():
        note = "" if name == _PASS else f"{_COMMAND_SIZE} containers"
        yield Row(name, timing, f"{timing.wall / bare.wall:.1f} x", note)


def _says_looked(said: str) -> str | None:
    return None if f"idle: {_COMMAND_SIZE} looked at" in said else f"it said {said[:80]!r}"


def _argv(lab: Lab, task: str, root: Path, options: dict[str, object]) -> Sequence[str | Path]:
    given = json.dumps({"root": str(root), **options})
    return (lab.checkout / ".venv/bin/python", "-I", "-X", "utf8", _LOAD, lab.checkout, task, given)


@contextmanager
def _host(lab: Lab, root: Path, size: int) -> Iterator[None]:
    """Lay a host down and let its Docker answer."""
    argv = _argv(lab, "serve", root, {"size": size})
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None or server.stdout.readline() != "ready\n":
            raise BenchError(f"the Docker with {size} containers did not start")
        try:
            yield
        finally:
            server.communicate()
