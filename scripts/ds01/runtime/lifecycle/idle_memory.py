"""What the idle rule remembers of a container from one sweep to the next, and its form as JSON. Pure; idle.py decides.

A record that was lost, or is of another boot, makes nobody idle: watching begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers.start import Start
from ds01.runtime.lifecycle import record
from ds01.runtime.lifecycle.decision import Action, Decision, Moment


@dataclass(frozen=True, slots=True)
class GpuSign:
    """What is known of one unit's activity.

    Attributes:
        busy_at: when it was last seen busy; None when never.
        since: when watching it began: what was before, nobody saw.
        unknown: why nothing can be told; None when it can.
    """

    busy_at: datetime | None
    since: datetime
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Spell:
    """One run of a container, as the checks up to now found it. Times are Moment.awake_seconds.

    Attributes:
        user: the account that it counts for, which was told if anybody was.
        start: how the container came to run in it, as the last check found it.
        began_at: when it did.
        cpu_usec, network_bytes, gpus: as the last check found them; None and absent when it could not.
        idle_since: the first check in a row that found it idle; None when the last one did not.
        checks: how many in a row did.
        warned_at: when its owner was warned; None when not, or not since it was busy last.
        promised: up to when its owner was told that nothing happens; None when it was not told.
        told: whether its owner was told only what would be done, were the rule enforced.
        kept_since: when its .keep-alive file was first seen; None when the last check saw none.
    """

    user: str
    start: Start
    began_at: float
    checked_at: float
    cpu_usec: int | None = None
    network_bytes: int | None = None
    gpus: Mapping[str, GpuSign] = field(default_factory=dict)
    idle_since: float | None = None
    checks: int = 0
    warned_at: float | None = None
    promised: float | None = None
    told: bool = False
    kept_since: float | None = None


@dataclass(frozen=True, slots=True)
class IdleMemory:
    """All of them, by the container's id.

    Attributes:
        boot: whose seconds they are in; None when nothing was ever looked at.
    """

    boot: str | None = None
    spells: Mapping[str, Spell] = field(default_factory=dict)

    def of(self, boot: str) -> Mapping[str, Spell]:
        """Return what counts in a boot: nothing of another one."""
        return self.spells if self.boot == boot else {}


def settle(memory: IdleMemory, done: Iterable[Decision], moment: Moment) -> IdleMemory:
    """Note what was really done: who was not told is not warned, and a stopped container is watched no more."""
    spells = dict(memory.spells)
    for each in done:
        spell = spells.get(each.container_id)
        if each.action is Action.WARN and spell is not None:
            now = moment.awake_seconds
            warned = replace(spell, warned_at=now, promised=now + each.ahead_seconds)
            spells[each.container_id] = warned if each.binding else replace(spell, told=True)
        elif each.action is Action.STOP:
            spells.pop(each.container_id, None)
    return replace(memory, spells=spells)


# --- As JSON ----------------------------------------------------------------------------------------------------------

_SIGN: Final = {
    "busy_at": record.optional(record.instant),
    "since": record.instant,
    "unknown": record.optional(record.text),
}
_SPELL: Final = {
    "user": record.text,
    "start": record.start,
    "began_at": record.number,
    "checked_at": record.number,
    "cpu_usec": record.optional(record.count),
    "network_bytes": record.optional(record.count),
    "gpus": lambda said: {uuid: GpuSign(**record.fields(each, _SIGN)) for uuid, each in record.rows(said).items()},
    "idle_since": record.optional(record.number),
    "checks": record.count,
    "warned_at": record.optional(record.number),
    "promised": record.optional(record.number),
    "told": record.flag,
    "kept_since": record.optional(record.number),
}


def from_document(document: Mapping[str, object]) -> IdleMemory:
    """Read what record.plain() made of a memory.

    Raises:
        RecordError: it is something else.
    """
    read = record.fields(document, {"boot": record.optional(record.text), "spells": record.rows})
    return IdleMemory(read["boot"], {key: Spell(**record.fields(each, _SPELL)) for key, each in read["spells"].items()})
