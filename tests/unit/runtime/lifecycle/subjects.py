"""Containers, rules and moments that the tests of lifecycle share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.containers.start import Start
from ds01.runtime.lifecycle.decision import LifecycleRule, Moment, Subject, Times
from ds01.runtime.lifecycle.settings import LifecycleRules

if TYPE_CHECKING:
    from collections.abc import Mapping

NOON: Final = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0
TIMES: Final = Times(idle_timeout=30 * MINUTE, max_runtime=24 * HOUR, gpu_hold=15 * MINUTE, container_hold=30 * MINUTE)
RULES: Final = LifecycleRules(
    modes=dict.fromkeys(LifecycleRule, Mode.ENFORCE),
    types={},
    high_demand_threshold=0.8,
    high_demand_factor=0.5,
    idle_gpu_percent=5,
    idle_cpu_percent=5,
    idle_network=10_000,
    idle_window=3,
    start_grace_seconds=30 * MINUTE,
    keep_alive_max_seconds=DAY,
    runtime_warnings=(0.75, 0.9),
    unmanaged_grace_seconds=2 * DAY,
    unmanaged_whitelist=frozenset({"legacy-db"}),
    never_started_hold_seconds=DAY,
    contact="the admins",
)


def mode(rule: LifecycleRule, to: Mode, rules: LifecycleRules = RULES) -> LifecycleRules:
    """The same rules, one of them in another mode."""
    return replace(rules, modes={**rules.modes, rule: to})


def moment(seconds: float = 0, *, boot: str = "boot-1", asleep: float = 0, jumped: float = 0) -> Moment:
    """So many awake seconds after noon of a machine that had been up for a week then.

    asleep: how long it has slept since; jumped: by how much the wall clock was set forward since.
    """
    up = 7 * DAY + seconds
    now = NOON + timedelta(seconds=seconds + asleep + jumped)
    return Moment(now, boot, up + asleep, up)


def id_of(name: str) -> str:
    return f"{name.encode().hex():0<64}"[:64]


def container(name: str = "web", state: State = State.RUNNING, **changes: Any) -> Container:
    """A container that started at noon, and stopped an hour later when it does not run."""
    live = state in {State.RUNNING, State.PAUSED, State.RESTARTING}
    made = Container(
        id=id_of(name),
        name=name,
        state=state,
        created_at=NOON,
        started_at=None if state is State.CREATED else NOON,
        finished_at=None if live or state is State.CREATED else NOON + timedelta(hours=1),
        image="pytorch",
        cgroup_parent="",
        restart_policy="no",
        pid=4711 if live else None,
        gpu=None,
    )
    return replace(made, **changes)


def brought_back(restarts: int, seconds: float, *, asked: float | None = 0) -> dict[str, Any]:
    """A container that its restart policy brought back so often, at last so many seconds after noon.

    asked: when after noon somebody had started it; None when nobody saw that.
    """
    at = NOON + timedelta(seconds=seconds)
    start = Start(None if asked is None else NOON + timedelta(seconds=asked), restarts, at)
    return {"restart_policy": "always", "restart_count": restarts, "started_at": at, "start": start}


def waiting(restarts: int, seconds: float, *, asked: float | None = 0) -> dict[str, Any]:
    """One that ended again and waits for its restart policy: the count is of the next start, the time of the last."""
    there = brought_back(restarts, seconds, asked=asked)
    there["restart_count"] += 1
    return there | {"state": State.RESTARTING, "pid": None, "age": None}


def seen(
    name: str = "web",
    state: State = State.RUNNING,
    *,
    user: str | None = "alice",
    asserted: bool = False,
    **changes: Any,
) -> Seen:
    """A container of alice's that DS01 made; changes are fields of Seen, or of the container in it."""
    owner = None if user is None else Attribution(user, Evidence.LABEL, asserted)
    about = {"kind": Kind.MANAGED, "admitted": True, "of_site": False, "start": None}
    about |= {key: changes.pop(key) for key in tuple(about) if key in changes}
    return Seen(container(name, state, **changes), owner=owner, first_seen=NOON, **about)  # type: ignore[arg-type] # fields by name


def subject(
    name: str = "web",
    state: State = State.RUNNING,
    *,
    times: Times | None = TIMES,
    protected: bool = False,
    age: float | None = 0,
    **changes: Any,
) -> Subject:
    """A container before the rules; age is of its first process, in seconds."""
    found = seen(name, state, **changes)
    return Subject(found, times if found.charged is not None else None, protected, age)


def written(memory: object) -> Mapping[str, object]:
    """A memory as it is after it was on disk."""
    import json  # noqa: PLC0415

    from ds01.runtime.lifecycle import record  # noqa: PLC0415

    read = json.loads(json.dumps(record.plain(memory)))
    assert isinstance(read, dict)
    return read
