"""When an account's pressure is reported, that of memory told and ended. Pure: one look after another in, acts out.

An account is never told, and no limit lifted, on a figure that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from ds01.core.policy import Policy, PolicyError
from ds01.core.rules import Mode, mode_of
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.cgroup.pressure import Pressure, Resource
from ds01.runtime.cgroup.tree import CannotTell, LimitReading, Reading

# Below this share of a threshold pressure counts as over, so that one that hovers there is not told again and again.
_OVER: Final = 0.8
_EASED: Final = 0.5
# Usage at a limit is a little below it, since each CPU has charged some in advance.
# Source: Linux, mm/memcontrol.c, MEMCG_CHARGE_BATCH.
_AT_HIGH: Final = 0.99
# Between two looks that are further apart nobody knows what was.
MOST_GAP_SECONDS: Final = 180.0


@dataclass(frozen=True, slots=True)
class PressureRules:
    """What the policy says of pressure.

    Attributes:
        some_avg60, full_avg60: percent of a minute above which pressure is reported, of whatever.
        releases: whether memory_high is lifted for who is stuck above it, besides telling them.
    """

    mode: Mode
    some_avg60: float
    full_avg60: float
    report_after_seconds: float
    stall_after_seconds: float
    releases: bool

    @property
    def lifts(self) -> bool:
        """Whether memory_high is lifted in fact, and not only would be."""
        return self.mode is Mode.ENFORCE and self.releases


def read_pressure_rules(policy: Policy) -> PressureRules:
    """Take the rules out of the compiled policy.

    Raises:
        PolicyError: it does not have them; names the key.
    """
    enforcement, stated = policy.document.get("enforcement"), policy.document.get("pressure")
    rules = enforcement.get("rules") if isinstance(enforcement, dict) else None
    section = stated if isinstance(stated, dict) else {}
    stall = section.get("stall")
    if stall not in {"notify", "release"}:
        raise PolicyError(f"the compiled policy says {stall!r} for pressure.stall", None, "deploy again")
    return PressureRules(
        mode=mode_of(rules.get("pressure") if isinstance(rules, dict) else None, "enforcement.rules.pressure"),
        some_avg60=_number(section, "some_avg60"),
        full_avg60=_number(section, "full_avg60"),
        report_after_seconds=_number(section, "report_after_seconds"),
        stall_after_seconds=_number(section, "stall_after_seconds"),
        releases=stall == "release",
    )


def _number(section: Mapping[str, object], key: str) -> float:
    value = section.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise PolicyError(f"the compiled policy says {value!r} for pressure.{key}", None, "deploy again")
    return value


# --- One look ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """What one look at a slice gave.

    Attributes:
        high_bytes, max_bytes: as the kernel has them now; None is no limit.
        others: the pressure of what is not memory; nothing is known of what is missing.
    """

    memory: Pressure | CannotTell
    current_bytes: Reading
    working_set_bytes: Reading
    high_bytes: LimitReading
    max_bytes: LimitReading
    others: Mapping[Resource, Pressure | CannotTell] = field(default_factory=dict)


# --- What is remembered -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lifted:
    """That memory_high is lifted.

    Attributes:
        was_bytes: what the kernel had before.
    """

    was_bytes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """What is remembered of one kind of pressure; times are seconds of a clock that nobody can set.

    Attributes:
        above_since: since when it has been above a threshold.
        high_since: the same, once it was reported.
    """

    above_since: float | None = None
    high_since: float | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered of a slice from one look to the next; times as in Wait.

    Attributes:
        above_since, high_since: as in Wait, of memory.
        stuck_since: since when it has been stuck above memory_high.
        stalled_since: the same, once its owner was told.
        eased_since: since when it has not been stuck any more, though told.
        others: of what is not memory; of what is missing there is nothing to remember.
    """

    above_since: float | None = None
    high_since: float | None = None
    stuck_since: float | None = None
    stalled_since: float | None = None
    eased_since: float | None = None
    lifted: Lifted | None = None
    others: Mapping[Resource, Wait] = field(default_factory=dict)


# --- What follows -----------------------------------------------------------------------------------------------------


