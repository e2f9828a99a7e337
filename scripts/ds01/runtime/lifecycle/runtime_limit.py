"""Which containers near the end of their max_runtime, and which are past it. Pure: what was seen in, decisions out.

A run is from a start that somebody asked for to its end: a restart policy that brings it back begins no other.
Nobody is stopped who was not warned of that very end, and not sooner than a last grace after the first warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ds01.core.rules import Mode
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers.start import Start, after, goes_on
from ds01.runtime.lifecycle import record
from ds01.runtime.lifecycle.decision import (
    Action,
    Decision,
    Decisions,
    LifecycleRule,
    Moment,
    Remark,
    Subject,
    clock,
    decided,
    key_of,
    last_grace,
    spoken,
    untouchable,
    would_be,
)
from ds01.runtime.lifecycle.settings import LifecycleRules


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a container, as far as its owner was told of its end. Times are Moment.awake_seconds.

    Attributes:
        start: how the container came to run in it, as it was seen last.
        limit: the max_runtime that was told; another one is told anew.
        began_at: when it did.
        warned_at: when its owner was first warned; None when not yet.
        share: the highest share of which its owner was warned; 0 for none.
        told: whether its owner was told only what would be done, were the rule enforced.
    """

    user: str
    start: Start
    limit: float
    began_at: float
    warned_at: float | None = None
    share: float = 0.0
    told: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeMemory:
    """All of them, by the container's id; what is of another boot counts no more."""

    boot: str | None = None
    runs: Mapping[str, Run] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeSweep:
    """What one sweep decides, and what is to be remembered of it once that was done."""

    decisions: Decisions
    memory: RuntimeMemory


def sweep_runtime(
    subjects: Sequence[Subject],
    memory: RuntimeMemory,
    rules: LifecycleRules,
    moment: Moment,
    *,
    unseen: Collection[str] = (),
) -> RuntimeSweep:
    """Decide about every container.

    Args:
        unseen: ids of containers that cannot be told more of: nothing is decided, and nothing forgotten, about them.

    Returns:
        The memory has nobody warned yet that was not before: settle() notes what was really done.
    """
    known = memory.runs if memory.boot == moment.boot else {}
    if rules.mode(LifecycleRule.MAX_RUNTIME) is Mode.OFF:
        return RuntimeSweep(Decisions(cleared=_cleared(memory.runs)), RuntimeMemory(moment.boot))
    wanted, remarks = [], []
    runs = {key: run for key, run in known.items() if key in unseen}
    enforced = rules.mode(LifecycleRule.MAX_RUNTIME) is Mode.ENFORCE
    for subject in subjects:
        run = run_of(subject, known.get(subject.id), moment)
        if isinstance(run, str):
            remarks.append(Remark(subject.name, subject.user, run))
            continue
        runs[subject.id] = run = run if enforced else _withdrawn(run)
        decision = _decided(subject, run, rules, moment)
        if isinstance(decision, Decision):
            wanted.append(decision)
        else:
            remarks.append(Remark(subject.name, subject.user, decision))
    runs = {key: run if enforced else _withdrawn(run) for key, run in runs.items()}
    same = {
        key
        for key, run in runs.items()
        if key in known and goes_on(known[key].start, run.start) and known[key].user == run.user
    }
    withdrawn = {key for key, run in known.items() if run.warned_at is not None and not enforced}
    over = {key: run for key, run in memory.runs.items() if key not in same - withdrawn}
    return RuntimeSweep(
        Decisions(tuple(wanted), tuple(remarks), _cleared(over)),
        RuntimeMemory(moment.boot, runs),
    )


def _withdrawn(run: Run) -> Run:
    """Return a run without what was said while the rule was enforced: whoever enforces it again warns again."""
    return replace(run, warned_at=None, share=0.0)


