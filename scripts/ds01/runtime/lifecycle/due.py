"""When which job has something to do next, for whoever does not want to wait for cron. Pure: what was seen in.

Only a hint: the job itself decides, and finds nothing to do where a clock or a container went another way meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from ds01.core.rules import Mode
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.reconcile import AccountOf, hold_ends
from ds01.runtime.lifecycle.decision import LifecycleRule, Moment, Subject, awake_between, last_grace
from ds01.runtime.lifecycle.runtime_limit import Run, RuntimeMemory, age_of, run_of
from ds01.runtime.lifecycle.settings import LifecycleRules
from ds01.runtime.lifecycle.stale_containers import KeptMemory, held_until, hold_of

STALE_GPU: Final = "stale-gpu"
STALE_CONTAINERS: Final = "stale-containers"
MAX_RUNTIME: Final = "max-runtime"
# So much later a job surely finds it due. In whole seconds, so that the same thing is due at the same time when it is
# asked about again: its time is counted back from one clock to another.
_MARGIN: Final = timedelta(seconds=1, microseconds=500_000)
# No two jobs are due at the same time: whoever acted on one would take the other for done.
_MICROSECOND: Final = {STALE_GPU: 0, STALE_CONTAINERS: 1, MAX_RUNTIME: 2}
# Who stopped a container to start it again at once need not be told how long it is kept.
_NOTICE_SHARE: Final = 0.1
_LONGEST_NOTICE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Due:
    """Which job has something to do, and when."""

    at: datetime
    job: str


@dataclass(frozen=True, slots=True)
class Memories:
    """What the rules with timers remember."""

    runtime: RuntimeMemory = field(default_factory=RuntimeMemory)
    kept: KeptMemory = field(default_factory=KeptMemory)


@dataclass(frozen=True, slots=True)
class Timers:
    """Everything that timers depend on.

    Attributes:
        ledger: who holds which GPU; empty where that is not known.
        account_of: for how long accounts hold GPUs.
    """

    subjects: Sequence[Subject]
    ledger: Ledger
    rules: LifecycleRules
    account_of: AccountOf
    memories: Memories = field(default_factory=Memories)


def next_due(timers: Timers, moment: Moment, *, after: datetime) -> Due | None:
    """Return what is due first of all that comes after a point in time.

    Of what came due already each job counts once, by the last of it: one run settles all that was due by then.

    Args:
        after: up to when all that was due was done: the time of the last answer that was acted on.

    Returns:
        None when there is nothing to wait for; a time in the past is one that came meanwhile.
    """
    since = min(after, moment.now)
    over: dict[str, Due] = {}
    coming = []
    for each in _all(timers, moment):
        if each.at > moment.now:
            coming.append(each)
        elif each.at > since and (each.job not in over or over[each.job].at < each.at):
            over[each.job] = each
    return min([*over.values(), *coming], key=lambda each: (each.at, each.job), default=None)


def _all(timers: Timers, moment: Moment) -> Iterator[Due]:
    for allocation in timers.ledger.allocations.values():
        ends = hold_ends(allocation, timers.account_of)
        if ends is not None:
            yield _due(ends, STALE_GPU)
    holds = timers.rules.mode(LifecycleRule.CONTAINER_HOLD) is Mode.ENFORCE
    limits = timers.rules.mode(LifecycleRule.MAX_RUNTIME) is Mode.ENFORCE
    for subject in timers.subjects:
        for instant in _hold(subject, timers, moment) if holds else ():
            yield _due(instant, STALE_CONTAINERS)
        for instant in _runtime(subject, timers, moment) if limits else ():
            yield _due(instant, MAX_RUNTIME)


def _due(instant: datetime, job: str) -> Due:
    return Due((instant + _MARGIN).replace(microsecond=_MICROSECOND[job]), job)


def _hold(subject: Subject, timers: Timers, moment: Moment) -> Iterator[datetime]:
    """Yield when an owner is told of a stopped container, or when it is removed."""
    hold = hold_of(subject, timers.rules)
    if isinstance(hold, str):
        return
    since, seconds = hold
    memory = timers.memories.kept
    known = memory.kept.get(subject.id)
    if known is None or known.since != since or memory.at is None or known.told_at is None:
        yield since + timedelta(seconds=min(seconds * _NOTICE_SHARE, _LONGEST_NOTICE_SECONDS))
        return
    left = held_until(known, seconds) - known.held - awake_between(memory.at, moment)
    yield max(since + timedelta(seconds=seconds), moment.after(left))


def _runtime(subject: Subject, timers: Timers, moment: Moment) -> Iterator[datetime]:
    """Yield when an owner is warned of the end of a run, and the end itself."""
    memory = timers.memories.runtime
    known = memory.runs.get(subject.id) if memory.boot == moment.boot else None
    run = run_of(subject, known, moment)
    if not isinstance(run, Run):
        return
    age = age_of(run, moment)
    for share in timers.rules.runtime_warnings:
        if share > run.share:
            yield moment.after(share * run.limit - age)
    left = run.limit - age
    if run.warned_at is not None:
        left = max(left, last_grace(run.limit) - (moment.awake_seconds - run.warned_at))
    yield moment.after(left)