class Why(Enum):
    """Why memory_high is put back."""

    OOM_KILL = "oom_kill"
    BELOW = "below"  # usage is below it again
    START = "start"  # the sampler was ended while it was lifted
    STOP = "stop"  # the sampler ends
    POLICY = "policy"  # nothing is to be lifted any more
    ELSEWHERE = "elsewhere"  # systemd did it, or somebody else
    GONE = "gone"  # with its slice


class What(Enum):
    """What there is no more of."""

    HIGH = "high"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class High:
    """Pressure is to be reported."""

    seconds: float
    resource: Resource = Resource.MEMORY


@dataclass(frozen=True, slots=True)
class Over:
    """Something is over that was told."""

    what: What
    seconds: float
    resource: Resource = Resource.MEMORY


@dataclass(frozen=True, slots=True)
class Stalled:
    """The owner is to be told that everything of theirs stands still."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Release:
    """memory_high is to be lifted."""

    was_bytes: int


@dataclass(frozen=True, slots=True)
class Restore:
    """memory_high is to be put back, or was by somebody else."""

    was_bytes: int
    why: Why


Change = High | Over | Stalled | Release | Restore


def step(
    watch: Watch, figures: Figures, rules: PressureRules, seconds: float, *, killed: bool
) -> tuple[Watch, tuple[Change, ...]]:
    """Decide what one look at a slice means.

    Release and Restore stay undone in the Watch: whoever does them says so by released() and restored().

    Args:
        seconds: of the look.
        killed: whether a process of the slice was ended for want of memory since the last one.
    """
    if rules.mode is Mode.OFF:
        quiet = Watch(lifted=watch.lifted)
        return quiet, (*ended(restored(watch), seconds), *_restore(quiet, figures, rules, killed=killed))
    reported, changes = _report(watch, figures, rules, seconds)
    if watch.lifted is not None:
        return reported, (*changes, *_restore(reported, figures, rules, killed=killed))
    stalled, more = _stall(reported, figures, rules, seconds)
    return stalled, (*changes, *more)


def ended(watch: Watch, seconds: float) -> tuple[Change, ...]:
    """Return what is over when a slice is gone."""
    told = ((What.HIGH, watch.high_since), (What.STALLED, watch.stalled_since))
    over = tuple(Over(what, seconds - since) for what, since in told if since is not None) + tuple(
        Over(What.HIGH, seconds - each.high_since, resource)
        for resource, each in watch.others.items()
        if each.high_since is not None
    )
    return over if watch.lifted is None else (*over, Restore(watch.lifted.was_bytes, Why.GONE))


def interrupted(watch: Watch) -> Watch:
    """Return what is left of a Watch when nobody looked for a while: what was told stays told."""
    others = {resource: replace(each, above_since=None) for resource, each in watch.others.items()}
    return replace(watch, above_since=None, stuck_since=None, eased_since=None, others=_kept(others))


def released(watch: Watch, was_bytes: int) -> Watch:
    """Return what is remembered once memory_high is lifted: nobody is stuck above it then."""
    return replace(watch, stuck_since=None, stalled_since=None, eased_since=None, lifted=Lifted(was_bytes))


def restored(watch: Watch) -> Watch:
    """Return what is remembered once it is put back."""
    return replace(watch, lifted=None)


def _report(watch: Watch, figures: Figures, rules: PressureRules, seconds: float) -> tuple[Watch, tuple[Change, ...]]:
    memory, changes = _wait(Wait(watch.above_since, watch.high_since), _shares(figures.memory, rules), rules, seconds)
    others: dict[Resource, Wait] = {}
    for resource in (Resource.CPU, Resource.IO):
        # Until Linux 5.13 there is no `full` of CPU.
        shares = _shares(figures.others.get(resource), rules, full_needed=resource is not Resource.CPU)
        others[resource], more = _wait(watch.others.get(resource, Wait()), shares, rules, seconds)
        changes += tuple(replace(each, resource=resource) for each in more)
    after = replace(watch, above_since=memory.above_since, high_since=memory.high_since, others=_kept(others))
    return after, changes


def _kept(waits: Mapping[Resource, Wait]) -> Mapping[Resource, Wait]:
    return {resource: each for resource, each in waits.items() if each != Wait()}


def _shares(
    pressure: Pressure | CannotTell | None, rules: PressureRules, *, full_needed: bool = True
) -> tuple[tuple[float, float], ...]:
    """Return what a minute's shares are held against; nothing where they are not known."""
    if not isinstance(pressure, Pressure):
        return ()
    some = (pressure.some.avg60, rules.some_avg60)
    if isinstance(pressure.full, CannotTell):
        return () if full_needed else (some,)
    return some, (pressure.full.avg60, rules.full_avg60)


