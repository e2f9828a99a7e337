"""Which stopped containers are removed, and which that were never started. Pure: what was seen in, decisions out.

Their volumes and workspaces stay. Nobody's is removed who was not told before, and no jump of the wall clock makes a
container older than the machine was awake beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from ds01.core.rules import Mode
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers.container import State
from ds01.runtime.lifecycle import record
from ds01.runtime.lifecycle.decision import (
    Action,
    Decision,
    Decisions,
    LifecycleRule,
    Moment,
    Remark,
    Standing,
    Subject,
    awake_between,
    clock,
    decided,
    key_of,
    last_grace,
    spoken,
    untouchable,
    would_be,
)
from ds01.runtime.lifecycle.notices import Weight
from ds01.runtime.lifecycle.settings import LifecycleRules

_KEEP_SECONDS: Final = 86400.0
# Some accounts leave many behind in a day, so all that are to be removed have one notice of their account.
ALL_KEY: Final = LifecycleRule.CONTAINER_HOLD.value
_STOPPED: Final = frozenset({State.EXITED, State.DEAD})


@dataclass(frozen=True, slots=True)
class Kept:
    """A container that does not run, for as long as it has been seen not to.

    Attributes:
        since: when it stopped, or was made when it never ran, by Docker's word.
        held: seconds that it has been so while the machine was awake.
        told_at: what `held` was when its owner was told until when it is kept; None before that.
        promised: what `held` is at least when it is removed, by what its owner was told.
        would: whether its owner was told that it would be removed, were the rule enforced.
    """

    user: str
    since: datetime
    held: float = 0.0
    told_at: float | None = None
    promised: float = 0.0
    would: bool = False


@dataclass(frozen=True, slots=True)
class KeptMemory:
    """All of them, by the container's id, and when they were looked at last."""

    at: Moment | None = None
    kept: Mapping[str, Kept] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptSweep:
    """What one sweep decides, and what is to be remembered of it once that was done."""

    decisions: Decisions
    memory: KeptMemory


def sweep_stale(
    subjects: Sequence[Subject],
    memory: KeptMemory,
    rules: LifecycleRules,
    moment: Moment,
    *,
    unseen: Collection[str] = (),
) -> KeptSweep:
    """Decide about every container.

    Args:
        unseen: ids of containers that cannot be told more of: nothing is decided, and nothing forgotten, about them.

    Returns:
        The memory has nobody told yet that was not before: settle() notes what was really done.
    """
    if rules.mode(LifecycleRule.CONTAINER_HOLD) is Mode.OFF:
        return KeptSweep(Decisions(cleared=_cleared(memory.kept)), KeptMemory(moment))
    wanted, remarks = [], []
    kept = {key: each for key, each in memory.kept.items() if key in unseen}
    enforced = rules.mode(LifecycleRule.CONTAINER_HOLD) is Mode.ENFORCE
    for subject in subjects:
        found = _kept(subject, memory, rules, moment)
        if isinstance(found, str):
            remarks.append(Remark(subject.name, subject.user, found))
            continue
        kept[subject.id] = found = found if enforced else _withdrawn(found)
        decision = _decided(subject, found, rules, moment)
        if isinstance(decision, Decision):
            wanted.append(decision)
        else:
            remarks.append(Remark(subject.name, subject.user, decision))
    kept = {key: each if enforced else _withdrawn(each) for key, each in kept.items()}
    stays = {key for key, each in kept.items() if key in memory.kept and memory.kept[key].since == each.since}
    withdrawn = {key for key, each in memory.kept.items() if each.told_at is not None and not enforced}
    gone = {key: each for key, each in memory.kept.items() if key not in stays - withdrawn}
    told = _together(subjects, settle(KeptMemory(moment, kept), wanted), rules, moment)
    all_wanted = tuple(_said_of_all(each, told) for each in wanted)
    return KeptSweep(Decisions(all_wanted, tuple(remarks), _cleared(gone)), KeptMemory(moment, kept))


def standings(
    subjects: Sequence[Subject], before: KeptMemory, after: KeptMemory, rules: LifecycleRules, moment: Moment
) -> tuple[Standing, ...]:
    """Return what accounts are told of all their containers that are to be removed, once a sweep was acted on.

    Args:
        before: as the sweep found it; whoever was told something then is told that it is over.
        after: what is to be remembered.
    """
    users = {each.user for memory in (before, after) for each in memory.kept.values() if each.told_at is not None}
    told = _together(subjects, after, rules, moment)
    seen = {each.id for each in subjects}
    # What was said of one that could not be seen this time holds still.
    users -= {each.user for key, each in after.kept.items() if key not in seen} - told.keys()
    return tuple(told.get(user) or Standing(user, ALL_KEY, None) for user in sorted(users))


@dataclass(frozen=True, slots=True)
class _Held:
    """A container of which its account was told that it is removed, and in how many seconds that is at the earliest."""

    subject: Subject
    hold: tuple[datetime, float]
    left: float


def _together(
    subjects: Sequence[Subject], memory: KeptMemory, rules: LifecycleRules, moment: Moment
) -> Mapping[str, Standing]:
    """Return by account what is said of all of its containers that are removed."""
    held: dict[str, list[_Held]] = {}
    for subject in subjects:
        kept, hold = memory.kept.get(subject.id), hold_of(subject, rules)
        if kept is not None and kept.told_at is not None and not isinstance(hold, str):
            left = max(0.0, held_until(kept, hold[1]) - kept.held)
            held.setdefault(kept.user, []).append(_Held(subject, hold, left))
    return {user: _standing(user, each, moment) for user, each in held.items()}


