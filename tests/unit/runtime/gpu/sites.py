"""A whole place to hand out GPUs in, below a folder: the real state file and clocks, hardware and Docker as told."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.runtime.gpu.hosts import ACCOUNTS, LAB

from ds01.core.errors import Ds01Error
from ds01.core.events import EventLog
from ds01.core.paths import HostPaths
from ds01.runtime.gpu.hardware import Devices
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.operations import Gpus
from ds01.runtime.gpu.reconcile import Present
from ds01.runtime.gpu.request import AccountLimits, Limits
from ds01.runtime.gpu.state import GpuState
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine


def account_of(user: str) -> AccountLimits:
    return ACCOUNTS.get(user, AccountLimits(hold_seconds=0))


@dataclass
class Site:
    """What a test may change while it goes on.

    Attributes:
        docker: its containers with GPUs; None when it does not answer.
        asked: how often it was.
    """

    root: Path
    devices: Devices = LAB
    docker: Sequence[Present] | None = ()
    asked: int = 0
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        self.paths = HostPaths(self.root)
        for path in (self.paths.gpu_state, self.paths.events):
            path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def gpus(self) -> Gpus:
        events = EventLog(self.paths.events)
        state = GpuState(self.paths, self.machine, events, self.containers, account_of, self.are_outdated)
        return Gpus(state, lambda: self.devices, Limits)

    @property
    def me(self) -> ProcessRef:
        found = self.machine.process(os.getpid())
        assert found is not None
        return found

    def containers(self, _: Ledger) -> Sequence[Present]:
        self.asked += 1
        if self.docker is None:
            raise Ds01Error("there is no Docker engine")
        return self.docker

    def are_outdated(self, blockers: Sequence[Allocation]) -> bool:
        there = {each.id: each.running for each in self.docker or ()}
        ids = {each.container_id: each.stopped_at is None for each in blockers if each.reservation is None}
        return self.docker is not None and any(there.get(key) is not runs for key, runs in ids.items() if key)

    def events(self) -> list[tuple[str, str | None, str]]:
        """Type, account and container of each event, in order."""
        if not self.paths.events.exists():
            return []
        lines = [json.loads(line) for line in self.paths.events.read_text().splitlines()]
        return [(each["event_type"], each["user"], each["details"].get("container")) for each in lines]
