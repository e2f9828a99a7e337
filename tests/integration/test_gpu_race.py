"""GPUs under processes that race for them and are killed: nothing is ever given twice, and nothing is ever lost.

The processes are those of gpu_race.py. The small races take seconds; the whole ones, 50 processes that do 200 pairs
each, take minutes on two cores. The first is marked slow, and those on a full disk and with a wild clock long.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
WORKERS = 50
FEW, WHOLE = 8, 200
MEMORY = Path("/dev/shm")


def pairs_of_a_worker(when: pytest.MarkDecorator) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pairs", [pytest.param(FEW, id="few"), pytest.param(WHOLE, id="whole", marks=when)])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: what is shown here depends on no disk, and a disk makes it minutes longer."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < 64 * 1024**2:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="ds01-race-", dir=MEMORY) as made:
        yield Path(made)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    at = folder / "root/var/lib/ds01"
    at.mkdir(parents=True)
    argv = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "none", at]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", at], check=True)


def play(scenario: str, folder: Path, **options: object) -> dict[str, Any]:
    argv = [sys.executable, "-I", CHECKOUT / "tests/integration/gpu_race.py", CHECKOUT / "scripts", scenario]
    given = json.dumps({"folder": str(folder), **options})
    done = subprocess.run([*argv, given], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    verdict = json.loads(done.stdout)
    assert isinstance(verdict, dict)
    return verdict


def race(folder: Path, pairs: int, *, fill: bool = False, wild_clock: bool = False) -> dict[str, Any]:
    return play(
        "race",
        folder,
        workers=WORKERS,
        pairs=pairs,
        seed=20260301,
        kill_every=0.1,
        seconds=60 + 4 * pairs,
        fill=fill,
        wild_clock=wild_clock,
    )


def assert_all_was_right(verdict: dict[str, Any], pairs: int) -> None:
    assert verdict["wrong"] == []
    # Held and waiting: while they live, when they were just killed, 59.9 s later, 60 s later.
    assert verdict["held"] == [[5, 1], [5, 0], [5, 0], [0, 0]]
    assert verdict["done"] >= pairs
    # Or the race was none.
    assert verdict["kills"] >= pairs
    assert verdict["refused"] > WORKERS
    assert verdict["seen"] > WORKERS


@pairs_of_a_worker(pytest.mark.slow)
def test_no_unit_is_ever_given_twice_and_none_leaks(pairs: int, folder: Path) -> None:
    verdict = race(folder, pairs)
    assert_all_was_right(verdict, pairs)
    assert verdict["failed"] == 0


@pytest.mark.root
@pairs_of_a_worker(pytest.mark.long)
def test_a_disk_that_is_full_now_and_then_loses_nothing(pairs: int, folder: Path) -> None:
    with small_disk(folder):
        verdict = race(folder, pairs, fill=True)
    assert_all_was_right(verdict, pairs)
    # It was full while somebody wrote, and each said so properly and went on.
    assert verdict["failed"] > 0


@pairs_of_a_worker(pytest.mark.long)
def test_a_clock_that_jumps_back_and_forth_changes_nothing(pairs: int, folder: Path) -> None:
    verdict = race(folder, pairs, wild_clock=True)
    assert_all_was_right(verdict, pairs)
    assert verdict["failed"] == 0


def test_the_log_tells_of_every_grant_and_every_release(folder: Path) -> None:
    """Nobody is killed and nothing fails here, so the two must be equal, by unit and container."""
    verdict = play(
        "race",
        folder,
        workers=10,
        pairs=20,
        seed=1,
        kill_every=0.1,
        seconds=120,
        fill=False,
        wild_clock=False,
        kill=False,
    )
    assert (verdict["wrong"], verdict["kills"], verdict["done"]) == ([], 0, 20)
    lines = [json.loads(line) for line in (folder / "root/var/log/ds01/events.jsonl").read_text().splitlines()]
    told = [(each["event_type"], each["details"]["allocation"], each["details"]["gpu_id"]) for each in lines]
    granted = sorted(each[1:] for each in told if each[0] == "gpu.allocated" and not each[1].startswith("last-"))
    released = sorted(each[1:] for each in told if each[0] == "gpu.released")
    assert len(granted) == 200
    assert released == granted


def test_the_line_is_served_by_priority_and_then_by_arrival(folder: Path) -> None:
    """One unit, twenty who wait; some are killed or interrupted in the line, one is killed while it holds."""
    priorities = [10, 50, 10, 90, 20, 50, 10, 90, 20, 20, 50, 10, 90, 10, 20, 50, 10, 20, 90, 50]
    ended = {"SIGKILL": [3, 9, 19], "SIGINT": [0, 12]}
    verdict = play("line", folder, priorities=priorities, ended=ended, dies_holding=18)
    line = sorted(range(len(priorities)), key=lambda each: (-priorities[each], each))
    stay = [f"w{each}" for each in line if each not in {*ended["SIGKILL"], *ended["SIGINT"]}]
    places = [
        f"w{each} {1 + sum(1 for other in priorities[:each] if other >= priorities[each])} {each + 1}"
        for each in range(len(priorities))
    ]
    interrupted = {f"w{each}" for each in ended["SIGINT"]}
    assert verdict["wrong"] == []
    assert verdict["told"] == places
    assert verdict["waiting"] == stay
    assert interrupted.isdisjoint(verdict["written"])
    assert verdict["served_before"] == ""
    # w18 was killed while it held the unit: it lapsed, and the next one had it.
    assert verdict["served"] == stay
    assert {name: code for name, code in verdict["codes"].items() if code} == {"18": -9}
    assert verdict["left"] == [0, 0]
