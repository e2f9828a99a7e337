"""Which GPU allocations nobody uses any more, in the words of the other rules. Pure; gpu/reconcile.py decides of it.

Frees nothing itself, and nothing is freed by time alone: the ledger was held against Docker in one transaction before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ds01.core.events import Event
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.core.visible import visible
from ds01.runtime.lifecycle import record
from ds01.runtime.lifecycle.decision import Action, Decision, Decisions, LifecycleRule, Remark, key_of, would_be

_OVER: Final = frozenset({"gpu.expired", "gpu.freed"})


@dataclass(frozen=True, slots=True)
class HoldMemory:
    """Of which allocations their accounts were told that they would be released, were the rule enforced.

    Attributes:
        told: the account, by the allocation's id.
    """

    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HoldSweep:
    """What one sweep found, and what is to be remembered of it once that was said."""

    decisions: Decisions
    memory: HoldMemory


def sweep_holds(notes: Sequence[Event], were_enforced: Sequence[Event], memory: HoldMemory) -> HoldSweep:
    """Say what holding the ledger against Docker released.

    Args:
        notes: what became of the ledger, or would in a dry run.
        were_enforced: what would have become of it where holds end; empty when they do, or when the rule is off.
    """
    released = tuple(_decision(each) for each in notes if each.event_type in _OVER)
    done = {each.container_id for each in released}
    over = [_decision(each) for each in were_enforced if each.event_type in _OVER]
    would = {each.container_id: each for each in over if each.container_id not in done}
    cleared = tuple(
        (user, key_of(LifecycleRule.GPU_HOLD, key)) for key, user in memory.told.items() if key not in would
    )
    remarks = tuple(
        Remark(_detail(each, "container") or "the record", each.user, _detail(each, "reason"))
        for each in notes
        if each.event_type not in _OVER
    )
    fresh = tuple(would_be(each) for key, each in would.items() if key not in memory.told)
    told = {key: user for key, user in memory.told.items() if key in would}
    return HoldSweep(Decisions((*released, *fresh), remarks, cleared), HoldMemory(told))


def settle(memory: HoldMemory, done: Iterable[Decision]) -> HoldMemory:
    """Note who was told."""
    said = {each.container_id: each.user for each in done if each.action is Action.WARN and each.user is not None}
    return HoldMemory({**memory.told, **said})


def _decision(note: Event) -> Decision:
    allocation = _detail(note, "allocation")
    return Decision(
        container_id=allocation,
        name=visible(_detail(note, "container")),
        user=note.user,
        action=Action.RELEASE,
        rule=LifecycleRule.GPU_HOLD,
        reason=_detail(note, "reason"),
        key=key_of(LifecycleRule.GPU_HOLD, allocation),
        slots=tuple(_detail(note, "gpu_id").split(",")),
    )


def _detail(note: Event, name: str) -> str:
    return str(note.details.get(name, ""))


def from_document(document: Mapping[str, object]) -> HoldMemory:
    """Read what record.plain() made of a memory.

    Raises:
        RecordError: it is something else.
    """
    told = record.fields(document, {"told": record.rows})["told"]
    return HoldMemory({key: record.text(user) for key, user in told.items()})
