"""Which containers DS01 had no say in, whom it tells of them, and when they are stopped. Pure: what was seen in.

Nothing happens at once: an alert first, a second one at half the grace, and a stop only where the rule is enforced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ds01.core.rules import Mode
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.lifecycle import record
from ds01.runtime.lifecycle.decision import (
    Action,
    Decision,
    Decisions,
    LifecycleRule,
    Moment,
    Remark,
    Subject,
    awake_between,
    clock,
    decided,
    key_of,
    last_grace,
    spoken,
    untouchable,
)
from ds01.runtime.lifecycle.settings import LifecycleRules

_FIRST: Final = 1
_SECOND: Final = 2
_GRACE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Stranger:
    """A container that DS01 had no say in, since the first alert.

    Attributes:
        user: who was told; None when nobody could be.
        alerts: how many there were.
        noticed: seconds since the first one, without those in which the machine slept.
        second_at: what `noticed` was at the second one.
        promised: what `noticed` is at least when it is stopped, by what its owner was told.
        told: whether it was told only that it would be stopped, were the rule enforced.
    """

    user: str | None
    alerts: int = 0
    noticed: float = 0.0
    second_at: float | None = None
    promised: float = 0.0
    told: bool = False


@dataclass(frozen=True, slots=True)
class StrangerMemory:
    """All of them, by the container's id, and when they were looked at last."""

    at: Moment | None = None
    strangers: Mapping[str, Stranger] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StrangerSweep:
    """What one sweep decides, and what is to be remembered of it once that was done."""

    decisions: Decisions
    memory: StrangerMemory


def sweep_unmanaged(
    subjects: Sequence[Subject],
    memory: StrangerMemory,
    rules: LifecycleRules,
    moment: Moment,
    *,
    unseen: Collection[str] = (),
) -> StrangerSweep:
    """Decide about every container.

    Args:
        unseen: ids of containers that cannot be told more of: nothing is decided, and nothing forgotten, about them.

    Returns:
        The memory has no alert counted that was not before: settle() notes what was really done.
    """
    if rules.mode(LifecycleRule.UNMANAGED) is Mode.OFF:
        return StrangerSweep(Decisions(cleared=_cleared(memory.strangers)), StrangerMemory(moment))
    wanted, remarks = [], []
    strangers = {key: each for key, each in memory.strangers.items() if key in unseen}
    enforced = rules.mode(LifecycleRule.UNMANAGED) is Mode.ENFORCE
    for subject in subjects:
        why = _accepted(subject, rules)
        if why is not None:
            remarks.append(Remark(subject.name, subject.user, why))
            continue
        stranger = _noticed(subject, memory, moment)
        strangers[subject.id] = stranger = stranger if enforced else _withdrawn(stranger)
        decision = _decided(subject, stranger, rules, moment)
        if isinstance(decision, Decision):
            wanted.append(decision)
        else:
            remarks.append(Remark(subject.name, subject.user, decision))
    strangers = {key: each if enforced else _withdrawn(each) for key, each in strangers.items()}
    withdrawn = {key for key, each in memory.strangers.items() if each.alerts and not enforced}
    gone = {key: each for key, each in memory.strangers.items() if key not in strangers.keys() - withdrawn}
    return StrangerSweep(
        Decisions(tuple(wanted), tuple(remarks), _cleared(gone)),
        StrangerMemory(moment, strangers),
    )


def _withdrawn(stranger: Stranger) -> Stranger:
    """Return it without what was said while the rule was enforced: whoever enforces it again gives the whole grace."""
    return Stranger(stranger.user, told=stranger.told)


def settle(memory: StrangerMemory, done: Iterable[Decision]) -> StrangerMemory:
    """Note what was really done; one that is started again after its stop is new."""
    strangers = dict(memory.strangers)
    for each in done:
        there = strangers.get(each.container_id)
        if each.action is Action.STOP:
            strangers.pop(each.container_id, None)
        elif there is not None and not each.binding:
            strangers[each.container_id] = replace(there, told=True)
        elif there is not None:
            second_at = there.noticed if each.mark == _SECOND else there.second_at
            promised = there.noticed + each.ahead_seconds
            strangers[each.container_id] = replace(there, alerts=int(each.mark), second_at=second_at, promised=promised)
    return replace(memory, strangers=strangers)


