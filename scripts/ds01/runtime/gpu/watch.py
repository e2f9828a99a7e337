"""Watches GPUs: how busy each unit is, and what computes on them outside containers. Acts on the latter as told.

Goes on whatever a driver, a disk or an account does: what cannot be told is written down with its reason, and ends
nothing. activity.py and hostprocesses.py decide.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.events import Event, EventLog
from ds01.core.jsonstate import read_json, write_bytes
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.typed import Final, Protocol
from ds01.core.value import dataclass, field
from ds01.runtime.accounts import is_admin, limits_of
from ds01.runtime.gpu import activity, hostrecord
from ds01.runtime.gpu.activity import Activity, Readings, observe
from ds01.runtime.gpu.announced import Announced, announced_after, ends_told, is_new, may_now, withdrawn
from ds01.runtime.gpu.dcgm import Place
from ds01.runtime.gpu.ending import Ender, Outcome
from ds01.runtime.gpu.exporter import Containers, ask_exporter
from ds01.runtime.gpu.grantbook import read_grants
from ds01.runtime.gpu.grants import Grant
from ds01.runtime.gpu.hardware import Devices, nameless
from ds01.runtime.gpu.hostprocesses import (
    HostProcess,
    Key,
    Meant,
    Moment,
    Rules,
    Verdict,
    doubted,
    forgiven,
    judge,
    meant_by,
    newly_warned,
)
from ds01.runtime.gpu.hostrecord import HostRecord
from ds01.runtime.gpu.hostwords import ENDED_KEY, WARNED_KEY, ended_words, event_details, warned_words
from ds01.runtime.gpu.looking import Seen
from ds01.runtime.gpu.sitecontainers import SiteContainers
from ds01.runtime.gpu.watchpolicy import WatchPolicy, read_watch_policy
from ds01.runtime.identity import ProcessRef
from ds01.runtime.lifecycle.notices import KEEP_SECONDS, Weight
from ds01.runtime.machine import Machine

logger = logging.getLogger(__name__)
SOURCE: Final = "gpuwatch"
INTERVAL_SECONDS: Final = 30.0
# Trouble that health judges; the rest is for the journal alone.
_JUDGED: Final[tuple[str, ...]] = ("driver", "exporter", "policy", "grants")
_MODE: Final = 0o644
_USUAL_GRACE_SECONDS: Final = 60


class Reached(Protocol):
    """Whether anything reached an account; true when it did."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was in the way."""

    def __bool__(self) -> bool:
        """Whether anything did."""


class Teller(Protocol):
    """Who tells accounts something; lifecycle/notify.py."""

    def tell(self, user: str, text: str, *, key: str, keep_seconds: float, weight: Weight) -> Reached:
        """Tell an account something, and never fail."""

    def restate(self, user: str, text: str, *, key: str, keep_seconds: float, weight: Weight) -> str | None:
        """Bring up to date what logins show; returns why that was not possible."""

    def clear(self, user: str, key: str) -> str | None:
        """Take it back; returns why that was not possible."""


