"""Watches GPUs: how busy each unit is, and what computes on them outside containers. Acts on the latter as told.

Goes on whatever a driver, a disk or an account does: what cannot be told is written down with its reason, and ends
nothing. activity.py and hostprocesses.py decide.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
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
from ds01.runtime.gpu.dcgm import Place
from ds01.runtime.gpu.ending import Ender, Outcome
from ds01.runtime.gpu.exporter import ask_exporter
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
    judge,
    meant_by,
    newly_warned,
)
from ds01.runtime.gpu.hostrecord import HostRecord
from ds01.runtime.gpu.hostwords import ended_words, event_details, notice_key, warned_words
from ds01.runtime.gpu.looking import Seen
from ds01.runtime.gpu.watchpolicy import WatchPolicy, read_watch_policy
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

logger = logging.getLogger(__name__)
SOURCE: Final = "gpuwatch"
INTERVAL_SECONDS: Final = 30.0
_MODE: Final = 0o644
_USUAL_GRACE_SECONDS: Final = 60


class Teller(Protocol):
    """Who tells accounts something; lifecycle/notify.py."""

    def tell(self, user: str, text: str, *, key: str) -> object:
        """Tell an account something, and never fail."""


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
        trouble: by what it is about.
    """

    paths: HostPaths
    look: Callable[[], Seen | str]
    teller: Teller
    machine: Machine
    ender: Ender
    ask: Callable[[int, Path], Mapping[Place, float] | str] = ask_exporter
    policy: WatchPolicy | None = None
    activity: Activity = field(default_factory=Activity)
    known: dict[Key, HostProcess] = field(default_factory=dict)
    listed: tuple[HostProcess, ...] = ()
    meant: Meant = field(default_factory=dict)
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
            self.listed, self.meant = record.processes, record.meant

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
        document = activity.to_document(self.activity, now, self.machine.boot_id(), policy.busy_percent)
        self._write(self.paths.gpu_activity, document)

    def _exporter(self, policy: WatchPolicy, devices: Devices) -> Mapping[Place, float] | str:
        """Ask the exporter; its silence is trouble where a GPU is split: of whole ones the driver tells enough."""
        found = self.ask(policy.exporter_port, self.paths.proc)
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
        found = judge(self.known, devices, rules, Moment(self.machine.now(), self.machine.boot_seconds()))
        # Told before it is written down: whoever was not told is told again, rather than never.
        for each in newly_warned(self.known, found):
            self._warn(policy, each)
        now_seen = {each.key: each for each in found}
        quiet = {key: each for key, each in self.known.items() if key not in now_seen and self._lives(each)}
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

    def _warn(self, policy: WatchPolicy, process: HostProcess) -> None:
        """Tell of a process; its account only where all of it is certain."""
        gpus = ",".join(process.slots)
        logger.warning("user=%s pid=%d gpu=%s computes outside a container", process.user, process.pid, gpus)
        if process.note is None:
            self.teller.tell(process.user, warned_words(process, policy.contact), key=notice_key(process))
        self.note("baremetal.warned", process)

    def _tell_ended(self, outcome: Outcome) -> None:
        process = outcome.process
        if not outcome.ended:
            logger.error("user=%s pid=%d was killed and does not end: a driver holds it", process.user, process.pid)
            return
        logger.warning("user=%s pid=%d has ended after %s", process.user, process.pid, outcome.by)
        contact = "" if self.policy is None else self.policy.contact
        self.teller.tell(process.user, ended_words(process, contact), key=notice_key(process))
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
        record = HostRecord(self.machine.now(), self.machine.boot_id(), self.listed, quiet, unknown, self.meant)
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


def _grace_seconds(policy: Policy, user: str) -> int:
    """Return how long an account's process has between SIGTERM and SIGKILL."""
    try:
        found = limits_of(policy, user).whole("sigterm_grace")
    except Ds01Error:
        # A name that the policy cannot have.
        return _USUAL_GRACE_SECONDS
    return _USUAL_GRACE_SECONDS if found is None else found
