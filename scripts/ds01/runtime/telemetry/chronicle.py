"""Takes what happens to containers, one after the other: into the event log, and into what is known of them.

Each container is told to come to be once and to be gone once, in whatever way that became known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from ds01.core.errors import Ds01Error
from ds01.core.events import Event
from ds01.core.jsonstate import StateError
from ds01.core.policy import Policy
from ds01.core.typed import Final, Protocol
from ds01.core.value import dataclass, field, replace
from ds01.runtime.accounts import is_admin
from ds01.runtime.containers.claims import Claim, read_claims
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.describe import inspect_all
from ds01.runtime.containers.engine import Engine
from ds01.runtime.containers.look import Looked, Looker
from ds01.runtime.containers.owners import service_users
from ds01.runtime.containers.page import all_admitted
from ds01.runtime.containers.record import Row, row_of
from ds01.runtime.containers.seen import Seen
from ds01.runtime.telemetry.catchup import Suspects, missed
from ds01.runtime.telemetry.cursor import told_of
from ds01.runtime.telemetry.flood import Flood
from ds01.runtime.telemetry.happening import (
    EXIT_CODE,
    Action,
    Happening,
    after,
    clashing,
    container_from,
    nano_of,
    signal_of,
)
from ds01.runtime.telemetry.roster import Roster
from ds01.runtime.telemetry.telling import BYPASS, end_of, tell_bypass, tell_happening
from ds01.runtime.telemetry.writer import Writer

logger = logging.getLogger(__name__)
_MOST_GONE: Final = 4096
# What SIGKILL leaves behind, and what the kernel uses when memory is short.
_KILLED: Final = 137
# What came to be that long ago and never ran is told of as what it is.
_NEW: Final = timedelta(seconds=10)
_CHANGES_GPU: Final = frozenset({Action.CREATE, Action.START, Action.DIE, Action.RENAME})


class Effects(Protocol):
    """What follows from what happens, elsewhere and later."""

    def touch(self, row: Row, allocation: str | None) -> None:
        """Something happened to a container with a GPU."""

    def started(self, seen: Seen) -> None:
        """A container began to run."""


@dataclass(slots=True)
class Chronicle:
    """What is known of containers, and what was told.

    Attributes:
        engine: asked about single containers.
        listing: the same, with time enough to be asked about all.
        now: the wall clock.
    """

    engine: Engine
    listing: Engine
    policy: Callable[[], Policy]
    roster: Roster
    writer: Writer
    effects: Effects
    suspects: Suspects
    now: Callable[[], datetime]
    _looker: Looker | None = None
    _claims: Mapping[str, Claim] = field(default_factory=dict)
    _trouble: str | None = None
    _gone: dict[str, None] = field(default_factory=dict)
    _oomed: set[str] = field(default_factory=set)
    _overwritten: dict[str, frozenset[str]] = field(default_factory=dict)
    _flood: Flood = field(default_factory=Flood)
    _ordinary: dict[str, bool] = field(default_factory=dict)

    def look_anew(self) -> None:
        """Read pages, claims and accounts anew before the next container is looked at."""
        self._looker = None

    def recover(self, logged: Iterable[Event]) -> None:
        """Take over what the end of the log tells beyond what was remembered: the log is written first."""
        for event in logged:
            told, row = told_of(event), self.roster.rows.get(str(event.details.get("container_id")))
            if row is not None and event.event_type == BYPASS:
                self.roster.put(replace(row, bypass_told=True))
            if told is None:
                continue
            if told.action is Action.DESTROY:
                self._gone[told.id] = None
                if row is not None:
                    self._forget(row)
            elif row is not None or told.id not in self._gone:
                self.roster.put(after(row or row_of(self._see(container_from(told))), told))

    # --- One message --------------------------------------------------------------------------------------------------

    def happened(self, happening: Happening, *, ask: bool = True) -> None:
        """Tell what happened, and remember what became of it.

        Args:
            ask: whether the engine is asked about the container; else what the message says must do until the next
                look at all containers.
        """
        self.suspects.clear(happening.id)
        row = self.roster.rows.get(happening.id)
        if happening.action is Action.DESTROY:
            self._destroyed(happening, row)
        elif happening.action is Action.CREATE:
            # One that was found before its message came was told of then.
            if row is None and happening.id not in self._gone:
                self._went_on(happening, self._new(happening, ask=ask))
        elif happening.id not in self._gone:
            self._went_on(happening, row or self._unknown(happening, ask=ask), ask=ask)

    def _destroyed(self, happening: Happening, row: Row | None) -> None:
        if row is None and happening.id in self._gone:
            return
        last = row or row_of(self._see(container_from(happening)))
        self.writer.write(tell_happening(happening, last, self._flood.unsaid(last.id)))
        self._forget(last)

    def _forget(self, row: Row) -> None:
        self.roster.drop(row.id)
        self._gone[row.id] = None
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self._oomed.discard(row.id)
        self._flood.forget(row.id)
        self._overwritten.pop(row.id, None)
        if row.gpu is not None:
            self.effects.touch(row, None)

    def _new(self, happening: Happening, *, ask: bool) -> Row:
        seen = self._see((self._inspect(happening.id) if ask else None) or container_from(happening))
        row = row_of(seen)
        if row.gpu is not None:
            self.effects.touch(row, seen.container.allocation_id if seen.admitted else None)
        return replace(row, started_at=None, finished_at=None)

    def _unknown(self, happening: Happening, *, ask: bool) -> Row:
        """Return a container that nobody told of before; that it came to be is told first, where that is known."""
        container = self._inspect(happening.id) if ask else None
        row = row_of(self._see(container or container_from(happening)))
        if container is not None:
            made = nano_of(container.created_at or happening.at)
            create = Happening(Action.CREATE, row.id, happening.name, row.image, made, reconstructed=True)
            self.writer.write(tell_happening(create, row, {}))
        return row

    def _went_on(self, happening: Happening, row: Row, *, ask: bool = False) -> None:
        seen = self._ran(happening, ask=ask) if happening.action is Action.START else None
        if seen is not None:
            row = row_of(seen, row)
        extra = self._extra(happening, row)
        row = after(row, happening)
        if self._flood.lets(happening):
            self.writer.write(tell_happening(happening, row, {**extra, **self._flood.unsaid(row.id)}))
        if seen is not None:
            row = self._tell_bypass(seen, row)
            self.effects.started(seen)
        self.roster.put(row)
        if row.gpu is not None and happening.action in _CHANGES_GPU:
            self.effects.touch(row, None)

    def _ran(self, happening: Happening, *, ask: bool) -> Seen | None:
        """Look at a container that began to run: the kernel shows more of it now."""
        self._oomed.discard(happening.id)
        container = self._inspect(happening.id) if ask else None
        return None if container is None else self._see(container)

    def _extra(self, happening: Happening, row: Row) -> Mapping[str, object]:
        """Return what belongs to this action alone."""
        overwritten = self._overwritten.get(row.id, frozenset())
        match happening.action:
            case Action.DIE:
                return self._end(happening, EXIT_CODE in overwritten)
            case Action.OOM:
                self._oomed.add(row.id)
                return end_of(happening, exit_code=None, oom_killed=True)
            case Action.KILL:
                return {"signal": signal_of(happening, overwritten)}
            case Action.RENAME:
                self.roster.lists.renamed(row.id)
                return {"old_name": row.name}
            case _:
                return {}

    def _end(self, happening: Happening, unbelievable: bool) -> Mapping[str, object]:  # noqa: FBT001 - a fact, no option
        """Return how a run ended; the engine is asked where the message does not tell, or not all."""
        code = None if unbelievable else happening.exit_code
        oom_killed = happening.id in self._oomed
        if code is None or (code == _KILLED and not oom_killed):
            container = self._inspect(happening.id)
            if container is not None and not container.is_live:
                code, oom_killed = container.exit_code, oom_killed or container.oom_killed
        return end_of(happening, exit_code=code, oom_killed=oom_killed)

    # --- All containers -----------------------------------------------------------------------------------------------

    def look(self, seconds: float) -> Looked:
        """Look at all containers: tell what nobody told of and has lasted, and remember all of it.

        Args:
            seconds: now, by a clock that nobody sets.

        Raises:
            EngineError: the engine cannot be asked; all is as before.
        """
        containers = tuple(inspect_all(self.listing))
        self.roster.lists.all_are(containers)
        self.look_anew()
        self._ordinary.clear()
        looked = self._at().look_at(containers)
        seen = {each.container.id: each for each in looked.seen}
        described = (each.container for each in looked.seen)
        unseen = {each.there.id for each in looked.unseen}
        lacking = missed(self.roster.rows, described, self.now(), unseen=unseen)
        lasted = self.suspects.settle(lacking, seconds)
        for container_id, happened in lasted.items():
            self._reconstruct(happened, seen.get(container_id))
        # What was seen here is older than what comes now: of two with one token the first to come has it.
        self.look_anew()
        self.roster.keep_spent(all_admitted(self.roster.paths.pages))
        for container_id, each in seen.items():
            self._refresh(each, settled=container_id not in lacking or container_id in lasted)
        return looked

    def _reconstruct(self, happened: Iterable[Happening], seen: Seen | None) -> None:
        for each in happened:
            row = self.roster.rows.get(each.id)
            if seen is not None:
                now = row_of(seen, row)
                extra = {"old_name": row.name} if row is not None and each.action is Action.RENAME else {}
                oom_killed = seen.container.oom_killed
                ended = end_of(each, exit_code=each.exit_code, oom_killed=oom_killed)
                self.writer.write(tell_happening(each, now, {**extra, **ended}))
                self.roster.put(now)
            elif row is not None:
                self.writer.write(tell_happening(each, row, {}))
                self._forget(row)

    def _refresh(self, seen: Seen, *, settled: bool) -> None:
        """Take over what is seen of a container, save what is still to be told."""
        there = seen.container
        self._note_labels(there)
        before = self.roster.rows.get(there.id)
        if before is None:
            return
        row = row_of(seen, before)
        if settled:
            old = there.created_at is None or self.now() - there.created_at > _NEW
            self.roster.put(self._tell_bypass(seen, row) if there.is_live or old else row)
        else:
            told = {"name": before.name, "state": before.state}
            times = {"started_at": before.started_at, "finished_at": before.finished_at}
            self.roster.put(replace(row, **told, **times))  # type: ignore[arg-type] # fields by name

    def _tell_bypass(self, seen: Seen, row: Row) -> Row:
        """Tell once of a container that came past DS01, of an account that may not do that, or of nobody known."""
        if row.admitted or row.of_site or row.bypass_told or not self._is_ordinary(row.charged):
            return row
        self.writer.write(tell_bypass(seen, row, self.now()))
        return replace(row, bypass_told=True)

    def _is_ordinary(self, user: str | None) -> bool:
        if user is None:
            return True
        if user not in self._ordinary:
            policy = self.policy()
            self._ordinary[user] = user not in service_users(policy) and not is_admin(policy, user)
        return self._ordinary[user]

    # --- Asking -------------------------------------------------------------------------------------------------------

    def _inspect(self, container_id: str) -> Container | None:
        try:
            return self.engine.inspect(container_id)
        except Ds01Error:
            # The stream says so too, and what is missing is found out afterwards.
            return None

    def _see(self, container: Container) -> Seen:
        self._note_labels(container)
        return self._at().see(container)

    def _note_labels(self, container: Container) -> None:
        self.roster.lists.note(container)
        if words := clashing(container.labels):
            self._overwritten[container.id] = words

    def _at(self) -> Looker:
        if self._looker is None:
            self._looker = Looker(self.roster.paths, self.policy(), self.roster.record, self._read_claims(), self.now())
        return self._looker

    def _read_claims(self) -> Mapping[str, Claim]:
        try:
            self._claims = read_claims(self.roster.paths)
        except StateError as error:
            if self._trouble != error.brief:
                logger.warning("claims are as they were: %s", error.render())
            self._trouble = error.brief
        else:
            self._trouble = None
        return self._claims
