"""What the rules of lifecycle look at and what they decide: values alone. Pure; enforce.py acts on them.

A container that is protected, or the site's own, is in no decision of any rule.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from ds01.core.typed import Final
from ds01.core.units import format_duration
from ds01.core.value import dataclass, field, replace
from ds01.core.visible import short_name, visible
from ds01.runtime.containers.container import State
from ds01.runtime.containers.seen import Seen
from ds01.runtime.containers.start import Start, restarts_of, start_of
from ds01.runtime.lifecycle.notices import Weight

_LONGEST_NAME: Final = 1000


class Action(Enum):
    """What is to be done with a container."""

    STOP = "stop"
    RELEASE = "release"
    REMOVE = "remove"
    WARN = "warn"


class LifecycleRule(Enum):
    """The rules, as the policy calls them under `enforcement.rules`."""

    IDLE = "idle"
    MAX_RUNTIME = "max_runtime"
    GPU_HOLD = "gpu_hold"
    CONTAINER_HOLD = "container_hold"
    UNMANAGED = "unmanaged"


@dataclass(frozen=True, slots=True)
class Moment:
    """When containers are looked at, by three clocks.

    Attributes:
        now: the wall clock, which people and Docker go by; it may jump.
        boot: which boot of the machine it is.
        boot_seconds: since that boot. Source: clock_gettime(2), CLOCK_BOOTTIME.
        awake_seconds: the same without the time the machine slept; nobody can set it, and what nobody could use does
            not count against anybody. Source: clock_gettime(2), CLOCK_MONOTONIC.
    """

    now: datetime
    boot: str
    boot_seconds: float
    awake_seconds: float

    @property
    def asleep_seconds(self) -> float:
        """For how long the machine has slept since its boot."""
        return max(0.0, self.boot_seconds - self.awake_seconds)

    def after(self, seconds: float) -> datetime:
        """Return what the wall clock will show then, as things stand."""
        return self.now + timedelta(seconds=seconds)


def awake_between(last: Moment, moment: Moment) -> float:
    """Return for how many seconds the machine was surely awake since; those before a boot in between are lost."""
    return max(0.0, moment.awake_seconds - (last.awake_seconds if last.boot == moment.boot else 0.0))


@dataclass(frozen=True, slots=True)
class Times:
    """What holds for one container, in seconds; None is for ever.

    Attributes:
        sigterm_grace: between its stop signal and SIGKILL.
    """

    idle_timeout: float | None = None
    max_runtime: float | None = None
    gpu_hold: float | None = None
    container_hold: float | None = None
    sigterm_grace: float = 60


@dataclass(frozen=True, slots=True)
class Subject:
    """One container before the rules.

    Attributes:
        times: None when nobody can be charged for it, and so nobody's limits hold.
        protected: whether it asks to be left alone, and may.
        age_seconds: how long its first process has been there, sleep of the machine included; None when that cannot be
            told, as of one that does not run.
    """

    seen: Seen
    times: Times | None
    protected: bool = False
    age_seconds: float | None = None

    @property
    def id(self) -> str:
        """Docker's whole id."""
        return self.seen.container.id

    @property
    def name(self) -> str:
        """What it is called, safe to show, as logs and programs have it: whole, unless it is beyond all reason."""
        return visible(self.seen.container.name or self.id[:12], _LONGEST_NAME)

    @property
    def called(self) -> str:
        """The same as sentences have it: Docker bounds no name, and what is said of one must be seen."""
        return short_name(self.name)

    @property
    def argument(self) -> str:
        """What a command takes for it: its name, or its short id where sentences do not have the whole name."""
        return self.name if self.called == self.name else self.id[:12]

    @property
    def user(self) -> str | None:
        """The account that it counts for."""
        return self.seen.charged

    @property
    def start(self) -> Start | None:
        """How it came to run; None when it never did.

        A run is from a start that somebody asked for to its end. What its restart policy brings back goes on where it
        was, or it would never be idle and never too old.
        """
        return self.seen.start or start_of(self.seen.container, None)

    @property
    def is_coming_back(self) -> bool:
        """Whether its restart policy brings it back and it has no process just now: it waits, or ended at this look."""
        container = self.seen.container
        return container.state is State.RESTARTING or (restarts_of(container) > 0 and self.age_seconds is None)

    def awake_age(self, moment: Moment) -> float:
        """Return for how many seconds its first process has been there, those left out in which the machine slept.

        What it slept before may have been before the process or in its time; what is in doubt does not count. 0 when
        nothing is known.
        """
        return max(0.0, (self.age_seconds or 0.0) - moment.asleep_seconds)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule wants done with one container.

    Attributes:
        container_id: Docker's, whole; of a release the allocation's own.
        user: the account that it counts for, and who is told.
        reason: in words, for logs and administrators.
        text: what the account is told; None when it is told nothing.
        key: under which it is told: a later word replaces an earlier one.
        keep_seconds: for how long its next login shows it.
        state_since: since when the container has been as it was found (its start, or its end); when that is another by
            now, the decision is about a container that is no more.
        restarts: how often its restart policy had brought it back; more often by now, and it is the same run.
        grace_seconds: between stop signal and SIGKILL.
        binding: False for a warning of what would be done, were the rule enforced: nothing may follow from it.
        mark: what the rule notes when its owner was told; what it means is the rule's.
        ahead_seconds: of a warning: so much earliest from now on follows what it is of, and so long it is to be seen.
        slots: which units are released.
    """

    container_id: str
    name: str
    user: str | None
    action: Action
    rule: LifecycleRule
    reason: str
    text: str | None = None
    key: str = ""
    keep_seconds: float = 3 * 86400.0
    state_since: datetime | None = None
    grace_seconds: float = 0
    binding: bool = True
    mark: float = 0
    ahead_seconds: float = 0
    slots: tuple[str, ...] = ()
    restarts: int = 0

    @property
    def weight(self) -> Weight:
        """How much depends on that its owner is told."""
        if self.action is not Action.WARN or not self.binding:
            return Weight.NEWS
        return Weight.HOLD if self.rule is LifecycleRule.CONTAINER_HOLD else Weight.END


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account is told of all its containers together, as things stand after a sweep.

    Attributes:
        text: None when there is nothing to say of any.
        keep_seconds: for how long its next login shows it.
    """

    user: str
    key: str
    text: str | None
    keep_seconds: float = 0
    weight: Weight = Weight.HOLD