def _wait(
    wait: Wait, shares: tuple[tuple[float, float], ...], rules: PressureRules, seconds: float
) -> tuple[Wait, tuple[High | Over, ...]]:
    if not shares:
        return replace(wait, above_since=None), ()
    if wait.high_since is not None:
        if all(share <= most * _OVER for share, most in shares):
            return replace(wait, high_since=None), (Over(What.HIGH, seconds - wait.high_since),)
        return wait, ()
    if not any(share > most for share, most in shares):
        return replace(wait, above_since=None), ()
    since = seconds if wait.above_since is None else wait.above_since
    if seconds - since < rules.report_after_seconds:
        return replace(wait, above_since=since), ()
    return Wait(high_since=since), (High(seconds - since),)


def _stall(watch: Watch, figures: Figures, rules: PressureRules, seconds: float) -> tuple[Watch, tuple[Change, ...]]:
    stuck = _is_stuck(figures, rules.full_avg60 * (1 if watch.stalled_since is None else _EASED))
    if stuck is None:
        return replace(watch, stuck_since=None, eased_since=None), ()
    if watch.stalled_since is not None:
        return _go_on(watch, watch.stalled_since, figures, rules, None if stuck else seconds)
    if not stuck:
        return replace(watch, stuck_since=None), ()
    since = seconds if watch.stuck_since is None else watch.stuck_since
    if seconds - since < rules.stall_after_seconds:
        return replace(watch, stuck_since=since), ()
    told = replace(watch, stuck_since=None, stalled_since=since)
    return told, (Stalled(seconds - since), *_release(figures, rules))


def _go_on(
    watch: Watch, since: float, figures: Figures, rules: PressureRules, eased: float | None
) -> tuple[Watch, tuple[Change, ...]]:
    """Decide about a slice whose owner was told.

    Args:
        since: when it began to stand still.
        eased: the time, when it does not stand still now.
    """
    if eased is None:
        return replace(watch, eased_since=None), _release(figures, rules)
    first = eased if watch.eased_since is None else watch.eased_since
    if eased - first < rules.stall_after_seconds:
        return replace(watch, eased_since=first), ()
    return replace(watch, stalled_since=None, eased_since=None), (Over(What.STALLED, eased - since),)


def _is_stuck(figures: Figures, full_avg10: float) -> bool | None:
    """Whether a slice stands still at memory_high; None when that cannot be told."""
    high, current, memory = figures.high_bytes, figures.current_bytes, figures.memory
    if isinstance(high, CannotTell) or isinstance(current, CannotTell) or isinstance(memory, CannotTell):
        return None
    if isinstance(memory.full, CannotTell):
        return None
    return high is not None and current >= high * _AT_HIGH and memory.full.avg10 > full_avg10


def _release(figures: Figures, rules: PressureRules) -> tuple[Change, ...]:
    high = figures.high_bytes
    return (Release(high),) if rules.lifts and isinstance(high, int) else ()


def _restore(watch: Watch, figures: Figures, rules: PressureRules, *, killed: bool) -> tuple[Change, ...]:
    lifted, used = watch.lifted, figures.working_set_bytes
    if lifted is None:
        return ()
    if killed:
        why = Why.OOM_KILL
    elif isinstance(figures.high_bytes, int):
        why = Why.ELSEWHERE
    elif not rules.lifts:
        why = Why.POLICY
    elif isinstance(used, int) and used < lifted.was_bytes:
        why = Why.BELOW
    else:
        return ()
    return (Restore(lifted.was_bytes, why),)