def settle(memory: RuntimeMemory, done: Iterable[Decision], moment: Moment) -> RuntimeMemory:
    """Note what was really done: who was not told is not warned, and a run that was ended is over."""
    runs = dict(memory.runs)
    for each in done:
        run = runs.get(each.container_id)
        if each.action is Action.STOP:
            runs.pop(each.container_id, None)
        elif run is not None and not each.binding:
            runs[each.container_id] = replace(run, told=True)
        elif run is not None:
            first = moment.awake_seconds if run.warned_at is None else run.warned_at
            runs[each.container_id] = replace(run, warned_at=first, share=each.mark)
    return replace(memory, runs=runs)


def _cleared(runs: Mapping[str, Run]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (run.user, key_of(LifecycleRule.MAX_RUNTIME, key))
        for key, run in runs.items()
        if run.told or run.warned_at is not None
    )


def run_of(subject: Subject, known: Run | None, moment: Moment) -> Run | str:
    """Return which run it is and what is known of it; a text is why it has no end."""
    container = subject.seen.container
    why = untouchable(subject)
    if why is not None:
        return why
    start = subject.start
    if not container.is_live or start is None:
        return f"it is {container.state.value}"
    if subject.user is None or subject.times is None:
        return "nobody can be charged for it, so nobody's limits hold"
    limit = subject.times.max_runtime
    if limit is None:
        return "no max_runtime holds for it"
    if subject.age_seconds is None and not subject.is_coming_back:
        return "it cannot be told how long it has run"
    if known is not None and goes_on(known.start, start):
        start = after(known.start, start)
        if known.limit == limit and known.user == subject.user:
            return replace(known, start=start)
        # Of another end nobody was warned, nor was another owner.
        return Run(subject.user, start, limit, known.began_at)
    return Run(subject.user, start, limit, moment.awake_seconds - subject.awake_age(moment))


def age_of(run: Run, moment: Moment) -> float:
    """Return for how many seconds a run goes on, without what the machine slept."""
    return max(0.0, moment.awake_seconds - run.began_at)


def _decided(subject: Subject, run: Run, rules: LifecycleRules, moment: Moment) -> Decision | str:
    """Return what is to be done; a text is why nothing is."""
    age = age_of(run, moment)
    words = f"it has run for {spoken(age)} of {spoken(run.limit)}"
    over = age >= run.limit
    if rules.mode(LifecycleRule.MAX_RUNTIME) is not Mode.ENFORCE:
        return would_be(_decision(subject, Action.STOP, words, "")) if over and not run.told else words
    if over and run.warned_at is not None and moment.awake_seconds - run.warned_at >= last_grace(run.limit):
        said = f"container {subject.called} was stopped {clock(moment.now)}: {words}; "
        return _decision(subject, Action.STOP, words, f"{said}docker start {subject.argument} starts it again")
    passed = [share for share in rules.runtime_warnings if age >= share * run.limit]
    share = 1.0 if over else max(passed, default=0.0)
    if share <= run.share:
        return words if run.warned_at is None else f"{words}; its owner was told"
    grace = last_grace(run.limit) - (0.0 if run.warned_at is None else moment.awake_seconds - run.warned_at)
    ahead = max(run.limit - age, grace)
    said = f"container {subject.called} is stopped {clock(moment.after(ahead))}: {words}; save what you need"
    return replace(_decision(subject, Action.WARN, words, said), mark=share, ahead_seconds=ahead)


def _decision(subject: Subject, action: Action, reason: str, text: str) -> Decision:
    return decided(subject, LifecycleRule.MAX_RUNTIME, action, reason, text)


# --- As JSON ----------------------------------------------------------------------------------------------------------

_RUN: Final = {
    "user": record.text,
    "start": record.start,
    "limit": record.number,
    "began_at": record.number,
    "warned_at": record.optional(record.number),
    "share": record.number,
    "told": record.flag,
}


def from_document(document: Mapping[str, object]) -> RuntimeMemory:
    """Read what record.plain() made of a memory.

    Raises:
        RecordError: it is something else.
    """
    read = record.fields(document, {"boot": record.optional(record.text), "runs": record.rows})
    return RuntimeMemory(read["boot"], {key: Run(**record.fields(each, _RUN)) for key, each in read["runs"].items()})