@dataclass(frozen=True, slots=True)
class Remark:
    """Why nothing is decided about a container."""

    name: str
    user: str | None
    words: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """What one rule found in one sweep.

    Attributes:
        cleared: account and key of what was told and holds no more.
    """

    wanted: tuple[Decision, ...] = ()
    remarks: tuple[Remark, ...] = ()
    cleared: tuple[tuple[str, str], ...] = field(default=())


def untouchable(subject: Subject) -> str | None:
    """Return why no rule may touch a container; None when they may."""
    if subject.seen.of_site:
        return "it is the site's own"
    return "it is protected" if subject.protected else None


_LONGEST_GRACE_SECONDS: Final = 3600.0
_GRACE_SHARE: Final = 0.1


def decided(subject: Subject, rule: LifecycleRule, action: Action, reason: str, text: str | None) -> Decision:
    """Return what a rule wants done with a container in its present run; nobody is told of what counts for nobody."""
    return Decision(
        container_id=subject.id,
        name=subject.name,
        user=subject.user,
        action=action,
        rule=rule,
        reason=reason,
        text=None if subject.user is None else text,
        key=key_of(rule, subject.id),
        state_since=subject.seen.container.started_at,
        grace_seconds=(Times() if subject.times is None else subject.times).sigterm_grace,
        restarts=restarts_of(subject.seen.container),
    )


_DONE: Final = {Action.STOP: "stopped", Action.REMOVE: "removed", Action.RELEASE: "relieved of its GPU"}


def would_be(decision: Decision) -> Decision:
    """Return what is said of a decision of a rule that is not enforced, instead of doing it."""
    done = _DONE[decision.action]
    reason = f"would be {done}: {decision.reason}"
    said = f"container {short_name(decision.name)} would be {done} now, were the rule enforced: {decision.reason}"
    text = None if decision.user is None else said
    return replace(decision, action=Action.WARN, binding=False, reason=reason, text=text)


def last_grace(seconds: float) -> float:
    """Return how long before an end its owner is told of it at least: a tenth of the time, an hour at most."""
    return min(seconds * _GRACE_SHARE, _LONGEST_GRACE_SECONDS)


def key_of(rule: LifecycleRule, container_id: str) -> str:
    """Return under which key the owner of a container is told of a rule."""
    return f"{rule.value}:{container_id}"


def spoken(seconds: float) -> str:
    """Return a length of time as people say it, such as `45m`, rounded to what matters."""
    whole = int(seconds)
    if whole >= 60:  # noqa: PLR2004 - a minute
        whole -= whole % 60
    hours, rest = divmod(whole, 3600)
    if hours and rest:
        return f"{hours}h{rest // 60:02}m"
    return format_duration(whole)


def clock(instant: datetime) -> str:
    """Return a time as people of this machine read it."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M}"
