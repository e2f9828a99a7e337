"""Hand a recorded stream of Docker's messages to the events daemon, and print seconds and memory as JSON.

Started by events.py. Usage: python -I events_load.py CHECKOUT ROOT OPTIONS, where OPTIONS is JSON. Real are the daemon,
the event log and the state files; the messages come from memory, as Docker 20.10 writes them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [f"{sys.argv[1]}/scripts", sys.argv[1]]

from tests.unit.runtime.gpu.engines import engine_of, inspected

from ds01.core.events import EventLog
from ds01.core.paths import HostPaths
from ds01.runtime.containers.engine import Engine
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.catchup import Suspects
from ds01.runtime.telemetry.chronicle import Chronicle
from ds01.runtime.telemetry.daemon import Daemon
from ds01.runtime.telemetry.happening import read_message
from ds01.runtime.telemetry.inforce import PolicyInForce
from ds01.runtime.telemetry.roster import Roster
from ds01.runtime.telemetry.writer import Writer

# What a short container with a shell in it makes of messages; those of exec are passed by.
ACTIONS = ("create", "start", "exec_create: sh -c ls", "exec_start: sh -c ls", "exec_die", "kill", "die", "destroy")
LABELS = {
    "ds01.user": "alice", "ds01.managed": "true", "ds01.container_type": "docker", "ds01.protected": "false",
    "ds01.created_at": "2026-03-01T12:00:00.123456Z", "ds01.slice": "ds01-student-alice.slice",
    "org.opencontainers.image.version": "24.01", "maintainer": "somebody@lab-x.org",
}  # fmt: skip
BATCH = 400
# So many containers are there at once, and so many events stay in one log.
AT_ONCE, KEPT, FIRST = 50, 100_000, 20_000


class _Beside:
    """In the place of what is done beside the events."""

    def touch(self, *_: object) -> None: ...
    def started(self, *_: object) -> None: ...
    def looked(self, *_: object, **__: object) -> None: ...


def messages(number: int) -> Iterator[bytes]:
    """Yield so many messages, of containers whose lives overlap."""
    begin, told = time.time_ns(), 0
    for group in range(number):
        for action in ACTIONS:
            for each in range(AT_ONCE):
                if told >= number:
                    return
                told += 1
                yield _message(f"{group:x}{each:02x}", action, begin + told * 1000)


def _message(name: str, action: str, nano: int) -> bytes:
    identity = f"{name:0>64}"
    attributes = {**LABELS, "image": "pytorch:24.01", "name": f"job-{name}", "exitCode": "0", "signal": "15"}
    if action != "die":
        del attributes["exitCode"]
    said = {
        "status": action, "id": identity, "from": "pytorch:24.01", "Type": "container", "Action": action,
        "Actor": {"ID": identity, "Attributes": attributes}, "scope": "local", "time": nano // 10**9, "timeNano": nano,
    }  # fmt: skip
    return json.dumps(said).encode()


def open_daemon(root: Path, checkout: Path, socket: Path) -> Daemon:
    """Return a daemon on an empty host."""
    paths = HostPaths(root)
    for path in (paths.policy, paths.events, paths.containers):
        path.parent.mkdir(parents=True, exist_ok=True)
    paths.policy.write_bytes((checkout / "generated/ds01/root/etc/ds01/policy.json").read_bytes())
    policy, beside = PolicyInForce(paths.policy), _Beside()
    engine, machine = Engine(socket), Machine()
    chronicle = Chronicle(
        engine, engine, policy, Roster(paths), Writer(EventLog(paths.events)), beside, Suspects(60), machine.now
    )
    return Daemon(chronicle, policy, beside, look_seconds=3600)  # type: ignore[arg-type] # stands for it


def resident_kib() -> int:
    """Return what this process has in memory. Source: proc_pid_statm(5)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def run(checkout: Path, root: Path, options: dict[str, Any]) -> object:
    """Hand all of them on; returns seconds, and memory after the first and the last of them."""
    socket, number, seconds, early = root / "docker.sock", options["events"], 0.0, 0
    engine = _serve(socket, number) if options["asked"] else None
    daemon = open_daemon(root, checkout, socket)
    log, lines = daemon.chronicle.roster.paths.events, messages(number)
    for told in range(BATCH, number + BATCH, BATCH):
        batch = list(islice(lines, BATCH))
        begun = time.perf_counter()
        for each in batch:
            daemon.inbox.put(read_message(each), len(each))
        while len(daemon.inbox):
            daemon.turn(0)
        seconds += time.perf_counter() - begun
        if told >= min(number, FIRST) and not early:
            early = resident_kib()
        if told % KEPT < BATCH:
            log.unlink(missing_ok=True)
    if engine is not None:
        os.kill(engine, signal.SIGKILL)
        os.waitpid(engine, 0)
    return {"seconds": seconds, "early_kib": early, "late_kib": resident_kib()}


def _serve(socket: Path, number: int) -> int:
    """Start a Docker that has every container that is told of; returns its pid."""
    socket.parent.mkdir(parents=True, exist_ok=True)
    groups = -(-number // (AT_ONCE * len(ACTIONS)))
    names = [f"{group:x}{each:02x}" for group in range(groups) for each in range(AT_ONCE)]
    containers = [inspected(f"job-{name}", id=f"{name:0>64}", labels=LABELS) for name in names]
    pid = os.fork()
    if pid == 0:
        with engine_of(socket, lambda: containers):
            signal.pause()
    while not socket.exists():
        time.sleep(0.01)
    return pid


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))))