def _cleared(strangers: Mapping[str, Stranger]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (each.user, key_of(LifecycleRule.UNMANAGED, key))
        for key, each in strangers.items()
        if each.user is not None and (each.alerts or each.told)
    )


def _accepted(subject: Subject, rules: LifecycleRules) -> str | None:
    """Return why a container may be as it is; None for one that DS01 had no say in."""
    if subject.seen.is_managed:
        return "DS01 let it come to be"
    if not rules.unmanaged_whitelist.isdisjoint({subject.id, subject.seen.container.name}):
        return "policies.unmanaged_whitelist names it"
    return untouchable(subject)


def _noticed(subject: Subject, memory: StrangerMemory, moment: Moment) -> Stranger:
    known = memory.strangers.get(subject.id)
    if known is None or known.user != subject.user:
        # Whoever it counts for now was told nothing yet.
        return Stranger(subject.user)
    if known.alerts == 0 or memory.at is None:
        return known
    return replace(known, noticed=known.noticed + awake_between(memory.at, moment))


def _decided(subject: Subject, stranger: Stranger, rules: LifecycleRules, moment: Moment) -> Decision | str:
    """Return what is to be done; a text is why nothing is."""
    grace = rules.unmanaged_grace_seconds
    words = f"DS01 had no say in it ({subject.seen.kind.value})"
    if not subject.seen.container.is_live:
        return f"{words}, and it does not run"
    if rules.mode(LifecycleRule.UNMANAGED) is not Mode.ENFORCE:
        said = f"container {subject.called} was not made through DS01; were the rule enforced, it would be stopped"
        would = f"would be stopped in {spoken(grace)}: {words}"
        told = replace(_decision(subject, Action.WARN, would, f"{said} in {spoken(grace)}"), binding=False)
        return words if stranger.told else told
    left = grace - stranger.noticed
    words = f"{words}, noticed {spoken(stranger.noticed)} of {spoken(grace)} ago"
    if stranger.alerts < _FIRST or (stranger.alerts < _SECOND and stranger.noticed >= grace / 2):
        ahead = max(left, last_grace(grace))
        until = clock(moment.after(ahead))
        said = (
            f"container {subject.called} is stopped after {until}: it was not made through DS01; "
            f"make it anew with docker run, or ask {rules.contact} to keep it"
        )
        return replace(_decision(subject, Action.WARN, words, said), mark=stranger.alerts + 1, ahead_seconds=ahead)
    early = left > 0 or stranger.noticed < stranger.promised
    if early or stranger.second_at is None or stranger.noticed - stranger.second_at < last_grace(grace):
        return f"{words}; {stranger.alerts} alerts"
    said = (
        f"container {subject.called} was stopped {clock(moment.now)}: it was not made through DS01; ask {rules.contact}"
    )
    return _decision(subject, Action.STOP, words, said)


def _decision(subject: Subject, action: Action, reason: str, text: str | None) -> Decision:
    return decided(subject, LifecycleRule.UNMANAGED, action, reason, text)


# --- As JSON ----------------------------------------------------------------------------------------------------------

_STRANGER: Final = {
    "user": record.optional(record.text),
    "alerts": record.count,
    "noticed": record.number,
    "second_at": record.optional(record.number),
    "promised": record.number,
    "told": record.flag,
}


def from_document(document: Mapping[str, object]) -> StrangerMemory:
    """Read what record.plain() made of a memory.

    Raises:
        RecordError: it is something else.
    """
    read = record.fields(document, {"at": record.optional(record.moment), "strangers": record.rows})
    found = {key: Stranger(**record.fields(each, _STRANGER)) for key, each in read["strangers"].items()}
    return StrangerMemory(read["at"], found)
