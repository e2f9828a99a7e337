"""The events daemon: takes the engine's messages to the event log and to what is known of containers, for ever.

Never ends because of a container, a message, the engine or a full disk; what it could not do, the next look at all
containers does.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import StateError, read_json, write_bytes
from ds01.core.policy import Policy
from ds01.core.typed import Final, Protocol
from ds01.core.value import dataclass, field
from ds01.core.visible import visible
from ds01.runtime.containers.look import Looked
from ds01.runtime.containers.record import Row
from ds01.runtime.telemetry.chronicle import Chronicle
from ds01.runtime.telemetry.cursor import CursorError, Recent, from_document, key_of, recall, to_document
from ds01.runtime.telemetry.happening import Action, Happening, Key, Passed, time_of
from ds01.runtime.telemetry.inbox import Inbox
from ds01.runtime.telemetry.inforce import which_file
from ds01.runtime.telemetry.logtail import read_tail
from ds01.runtime.telemetry.steps import Steps
from ds01.runtime.telemetry.stream import Broken, Connected, Item, Stream, Unreadable
from ds01.runtime.telemetry.telling import tell_gap
from ds01.runtime.telemetry.writer import Writer

logger = logging.getLogger(__name__)
LOOK_SECONDS: Final = 600.0
_BATCH: Final = 500
# More waiting than that: what a message says has to do, and the engine is asked about all of them afterwards.
_BEHIND: Final = 1000
_WAIT_SECONDS: Final = 1.0
_WRITE_SECONDS: Final = 0.4
_CURSOR_SECONDS: Final = 1.0
# After a connection: what the engine remembers comes at once.
_SOON_SECONDS: Final = 0.3
_RETRY_SECONDS: Final = 10.0
_END_SECONDS: Final = 5.0


class Beside(Protocol):
    """What goes on beside it in a thread of its own."""

    def run(self) -> None:
        """Go on until it is ended."""

    def end(self) -> None:
        """Make run() return."""


@dataclass(slots=True)
class Daemon:
    """The loop.

    Attributes:
        policy: of the moment.
        look_seconds: between two looks at all containers.
        beside: what has to go on for as long as this does.
    """

    chronicle: Chronicle
    policy: Callable[[], Policy]
    steps: Steps
    look_seconds: float = LOOK_SECONDS
    inbox: Inbox = field(default_factory=Inbox)
    beside: Sequence[Beside] = ()
    _recent: Recent = field(default_factory=Recent)
    _before: Mapping[str, Row] | None = None
    _ended: threading.Event = field(default_factory=threading.Event)
    _look_at: float = 0.0
    _settle_at: float = 0.0
    _looked_at: float = 0.0
    _looked: bool = False
    _is_unreadable: bool = False
    # What administrators say of all containers, as the last look had it: claims and the policy.
    _word: object = None
    # Whether what happens from now on is told.
    _is_followed: bool = False
    # Where the log ended at the start: nobody waits for it to be on disk, so the power may have taken the last lines of
    # what everything else says was told. Source: fsync(2).
    _log_ends: datetime | None = None
    _written_at: float = 0.0
    _cursor: Key | None = None
    _cursor_at: float = 0.0
    _broken_at: datetime | None = None
    _trouble: str | None = None
    _unseen: dict[str, str] = field(default_factory=dict)

    @property
    def _writer(self) -> Writer:
        return self.chronicle.writer

    def end(self) -> None:
        """Make run() return; may be called in a signal's handler."""
        self._ended.set()
        self.inbox.wake()

    def run(self) -> bool:
        """Follow the engine until it is ended, and leave everything written; False when a fault ended it."""
        begin = time.time_ns()
        self._recover()
        self._look()
        stream = Stream(self.chronicle.engine, self.inbox.put, begin, self._recent.last)
        beside = (self.steps, *self.beside)
        runs = (stream.run, *(each.run for each in beside))
        threads = [threading.Thread(target=each, daemon=True) for each in runs]
        for thread in threads:
            thread.start()
        try:
            # A thread that ended by a fault of ours takes the service down with it: systemd starts all of it anew.
            while not self._ended.is_set() and all(each.is_alive() for each in threads):
                self.turn(_WAIT_SECONDS)
        finally:
            stream.close()
            for each in beside:
                each.end()
            self._doubt_lists()
            self._keep(time.monotonic(), final=True)
            for thread in threads:
                thread.join(_END_SECONDS)
        return self._ended.is_set()

    def turn(self, wait_seconds: float) -> None:
        """Deal with what came, and with what is due."""
        for item in self.inbox.take(_BATCH, min(wait_seconds, self._until_due())):
            if self._ended.is_set():
                return  # the rest comes again
            self._deal(item)
            self._keep_lists()  # not behind all that came: people ask for their lists meanwhile
        if dropped := self.inbox.dropped():
            self._gap(f"{dropped} messages came faster than they could be dealt with")
        self.chronicle.look_anew()
        if self._word != self._words_of_administrators():
            # What was said of a container that nothing happens to is to be known by now, and not with the next look.
            self._soon(_SOON_SECONDS)
        now = time.monotonic()
        self._keep(now)
        if now >= self._next_look() and not len(self.inbox):
            self._look()
        self._keep_lists()

    def _next_look(self) -> float:
        """Return when to look at all containers: for what is suspected only as long as no message cleared it."""
        return min(self._look_at, self._settle_at) if self.chronicle.suspects else self._look_at

    def _until_due(self) -> float:
        now = time.monotonic()
        due = self._written_at + _WRITE_SECONDS if self._is_unwritten() else now + _WAIT_SECONDS
        return max(0.01, min(due, self._next_look()) - now)

    # --- What comes ---------------------------------------------------------------------------------------------------

    def _deal(self, item: Item) -> None:
        match item:
            case Happening():
                if self._recent.add(item.key):
                    self._happened(item)
            case Passed(key):
                self._recent.add(key)
            case Connected(_, lost):
                self._connected(lost)
            case Broken(why):
                self._broke_off(why or "the Docker engine ended the connection")
            case Unreadable(why):
                if not self._is_unreadable:
                    logger.warning("a message of the Docker engine cannot be read: %s", why)
                self._is_unreadable = True
                self._doubt_lists()
                # Anybody can have the engine write them, such as the check of a health with a long command.
                self._soon(max(_SOON_SECONDS, self._looked_at + _RETRY_SECONDS - time.monotonic()))

    def _happened(self, happening: Happening) -> None:
        behind = len(self.inbox) > _BEHIND
        self.chronicle.happened(happening, ask=not behind)
        if behind and happening.action in {Action.CREATE, Action.START}:
            self._doubt_lists()
            self._soon(_SOON_SECONDS)

    def _connected(self, lost: str | None) -> None:
        if self._broken_at is not None:
            logger.info("containers are followed again")
        if lost is not None:
            self._gap(lost)
        self._broken_at = self._log_ends = None
        self._is_followed = True
        self._soon(_SOON_SECONDS)

    def _broke_off(self, why: str) -> None:
        self._is_followed = False
        self._doubt_lists()
        if self._broken_at is None:
            logger.warning("containers are not followed: %s; trying again", why)
            self._broken_at = self.chronicle.now()

    def _gap(self, why: str) -> None:
        last = None if self._recent.last is None else time_of(self._recent.last.time_nano)
        # Up to its end a connection brought everything.
        begin = max((each for each in (last, self._broken_at) if each is not None), default=None)
        if begin is not None and self._log_ends is not None:
            begin = min(begin, self._log_ends)
        self._writer.write(tell_gap(begin, self.chronicle.now(), why))
        self._doubt_lists()
        self._soon(_SOON_SECONDS)

    def _soon(self, seconds: float) -> None:
        self._look_at = min(self._look_at, time.monotonic() + seconds)

    # --- All containers -----------------------------------------------------------------------------------------------

    def _words_of_administrators(self) -> object:
        paths = self.chronicle.roster.paths
        return which_file(paths.claims), which_file(paths.policy)

    def _look(self) -> None:
        begin = time.monotonic()
        # Before it looks: what is said meanwhile is another word than this.
        self._word = self._words_of_administrators()
        try:
            looked = self.chronicle.look(begin)
        except Ds01Error as error:
            if self._trouble != error.brief:
                logger.warning("containers cannot be looked at: %s", error.render())
            self._trouble, self._looked_at = error.brief, time.monotonic()
            self._look_at = self._settle_at = self._looked_at + _RETRY_SECONDS
            return
        self._trouble, self._is_unreadable, self._looked = None, False, True
        # A night in which nothing happens is no reason to take the record for old: health goes by when it was written.
        self.chronicle.roster.changed = True
        now = self._looked_at = time.monotonic()
        self._look_at = now + self.look_seconds
        # The more containers there are, the longer a look takes: there is never more looking than listening.
        self._settle_at = now + max(self.chronicle.suspects.settle_seconds, now - begin)
        gpus = self.chronicle.roster.paths.gpu_state.exists() or any(
            row.gpu is not None for row in self.chronicle.roster.rows.values()
        )
        if self._is_followed:
            self.chronicle.roster.lists.trust()
        self.steps.looked(looked, self._before, gpus=gpus)
        self._before = None
        self._tell_unseen(looked)

    def _tell_unseen(self, looked: Looked) -> None:
        """Say once of containers that Docker cannot describe, and once more when it describes them again."""
        why = {each.there.id: each.there for each in looked.unseen}
        for key, there in why.items():
            if key not in self._unseen:
                logger.warning("Docker could not describe %s, which is left alone: %s", visible(there.name), there.why)
        for key in self._unseen.keys() - why.keys():
            logger.info("%s is described again, or gone", self._unseen[key])
        self._unseen = {key: visible(there.name) for key, there in why.items()}

    # --- What is kept -------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Take up where the daemon ended, however it did: the log may be ahead of everything else."""
        roster = self.chronicle.roster
        self._doubt_lists()  # one from before is good until it is old, and containers came since
        if trouble := roster.recover():
            logger.warning("which containers there are is looked at anew: %s", trouble)
        tail = read_tail(roster.paths.events)
        logged = [key for each in tail if (key := key_of(each)) is not None]
        self._recent = recall(self._read_cursor(), logged)
        self._log_ends = time_of(max(each.time_nano for each in logged)) if logged else None
        self._cursor = self._recent.last
        self.chronicle.recover(tail)
        self._before = dict(roster.rows)

    def _read_cursor(self) -> Key | None:
        path = self.chronicle.roster.paths.event_cursor
        try:
            document = read_json(path, of_root=True)
            return None if document is None else from_document(document)
        except (StateError, CursorError) as error:
            logger.warning("%s is not believed, the event log tells how far it goes: %s", path, error)
            return None

    def _is_unwritten(self) -> bool:
        new = self._recent.last != self._cursor
        return self.chronicle.roster.changed or new or not self._writer or self._looked

    def _keep(self, now: float, *, final: bool = False) -> None:
        """Write what changed, not more often than now and then; at the end all of it."""
        if not self._is_unwritten() or (now - self._written_at < _WRITE_SECONDS and not final):
            return
        self._written_at = now
        self._writer.retry()
        if self._writer and self._writer.lost:
            number, self._writer.lost = self._writer.lost, 0
            self._gap(f"{number} events could not be written")
        # Who is an administrator may be another since the last look, without any container.
        self._looked = False
        self.chronicle.roster.write(self.policy(), self.chronicle.now())
        if self._writer and (final or now - self._cursor_at >= _CURSOR_SECONDS):
            self._write_cursor(now)

    def _keep_lists(self) -> None:
        roster = self.chronicle.roster
        roster.lists.keep(roster.paths, self.policy(), self.chronicle.now(), time.monotonic())

    def _doubt_lists(self) -> None:
        """Let the helper tell what lists show, until all containers were looked at."""
        self.chronicle.roster.lists.doubt(self.chronicle.roster.paths)

    def _write_cursor(self, now: float) -> None:
        last, path = self._recent.last, self.chronicle.roster.paths.event_cursor
        if last is None or last == self._cursor:
            return
        self._cursor_at = now
        try:
            content = json.dumps(to_document(last, self.chronicle.now())).encode()
            # After a power cut messages come again, and are found in the log.
            write_bytes(path, content, durable=False)
        except OSError as error:
            logger.debug("%s: %s", path, error)
        else:
            self._cursor = last
