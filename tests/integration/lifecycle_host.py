"""A host below a folder with an engine of its own, and `ds01 lifecycle` as a whole process on it.

Real are the programs, the engine, its containers and their processes. Of the machine's /proc a process is shown as it
is, but in the control group that systemd would have put it in; the counters there are files that a test writes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pwd
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.engine.image import IMAGE
from tests.integration.wrapper_host import ALICE, SCRIPTS, Said, WrapperHost, make_host

from ds01.core.jsonstate import write_json
from ds01.core.paths import HostPaths
from ds01.runtime.commands.lifecycle import main

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.engine.daemon import Daemon

_SHARED: Final = ("etc", "run", "usr", "var")
_OF_PROCESS: Final = ("stat", "status", "net", "ns", "root", "cwd", "mountinfo", "comm")
# Rules that a test need not wait for.
QUICK: Final = {
    "start_grace_seconds": 0,
    "idle_window": 1,
    "never_started_hold_seconds": 1,
    "unmanaged_grace_seconds": 1,
}
SLEEP: Final = (IMAGE, "sleep", "600")
# One that ends when it is told to, and one that does not.
HEEDS: Final = (IMAGE, "sh", "-c", "trap exit TERM; while :; do sleep 0.1; done")
DEAF: Final = (IMAGE, "sh", "-c", "trap : TERM; while :; do sleep 0.1; done")


@dataclass(frozen=True)
class LifecycleHost:
    """The host as its users and its administrator have it."""

    wrapped: WrapperHost
    engine: Daemon
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> HostPaths:
        """As the jobs see it."""
        return HostPaths(self.wrapped.folder / "seen")

    def run(self, name: str, *options: str, command: tuple[str, ...] = SLEEP, account: str = ALICE) -> str:
        """Start a container through the wrapper; returns its id."""
        made = self.wrapped.must("run", "-d", "--name", name, "--network=none", *options, *command, account=account)
        self.show(name)
        return made

    def inspected(self, name: str) -> dict[str, Any]:
        found = json.loads(self.engine.docker("inspect", name))
        assert isinstance(found[0], dict)
        return found[0]

    def state(self, name: str) -> str | None:
        found = self.engine.docker("ps", "--all", "--filter", f"name=^{name}$", "--format", "{{.State}}")
        return found or None

    def group(self, container_id: str) -> str:
        return f"ds01.slice/ds01-student.slice/ds01-student-{ALICE}.slice/docker-{container_id}.scope"

    def show(self, name: str) -> None:
        """Let the jobs see a container's process, in a group in which nothing was used yet."""
        found = self.inspected(name)
        pid, container_id = found["State"]["Pid"], found["Id"]
        if not pid:
            return
        process = self.paths.proc / str(pid)
        process.mkdir(exist_ok=True)
        for each in _OF_PROCESS:
            (process / each).unlink(missing_ok=True)
            (process / each).symlink_to(f"/proc/{pid}/{each}")
        (process / "cgroup").write_text(f"0::/{self.group(container_id)}\n")
        self.use(container_id, 0)

    def use(self, container_id: str, cpu_usec: int) -> None:
        """Let a container have used so much CPU up to now."""
        folder = self.paths.cgroup / self.group(container_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.stat").write_text(f"usage_usec {cpu_usec}\nuser_usec 0\n")

    def job(self, job: str, *words: str) -> Said:
        """Run `ds01 lifecycle` as root, in this process: a program of its own takes a second to start."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([job, *words, "--root", os.fspath(self.paths.root)])
        return Said(code, out.getvalue(), err.getvalue())

    def argv(self, job: str, *words: str) -> list[str]:
        """Return the same as a program of its own."""
        return [
            sys.executable, "-P", "-m", "ds01.cli", "lifecycle", job, *words, "--root", os.fspath(self.paths.root),
        ]  # fmt: skip

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.fspath(SCRIPTS),
            "LANG": "C.UTF-8",
            "HOME": "/nonexistent",
            **self.environment,
        }

    def must(self, job: str, *words: str) -> str:
        said = self.job(job, *words)
        assert (said.code, said.err) == (0, ""), said.err
        return said.out

    def document(self, job: str, *words: str) -> dict[str, Any]:
        """Run a job and return the one JSON object that it prints."""
        found = json.loads(self.must(job, "--json", *words))
        assert isinstance(found, dict)
        assert found["version"] == 1
        return found

    def decided(self, job: str, *words: str) -> list[tuple[str, str, str | None]]:
        """Run a job and return which container has what done to it, and what became of that."""
        found = self.document(job, *words)
        return [(each["container"], each["action"], each["outcome"]) for each in found["decisions"]]

    def events(self, beginning: str = "lifecycle.") -> list[tuple[str, str | None, Any]]:
        """Type, account and container of each event."""
        return [
            (each.event_type, each.user, each.details["container"])
            for each in self.wrapped.events()
            if each.event_type.startswith(beginning)
        ]

    def notices(self, account: str = ALICE) -> list[str]:
        path = self.paths.notices(pwd.getpwnam(account).pw_uid)
        return [each["text"] for each in json.loads(path.read_text())] if path.exists() else []

    def remembered(self) -> dict[str, str]:
        """Return every file of state with its content, the event log and stamps of jobs too."""
        files = (path for path in (self.wrapped.paths.root / "var").rglob("*") if path.is_file())
        return {os.fspath(path): path.read_text(errors="replace") for path in files}

    def activity(self, units: Mapping[str, Mapping[str, Any]], now: str) -> None:
        """Say what who watches GPUs has seen."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        document = {
            "version": 1, "updated_at": now, "boot": boot, "threshold_percent": 5, "doubts": 0, "units": units,
        }  # fmt: skip
        self.paths.gpu_activity.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.paths.gpu_activity, document)


def make_lifecycle_host(folder: Path, engine: Daemon, environment: Mapping[str, str] | None = None) -> LifecycleHost:
    """Lay a host down whose accounts have a few seconds for everything."""
    wrapped = make_host(folder, engine.socket)
    wrapped.change_policy(policies=QUICK)
    host = LifecycleHost(WrapperHost(folder, environment or {}), engine, environment or {})
    root = host.paths.root
    for name in ("proc/1/ns", "sys/fs/cgroup"):
        (root / name).mkdir(parents=True)
    for name in _SHARED:
        (wrapped.paths.root / name).mkdir(exist_ok=True)
        (root / name).symlink_to(wrapped.paths.root / name)
    (root / "proc/sys").symlink_to("/proc/sys")
    # Of the machine's first process root need not be allowed to see this; the tests' own has the same network.
    (root / "proc/1/ns/net").symlink_to(f"/proc/{os.getpid()}/ns/net")
    limits = {
        "idle_timeout_seconds": 1,
        "max_runtime_seconds": None,
        "container_hold_after_stop_seconds": 1,
        "sigterm_grace_seconds": 0,
    }
    wrapped.override(ALICE, **limits)
    return host
