"""Act on decisions, one after the other: look again right before, do it, see that it was done, tell of it.

One that fails keeps no other from being done, and nothing is done to a container that is another by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import Enum

from ds01.core.errors import Ds01Error
from ds01.core.events import Event, EventLog
from ds01.core.terminal import say
from ds01.core.typed import Final, Protocol
from ds01.core.value import dataclass, field
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.start import restarts_of
from ds01.runtime.lifecycle.decision import Action, Decision, LifecycleRule, Standing
from ds01.runtime.lifecycle.jobs import SOURCE
from ds01.runtime.lifecycle.notices import Weight

_ORDER: Final = (Action.WARN, Action.RELEASE, Action.REMOVE, Action.STOP)
_REMOVING: Final = frozenset({State.REMOVING})


class Acts(Protocol):
    """What stops and removes containers; control.Control on a host."""

    def stop(self, container_id: str, *, grace_seconds: float) -> None:
        """Stop one for good."""

    def remove(self, container_id: str) -> None:
        """Remove one that does not run."""


class Tells(Protocol):
    """What tells accounts something; notify.Notifier on a host."""

    def tell(self, user: str, text: str, *, key: str, keep_seconds: float, weight: Weight) -> Reached:
        """Tell an account something; logins show it for so long."""

    def restate(self, user: str, text: str, *, key: str, keep_seconds: float, weight: Weight) -> str | None:
        """Bring up to date what logins show; returns why that was not possible."""

    def clear(self, user: str, key: str) -> str | None:
        """Take it back."""


class Reached(Protocol):
    """Whether anything reached an account; true when it did."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was in the way."""

    def __bool__(self) -> bool:
        """Whether anything did."""


