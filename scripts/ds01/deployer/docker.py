"""Ask the Docker engine what runs, through its own client. Only reads; restarting is a handler's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ds01.core.gpurequest import gpu_request
from ds01.core.names import cgroup_path
from ds01.core.process import Run
from ds01.deployer.containers import RunningContainer

_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine, as far as it answers.

    Attributes:
        info: what `docker info` says; empty when there is no answer.
        error: why there is no answer, or None.
        missing: whether Docker's client is not installed at all.
    """

    info: Mapping[str, object]
    error: str | None = None
    missing: bool = False

    @property
    def version(self) -> str:
        """The server's version, empty when unknown."""
        return str(self.info.get("ServerVersion") or "")

    @property
    def in_swarm(self) -> bool:
        """Whether the engine is part of a swarm."""
        swarm = self.info.get("Swarm")
        return isinstance(swarm, dict) and swarm.get("LocalNodeState") not in {None, "", "inactive"}

    @property
    def live_restore(self) -> bool:
        """Whether containers outlive a restart of the daemon."""
        return self.info.get("LiveRestoreEnabled") is True


def ask_engine(run: Run) -> Engine:
    """Return what the engine says of itself; never raises."""
    done = run(["docker", "info", "--format", "{{json .}}"], timeout_seconds=_PATIENCE_SECONDS)
    if done.missing:
        return Engine({}, "the docker client is not installed", missing=True)
    try:
        info = json.loads(done.stdout)
    except ValueError:
        return Engine({}, done.words)
    if not isinstance(info, dict) or info.get("ServerErrors") or not info.get("ServerVersion"):
        errors = info.get("ServerErrors") if isinstance(info, dict) else None
        return Engine({}, str(errors[0]) if isinstance(errors, list) and errors else done.words)
    return Engine(info)


def running_containers(run: Run, proc: Path = Path("/proc")) -> tuple[RunningContainer, ...] | None:
    """Return the running containers by name, or None when the engine does not answer for each of them.

    None is never the same as none: what a user can hide one container behind would hide them all.

    Args:
        proc: where the kernel says in which control group a process is; what Docker was asked for is only second best,
            since a default that the daemon filled in is not in its answer.
    """
    listed = run(["docker", "ps", "--quiet", "--no-trunc"], timeout_seconds=_PATIENCE_SECONDS)
    if not listed.ok:
        return None
    ids = listed.stdout.split()
    if not ids:
        return ()
    shown = run(["docker", "inspect", "--format", "\t".join(_ASKED), *ids], timeout_seconds=_PATIENCE_SECONDS)
    # At newlines alone: labels and environments are the users' own, and hold what other characters break lines.
    rows = [line.split("\t") for line in shown.stdout.split("\n") if line]
    ended = shown.stderr.count("No such object")
    if len(rows) + ended < len(ids):
        return None
    try:
        containers = [_container(row, proc) for row in rows]
    except ValueError:
        return None
    return tuple(sorted(containers, key=lambda each: each.name))


# Names and runtimes hold no tabs, and in JSON a tab is written as \t.
_ASKED = (
    "{{.Name}}",
    "{{json .HostConfig.DeviceRequests}}",
    "{{.HostConfig.Runtime}}",
    "{{json .Config.Env}}",
    "{{.State.Pid}}",
    "{{json .HostConfig.CgroupParent}}",
    "{{json .Config.Labels}}",
)


def _container(row: list[str], proc: Path) -> RunningContainer:
    name, requests, runtime, environment, pid, parent, labels = row
    host_config = {"DeviceRequests": json.loads(requests or "null"), "Runtime": runtime}
    has_gpu = gpu_request(host_config, json.loads(environment) or ()) is not None
    cgroup = _cgroup(proc / pid) or _asked_for(json.loads(parent))
    return RunningContainer(name.removeprefix("/"), has_gpu, cgroup, json.loads(labels) or {})


def _cgroup(process: Path) -> str:
    """Return the control group of a process, empty when it cannot be read. Source: cgroups(7), /proc/pid/cgroup."""
    try:
        lines = (process / "cgroup").read_text(errors="surrogateescape").split("\n")
    except OSError:
        return ""
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")


def _asked_for(parent: str) -> str:
    return f"/{cgroup_path(parent)}" if parent.endswith(".slice") else ""
