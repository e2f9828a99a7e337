"""Containers that came to run without being asked about: a restart policy, the engine or a plain start brought them.

They pass what a start passes. Who may not run is stopped, its owner told; where anything cannot be told, it runs on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from ds01.core import labels
from ds01.core.errors import Ds01Error
from ds01.core.events import Event
from ds01.core.limits import ResolvedLimits
from ds01.core.names import slice_parts
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.rules import Mode, Rule, Rules, read_rules
from ds01.core.typed import Final, Protocol
from ds01.core.value import dataclass, field, replace
from ds01.core.visible import short_name
from ds01.runtime.accounts import is_admin, limits_of, uid_of
from ds01.runtime.containers.admission import Admission, Refusal, admit
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.describe import describe
from ds01.runtime.containers.engine import EngineError
from ds01.runtime.containers.page import asked_elsewhere, locked_page, take_back
from ds01.runtime.containers.pending import Pending
from ds01.runtime.containers.request import AccountRules, ContainerRequest, Verb
from ds01.runtime.containers.scan import token_of
from ds01.runtime.containers.seen import Seen
from ds01.runtime.containers.standing import Account, Place, read_standing
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.identity import Caller

SOURCE: Final = "eventsd"
_NOBODY_SAYS: Final = 60
# Between a start by the docker command and the daemon's look lie milliseconds.
_ASKED_SECONDS: Final = 120.0
_MOST_SAID: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Tell(Protocol):
    """Tells an account something."""

    def __call__(self, user: str, text: str, *, key: str) -> object:
        """Tell it; another notice with the same key is replaced."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a check may do.

    Attributes:
        write: puts an event into the log.
        tell: as Notifier.tell.
        stop: stops a container by its id, with so many seconds between its signal and SIGKILL.
        units: lets a container have its GPUs again, or returns why it may not.
    """

    paths: HostPaths
    place: Place
    write: Callable[[Event], object]
    tell: Tell
    stop: Callable[[str, float], None]
    units: Callable[[Container], Refusal | None]


@dataclass(slots=True)
class Checks:
    """The checks, and which containers passed them.

    Attributes:
        begin: has a stop be done, which takes as long as the container takes to end.
    """

    reach: Reach
    begin: Callable[[Callable[[], None]], object]
    _passed: dict[str, datetime | None] = field(default_factory=dict)
    _stopping: set[str] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)

    def accept(self, seen: Seen) -> None:
        """Take a container for one that runs with leave."""
        self._passed[seen.container.id] = seen.container.started_at

    def is_passed(self, seen: Seen) -> bool:
        """Whether this very start of a container is known to be with leave."""
        return self._passes(seen.container)

    def _passes(self, there: Container) -> bool:
        return there.id in self._passed and self._passed[there.id] == there.started_at

    def keep(self, ids: Iterable[str]) -> None:
        """Forget all containers but these."""
        there = frozenset(ids)
        self._passed = {each: at for each, at in self._passed.items() if each in there}

    def check(self, policy: Policy, came: Iterable[Seen]) -> None:
        """Check containers that came to run; of several the oldest stays.

        Raises:
            Ds01Error: the engine or the account's page cannot be asked; nothing is stopped.
        """
        failed: dict[str | None, Ds01Error] = {}
        for seen in sorted(came, key=lambda each: _age(each.container)):
            if seen.container.id in self._stopping or self.is_passed(seen) or seen.charged in failed:
                continue
            try:
                self._check_one(policy, seen)
            except Ds01Error as error:
                if isinstance(error, EngineError):
                    self.reach.place.engine.ping()  # one that does not answer at all is not asked about each
                # Whoever holds the lock of their own page holds up nobody else's containers, nor does one that hangs.
                failed[seen.charged] = error
        if failed:
            raise next(iter(failed.values()))

    def _check_one(self, policy: Policy, seen: Seen) -> None:
        user = seen.charged
        uid = None if user is None else uid_of(user)
        if not seen.is_managed or user is None or uid is None or is_admin(policy, user):
            self.accept(seen)
            return
        limits = limits_of(policy, user)
        rules = read_rules(policy)
        caller = Caller(uid, user, is_admin=False)
        answer = self._decide(seen, caller, AccountRules(limits, rules))
        if isinstance(answer, Admission):
            for each in answer.overruled:
                self._tell_overruled(seen, each)
            answer = self._units(seen, rules) or answer
        if isinstance(answer, Refusal) and not self._is_asked_elsewhere(seen):
            self._refuse(seen, limits, answer)
        else:
            self.accept(seen)

    def _decide(self, seen: Seen, caller: Caller, rules: AccountRules) -> Admission | Refusal | None:
        """Return what a start would be answered; None when it was asked about, and stands on the account's page."""
        there, place = seen.container, self.reach.place
        account = Account(caller.name, slice_parts(rules.limits.slice_name, caller.name, caller.uid))
        with locked_page(self.reach.paths.pages, caller.uid) as page:
            asked = [each for each in page.promises if each.verb.starts and each.id in {there.id, token_of(there)}]
            if asked:
                # That was for this start; it runs, and counts as what it is.
                page.promises = tuple(each for each in page.promises if each not in asked)
                return None
            beside = self._without(seen, caller.name)
            standing = read_standing(place, account, page.promises, beside, admitted=page.admitted)
            page.promises = standing.promises
        for cause in standing.usage.unknown:
            self._tell_open(seen, cause)
        # It runs already, so what is in use has its own part in it; what may come to be used has not.
        usage = replace(standing.usage, working_set_bytes=None)
        request = ContainerRequest(Verb.START, there.name, there.memory_bytes)
        return admit(request, caller, rules, usage, _no_gpu)

    def _is_asked_elsewhere(self, seen: Seen) -> bool:
        """Whether somebody else asked about this start: an administrator, or whom the label of a claimed one names."""
        machine, pages = self.reach.place.machine, self.reach.paths.pages

        def is_asked(each: Pending) -> bool:
            if each.id != seen.container.id or not each.verb.starts or each.process.boot != machine.boot_id():
                return False
            # A page that nobody needs keeps what was over long ago.
            age = machine.boot_seconds() - each.process.started / os.sysconf("SC_CLK_TCK")
            return machine.is_alive(each.process) or age < _ASKED_SECONDS

        uid = asked_elsewhere(pages, is_asked)
        if uid is not None:
            take_back(pages, uid, is_asked)
        return uid is not None

    def _without(self, seen: Seen, user: str) -> frozenset[str]:
        """Return which containers do not count beside one: itself, those that end, and younger ones yet to be asked."""
        there, engine = seen.container, self.reach.place.engine
        listed = engine.containers(all_states=False, label=f"{labels.USER}={user}")
        # A list tells the age only to the second. With itself: an engine that describes that one is not in trouble.
        asked = tuple(describe(engine, listed))
        unasked = [each for each in asked if isinstance(each, Container) and not self._passes(each)]
        younger = {each.id for each in unasked if _age(each) > _age(there)}
        # What cannot be told stops nobody.
        untold = {each.id for each in asked if not isinstance(each, Container)}
        return frozenset({there.id, *self._stopping, *younger, *untold})

    def _units(self, seen: Seen, rules: Rules) -> Refusal | None:
        """Let it have its GPUs again; returns why it may not run, None when it may."""
        there, mode = seen.container, rules.mode(Rule.GPU)
        if there.gpu is None or there.allocation_id is None or mode is Mode.OFF:
            return None
        answer = self.reach.units(there)
        if answer is None:
            return None
        if mode is Mode.ENFORCE:
            return answer
        self._tell_overruled(seen, answer)
        return None

    # --- What comes of it ---------------------------------------------------------------------------------------------

    def _refuse(self, seen: Seen, limits: ResolvedLimits, refusal: Refusal) -> None:
        self._stopping.add(seen.container.id)
        grace = limits.whole("sigterm_grace")
        self.begin(lambda: self._stop(seen, refusal, _NOBODY_SAYS if grace is None else grace))

    def _stop(self, seen: Seen, refusal: Refusal, grace_seconds: float) -> None:
        """Stop a container, and tell of it; one that cannot be stopped is checked again when it is seen next."""
        there, user = seen.container, seen.charged or ""
        try:
            self.reach.stop(there.id, grace_seconds)
        except Ds01Error as error:
            self.log("container.stop_failed", seen, {"error": _words(error)})
            return
        finally:
            self._stopping.discard(there.id)
        rows = ", ".join(f"{name.lower()} {value}" for name, value in refusal.rows if name)
        reason = f"{refusal.title}: {rows}"
        details = {"rule": refusal.rule.value, "reason": reason, **refusal.figures}
        self.log("container.stopped_by_policy", seen, details)
        text = f"your container {short_name(there.name)} came to run again and was stopped. {reason}. {refusal.meaning}"
        self.reach.tell(user, text, key=f"comeback:{there.id[:12]}")

    def _tell_overruled(self, seen: Seen, refusal: Refusal) -> None:
        details = {"rule": refusal.rule.value, "verb": Verb.START.value, "text": refusal.title, **refusal.figures}
        self.log("admission.overruled", seen, details)

    def _tell_open(self, seen: Seen, cause: str) -> None:
        """Tell once of each cause why a check could not be made."""
        if cause in self._said:
            return
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said.add(cause)
        self.log("admission.fail_open", seen, {"check": Verb.START.value, "text": f"FAIL-OPEN: {cause}"})

    def log(self, event_type: str, seen: Seen, details: Mapping[str, object]) -> None:
        """Put something about a container into the event log."""
        which = {"container": seen.container.name, "container_id": seen.container.id}
        now = self.reach.place.machine.now()
        self.reach.write(Event(event_type, seen.charged, SOURCE, now, {**which, **details}))


def _age(container: Container) -> tuple[datetime, str]:
    return container.created_at or _EPOCH, container.id


def _no_gpu() -> Grant | Refusal:
    raise AssertionError("GPUs are asked for afterwards, without the account's lock")


def _words(error: Ds01Error) -> str:
    return f"{error.brief}: {error.details}" if error.details else error.brief