class End(Enum):
    """What became of a decision."""

    DONE = "done"
    NOT_NEEDED = "not needed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision, and what became of it.

    Attributes:
        words: why it was not done; empty when it was.
    """

    decision: Decision
    end: End
    words: str = ""


@dataclass(frozen=True, slots=True)
class Enforcer:
    """Who acts on a host's containers.

    Attributes:
        inspect: what Docker says of a container now; None when there is none.
        busy_again: why a container is not to be stopped after all; None when it is.
    """

    acts: Acts
    tells: Tells
    events: EventLog
    now: Callable[[], datetime]
    inspect: Callable[[str], Container | None]
    busy_again: Callable[[Decision, Container], str | None] = field(default=lambda _, __: None)
    _told: dict[tuple[str, str, str], str | None] = field(default_factory=dict)

    def act(self, decisions: Iterable[Decision]) -> Iterator[Outcome]:
        """Do one after the other, and yield what became of each as soon as it is known; warnings come first."""
        for decision in sorted(decisions, key=lambda each: _ORDER.index(each.action)):
            try:
                outcome = self._act(decision)
            except Ds01Error as error:
                words = f"{error.brief}: {error.details}" if error.details else error.brief
                outcome = Outcome(decision, End.FAILED, words)
            if outcome.end is End.FAILED:
                self.log("lifecycle.failed", decision, error=outcome.words)
            yield outcome

    def clear(self, cleared: Iterable[tuple[str, str]]) -> None:
        """Take back what holds no more."""
        for user, key in cleared:
            trouble = self.tells.clear(user, key)
            if trouble is not None:
                say(f"warning: a notice to {user} cannot be taken back: {trouble}")

    def restate(self, standings: Iterable[Standing]) -> None:
        """Bring up to date what accounts are told of all their containers together."""
        for each in standings:
            trouble = self._restate(each)
            if trouble is not None:
                say(f"warning: a notice to {each.user} cannot be brought up to date: {trouble}")

    def _restate(self, each: Standing) -> str | None:
        if each.text is None:
            return self.tells.clear(each.user, each.key)
        return self.tells.restate(
            each.user, each.text, key=each.key, keep_seconds=each.keep_seconds, weight=each.weight
        )

    def _act(self, decision: Decision) -> Outcome:
        match decision.action:
            case Action.WARN:
                return self._warn(decision)
            case Action.STOP:
                return self._stop(decision)
            case Action.REMOVE:
                return self._remove(decision)
            case Action.RELEASE:
                self.log("lifecycle.released", decision)
                return Outcome(decision, End.DONE)

    def _warn(self, decision: Decision) -> Outcome:
        if not decision.binding:
            self.log("lifecycle.overruled", decision)
            self._tell(decision)
            return Outcome(decision, End.DONE)
        why = self._tell(decision)
        if why is not None:
            # Who was not warned is not stopped; the next sweep tries again.
            return Outcome(decision, End.FAILED, f"{decision.user} could not be told: {why}")
        self.log("lifecycle.warned", decision)
        return Outcome(decision, End.DONE)

    def _stop(self, decision: Decision) -> Outcome:
        container = self.inspect(decision.container_id)
        if container is None or not container.is_live:
            return Outcome(decision, End.NOT_NEEDED, "it has ended by itself")
        if container.started_at != decision.state_since and restarts_of(container) <= decision.restarts:
            return Outcome(decision, End.NOT_NEEDED, "it was started anew meanwhile")
        why = self.busy_again(decision, container)
        if why is not None:
            return Outcome(decision, End.NOT_NEEDED, why)
        self.acts.stop(container.id, grace_seconds=decision.grace_seconds)
        after = self.inspect(container.id)
        if after is not None and after.is_live:
            came_back = "it was stopped and runs again" if after.started_at != container.started_at else "it runs still"
            return Outcome(decision, End.FAILED, came_back)
        return self._done(decision)

    def _remove(self, decision: Decision) -> Outcome:
        container = self.inspect(decision.container_id)
        if container is None or container.state in _REMOVING:
            return Outcome(decision, End.NOT_NEEDED, "it is gone")
        since = container.created_at if container.state is State.CREATED else container.finished_at
        if container.is_live or since != decision.state_since:
            return Outcome(decision, End.NOT_NEEDED, "it was started meanwhile")
        self.acts.remove(container.id)
        after = self.inspect(container.id)
        if after is not None and after.state not in _REMOVING:
            return Outcome(decision, End.FAILED, "it is there still")
        return self._done(decision)

    def _done(self, decision: Decision) -> Outcome:
        self.log("lifecycle.stopped" if decision.action is Action.STOP else "lifecycle.removed", decision)
        why = self._tell(decision)
        if why is not None:
            say(f"warning: {decision.user} could not be told what became of {decision.name}: {why}")
        return Outcome(decision, End.DONE)

    def _tell(self, decision: Decision) -> str | None:
        """Tell the owner; returns why that was not possible, None when it was, or when there is nobody to tell."""
        if decision.user is None or decision.text is None:
            return None
        said = decision.user, decision.key, decision.text
        if said not in self._told:
            # One sentence may be about several containers.
            self._told[said] = self._tell_of(decision, decision.user, decision.text)
        return self._told[said]

    def _tell_of(self, decision: Decision, user: str, text: str) -> str | None:
        # Who logs in only shortly before the end is warned of it still.
        keep_seconds = decision.keep_seconds + decision.ahead_seconds
        told = self.tells.tell(user, text, key=decision.key, keep_seconds=keep_seconds, weight=decision.weight)
        return None if told else "; ".join(told.remarks) or "nothing reached it"

    def log(self, event_type: str, decision: Decision, **more: str) -> None:
        """Put what became of a decision into the event log; where it cannot be, that is said."""
        details: dict[str, object] = {"container": decision.name}
        if decision.rule is LifecycleRule.GPU_HOLD:
            details |= {"allocation": decision.container_id, "gpu_id": ",".join(decision.slots)}
        else:
            details |= {"container_id": decision.container_id}
        details |= {"rule": decision.rule.value, "reason": decision.reason, **more}
        logged = self.events.append(Event(event_type, decision.user, SOURCE, self.now(), details))
        if not logged:
            say(f"warning: {event_type} of {decision.name} is not in the event log: {logged.reason}")
