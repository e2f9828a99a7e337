"""A host below a folder on which the sampler looks at memory: control groups as files, a policy, a clock of our own.

The account is `games`: it is on every Debian machine, the policy lists it nowhere, and it never logs in.
"""

from __future__ import annotations

import json
import pwd
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cgroups import events_text, make_group, make_mount, pressure_text

from ds01.core.events import Event, read_events
from ds01.core.names import cgroup_path
from ds01.core.paths import HostPaths
from ds01.runtime.lifecycle.notices import parse_notices
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.pressure_look import PressureLook

POLICY = Path(__file__).resolve().parents[4] / "tests/golden/lab/expected/root/etc/ds01/policy.json"
START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
USER, UID = "games", pwd.getpwnam("games").pw_uid
SLICE = "ds01-student-games.slice"
MIB, GIB = 2**20, 2**30
# What the policy gives a student: 4G for each of two containers.
MAX, HIGH, OWN = 8 * GIB, 7372 * MIB, 4 * GIB


class Host:
    """The folder, what it is to show, and the sampler that looks at it, a minute a look.

    Attributes:
        minute: of the next look.
    """

    def __init__(
        self, root: Path, *, stall: str = "release", mode: str = "enforce", levels: Sequence[float] = ()
    ) -> None:
        self.paths = HostPaths(root)
        self.minute = 0
        for path in (self.paths.policy, self.paths.pressure, self.paths.notices(0), self.paths.events):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.set_policy(stall, mode, levels)
        make_mount(self.paths.cgroup)
        make_group(self.paths.cgroup / "ds01.slice/ds01-student.slice")
        self.boot("first")
        self.look = self.start()

    def set_policy(self, stall: str, mode: str, levels: Sequence[float]) -> None:
        document = json.loads(POLICY.read_text())
        document["pressure"] |= {"stall": stall, "some_avg60": 40}
        document["enforcement"]["rules"]["pressure"] = mode
        document["policies"]["quota_warnings"] = list(levels)
        self.paths.policy.write_text(json.dumps(document))

    def boot(self, name: str) -> None:
        path = self.paths.proc / "sys/kernel/random/boot_id"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")

    def start(self) -> PressureLook:
        """Start a sampler anew; the old one is as if it had been killed."""
        machine = Machine(proc=self.paths.proc, now=lambda: self.now)
        self.look = PressureLook(self.paths, machine, seconds=lambda: 1000.0 + self.minute * 60)
        return self.look

    @property
    def now(self) -> datetime:
        return START + timedelta(minutes=self.minute)

    def group(self, name: str = SLICE) -> Path:
        return self.paths.cgroup / cgroup_path(name)

    def put(self, used: int = 0, *, full: float = 0, name: str = SLICE, **files: str) -> Path:
        """Make the slice show something, all its files anew; memory.high stays what it is."""
        path = self.group(name)
        before = (path / "memory.high").read_text().strip() if (path / "memory.high").exists() else f"{HIGH}"
        shown = {
            "memory_max": f"{MAX}",
            "memory_high": before,
            "memory_pressure": pressure_text(full, full),
            **files,
        }
        return make_group(path, used, pids=3, **shown)

    def put_kills(self, used: int, kills: int, *, own: int = 0, name: str = SLICE) -> Path:
        """The same, with so many processes ended.

        Args:
            own: how often the slice's own limit was hit.
        """
        events, local = events_text(oom=kills, oom_kill=kills), events_text(oom=own)
        return self.put(used, name=name, memory_events=events, memory_events_local=local)

    def put_container(self, id_: str, kills: int = 0, oom: int = 0, *, name: str = SLICE, limit: int = OWN) -> Path:
        """Make a container show something."""
        events = events_text(oom_kill=kills, oom=oom)
        return make_group(
            self.group(name) / f"docker-{id_}.scope",
            memory_max=f"{limit}",
            memory_events=events,
            memory_events_local=events,
        )

    def looks(self, count: int = 1) -> None:
        """Look so many minutes long."""
        for _ in range(count):
            self.look.look_when_due()
            self.minute += 1

    def events(self) -> list[Event]:
        found = list(read_events(self.paths.events)) if self.paths.events.exists() else []
        assert all(isinstance(each, Event) for each in found)
        return [each for each in found if isinstance(each, Event)]

    def said(self) -> list[str]:
        """Return the types of all events, in their order."""
        return [each.event_type for each in self.events()]

    def high(self, name: str = SLICE) -> str:
        return (self.group(name) / "memory.high").read_text().strip()

    def notices(self, uid: int = UID) -> dict[str | None, str]:
        """Return what the account is told, by its key."""
        path = self.paths.notices(uid)
        return {each.key: each.text for each in parse_notices(path.read_bytes())} if path.exists() else {}
