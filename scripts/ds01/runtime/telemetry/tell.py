"""Where the sampler says what it finds: the event log, the accounts, and the journal. Never fails its caller."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from ds01.core.events import Event, EventLog
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.lifecycle.notices import Weight
from ds01.runtime.lifecycle.notify import Notifier

logger = logging.getLogger(__name__)
SOURCE: Final = "sampler"


@dataclass(slots=True)
class Trouble:
    """What is in the way, each thing said once in the journal, and once when it is over."""

    said: dict[str, str] = field(default_factory=dict)

    def tell(self, what: str, words: str | None) -> None:
        """Say what is in the way of something; None when nothing is."""
        before = self.said.pop(what, None)
        if words is not None:
            self.said[what] = words
        if words is not None and words != before:
            logger.warning("%s: %s; trying again", what, words)
        if words is None and before is not None:
            logger.warning("%s: all is well again", what)


@dataclass(frozen=True, slots=True)
class Teller:
    """Says what was found of an account; of a slice that nobody knows the account of only the event log is told."""

    log: EventLog
    notifier: Notifier
    trouble: Trouble = field(default_factory=Trouble)

    def note(self, event_type: str, user: str | None, now: datetime, details: Mapping[str, object]) -> None:
        """Write an event."""
        appended = self.log.append(Event(event_type, user, SOURCE, now, details))
        self.trouble.tell("events", appended.reason)

    def notice(self, user: str | None, key: str, text: str) -> None:
        """Tell an account of trouble."""
        if user is not None:
            told = self.notifier.tell(user, text, key=key, weight=Weight.TROUBLE)
            self.trouble.tell(f"notices of {user}", "; ".join(told.remarks) or None)

    def clear(self, user: str | None, key: str) -> None:
        """Take back what an account was told."""
        if user is not None:
            self.trouble.tell(f"notices of {user}", self.notifier.clear(user, key))
