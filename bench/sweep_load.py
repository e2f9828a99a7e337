"""Lay down a host with many containers, answer for its Docker, sweep it and print seconds as JSON. Started by sweep.py.

Usage: python -I sweep_load.py CHECKOUT TASK OPTIONS, where OPTIONS is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

if __name__ == "__main__":
    sys.path[:0] = [f"{sys.argv[1]}/scripts", sys.argv[1]]

from tests.unit.runtime.gpu.engines import engine_of, inspected

from ds01.core.jsonstate import write_json
from ds01.core.paths import HostPaths
from ds01.core.policy import read_policy
from ds01.runtime.containers.look import look
from ds01.runtime.lifecycle.idle import sweep_idle
from ds01.runtime.lifecycle.idle_memory import IdleMemory
from ds01.runtime.lifecycle.sights import Sights
from ds01.runtime.lifecycle.sweeps import run_sweep

_Answer = TypeVar("_Answer")
FIRST_PID = 100_000
NET_DEV = "Inter-|\n face |\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 1000 10 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n"
MOUNTS = (
    "9 8 0:1 / / rw - overlay overlay rw\n8 9 0:2 / /proc rw - proc proc rw\n7 9 8:1 /a /work rw - ext4 /dev/sda rw\n"
)


def serve(root: Path, options: dict[str, Any]) -> None:
    """Lay the host down, then answer for Docker until stdin ends."""
    paths = HostPaths(root)
    containers = [_container(paths, number) for number in range(options["size"])]
    _state(paths, [str(each["Id"]) for each in containers])
    with engine_of(paths.engine, lambda: containers):
        print("ready", flush=True)
        sys.stdin.read()


def _container(paths: HostPaths, number: int) -> dict[str, Any]:
    made: dict[str, Any] = inspected(f"train-{number}", id=f"{number:064x}")
    pid = made["State"]["Pid"] = FIRST_PID + number
    group = f"ds01.slice/ds01-student.slice/ds01-student-a{number % 80}.slice/docker-{number:064x}.scope"
    folder = paths.cgroup / group
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("usage_usec 7000000\nuser_usec 1\n")
    process = paths.proc / str(pid)
    for name in ("ns", "net", "root/work"):
        (process / name).mkdir(parents=True)
    (process / "ns/net").touch()
    (process / "net/dev").write_text(NET_DEV)
    (process / "mountinfo").write_text(MOUNTS)
    (process / "cgroup").write_text(f"0::/{group}\n")
    (process / "cwd").symlink_to(process / "root/work")
    # Field 22, when it began, in clock ticks since boot: at once.
    (process / "stat").write_text(f"{pid} (python) S 1{' 0' * 17} 1 0 0\n")
    (process / "status").write_text("Name:\tpython\nUid:\t0\t0\t0\t0\n")
    return made


def _state(paths: HostPaths, ids: list[str]) -> None:
    for path in (paths.policy, paths.engine, paths.claims, paths.events):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(f"{sys.argv[1]}/generated/ds01/root/etc/ds01/policy.json", paths.policy)
    accounts = sorted(read_policy(paths.policy).users)
    claims = {
        each: {"user": accounts[number % len(accounts)], "by": "root", "at": "2026-03-01T09:00:00Z", "name": "train"}
        for number, each in enumerate(ids)
    }
    write_json(paths.claims, {"version": 1, "claims": claims})
    (paths.proc / "1/ns").mkdir(parents=True)
    (paths.proc / "1/ns/net").touch()
    (paths.proc / "sys").symlink_to("/proc/sys")


def parts(root: Path, options: dict[str, Any]) -> None:
    """Print the seconds of each part of a sweep, and of whole ones."""
    paths = HostPaths(root)
    policy = read_policy(paths.policy)
    seconds: dict[str, list[float]] = {}

    def timed(part: str, act: Callable[[], _Answer]) -> _Answer:
        begun = time.perf_counter()
        answer = act()
        seconds.setdefault(part, []).append(time.perf_counter() - begun)
        return answer

    for job in ("idle", "max-runtime", "stale-containers"):
        run_sweep(job, Sights(paths, policy), dry_run=False)
    for _ in range(options["rounds"]):
        sights = Sights(paths, policy)
        seen = timed("look", lambda: look(paths, policy))
        found = timed("idle_sights", lambda sights=sights, seen=seen: sights.idle_sights(seen))
        moment = sights.moment()
        memory = sweep_idle(found, IdleMemory(), sights.rules, moment, demand=None).memory
        timed("rule", lambda s=sights, f=found, m=moment, k=memory: sweep_idle(f, k, s.rules, m, demand=None))
        for job in ("idle", "max-runtime", "stale-containers"):
            timed(job, lambda job=job: run_sweep(job, Sights(paths, policy), dry_run=False))
    print(json.dumps(seconds))


TASKS = {each.__name__: each for each in (serve, parts)}

if __name__ == "__main__":
    given = json.loads(sys.argv[3])
    os.umask(0o022)
    TASKS[sys.argv[2]](Path(given["root"]), given)
