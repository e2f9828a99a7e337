"""What has to be done about containers that came, went or changed, in a thread of its own: it holds up no event.

A step that fails is said once and left: the next look at all containers repairs it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from ds01.core.errors import Ds01Error
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers.container import LIVE
from ds01.runtime.containers.look import Looked
from ds01.runtime.containers.record import Row
from ds01.runtime.containers.seen import Seen
from ds01.runtime.lifecycle.comeback import Checks
from ds01.runtime.telemetry.gpubook import GpuBook

logger = logging.getLogger(__name__)
# What happens to one container within that time is looked at once.
_TOGETHER_SECONDS: Final = 0.1
_AGAIN_SECONDS: Final = 1.0
_MOST_TRIES: Final = 3
_SAME_START: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Touched:
    """A container with a GPU that something happened to.

    Attributes:
        allocation: the id that its label names, where DS01 wrote it and it is known.
        tries: how often it was looked at in vain.
        not_before: when to look at it again, by the monotonic clock.
    """

    row: Row
    allocation: str | None
    tries: int = 0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class _All:
    """All containers, and what was known of them before the first look."""

    looked: Looked
    before: Mapping[str, Row] | None


@dataclass(slots=True)
class Steps:
    """The thread, and what waits for it.

    Attributes:
        book: the GPU ledger by the policy of the moment.
    """

    policy: Callable[[], Policy]
    book: Callable[[Policy], GpuBook]
    checks: Checks
    _touched: dict[str, Touched] = field(default_factory=dict)
    _started: dict[str, Seen] = field(default_factory=dict)
    _looked: _All | None = None
    _unseen: Mapping[str, Row | None] = field(default_factory=dict)
    _reconcile: bool = False
    _ended: bool = False
    _busy: bool = False
    _said: dict[str, str] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    # --- From the daemon's thread -------------------------------------------------------------------------------------

    def touch(self, row: Row, allocation: str | None) -> None:
        """Have the ledger say what a container is now."""
        with self._changed:
            known = self._touched.get(row.id)
            self._touched[row.id] = Touched(row, allocation or (known.allocation if known else None))
            self._changed.notify_all()

    def started(self, seen: Seen) -> None:
        """Have a container that began to run be checked."""
        with self._changed:
            self._started[seen.container.id] = seen
            self._changed.notify_all()

    def looked(self, looked: Looked, before: Mapping[str, Row] | None, *, gpus: bool) -> None:
        """Have all of it be held against what there is.

        Args:
            before: at the first look, what was known from before the daemon's start: what runs since then runs with
                leave, and what nobody knew was asked about when it was made.
            gpus: whether anything concerns GPUs.
        """
        with self._changed:
            if before is None and self._looked is not None:
                before = self._looked.before  # the first look waits still
            self._looked = _All(looked, before)
            self._reconcile = self._reconcile or gpus
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to be done; False when time is over before."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and not self._waits(), seconds)

    def end(self) -> None:
        """Make run() return once the step at hand is done."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    # --- In its own ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do what there is to do until it is ended."""
        while self._await():
            with self._changed:
                due = {key: each for key, each in self._touched.items() if each.not_before <= time.monotonic()}
                self._touched = {key: each for key, each in self._touched.items() if key not in due}
                started, self._started = self._started, {}
                looked, self._looked = self._looked, None
                reconcile, self._reconcile = self._reconcile, False
                self._busy = True
            try:
                self._act(list(due.values()), [*started.values(), *self._unasked(looked)], reconcile=reconcile)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _await(self) -> bool:
        """Wait for something to do, and a little for more of it; False when it is ended."""
        with self._changed:
            while not self._ended and not self._waits():
                later = [each.not_before for each in self._touched.values()]
                self._changed.wait(max(0.0, min(later) - time.monotonic()) if later else None)
            return not self._changed.wait_for(lambda: self._ended, _TOGETHER_SECONDS)

    def _waits(self) -> bool:
        now = time.monotonic()
        due = any(each.not_before <= now for each in self._touched.values())
        return due or bool(self._started) or self._reconcile or self._looked is not None

    def _act(self, touched: Sequence[Touched], started: Sequence[Seen], *, reconcile: bool) -> None:
        policy = self.policy()
        if touched or reconcile:
            self._try("the record of GPUs", lambda: self._gpus(self.book(policy), touched, reconcile=reconcile))
        if started:
            self._try("whether a container may run", lambda: self.checks.check(policy, started))

    def _gpus(self, book: GpuBook, touched: Sequence[Touched], *, reconcile: bool) -> None:
        for each in touched:
            self._try("the record of a GPU", lambda each=each: self._settle(book, each))  # type: ignore[misc] # each is bound
        if reconcile:
            book.gpus.reconcile()

    def _settle(self, book: GpuBook, touched: Touched) -> None:
        if book.settle(touched.row, touched.allocation) or touched.tries >= _MOST_TRIES:
            return
        again = replace(touched, tries=touched.tries + 1, not_before=time.monotonic() + _AGAIN_SECONDS)
        with self._changed:
            self._touched.setdefault(touched.row.id, again)

    def _unasked(self, every: _All | None) -> list[Seen]:
        """Return the containers that run and were not asked about."""
        if every is None:
            return []
        seen, is_first = every.looked.seen, every.before is not None
        unseen = [each.there.id for each in every.looked.unseen]
        self.checks.keep([*(each.container.id for each in seen), *unseen])
        # For one that could not be seen till now, this is the first look.
        known = self._unseen if every.before is None else every.before
        for each in seen:
            there = each.container.id
            if (is_first or there in known) and _ran_before(each, known.get(there)):
                self.checks.accept(each)
        self._unseen = {each: known.get(each) for each in unseen if is_first or each in known}
        return [each for each in seen if each.container.is_live and not self.checks.is_passed(each)]

    def _try(self, what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except (Ds01Error, OSError) as error:
            words = f"{error.brief}: {error.details}" if isinstance(error, Ds01Error) else str(error)
            if self._said.get(what) != words:
                logger.warning("%s is not settled now: %s; the next look at all containers does it", what, words)
            self._said[what] = words
        else:
            self._said.pop(what, None)


def _ran_before(seen: Seen, row: Row | None) -> bool:
    """Whether a container runs by a start that was known; of one that nobody knew its making was asked about."""
    if row is None:
        return True
    started = seen.container.started_at
    same = row.started_at is None or started is None or abs(started - row.started_at) <= _SAME_START
    return row.state in LIVE and same
