"""The five jobs: what each looks at, which rule decides, and what is remembered. enforce.py acts, jobs.py runs them.

A dry run looks and decides as the job does, and changes nothing: no container, no record, no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ds01.core.events import Event, EventLog
from ds01.core.rules import Mode
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.core.visible import visible
from ds01.runtime.accounts import is_admin, limits_of
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.containers.look import Looked, look
from ds01.runtime.containers.start import start_of
from ds01.runtime.gpu.host import open_gpus
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.request import AccountLimits, account_limits
from ds01.runtime.gpu.state import Book, GpuState, NoGpuStateError
from ds01.runtime.lifecycle import idle_memory, memory, runtime_limit, stale_containers, stale_gpu, unmanaged
from ds01.runtime.lifecycle.control import Control
from ds01.runtime.lifecycle.decision import Action, Decision, Decisions, LifecycleRule, Remark, Standing
from ds01.runtime.lifecycle.due import MAX_RUNTIME, STALE_CONTAINERS, STALE_GPU
from ds01.runtime.lifecycle.enforce import End, Enforcer, Outcome
from ds01.runtime.lifecycle.idle import busy_since_then, sweep_idle
from ds01.runtime.lifecycle.idle_memory import IdleMemory
from ds01.runtime.lifecycle.notify import Notifier
from ds01.runtime.lifecycle.runtime_limit import RuntimeMemory, sweep_runtime
from ds01.runtime.lifecycle.sights import Sights
from ds01.runtime.lifecycle.stale_containers import KeptMemory, standings, sweep_stale
from ds01.runtime.lifecycle.stale_gpu import HoldMemory, sweep_holds
from ds01.runtime.lifecycle.unmanaged import StrangerMemory, sweep_unmanaged

IDLE: Final = "idle"
UNMANAGED: Final = "unmanaged"
JOBS: Final = (IDLE, MAX_RUNTIME, STALE_GPU, STALE_CONTAINERS, UNMANAGED)
_MOST_NAMED: Final = 5
_LEFT: Final = "Docker could not describe it: "
_DONE: Final = {
    Action.WARN: "warned",
    Action.RELEASE: "released",
    Action.REMOVE: "removed",
    Action.STOP: "stopped",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What one sweep found and wants done.

    Attributes:
        looked_at: how many containers, or allocations.
        unseen: what those are called that Docker could not describe; nothing is decided about them.
        settled: what is to be remembered when these were done.
        damage: why what was remembered could not be believed; None when it could.
        busy_again: as the enforcer asks right before a stop.
        standings: what accounts are told of all their containers together when these were done.
    """

    decisions: Decisions
    looked_at: int
    settled: Callable[[Sequence[Decision]], object]
    damage: str | None = None
    unseen: tuple[str, ...] = ()
    busy_again: Callable[[Decision, Container], str | None] = field(default=lambda _, __: None)
    standings: Callable[[Sequence[Decision]], tuple[Standing, ...]] = field(default=lambda _: ())


@dataclass(frozen=True, slots=True)
class Report:
    """A sweep and what became of it.

    Attributes:
        outcomes: of the decisions in the order in which they were done; none in a dry run.
    """

    job: str
    dry_run: bool
    plan: Plan
    outcomes: tuple[Outcome, ...] = ()

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """What could not be done."""
        return tuple(each for each in self.outcomes if each.end is End.FAILED)

    @property
    def summary(self) -> str:
        """Return all of it in one line."""
        if self.dry_run:
            counted = {f"would be {done}": self._wanted(action) for action, done in _DONE.items()}
        else:
            counted = {done: self._ended(action) for action, done in _DONE.items()}
            counted["left after all"] = sum(each.end is End.NOT_NEEDED for each in self.outcomes)
            counted["failed"] = len(self.failures)
        words = ", ".join(f"{number} {done}" for done, number in counted.items() if number)
        return f"{self.plan.looked_at} looked at: {words or 'nothing to do'}{_undescribed(self.plan.unseen)}"

    def _wanted(self, action: Action) -> int:
        return sum(each.action is action for each in self.plan.decisions.wanted)

    def _ended(self, action: Action) -> int:
        return sum(each.decision.action is action and each.end is End.DONE for each in self.outcomes)


def _undescribed(names: Sequence[str]) -> str:
    """Return how a summary names what Docker could not describe."""
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f", {len(names)} that Docker could not describe: {', '.join(names[:_MOST_NAMED])}{more}"


def run_sweep(job: str, sights: Sights, *, dry_run: bool) -> Report:
    """Look, decide and act.

    Raises:
        Ds01Error: nothing can be seen, or nothing can be remembered; what was done until then is in the log.
    """
    plan = _stale_gpu(sights, dry_run=dry_run) if job == STALE_GPU else _LOOKS[job](sights)
    if dry_run:
        return Report(job, dry_run, plan)
    paths, now = sights.paths, sights.machine.now
    if plan.damage is not None:
        memory.put_aside(paths, job, plan.damage, now())
    socket = engine_socket(paths)
    enforcer = Enforcer(
        acts=Control(socket),
        tells=Notifier(paths, now),
        events=EventLog(paths.events),
        now=now,
        inspect=Engine(socket).inspect,
        busy_again=plan.busy_again,
    )
    outcomes: list[Outcome] = []
    try:
        enforcer.clear(plan.decisions.cleared)
        for outcome in enforcer.act(plan.decisions.wanted):
            outcomes += [outcome]
    finally:
        # Also when it is broken off: who was warned before that was warned.
        done = [each.decision for each in outcomes if each.end is End.DONE]
        memory.remember(paths, job, plan.settled(done))
        enforcer.restate(plan.standings(done))
    return Report(job, dry_run, plan, tuple(outcomes))


