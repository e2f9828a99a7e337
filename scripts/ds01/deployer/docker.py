"""Ask the Docker engine what runs, through its own client. Only reads; restarting is a handler's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ds01.core.process import Run

_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """One running container.

    Attributes:
        has_gpu: whether it was given devices of a GPU, by a request or by the nvidia runtime.
    """

    name: str
    has_gpu: bool


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


def running_containers(run: Run) -> tuple[RunningContainer, ...] | None:
    """Return the running containers by name, or None when the engine does not answer."""
    listed = run(["docker", "ps", "--quiet", "--no-trunc"], timeout_seconds=_PATIENCE_SECONDS)
    if not listed.ok:
        return None
    ids = listed.stdout.split()
    if not ids:
        return ()
    form = "{{.Name}}\t{{json .HostConfig.DeviceRequests}}\t{{.HostConfig.Runtime}}"
    shown = run(["docker", "inspect", "--format", form, *ids], timeout_seconds=_PATIENCE_SECONDS)
    containers = []
    for line in shown.stdout.splitlines():
        name, requests, runtime = (*line.split("\t"), "", "")[:3]
        containers.append(
            RunningContainer(name.removeprefix("/"), requests not in {"", "null", "[]"} or runtime == "nvidia")
        )
    return tuple(sorted(containers, key=lambda each: each.name))