@dataclass(slots=True)
class Watcher:
    """What was seen so far, and the trouble that was said already.

    Attributes:
        look: sees what there is and what runs on it.
        ask: as ask_exporter().
        policy: the last one that could be read; None before the first.
        known: those on the host that were seen and still live, also where they compute on nothing now.
        listed: those that were seen at the last look that worked.
        meant: by the numbers that the driver names.
        announced: what accounts were told of all their processes on the host.
        trouble: by what it is about.
    """

    paths: HostPaths
    look: Callable[[], Seen | str]
    teller: Teller
    machine: Machine
    ender: Ender
    ask: Callable[[int, Path, Containers], Mapping[Place, float] | str] = ask_exporter
    policy: WatchPolicy | None = None
    activity: Activity = field(default_factory=Activity)
    known: dict[Key, HostProcess] = field(default_factory=dict)
    listed: tuple[HostProcess, ...] = ()
    meant: Meant = field(default_factory=dict)
    announced: Mapping[str, Announced] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)

    # --- The loop -----------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on from what an earlier run of this boot left."""
        boot = self.machine.boot_id()
        found = self._document(self.paths.gpu_activity)
        before = None if found is None else activity.recall(found, boot)
        if isinstance(before, Activity):
            self.activity = before
        found = self._document(self.paths.host_processes)
        record = None if found is None else hostrecord.from_document(found)
        if isinstance(record, HostRecord) and record.boot == boot:
            self.known = {each.key: each for each in (*record.processes, *record.quiet)}
            self.listed, self.meant, self.announced = record.processes, record.meant, record.announced

    def run(self, interval_seconds: float) -> None:
        """Look for ever, with pauses in which those that are to end are attended to."""
        self.resume()
        while True:
            due = self.machine.boot_seconds() + interval_seconds
            self.step()
            while (left := due - self.machine.boot_seconds()) > 0:
                self.ender.wait(left)
                self.attend()

    def step(self) -> None:
        """Look once, write what was seen, and do what follows from it."""
        policy = self._policy()
        if policy is None:
            return
        seen = self.look()
        self._say("driver", seen if isinstance(seen, str) else None)
        self._keep_activity(policy, seen)
        self._keep_processes(policy, seen)
        self.attend()

    def attend(self) -> None:
        """See to those that were told to end."""
        for each in self.ender.proceed():
            self._tell_ended(each)

    # --- How busy -----------------------------------------------------------------------------------------------------

    def _keep_activity(self, policy: WatchPolicy, seen: Seen | str) -> None:
        readings = (
            seen if isinstance(seen, str) else Readings(seen.devices, seen.usage, self._exporter(policy, seen.devices))
        )
        now = self.machine.now()
        self.activity = observe(self.activity, readings, policy.busy_percent, now)
        boot = self.machine.boot_id()
        trouble = {about: self.trouble[about] for about in _JUDGED if about in self.trouble}
        document = activity.to_document(self.activity, now, boot, policy.busy_percent, trouble)
        self._write(self.paths.gpu_activity, document)

    def _exporter(self, policy: WatchPolicy, devices: Devices) -> Mapping[Place, float] | str:
        """Ask the exporter; its silence is trouble where a GPU is split: of whole ones the driver tells enough."""
        found = self.ask(policy.exporter_port, self.paths.proc, SiteContainers(self.paths, policy.policy))
        matters = any(gpu.mig for gpu in devices.gpus)
        self._say("exporter", found if isinstance(found, str) and matters else None)
        return found

    # --- Outside containers -------------------------------------------------------------------------------------------

    def _keep_processes(self, policy: WatchPolicy, seen: Seen | str) -> None:
        if isinstance(seen, str):
            self._write_record(seen)
            return
        rules = Rules(policy.access, self._grants(), lambda user: is_admin(policy.policy, user))
        self.meant = meant_by(self.meant, seen.devices)
        devices = doubted(seen.devices, self.meant)
        moment = Moment(self.machine.now(), self.machine.boot_seconds())
        found = judge(self.known, devices, rules, moment, ends_told(self.announced, moment))
        # Told before it is written down: whoever was not told is told again, rather than never.
        found = self._warn(policy, found, announced_after(self.announced, found, rules, moment), moment)
        now_seen = {each.key: each for each in found}
        quiet = {
            key: forgiven(each) if may_now(each.user, rules, moment) else each
            for key, each in self.known.items()
            if key not in now_seen and self._lives(each)
        }
        self.known, self.listed = now_seen | quiet, found
        self._write_record(seen.devices.unknown)
        self._end(policy.policy, found, complete=seen.devices.unknown is None)

    def _end(self, policy: Policy, found: tuple[HostProcess, ...], *, complete: bool) -> None:
        """End those that are condemned, and let those live that are so no more, or have let the GPU go."""
        condemned = {each.key: each for each in found if each.verdict is Verdict.TERMINATE}
        unseen = set() if complete else self.ender.under_way.keys() - {each.key for each in found}
        for each in self.ender.spare(condemned.keys() | unseen):
            logger.info("user=%s pid=%d is left alone after all", each.user, each.pid)
        for key, each in condemned.items():
            if key not in self.ender.under_way:
                why = self.ender.begin(each, _grace_seconds(policy, each.user))
                said = "is told to end" if why is None else f"is not ended: {why}"
                logger.warning("user=%s pid=%d gpu=%s %s", each.user, each.pid, ",".join(each.slots), said)

    def _warn(
        self, policy: WatchPolicy, found: tuple[HostProcess, ...], after: Mapping[str, Announced], moment: Moment
    ) -> tuple[HostProcess, ...]:
        """Tell of processes, their accounts only where all of it is certain; returns them as they are then.

        Nothing follows for an account that could not be told of an end: the next look tells it anew.
        """
        before, news = self.announced, newly_warned(self.known, found)
        untold = set()
        for user in sorted({each.user for each in news if each.is_told}):
            fresh = is_new(before.get(user), after[user], moment)
            if not self._tell_warned(_told_of(found, user), policy.contact, fresh=fresh):
                untold.add(user)
        lost = {each.key for each in news if each.is_told and each.user in untold}
        for each in news:
            if each.key not in lost:
                gpus = ",".join(each.slots)
                logger.warning("user=%s pid=%d gpu=%s computes outside a container", each.user, each.pid, gpus)
                self.note("baremetal.warned", each)
        for user in withdrawn(before, after, moment):
            self._restate(user, found, policy.contact)
        told = {user: each for user, each in after.items() if user not in untold}
        self.announced = told | {user: before[user] for user in untold if user in before}
        return tuple(forgiven(each) if each.key in lost else each for each in found)

    def _tell_warned(self, processes: Sequence[HostProcess], contact: str, *, fresh: bool) -> bool:
        """Tell an account of all its processes; returns false when it was not told and something would follow from it.

        Args:
            fresh: whether it was not told of them in general; if it was, its terminals are left in peace.
        """
        user = processes[0].user
        boot_seconds = self.machine.boot_seconds()
        ahead = [each.ends_seconds - boot_seconds for each in processes if each.ends_seconds is not None]
        text = warned_words(processes, contact, self.machine.now())
        weight = Weight.END if ahead else Weight.TROUBLE
        keep_seconds = KEEP_SECONDS + max([0.0, *ahead])
        if not fresh:
            why = self.teller.restate(user, text, key=WARNED_KEY, keep_seconds=keep_seconds, weight=weight)
            self._say(f"notices of {user}", why)
            return True
        told = self.teller.tell(user, text, key=WARNED_KEY, keep_seconds=keep_seconds, weight=weight)
        why = None if told else "; ".join(told.remarks) or "nothing reached it"
        self._say(f"notices of {user}", why)
        return why is None or not ahead

    def _restate(self, user: str, processes: Sequence[HostProcess], contact: str) -> None:
        """Let an account's notice say what holds of those of which it is told, or nothing where there are none."""
        mine = _told_of(processes, user)
        if mine:
            self._tell_warned(mine, contact, fresh=False)
        else:
            self._say(f"notices of {user}", self.teller.clear(user, WARNED_KEY))

    def _tell_ended(self, outcome: Outcome) -> None:
        process = outcome.process
        if not outcome.ended:
            logger.error("user=%s pid=%d was killed and does not end: a driver holds it", process.user, process.pid)
            return
        logger.warning("user=%s pid=%d has ended after %s", process.user, process.pid, outcome.by)
        contact = "" if self.policy is None else self.policy.contact
        said = ended_words(process, contact)
        self.teller.tell(process.user, said, key=ENDED_KEY, keep_seconds=KEEP_SECONDS, weight=Weight.NEWS)
        left = [each for each in self.listed if each.key != process.key and self._lives(each)]
        self._restate(process.user, left, contact)
        self.note("baremetal.terminated", process, signal=outcome.by)

    def note(self, event_type: str, process: HostProcess, **more: object) -> None:
        """Put an event about a process into the log."""
        user = None if process.user == nameless(process.uid) else process.user
        event = Event(event_type, user, SOURCE, self.machine.now(), event_details(process) | more)
        self._say("events", EventLog(self.paths.events).append(event).reason)

    def _grants(self) -> tuple[Grant, ...] | None:
        try:
            found = read_grants(self.paths)
        except Ds01Error as error:
            self._say("grants", f"no process is ended while the grants cannot be read: {error.render()}")
            return None
        self._say("grants", None)
        return found

    def _lives(self, process: HostProcess) -> bool:
        return self.machine.is_alive(ProcessRef(process.pid, process.started, self.machine.boot_id()))

    # --- Files --------------------------------------------------------------------------------------------------------

    def _policy(self) -> WatchPolicy | None:
        """Return the policy as it is now, else as it was."""
        try:
            self.policy = read_watch_policy(read_policy(self.paths.policy, of_root=True))
        except Ds01Error as error:
            self._say("policy", error.render())
        else:
            self._say("policy", None)
        return self.policy

    def _write_record(self, unknown: str | None) -> None:
        listed = frozenset(each.key for each in self.listed)
        quiet = tuple(each for key, each in self.known.items() if key not in listed)
        now, boot = self.machine.now(), self.machine.boot_id()
        record = HostRecord(now, boot, self.listed, quiet, unknown, self.meant, self.announced)
        self._write(self.paths.host_processes, hostrecord.to_document(record))

    def _write(self, path: Path, document: Mapping[str, object]) -> None:
        """Write a file that means nothing in another boot, so the disk is not waited for."""
        content = f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode(errors="backslashreplace")
        try:
            write_bytes(path, content, mode=_MODE, durable=False)
        except OSError as error:
            self._say(path.name, f"{path}: {error.strerror or error}")
        else:
            self._say(path.name, None)

    def _document(self, path: Path) -> Mapping[str, object] | None:
        try:
            return read_json(path, of_root=True)
        except Ds01Error as error:
            # Written anew at once; what was told is told once more.
            logger.warning("%s", error.render())
            return None

    def _say(self, about: str, trouble: str | None) -> None:
        """Log trouble when it comes, changes or goes."""
        if self.trouble.get(about) == trouble:
            return
        if trouble is None:
            logger.warning("%s: well again", about)
            del self.trouble[about]
        else:
            logger.warning("%s: %s", about, trouble)
            self.trouble[about] = trouble


def _told_of(processes: Sequence[HostProcess], user: str) -> tuple[HostProcess, ...]:
    """Return the processes of which an account is told."""
    return tuple(each for each in processes if each.is_told and each.user == user)


def _grace_seconds(policy: Policy, user: str) -> int:
    """Return how long an account's process has between SIGTERM and SIGKILL."""
    try:
        found = limits_of(policy, user).whole("sigterm_grace")
    except Ds01Error:
        # A name that the policy cannot have.
        return _USUAL_GRACE_SECONDS
    return _USUAL_GRACE_SECONDS if found is None else found
