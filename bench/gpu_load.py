"""Allocate and release GPUs in this process and its children, and print the seconds as JSON. Started by gpu.py.

Usage: python -I gpu_load.py CHECKOUT TASK OPTIONS, where OPTIONS is JSON. Real are lock, file and processes; given are
the hardware as a value and a Docker that is never asked, since it is the allocator that is timed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [f"{sys.argv[1]}/scripts", sys.argv[1]]

from ds01.core.errors import Ds01Error
from ds01.core.events import EventLog
from ds01.core.jsonstate import write_bytes
from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.gpu.devices import read_devices
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuProcess, GpuUuid, MigInstance
from ds01.runtime.gpu.ledger import Allocation, Ledger, Waiter
from ds01.runtime.gpu.operations import Gpus
from ds01.runtime.gpu.queue import Line, wait_for_gpu
from ds01.runtime.gpu.record import format_ledger
from ds01.runtime.gpu.request import AccountLimits, Count, GpuUnit, Limits, Named, Request
from ds01.runtime.gpu.session import Session
from ds01.runtime.gpu.state import GpuState
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

NAME, BYTES, PARTS, WHOLE = "NVIDIA A100-SXM4-80GB", 80 * 1024**3, 3, 2
RETRY_SECONDS = 0.005
# Quotas that are counted, and never reached.
OWN = AccountLimits(unit=GpuUnit.ANY, max_units=10_000, allow_full=True, max_equivalents=Fraction(10_000))
ASKER, PRIORITY = "alice", 10
# Of so many that are held, one is the asker's.
SHARE = 4


def devices_of(units: int) -> Devices:
    """Return 2 whole GPUs, and others split in three until there are at least so many units."""
    gpus = [Gpu(index, GpuUuid(f"GPU-{index}"), NAME, BYTES) for index in range(WHOLE)]
    while WHOLE + (len(gpus) - WHOLE) * PARTS < units:
        index = len(gpus)
        parts = tuple(
            MigInstance(GpuUuid(f"MIG-{index}-{each}"), 3 + each, 0, "2g.20gb", 2, BYTES // 4) for each in range(PARTS)
        )
        gpus.append(Gpu(index, GpuUuid(f"GPU-{index}"), NAME, BYTES, mig=True, instances=parts))
    return Devices(tuple(gpus))


def open_gpus(root: Path, devices: Devices, held: int = 0, waiting: int = 0) -> Gpus:
    """Return an allocator whose ledger has so many running containers already, each with a process at work."""
    ledger = ledger_of(devices, held, waiting)
    processes = tuple(
        GpuProcess(10_000 + number, uuid, each.user or "", "python", each.container_id)
        for number, each in enumerate(ledger.allocations.values())
        for uuid in each.uuids
        if devices.find(uuid)
    )
    busy = replace(devices, processes=processes)
    return Gpus(open_state(HostPaths(root), ledger), lambda: busy, Limits)


def open_state(paths: HostPaths, ledger: Ledger) -> GpuState:
    """Return the state on disk, with such a ledger, beside a Docker that is never asked."""
    for file in (paths.gpu_state, paths.events):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(paths.gpu_state, format_ledger(ledger, datetime.now(UTC)), mode=0o644)
    return GpuState(paths, Machine(), EventLog(paths.events), _no_docker, lambda _: OWN)


def ledger_of(devices: Devices, held: int = 0, waiting: int = 0) -> Ledger:
    """Return a ledger that was held against Docker in this boot, so that nobody asks it.

    Args:
        held: so many containers, on all units but the last one first, then on units that the machine lacks now; some
            are the asker's.
        waiting: so many wait ahead of the asker, each for one of the units that are held.
    """
    now, boot = datetime.now(UTC), Machine().boot_id()
    here = [(unit.slot, unit.uuid) for unit in devices.units][:-1][:held]
    gone = ((f"GPU-gone-{number}", GpuUuid(f"GPU-gone-{number}")) for number in range(held - len(here)))
    allocations = {}
    for number, (slot, uuid) in enumerate((*here, *gone)):
        user = ASKER if number % SHARE == 0 else f"student{number % 80:02}"
        name = f"my-project-{number}._.{user}"
        allocations[name] = Allocation(
            name, f"{number:032x}", user, (slot,), (uuid,), now, PRIORITY, container_id=f"{number:064x}"
        )
    if waiting and not here:
        raise SystemExit("nothing is held that somebody could wait for")
    queue = tuple(
        Waiter(
            id=f"w{number}",
            user=f"student{number % 80:02}",
            container=f"waiter-{number}",
            wanted=Named((here[number % len(here)][1],)),
            priority=PRIORITY,
            since=now,
            process=me(),
        )
        for number in range(waiting)
    )
    return Ledger(allocations, queue, boot)


def me() -> ProcessRef:
    found = Machine().process(os.getpid())
    if found is None:
        raise SystemExit("this process cannot be found in /proc")
    return found


def _no_docker(_: Ledger) -> tuple[()]:
    raise Ds01Error("Docker must not be asked here")


# --- Tasks ------------------------------------------------------------------------------------------------------------


def pairs(root: Path, options: dict[str, Any]) -> object:
    """Allocate and release in one process; the seconds of each pair."""
    gpus = open_gpus(root, devices_of(options["units"]), options["held"], options.get("waiting", 0))
    process, seconds = me(), []
    for number in range(options["pairs"]):
        begun = time.perf_counter()
        answer = gpus.allocate(Request(f"r{number}", ASKER, Count(1), PRIORITY), process)
        gpus.release(f"r{number}")
        seconds.append(time.perf_counter() - begun)
        if not isinstance(answer, Grant):
            raise SystemExit(f"refused: {answer.text}")
    return seconds


def write_alone(root: Path, options: dict[str, Any]) -> object:
    """Replace a file of a ledger's size twice, as a pair does, and nothing else; the seconds of each two."""
    root.mkdir(parents=True, exist_ok=True)
    seconds, content = [], bytes(500)
    for _ in range(options["pairs"]):
        begun = time.perf_counter()
        write_bytes(root / "file", content)
        write_bytes(root / "file", content)
        seconds.append(time.perf_counter() - begun)
    return seconds


