"""A host with GPUs on which real processes of real accounts compute, and ds01-gpuwatch as a whole process.

Real are the service, the processes, their kernel and the driver's binding; only which process is on which unit is
described.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.fake_nvml.description import GIB, FakeProcess
from tests.fake_nvml.samples import shipped_host
from tests.integration.gpu_host import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.gpu_host import GpuHost

# Accounts that every Debian has, as students.
ALICE, ALICE_UID = "games", 5
BOB, BOB_UID = "www-data", 33
PATIENCE_SECONDS: Final = 120
SERVICE: Final = "import sys; from ds01.runtime.commands.gpuwatch import main; sys.exit(main(sys.argv[1:]))"
WAITS: Final = "print('ready', flush=True); sys.stdin.read()"
# SIGTERM is ignored, as a program does that has its hands full.
DEAF: Final = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
# Goes on in another thread when the first one has ended: to ps it is defunct. Source: pthread_exit(3).
HEADLESS = (
    "import _thread; _thread.start_new_thread(lambda: (print('ready', flush=True), sys.stdin.read(), os._exit(0)), ());"
    " ctypes.CDLL(None).pthread_exit(None)"
)
# A user namespace of one's own, in which one is root. Who changed its uid may write its own /proc only when it is
# dumpable again. Source: user_namespaces(7); prctl(2), PR_SET_DUMPABLE.
APART: Final = (
    "libc = ctypes.CDLL(None, use_errno=True); libc.prctl(4, 1, 0, 0, 0); assert libc.unshare(0x10000000) == 0;"
    " open('/proc/self/setgroups', 'w').write('deny'); open('/proc/self/uid_map', 'w').write(f'0 {uid} 1');"
    f" assert os.getuid() == 0; {WAITS}"
)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that comes, however busy the machine is."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.05)


@contextmanager
def working(uid: int = ALICE_UID, script: str = WAITS) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of an account beside the block, and no longer."""
    # The interpreter may lie where an account cannot go, so the process becomes the account's later.
    code = f"import os, signal, sys, ctypes; uid = {uid}; os.setgid(uid); os.setuid(uid); {script}"
    argv = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            yield child
        finally:
            child.kill()


def lives(child: subprocess.Popen[bytes]) -> bool:
    return child.poll() is None


def ended_by(child: subprocess.Popen[bytes]) -> signal.Signals:
    """Wait for a process's end; returns what ended it."""
    return signal.Signals(-child.wait(PATIENCE_SECONDS))


@dataclass(frozen=True)
class WatchedHost:
    """The host, and its service."""

    host: GpuHost

    def policy(self, policy: str = "terminate", *, port: int = 9, sigterm_grace: int = 1, **changes: object) -> None:
        """Say what becomes of processes outside containers; nobody listens at the usual port of the exporter."""
        path = self.host.paths.policy
        document = json.loads(path.read_text())
        document["bare_metal_access"] |= {"policy": policy, "grace_seconds": 0, "exempt_users": []} | changes
        document["host"]["ports"]["dcgm"] = port
        document["defaults"]["sigterm_grace_seconds"] = sigterm_grace
        for group in document["groups"].values():
            group["limits"].pop("sigterm_grace_seconds", None)
        path.write_text(json.dumps(document))

    def on(self, *places: tuple[subprocess.Popen[bytes] | int, str], rules: tuple[str, ...] = ()) -> None:
        """Describe which process is on which unit."""
        processes = [FakeProcess(each if isinstance(each, int) else each.pid, unit, GIB) for each, unit in places]
        self.host.nvml.write(shipped_host().with_processes(*processes).with_rules(*rules))

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-c", SERVICE, "--root", os.fspath(self.host.paths.root), *words]

    def look(self) -> Said:
        """Run the service for one look, and until those have ended that it told to."""
        done = subprocess.run(
            self.argv("--once", "--interval", "0.5"),
            env=self.host.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def service(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the service beside the block, as it runs on a host but more often."""
        log = self.host.folder / "service.log"
        argv = self.argv("--interval", "0.2", *words)
        with log.open("ab") as out, subprocess.Popen(argv, env=self.host.environment, stdout=out, stderr=out) as made:
            try:
                yield made
            finally:
                made.kill()
        assert "Traceback" not in log.read_text()

    def _document(self, path: Path) -> dict[str, Any]:
        found = json.loads(path.read_text())
        assert isinstance(found, dict)
        return found

    @property
    def record(self) -> dict[str, Any]:
        return self._document(self.host.paths.host_processes)

    @property
    def units(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self._document(self.host.paths.gpu_activity)["units"]
        return found

    @property
    def verdicts(self) -> dict[int, str]:
        return {each["pid"]: each["verdict"] for each in self.record["processes"]}

    @property
    def told(self) -> list[tuple[str, str | None, int]]:
        """What the log says of processes: type, account and pid."""
        found = [each for each in self.host.events() if "pid" in each["details"]]
        return [(each["event_type"], each["user"], each["details"]["pid"]) for each in found]

    def notices(self, uid: int = ALICE_UID) -> list[str]:
        path = self.host.paths.notices(uid)
        return [each["text"] for each in json.loads(path.read_text())] if path.exists() else []