def _standing(user: str, held: Sequence[_Held], moment: Moment) -> Standing:
    first = min(held, key=lambda each: (each.left, each.subject.name))
    name, until = first.subject.called, clock(moment.after(first.left))
    if len(held) == 1:
        why, argument = _words(first.subject, first.hold), first.subject.argument
        said = f"container {name} is removed after {until}: {why}; docker start {argument} keeps it"
    else:
        begin = f"{len(held)} stopped containers are removed, the first, {name}, after {until}"
        said = f"{begin}; docker start keeps one, docker ps -a shows them"
    return Standing(user, ALL_KEY, said, _KEEP_SECONDS + max(each.left for each in held))


def _said_of_all(decision: Decision, told: Mapping[str, Standing]) -> Decision:
    """Let a warning say what there is to say of all containers of its account."""
    if decision.weight is not Weight.HOLD or decision.user is None:
        return decision
    return replace(decision, key=ALL_KEY, text=told[decision.user].text)


def _withdrawn(kept: Kept) -> Kept:
    """Return it without what was said while the rule was enforced: whoever enforces it again tells it again."""
    return replace(kept, told_at=None, promised=0.0)


def settle(memory: KeptMemory, done: Iterable[Decision]) -> KeptMemory:
    """Note what was really done."""
    kept = dict(memory.kept)
    for each in done:
        there = kept.get(each.container_id)
        if each.action is Action.REMOVE:
            kept.pop(each.container_id, None)
        elif there is not None:
            told = replace(there, told_at=there.held, promised=there.held + each.ahead_seconds)
            kept[each.container_id] = told if each.binding else replace(there, would=True)
    return replace(memory, kept=kept)


def hold_of(subject: Subject, rules: LifecycleRules) -> tuple[datetime, float] | str:
    """Return since when a container is held and for how many seconds; a text is why it is not, or for ever."""
    container = subject.seen.container
    why = untouchable(subject)
    if why is not None:
        return why
    if subject.user is None or subject.times is None:
        return "nobody can be charged for it, so nobody's limits hold"
    if container.state is State.CREATED and container.created_at is not None:
        return container.created_at, rules.never_started_hold_seconds
    if container.state not in _STOPPED or container.finished_at is None:
        return f"it is {container.state.value}"
    hold = subject.times.container_hold
    return "its account's stopped containers are kept for ever" if hold is None else (container.finished_at, hold)


def held_until(kept: Kept, hold: float) -> float:
    """Return for how many seconds a container is held in all: as long as its owner was told, at least."""
    return hold if kept.told_at is None else max(hold, kept.told_at + last_grace(hold), kept.promised)


def _cleared(kept: Mapping[str, Kept]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (each.user, key_of(LifecycleRule.CONTAINER_HOLD, key))
        for key, each in kept.items()
        if each.told_at is not None or each.would
    )


def _kept(subject: Subject, memory: KeptMemory, rules: LifecycleRules, moment: Moment) -> Kept | str:
    hold = hold_of(subject, rules)
    if isinstance(hold, str) or subject.user is None:
        return hold if isinstance(hold, str) else ""
    known, since = memory.kept.get(subject.id), hold[0]
    passed = 0.0 if memory.at is None else awake_between(memory.at, moment)
    if known is not None and known.since == since and known.user == subject.user:
        return replace(known, held=known.held + passed)
    # It is new: it cannot have been so for longer than since the last look, when it was not. Without one, nobody knows.
    new = memory.at is not None and since >= memory.at.now
    return Kept(subject.user, since, max(0.0, min((moment.now - since).total_seconds(), passed)) if new else 0.0)


def _decided(subject: Subject, kept: Kept, rules: LifecycleRules, moment: Moment) -> Decision | str:
    """Return what is to be done; a text is why nothing is."""
    hold = hold_of(subject, rules)
    if isinstance(hold, str):
        return hold
    since, seconds = hold
    words = _words(subject, hold)
    over = kept.held >= held_until(kept, seconds) and (moment.now - since).total_seconds() >= seconds
    if rules.mode(LifecycleRule.CONTAINER_HOLD) is not Mode.ENFORCE:
        return would_be(_decision(subject, Action.REMOVE, words, since, None)) if over and not kept.would else words
    if kept.told_at is None:
        ahead = max(last_grace(seconds), seconds - kept.held)
        return replace(_decision(subject, Action.WARN, words, since, None), ahead_seconds=ahead)
    if not over:
        return f"{words}; its owner was told"
    said = f"container {subject.called} was removed {clock(moment.now)}: {words}; "
    said += "its workspace and volumes are there still"
    return _decision(subject, Action.REMOVE, words, since, said)


def _words(subject: Subject, hold: tuple[datetime, float]) -> str:
    never = subject.seen.container.state is State.CREATED
    return f"{'never started since' if never else 'stopped since'} {clock(hold[0])}, kept for {spoken(hold[1])}"


def _decision(subject: Subject, action: Action, reason: str, since: datetime, text: str | None) -> Decision:
    found = decided(subject, LifecycleRule.CONTAINER_HOLD, action, reason, text)
    return replace(found, keep_seconds=_KEEP_SECONDS, state_since=since, grace_seconds=0)


# --- As JSON ----------------------------------------------------------------------------------------------------------

_KEPT: Final = {
    "user": record.text,
    "since": record.instant,
    "held": record.number,
    "told_at": record.optional(record.number),
    "promised": record.number,
    "would": record.flag,
}


def from_document(document: Mapping[str, object]) -> KeptMemory:
    """Read what record.plain() made of a memory.

    Raises:
        RecordError: it is something else.
    """
    read = record.fields(document, {"at": record.optional(record.moment), "kept": record.rows})
    return KeptMemory(read["at"], {key: Kept(**record.fields(each, _KEPT)) for key, each in read["kept"].items()})
