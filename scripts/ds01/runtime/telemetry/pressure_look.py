"""Looks at all accounts' slices once a minute: writes what they use, tells of it, lifts and puts back memory_high.

Goes on whatever happens to a slice, the policy, Docker or the disk; what is in the way is said once. What is remembered
from one look to the next is in /run/ds01/pressure.json.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from ds01.core.errors import BadInputError, Ds01Error
from ds01.core.events import EventLog
from ds01.core.jsonstate import read_json, write_bytes
from ds01.core.names import SliceName, cgroup_path
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.accounts import limits_of
from ds01.runtime.cgroup.tree import CannotTell, Cause
from ds01.runtime.cgroup.usage import user_slices
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.lifecycle.notify import Notifier
from ds01.runtime.machine import Machine
from ds01.runtime.slices import slice_owners
from ds01.runtime.telemetry.oom import find_kills
from ds01.runtime.telemetry.pressure import (
    MOST_GAP_SECONDS,
    Lifted,
    PressureRules,
    Watch,
    Why,
    ended,
    interrupted,
    read_pressure_rules,
    step,
)
from ds01.runtime.telemetry.pressure_acts import Acts, Subject, unknown_figures
from ds01.runtime.telemetry.pressure_read import Look, look_at
from ds01.runtime.telemetry.pressure_record import Memory, Remembered, Since, from_document, since, to_document
from ds01.runtime.telemetry.quota import Said
from ds01.runtime.telemetry.quota_look import QuotaLook
from ds01.runtime.telemetry.tell import Teller
from ds01.runtime.telemetry.victims import ENGINE_SECONDS, Containers

logger = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 60.0
# The caller comes by every few seconds; one look too early is none too many.
_EARLY_SECONDS: Final = 1.0
_TOPIC: Final = "memory pressure"


@dataclass(frozen=True, slots=True)
class Round:
    """One look at everything.

    Attributes:
        before: None when nothing is remembered of this boot.
        starting: whether it is the first look of this process.
    """

    policy: Policy
    rules: PressureRules
    now: datetime
    seconds: float
    before: Memory | None
    starting: bool

    def remembered(self, name: str) -> Remembered | None:
        """Return what is remembered of a slice."""
        return None if self.before is None else self.before.slices.get(name)

    @property
    def was_interrupted(self) -> bool:
        """Whether nobody looked for a while."""
        return self.before is not None and self.seconds - self.before.seconds > MOST_GAP_SECONDS


class PressureLook:
    """Who looks, and what is remembered.

    Args:
        machine: whose wall clock and boot count.
        interval_seconds: between two looks.
        seconds: a clock that nobody can set; from one process to the next it goes on until the machine boots.
    """

    def __init__(
        self,
        paths: HostPaths,
        machine: Machine,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self._machine = machine
        self._interval_seconds = interval_seconds
        self._seconds = seconds
        self._memory: Memory | None = None
        self._looked: float | None = None
        self._notifier = Notifier(paths, machine.now)
        self._teller = Teller(EventLog(paths.events), self._notifier)
        self._containers = Containers(lambda: Engine(engine_socket(paths), timeout_seconds=ENGINE_SECONDS))
        self._acts = Acts(paths.cgroup, self._teller, self._containers)

    def look_when_due(self) -> None:
        """Look, when it is time to; what nobody foresaw is logged, and the next look comes all the same."""
        seconds = self._seconds()
        if self._looked is not None and seconds - self._looked < self._interval_seconds - _EARLY_SECONDS:
            return
        self._looked = seconds
        try:
            self.look()
        except Exception:
            logger.exception("a look at memory pressure failed; trying again")

    def look(self) -> None:
        """Look once at everything, and remember it."""
        slices = user_slices(self._paths.cgroup)
        if isinstance(slices, CannotTell) and slices.cause is Cause.NO_ROOT_SLICE:
            slices = ()
        if isinstance(slices, CannotTell):
            self._teller.trouble.tell(_TOPIC, slices.words)
            return
        try:
            policy = read_policy(self._paths.policy, of_root=True)
            self._look(policy, read_pressure_rules(policy), slices)
        except Ds01Error as error:
            self._teller.trouble.tell(_TOPIC, error.brief)
        else:
            self._teller.trouble.tell(_TOPIC, None)

    def stop(self) -> None:
        """Put back every memory_high that is lifted: once nobody looks, nobody would."""
        memory = self._memory
        lifted = {} if memory is None else {n: each for n, each in memory.slices.items() if each.watch.lifted}
        if memory is None or not lifted:
            return
        policy = self._policy()
        owners = {} if policy is None else slice_owners(policy, lifted)
        after = dict(memory.slices)
        looks: list[Look] = []
        for name, each in lifted.items():
            found = look_at(self._paths.cgroup, SliceName(name))
            if found is not None and each.watch.lifted is not None:
                subject = _subject(policy, found, owners.get(name), self._machine.now())
                watch = self._acts.restore(subject, each.watch, each.watch.lifted.was_bytes, Why.STOP)
                after[name] = replace(each, watch=watch)
                looks.append(found)
        self._memory = replace(memory, slices=after)
        self._write(looks)

    def _look(self, policy: Policy, rules: PressureRules, slices: Sequence[SliceName]) -> None:
        before = self._memory or self._from_file()
        this = Round(policy, rules, self._machine.now(), self._seconds(), before, starting=self._memory is None)
        if before is None:
            # What was said before the machine was booted is of things that are no more.
            self._notifier.clear_everywhere(("pressure.", "quota."))
        looks = [each for each in (look_at(self._paths.cgroup, name) for name in slices) if each is not None]
        owners = slice_owners(policy, {*(each.name for each in looks), *(() if before is None else before.slices)})
        remembered: dict[str, Remembered] = {each.name: self._one(this, each, owners.get(each.name)) for each in looks}
        self._tell_of_gone(this, remembered, owners)
        said = self._quota_look(this, looks, owners)
        self._memory = Memory(this.now, this.seconds, remembered, said)
        self._write(looks, since(before, looks, this.seconds))
        self._containers.learn(id_ for each in looks for id_ in each.counters.containers or ())

    def _one(self, this: Round, look: Look, account: str | None) -> Remembered:
        earlier, subject = this.remembered(look.name), _subject(this.policy, look, account, this.now)
        watch = Watch() if earlier is None else earlier.watch
        if this.was_interrupted:
            watch = interrupted(watch)
        if this.starting:
            watch = self._put_back(subject, watch, this.rules)
        kills = None
        if this.before is not None:
            kills = find_kills(None if earlier is None else earlier.counters, look.counters)
            if kills is not None:
                self._acts.tell_kills(subject, kills, this.before.at)
        watch, changes = step(watch, look.figures, this.rules, this.seconds, killed=kills is not None)
        return Remembered(look.counters, self._acts.apply(subject, watch, changes, this.rules), look.totals)

    def _put_back(self, subject: Subject, watch: Watch, rules: PressureRules) -> Watch:
        """Put a memory_high back that an earlier sampler left lifted, whether or not it could write that down."""
        if watch.lifted is not None:
            return self._acts.restore(subject, watch, watch.lifted.was_bytes, Why.START)
        # Where nothing is ever lifted, somebody else took it away, and verify says so.
        left = subject.left_lifted() if rules.lifts else None
        if left is None:
            return watch
        # One that cannot be put back now is lifted still, and is tried again.
        return self._acts.restore(subject, replace(watch, lifted=Lifted(left)), left, Why.START)

    def _tell_of_gone(self, this: Round, here: Mapping[str, Remembered], owners: Mapping[str, str]) -> None:
        before = {} if this.before is None else this.before.slices
        for name, each in before.items():
            if name not in here:
                slice_name = SliceName(name)
                figures = unknown_figures(self._paths.cgroup / cgroup_path(name))
                subject = Subject(slice_name, owners.get(name), None, figures, this.now)
                self._acts.apply(subject, each.watch, ended(each.watch, this.seconds), this.rules)

    def _quota_look(self, this: Round, looks: Sequence[Look], owners: Mapping[str, str]) -> Mapping[str, Said]:
        slices: dict[str, list[SliceName]] = {}
        for each in looks:
            if each.name in owners:
                slices.setdefault(owners[each.name], []).append(each.name)
        before = {} if this.before is None else this.before.said
        try:
            said = QuotaLook(self._paths, self._teller).look(this.policy, slices, before, this.now)
        except Ds01Error as error:
            # What was done about memory just now is remembered all the same.
            self._teller.trouble.tell("quotas", error.brief)
            return before
        self._teller.trouble.tell("quotas", None)
        return said

    # --- Files --------------------------------------------------------------------------------------------------------

    def _policy(self) -> Policy | None:
        try:
            return read_policy(self._paths.policy, of_root=True)
        except Ds01Error:
            return None

    def _from_file(self) -> Memory | None:
        path = self._paths.pressure
        try:
            document = read_json(path, of_root=True)
        except Ds01Error as error:
            logger.warning("%s; beginning anew", error.brief)
            return None
        found = None if document is None else from_document(document, self._machine.boot_id())
        if isinstance(found, str):
            logger.warning("%s says nothing: %s; beginning anew", path, found)
            return None
        return found

    def _write(self, looks: Sequence[Look], came: Since | None = None) -> None:
        if self._memory is None:
            return
        document = to_document(self._memory, looks, self._machine.boot_id(), came)
        path = self._paths.pressure
        try:
            write_bytes(path, f"{json.dumps(document, indent=1)}\n".encode(), mode=0o644, durable=False)
        except OSError as error:
            self._teller.trouble.tell(f"{path}", error.strerror or str(error))
        else:
            self._teller.trouble.tell(f"{path}", None)


def _subject(policy: Policy | None, look: Look, account: str | None, now: datetime) -> Subject:
    limits = None
    if policy is not None and account is not None:
        # An account with a name that DS01 refuses has no slice of ours, and stops no look at the others.
        with suppress(BadInputError):
            found = limits_of(policy, account)
            limits = found if found.slice_name == look.name else None
    return Subject(look.name, account, limits, look.figures, now)
