"""How fast GPUs are handed out: in one process, among fifty, as a whole command, and as hosts and ledgers grow."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from inventories import make_site
from measure import BenchError, Command, Sample, Timing, interleave
from section import Lab, Row, Section, Verdict

BUDGET_PAIRS: Final = 200
PROCESSES: Final = 50
# Units, held, waiting.
SIZES: Final = (
    (8, 10, 0),
    (64, 10, 0),
    (512, 10, 0),
    (8, 1000, 0),
    (64, 1000, 0),
    (512, 1000, 0),
    (64, 1000, 50),
)
START_MS: Final = 1000
ROUNDS: Final = 15
_MEMORY: Final = Path("/dev/shm")
_LOAD: Final = Path(__file__).resolve().parent / "gpu_load.py"
_PASS: Final = "python -I -S -c pass"


def measure(lab: Lab) -> Section:
    """Time pairs of allocate and release, each way that they come about."""
    with TemporaryDirectory(prefix="ds01-bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        memory = Path(folder)
        rows, verdicts = _one_process(lab, memory)
        rows += _growth(lab, memory)
        rows += _crowd(lab, memory)
        rows += _notice(lab, memory)
        rows += _notice_slow(lab, memory)
    rows += _whole(lab)
    return Section("gpu", "Handing out GPUs", _WORDS, tuple(rows), tuple(verdicts))


_WORDS: Final = f"""
A pair is an allocate and a release, two transactions: lock, read, decide, write, fsync, rename, fsync of the folder,
an event. *Memory* is a tmpfs, where fsync costs nothing: what DS01 itself takes. *Disk* is where the system keeps
temporary files; beside it stands what writing two such files takes there without DS01, which is what the ratio of a
pair on disk is to. Units are 2 whole GPUs and others split in three. *Held* are running containers in the ledger, a
quarter of them the asker's: on all units but one, with a process each, and the rest on units that are no more there.
*Waiting* are others ahead in the line, each for a unit that is held. Among {PROCESSES} processes, one call of each kind
is timed from its start to its answer, the waiting for the others included, on 14 units; who is refused asks again after
5 ms. Whole commands run in a deployed root with the real NVML binding on a fake library, and a Docker without
containers; their ratio is to `{_PASS}`.
"""


def _one_process(lab: Lab, memory: Path) -> tuple[list[Row], list[Verdict]]:
    number = 20 if lab.quick else 500
    given = {"units": 14, "held": 10, "pairs": number}
    fast = _timing(_load(lab, "pairs", memory / "pairs", **given))
    slow = _timing(_load(lab, "pairs", lab.folder / "pairs", **(given | {"pairs": number // 5})))
    alone = _timing(_load(lab, "write_alone", lab.folder / "alone", pairs=number // 5))
    rows = [
        Row("pair, memory", fast, "", f"{_rate(fast):,.0f} pairs a second"),
        Row("pair, disk", slow, f"{slow.wall / alone.wall:.2f} x", f"{_rate(slow):,.0f} pairs a second"),
        Row("two files written and synced, disk", alone, "1.00 x", f"at most {_rate(alone):,.0f} pairs a second"),
    ]
    budget = f"≥ {BUDGET_PAIRS} pairs a second in one process"
    said = f"{_rate(fast):,.0f}; on this disk {_rate(slow):,.0f}, of at most {_rate(alone):,.0f}"
    return rows, [Verdict("allocate and release", budget, said, met=_rate(fast) >= BUDGET_PAIRS)]


def _growth(lab: Lab, memory: Path) -> list[Row]:
    number = 5 if lab.quick else 100
    rows: list[Row] = []
    for units, held, waiting in SIZES:
        root = memory / f"{units}-{held}-{waiting}"
        timing = _timing(_load(lab, "pairs", root, units=units, held=held, waiting=waiting, pairs=number))
        base = rows[0].timing.wall if rows else timing.wall
        line = f", {waiting} waiting" if waiting else ""
        rows.append(Row(f"pair, memory, {units} units, {held:,} held{line}", timing, f"{timing.wall / base:.1f} x"))
    return rows


def _crowd(lab: Lab, memory: Path) -> list[Row]:
    number = 2 if lab.quick else 40
    rows = []
    for place, root in (("memory", memory / "crowd"), ("disk", lab.folder / "crowd")):
        pairs = number if place == "memory" else max(1, number // 8)
        found: dict[str, Any] = _load(lab, "crowd", root, units=14, processes=PROCESSES, pairs=pairs)
        calls = sorted(found["calls"])
        note = (
            f"{PROCESSES * pairs / found['seconds']:,.0f} pairs a second;"
            f" of {len(calls):,} calls half within {_ms(calls, 0.5)}, 99 % within {_ms(calls, 0.99)}"
        )
        rows.append(Row(f"a call among {PROCESSES} processes, {place}", _timing(calls), "", note))
    return rows


def _notice(lab: Lab, memory: Path) -> list[Row]:
    seconds = _load(lab, "notice", memory / "notice", rounds=2 if lab.quick else 30)
    return [Row("from a release to the waiter's grant", _timing(seconds), "", "the waiter looks every 250 ms")]


def _notice_slow(lab: Lab, memory: Path) -> list[Row]:
    root = memory / "slow"
    root.mkdir()
    environment = _load(lab, "fake_host", root, folder=str(root), delay=START_MS)
    rounds = 2 if lab.quick else 10
    seconds = _load(lab, "notice", root, environment, rounds=rounds, driver=True)
    note = f"NVML takes {START_MS} ms to start, on the fake library"
    return [Row("from a release to the waiter's grant, slow driver", _timing(seconds), "", note)]


def _whole(lab: Lab) -> list[Row]:
    folder = lab.folder / "host"
    folder.mkdir()
    root = make_site(lab.checkout, folder).deployed
    environment: Mapping[str, str] = _load(lab, "fake_host", root, folder=str(folder))
    python = lab.checkout / ".venv/bin/python"
    gpu = (python, "-I", "-X", "utf8", "-m", "ds01.cli", "gpu")
    options = ("--root", root, "--container", "bench-1")
    commands = [
        Command(_PASS, (python, "-I", "-S", "-c", "pass"), repeat=3),
        Command("ds01 gpu allocate", (*gpu, "allocate", *options), _says_slot, environment=environment),
        Command("ds01 gpu release", (*gpu, "release", *options), _says_released, environment=environment),
    ]
    with _docker(lab, root):
        timings = interleave(commands, 1 if lab.quick else ROUNDS, lab.folder)
    bare = timings[_PASS].wall
    notes = {name: f"{(timing.wall - bare) * 1000:.0f} ms more" for name, timing in timings.items() if name != _PASS}
    return [Row(name, timing, f"{timing.wall / bare:.1f} x", notes.get(name, "")) for name, timing in timings.items()]


def _says_slot(said: str) -> str | None:
    return None if said.strip().replace(":", "").isdigit() else "it granted nothing"


def _says_released(said: str) -> str | None:
    return None if said.startswith("released GPU") else "it released nothing"


# --- The load ---------------------------------------------------------------------------------------------------------


def _argv(lab: Lab, task: str, root: Path, options: Mapping[str, object]) -> list[str | Path]:
    given = json.dumps({"root": str(root), **options})
    return [lab.checkout / ".venv/bin/python", "-I", "-X", "utf8", _LOAD, lab.checkout, task, given]


def _load(lab: Lab, task: str, root: Path, environment: Mapping[str, str] | None = None, /, **options: object) -> Any:  # noqa: ANN401 - each task has its own answer
    given = None if environment is None else os.environ | environment
    done = subprocess.run(_argv(lab, task, root, options), env=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{task} is not reported: it ended with {done.returncode}\n{done.stderr[-1500:]}")
    return json.loads(done.stdout)


@contextmanager
def _docker(lab: Lab, root: Path) -> Iterator[None]:
    argv = _argv(lab, "empty_docker", root, {})
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None or server.stdout.readline() != "ready\n":
            raise BenchError("the Docker without containers did not start")
        try:
            yield
        finally:
            server.communicate()


def _timing(seconds: Iterable[float]) -> Timing:
    return Timing(tuple(Sample(wall) for wall in seconds))


def _rate(timing: Timing) -> float:
    return 1 / statistics.mean(sample.wall for sample in timing.samples)


def _ms(ordered: Sequence[float], part: float) -> str:
    return f"{ordered[int(part * (len(ordered) - 1))] * 1000:.0f} ms"