def crowd(root: Path, options: dict[str, Any]) -> object:
    """Allocate and release in many processes at once; the seconds of every call, and of the whole."""
    gpus = open_gpus(root, devices_of(options["units"]))
    begun = time.perf_counter()
    children = [
        _fork(lambda number=number: _work(gpus, number, options["pairs"])) for number in range(options["processes"])
    ]
    calls: list[float] = []
    for pid, pipe in children:
        with os.fdopen(pipe) as source:
            calls += json.loads(source.read())
        os.waitpid(pid, 0)
    return {"seconds": time.perf_counter() - begun, "calls": calls}


def _work(gpus: Gpus, worker: int, pairs: int) -> list[float]:
    process, calls = me(), []

    def timed(act: Callable[[], object]) -> object:
        begun = time.perf_counter()
        answer = act()
        calls.append(time.perf_counter() - begun)
        return answer

    for number in range(pairs):
        request = Request(f"{worker}-{number}", f"student{worker:02}", Count(1), 10)
        while not isinstance(timed(lambda request=request: gpus.allocate(request, process)), Grant):
            time.sleep(RETRY_SECONDS)
        timed(lambda request=request: gpus.release(request.id))
    return calls


def notice(root: Path, options: dict[str, Any]) -> object:
    """Free the only unit while somebody waits for it; the seconds from the release to the grant.

    With `driver` the hardware is looked at through the real binding.
    """
    gpus = open_driver(root) if options.get("driver") else open_gpus(root, Devices(devices_of(1).gpus[:1]))
    process, seconds = me(), []
    for number in range(options["rounds"]):
        holder, waiter = Request(f"h{number}", "alice", Count(1), 10), Request(f"w{number}", "bob", Count(1), 10)
        gpus.allocate(holder, process)
        pid, pipe = _fork(lambda waiter=waiter: _wait(gpus, waiter))
        while all(each.id != waiter.id for each in gpus.state.read().queue):
            time.sleep(0.01)
        # Not always at the same moment of the waiter's own rhythm.
        time.sleep(0.1 + 0.037 * (number % 7))
        gpus.release(holder.id)
        freed = time.monotonic()
        with os.fdopen(pipe) as source:
            seconds.append(json.loads(source.read()) - freed)
        os.waitpid(pid, 0)
    return seconds


def open_driver(root: Path) -> Gpus:
    """Return an allocator that asks the driver, as the commands do."""
    paths, session = HostPaths(root), Session()
    return Gpus(
        open_state(paths, Ledger(boot=Machine().boot_id())),
        lambda: read_devices(paths, session=session),
        Limits,
        session.keep,
    )


def _wait(gpus: Gpus, request: Request) -> float:
    process = me()
    answer = wait_for_gpu(gpus, request, process, Line(60, lambda _, __: None, process))
    granted = time.monotonic()
    if not isinstance(answer, Grant):
        raise SystemExit(f"refused: {answer.text}")
    gpus.release(request.id)
    return granted


def _fork(work: Callable[[], object]) -> tuple[int, int]:
    """Start a process; its answer comes as JSON through a pipe, none when it failed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            json.dump(work(), out)
        code = 0
    finally:
        os._exit(code)


def fake_host(root: Path, options: dict[str, Any]) -> object:
    """Make a root whose hardware is the fake's, for whole commands; returns the environment they need.

    With `delay`, NVML takes so many milliseconds to start, and there is one GPU.
    """
    from tests.fake_nvml.build import build  # noqa: PLC0415 - no other task needs it
    from tests.fake_nvml.samples import race_host  # noqa: PLC0415

    folder = Path(options["folder"])
    library = build(folder)
    host, delay = race_host(), options.get("delay")
    if delay:
        host = replace(host, gpus=host.gpus[:1]).with_rules(f"delay nvmlInit {delay}")
    (folder / "hardware").write_text(str(host), encoding="utf-8")
    paths = HostPaths(root)
    open_state(paths, Ledger(boot=Machine().boot_id()))
    if not paths.proc.exists():
        paths.proc.symlink_to("/proc")
    return {"LD_LIBRARY_PATH": os.fspath(library.parent), "FAKE_NVML_FILE": os.fspath(folder / "hardware")}


class _Empty(BaseHTTPRequestHandler):
    """A Docker engine that has no container."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b'{"message": "No such container"}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def empty_docker(root: Path, _: dict[str, Any]) -> object:
    """Answer for Docker until stdin ends; says so once it does."""
    socket = HostPaths(root).engine
    socket.parent.mkdir(parents=True, exist_ok=True)
    with ThreadingUnixStreamServer(os.fspath(socket), _Empty) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()
        server.shutdown()
    return None


TASKS = {each.__name__: each for each in (pairs, write_alone, crowd, notice, fake_host, empty_docker)}

if __name__ == "__main__":
    given = json.loads(sys.argv[3])
    sys.stdout.write(json.dumps(TASKS[sys.argv[2]](Path(given["root"]), given)))
