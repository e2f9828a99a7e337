"""A host below a folder for sweeps: the shipped policy, real clocks and state files, Docker and hardware as told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.unit.runtime.gpu.engines import engine_of, inspected

from ds01.core.jsonstate import write_bytes, write_json
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.record import format_ledger
from ds01.runtime.lifecycle.sights import Sights
from ds01.runtime.machine import Machine

SHIPPED = Path(__file__).parents[4] / "generated/ds01/root/etc/ds01/policy.json"
# Accounts that every Debian has.
ALICE, ADMIN = "games", "daemon"


@dataclass
class Site:
    """The host.

    Attributes:
        docker: what Docker says of its containers.
        broken: names of those that it lists and cannot describe.
    """

    root: Path
    docker: list[dict[str, Any]] = field(default_factory=list)
    machine: Machine = field(default_factory=Machine)
    broken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.paths = HostPaths(self.root)
        for path in (self.paths.policy, self.paths.events, self.paths.gpu_state, self.paths.engine):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.change()

    def change(self, **sections: Mapping[str, Any]) -> None:
        """Write the policy, some of its sections with other values."""
        document = json.loads(SHIPPED.read_text(encoding="utf-8"))
        document["users"] = {ALICE: {"group": "student"}}
        document["user_overrides"] = {}
        document["access_control"]["admin_users"] = [ADMIN]
        for name, values in sections.items():
            document[name] |= values
        write_json(self.paths.policy, document, mode=0o644)

    @property
    def policy(self) -> Policy:
        return read_policy(self.paths.policy)

    @property
    def sights(self) -> Sights:
        return Sights(self.paths, self.policy, self.machine)

    def claim(self, name: str, user: str) -> None:
        """Let an administrator have said whose a container is."""
        claim = {"user": user, "by": ADMIN, "at": "2026-03-01T09:00:00Z", "name": name}
        before = json.loads(self.paths.claims.read_text())["claims"] if self.paths.claims.exists() else {}
        claims = {**before, self.id_of(name): claim}
        write_json(self.paths.claims, {"version": 1, "claims": claims})

    def has(self, name: str, *, user: str | None = ALICE, pid: int | None = None, **changes: Any) -> str:
        """Add a container; returns its id."""
        made: dict[str, Any] = inspected(name, **changes)
        if pid is not None:
            made["State"]["Pid"] = pid
        self.docker.append(made)
        if user is not None:
            self.claim(name, user)
        return str(made["Id"])

    def id_of(self, name: str) -> str:
        return next(str(each["Id"]) for each in self.docker if each["Name"] == f"/{name}")

    def ledger(self, *allocations: Allocation) -> None:
        """Write who holds which GPU, as held against Docker in this boot."""
        made = Ledger({each.container: each for each in allocations}, (), self.machine.boot_id())
        write_bytes(self.paths.gpu_state, format_ledger(made, datetime.now(UTC)), mode=0o644)

    @contextmanager
    def engine(self) -> Iterator[None]:
        """Let Docker answer."""
        with engine_of(self.paths.engine, lambda: self.docker, broken=self.broken):
            yield
