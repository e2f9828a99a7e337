"""Every container as the events daemon has it, and the files that say so. Written seldom in a burst, and at its end."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime

from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.value import dataclass, field
from ds01.runtime.containers.look import read_record, remember
from ds01.runtime.containers.owners import administrators, owners_document, service_users, write_owners
from ds01.runtime.containers.record import Record, Row, spend
from ds01.runtime.telemetry.lists import Lists

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Roster:
    """The containers there are.

    Attributes:
        rows: by id; changed through put() and drop() alone.
        lists: what their labels say, for the docker command.
    """

    paths: HostPaths
    rows: dict[str, Row] = field(default_factory=dict)
    spent: Mapping[str, str] = field(default_factory=dict)
    changed: bool = False
    lists: Lists = field(default_factory=Lists)
    _owners: Mapping[str, object] | None = None
    _trouble: str | None = None

    def recover(self) -> str | None:
        """Take up what was remembered; what cannot be read is kept aside, and the answer says why."""
        try:
            record = read_record(self.paths)
        except StateError as error:
            aside = self.paths.containers.with_name(f"{self.paths.containers.name}.bad")
            with suppress(OSError):  # where it cannot be kept, nothing can be written in its place either
                self.paths.containers.replace(aside)
            self.changed = True
            return f"{error.brief}; it is kept as {aside}" + (f": {error.details}" if error.details else "")
        self.rows, self.spent = dict(record.rows), record.spent
        # Its folder may be new, or its readers' file be gone.
        self.changed = record.updated_at is None
        return None

    @property
    def record(self) -> Record:
        """What is remembered now."""
        return Record(self.rows, self.spent)

    def put(self, row: Row) -> None:
        """Have a container as it is now."""
        if self.rows.get(row.id) == row:
            return
        self.rows[row.id] = row
        self.spent = spend(self.spent, (row,))
        self.changed = True

    def drop(self, container_id: str) -> None:
        """Forget a container that is gone."""
        self.lists.forget(container_id)
        if self.rows.pop(container_id, None) is not None:
            self.changed = True

    def keep_spent(self, tokens: Collection[str] | None) -> None:
        """Forget used tokens that could not be used again; with the oldest alone, who makes many could free another's.

        Args:
            tokens: those that accounts' pages have; None when that cannot be told, and then all are kept.
        """
        if tokens is None:
            return
        theirs = {row.token for row in self.rows.values()}
        kept = {token: identity for token, identity in self.spent.items() if token in tokens or token in theirs}
        if len(kept) < len(self.spent):
            self.spent, self.changed = kept, True

    def write(self, policy: Policy, now: datetime) -> None:
        """Write what changed; where that cannot be done it is said once, and tried again the next time."""
        owners = owners_document(self.rows.values(), administrators(policy), service_users(policy))
        try:
            if self.changed:
                remember(self.paths, self.record, now)
                self.changed = False
            if owners != self._owners:
                write_owners(self.paths, owners, now)
                self._owners = owners
        except OSError as error:
            self._tell(f"{error.filename or self.paths.containers}: {error.strerror or error}")
        else:
            self._tell(None)

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and self._trouble is None:
            logger.warning("which containers there are cannot be written down: %s; trying again", trouble)
        elif trouble is None and self._trouble is not None:
            logger.warning("which containers there are is written down again")
        self._trouble = trouble