# --- What each job looks at -------------------------------------------------------------------------------------------


def _idle(sights: Sights) -> Plan:
    known, damage = memory.recall(sights.paths, IDLE, idle_memory.from_document, IdleMemory())
    looked, moment = look(sights.paths, sights.policy), sights.moment()
    seen, unseen = looked.seen, _ids(looked)
    found = sights.idle_sights(seen)
    # Without a GPU in use nobody has to ask the driver.
    demand = sights.demand() if any(each.has_gpu for each in found) else None
    sweep = sweep_idle(found, known, sights.rules, moment, demand=demand, unseen=unseen)
    by_id = {each.container.id: each for each in seen}

    def busy_again(decision: Decision, container: Container) -> str | None:
        again = Sights(sights.paths, sights.policy, sights.machine, sights.awake)
        before = by_id[container.id]
        now = replace(before, container=container, start=start_of(container, before.start))
        sight = again.idle_sight(again.subject(now))
        return busy_since_then(sight, sweep.memory.spells[decision.container_id], sights.rules, again.moment())

    plan = _plan(sweep.decisions, looked, lambda done: idle_memory.settle(sweep.memory, done, moment), damage)
    return replace(plan, busy_again=busy_again)


def _max_runtime(sights: Sights) -> Plan:
    known, damage = memory.recall(sights.paths, MAX_RUNTIME, runtime_limit.from_document, RuntimeMemory())
    looked, moment = look(sights.paths, sights.policy), sights.moment()
    subjects = sights.subjects(looked.seen)
    sweep = sweep_runtime(subjects, known, sights.rules, moment, unseen=_ids(looked))
    return _plan(sweep.decisions, looked, lambda done: runtime_limit.settle(sweep.memory, done, moment), damage)


def _stale_containers(sights: Sights) -> Plan:
    known, damage = memory.recall(sights.paths, STALE_CONTAINERS, stale_containers.from_document, KeptMemory())
    looked, moment = look(sights.paths, sights.policy), sights.moment()
    subjects = sights.subjects(looked.seen)
    sweep = sweep_stale(subjects, known, sights.rules, moment, unseen=_ids(looked))

    def settled(done: Sequence[Decision]) -> KeptMemory:
        return stale_containers.settle(sweep.memory, done)

    def standing(done: Sequence[Decision]) -> tuple[Standing, ...]:
        return standings(subjects, known, settled(done), sights.rules, moment)

    return replace(_plan(sweep.decisions, looked, settled, damage), standings=standing)


def _unmanaged(sights: Sights) -> Plan:
    known, damage = memory.recall(sights.paths, UNMANAGED, unmanaged.from_document, StrangerMemory())
    looked, moment = look(sights.paths, sights.policy), sights.moment()
    subjects = sights.subjects(looked.seen)
    sweep = sweep_unmanaged(subjects, known, sights.rules, moment, unseen=_ids(looked))
    return _plan(sweep.decisions, looked, lambda done: unmanaged.settle(sweep.memory, done), damage)


def _ids(looked: Looked) -> frozenset[str]:
    """Return the ids of the containers that Docker could not describe."""
    return frozenset(each.there.id for each in looked.unseen)


def _plan(
    decisions: Decisions, looked: Looked, settled: Callable[[Sequence[Decision]], object], damage: str | None
) -> Plan:
    """Return a plan that says too what was left alone because Docker could not describe it."""
    left = [Remark(visible(each.there.name), each.user, _LEFT + each.there.why) for each in looked.unseen]
    told = replace(decisions, remarks=(*decisions.remarks, *left))
    return Plan(told, len(looked.seen), settled, damage, tuple(each.name for each in left))


def _stale_gpu(sights: Sights, *, dry_run: bool) -> Plan:
    """Hold the ledger against Docker: that is one transaction, and done when it ends; a dry run does it on a copy."""
    known, damage = memory.recall(sights.paths, STALE_GPU, stale_gpu.from_document, HoldMemory())
    state = open_gpus(sights.paths, sights.policy).state
    if dry_run:
        book, held = _would_note(state)
    else:
        with state.change() as book:
            held = len(book.ledger.allocations)
            state.reconcile(book)
    ending: tuple[Event, ...] = ()
    if sights.rules.mode(LifecycleRule.GPU_HOLD) is Mode.WARN:
        ending = tuple(_would_note(replace(state, account_of=_holds_ending(sights)))[0].notes)
    sweep = sweep_holds(tuple(book.notes), ending, known)
    unseen = tuple(map(visible, book.unseen))
    return Plan(sweep.decisions, held, lambda done: stale_gpu.settle(sweep.memory, done), damage, unseen)


def _would_note(state: GpuState) -> tuple[Book, int]:
    """Return what holding the ledger against Docker would make of it, and how many allocations there are."""
    try:
        book = Book(state.read(), state.moment())
    except NoGpuStateError:
        return Book(Ledger(), state.moment()), 0
    held = len(book.ledger.allocations)
    state.reconcile(book)
    return book, held


def _holds_ending(sights: Sights) -> Callable[[str], AccountLimits]:
    """Return what accounts may have where holds do end, whatever the rule's mode is."""
    policy = sights.policy
    return lambda user: account_limits(limits_of(policy, user), admin=is_admin(policy, user))


_LOOKS: Final[Mapping[str, Callable[[Sights], Plan]]] = {
    IDLE: _idle,
    MAX_RUNTIME: _max_runtime,
    STALE_CONTAINERS: _stale_containers,
    UNMANAGED: _unmanaged,
}
