"""What can be done with GPUs: each call is one transaction, and done twice it is done once.

The front door for the commands, and for whatever else starts containers. Who may ask for what is
settled by the caller; allocate.py decides, state.py writes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ds01.core.errors import Ds01Error
from ds01.core.events import Event
from ds01.core.value import dataclass, replace
from ds01.runtime.gpu.allocate import again as had_again
from ds01.runtime.gpu.allocate import allocate, as_request
from ds01.runtime.gpu.answer import Grant, Refusal
from ds01.runtime.gpu.hardware import Devices
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation, Waiter, nameless
from ds01.runtime.gpu.reconcile import is_due
from ds01.runtime.gpu.request import AccountLimits, Limits, Named, Request, format_wanted
from ds01.runtime.gpu.state import SOURCE, Book, GpuState, describe
from ds01.runtime.gpu.view import View
from ds01.runtime.identity import ProcessRef

logger = logging.getLogger(__name__)
LimitsFor = Callable[[Mapping[str, AccountLimits]], Limits]


def request_of(there: Allocation) -> Request | None:
    """Return what a container holds as a request for just that; None when nobody is charged for it."""
    if there.user is None:
        return None
    return Request(there.id, there.user, Named(there.uuids), there.priority, there.container)


def _re_create(container: str | None) -> str:
    return f"re-create it to get another one (docker rm {container}, docker run …)"


def new_id() -> str:
    """Return an id for a request that nobody can guess or has had before."""
    return os.urandom(16).hex()


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody was given who may not have heard of it.

    Attributes:
        before: what the container held already; None when it was nothing.
        after: with the reservation for whoever asked.
    """

    before: Allocation | None
    after: Allocation


@dataclass(frozen=True, slots=True)
class Gpus:
    """Everything that hands out GPUs and takes them back.

    Attributes:
        look: asks the hardware; raises a Ds01Error where it cannot be told what there is.
        limits: puts the site's rules beside the limits of the accounts concerned.
        looking: inside it, every look but the first is quick.
        given: keeps what is handed out, from before it is written down, for take_back(); None keeps nothing.
    """

    state: GpuState
    look: Callable[[], Devices]
    limits: LimitsFor
    looking: Callable[[], AbstractContextManager[None]] = nullcontext
    given: list[Given] | None = None

    def allocate(self, request: Request, keeper: ProcessRef) -> Grant | Refusal:
        """Give a container its units, now or not at all.

        Args:
            keeper: the process that keeps them reserved until the container is there.
        """
        devices = self.look()
        with self.state.change() as book:
            return self._decide(book, devices, request, keeper)

    def allocate_or_wait(
        self, request: Request, keeper: ProcessRef, waiter: ProcessRef, devices: Devices | None = None
    ) -> Grant | Refusal:
        """As allocate(); whoever is refused what time may bring stands in the line afterwards.

        Args:
            waiter: the process that waits; dead, it is in the line no more.
            devices: the hardware as it was seen a moment ago; None for a look of its own.
        """
        devices = self.look() if devices is None else devices
        with self.state.change() as book:
            answer = self._decide(book, devices, request, keeper)
            if isinstance(answer, Refusal) and answer.waitable:
                book.ledger = book.ledger.waiting(_in_line(request, book, waiter))
            else:
                # Only this request's own place: ids can be read, and others ask with them.
                book.ledger = book.ledger.left(each.id for each in book.ledger.queue if as_request(each) == request)
            return answer

    def tell_refused(self, request: Request, refusal: Refusal) -> None:
        """Put a refusal into the event log, once its user has it as the last word."""
        details = {
            "container": request.container,
            "wanted": format_wanted(request.wanted),
            "reason": refusal.reason.value,
            "text": refusal.text,
        }
        self.state.tell(Event("gpu.refused", request.user, SOURCE, self.state.machine.now(), details))

    def would_answer(self, request: Request, devices: Devices) -> Grant | Refusal:
        """Return what allocate() would answer on this hardware, without a lock and without doing it."""
        ledger = self.state.read()
        limits = self._limits_of(request, [each.user for each in ledger.queue])
        return allocate(devices, ledger, request, limits, self.state.machine.now())

    def is_outdated(self, request: Request, refusal: Refusal) -> bool:
        """Whether Docker says otherwise of what a refusal names, without a lock and without doing anything about it."""
        return self.state.are_outdated(_in_the_way(self.state.read(), request, refusal))

    def leave(self, request_id: str) -> None:
        """Take a request out of the line."""
        with self.state.change() as book:
            book.ledger = book.ledger.left([request_id])

    def confirm(self, allocation_id: str, container: str, container_id: str) -> Allocation | None:
        """Give an allocation its container's name and id, once Docker has made it; None when there is none such."""
        with self.state.change() as book:
            there = book.ledger.by_id(allocation_id)
            if there is None:
                return None
            named = replace(there, container=container, container_id=container_id)
            return _rekeyed(book, named) if named != there else there

    def rename(self, container: str, new_name: str) -> Allocation | None:
        """Follow a container to its new name; None when it holds nothing."""
        with self.state.change() as book:
            there = book.ledger.find(container)
            return None if there is None else _rekeyed(book, replace(there, container=new_name))

    def release(self, name: str | Allocation) -> Allocation | None:
        """Free what a container holds, by its name, its id or the allocation's; None when it holds nothing.

        The caller has seen to it that the container uses the units no more.
        """
        with self.state.change() as book:
            there = _meant(book, name)
            if there is not None:
                book.ledger = book.ledger.released(there)
                book.note("gpu.released", there.user, describe(there))
            return there

    def mark_stopped(self, name: str | Allocation) -> Allocation | None:
        """Begin the hold of a container that has stopped; None when it holds nothing."""
        with self.state.change() as book:
            there = _meant(book, name)
            if there is None or there.stopped_at is not None:
                return there
            held = replace(there, stopped_at=book.moment.now, reservation=None)
            book.ledger = book.ledger.changed(held)
            book.note("gpu.held", held.user, describe(held))
            return held

    def clear_stopped(
        self, name: str | Allocation, keeper: ProcessRef, again: Request | None = None
    ) -> Grant | Refusal | None:
        """Let a stopped container have its units again, because it is about to be started.

        Args:
            keeper: the process that keeps them reserved until it runs.
            again: what it had, asked for anew when its hold is over; None when nobody knows.

        Returns:
            None when it holds nothing and nobody knows what it had. Of units that are gone or broken a refusal: it goes
            on to hold them.
        """
        devices = self.look()
        with self.state.change() as book:
            there = _meant(book, name)
            if again is not None and (there is None or there.user != again.user):
                return self._again(book, devices, again, keeper)
            if there is None:
                return None
            answer = had_again(View.of(devices, book.ledger, self.limits({})), there, _re_create(there.container))
            if isinstance(answer, Grant):
                answer = replace(answer, allocation=self._kept_on(book, there, keeper))
            return answer

    def reconcile(self) -> tuple[str, ...]:
        """Hold the ledger against Docker; returns each difference in words, also those of a first change after boot.

        What cannot be held against it, because Docker cannot describe a container, is no difference.
        """
        with self.state.change() as book:
            self.state.reconcile(book)
            return tuple(
                f"{each.details.get('container', 'the record')}: {each.details['reason']}" for each in book.notes
            )

    # --- What nobody has heard of -------------------------------------------------------------------------------------

    @contextmanager
    def taken_back_on_failure(self) -> Iterator[Gpus]:
        """Let a block hand out what is taken back when it ends by an exception, whatever that is, also a signal's."""
        careful = replace(self, given=[])
        try:
            yield careful
        except BaseException:
            careful.take_back()
            raise

    def take_back(self) -> None:
        """Undo what was handed out: nobody has heard of it, so nobody would use it or give it back.

        What somebody else was given since stays. Where it cannot be written that is said: the reservation lapses with
        its process.
        """
        if not self.given:
            return
        try:
            with self.state.change() as book:
                for each in reversed(self.given):
                    _undo(book, each)
        except Ds01Error as error:
            names = ", ".join(each.after.container for each in self.given)
            logger.warning("what was reserved for %s could not be taken back: %s", names, error.brief)
        self.given.clear()

    # --- Inside a transaction -----------------------------------------------------------------------------------------

    def _decide(self, book: Book, devices: Devices, request: Request, keeper: ProcessRef) -> Grant | Refusal:
        limits = self._limits_of(request, [each.user for each in book.ledger.queue])
        answer = allocate(devices, book.ledger, request, limits, book.moment.now)
        if isinstance(answer, Refusal) and self._is_other_by_now(book, request, answer):
            answer = allocate(devices, book.ledger, request, limits, book.moment.now)
        if isinstance(answer, Refusal):
            return answer
        if not answer.fresh:
            return replace(answer, allocation=self._kept_on(book, answer.allocation, keeper))
        answer = replace(answer, allocation=replace(answer.allocation, reservation=Reservation(keeper)))
        self._remember(None, answer.allocation)
        book.ledger = book.ledger.granted(answer.allocation)
        book.note("gpu.allocated", request.user, {**describe(answer.allocation), "priority": request.priority})
        return answer

    def _kept_on(self, book: Book, there: Allocation, keeper: ProcessRef) -> Allocation:
        """Reserve what a container has already for whoever is about to start it, or one of its name, with that.

        Of a container that is thought to run too: it may have been removed or stopped without a word, and its units
        must not be freed under the hands of the one who was just told to use them. One that does run needs no
        reservation, and the next reconcile takes it away.
        """
        kept = replace(there, stopped_at=None, reservation=Reservation(keeper))
        self._remember(there, kept)
        if there.stopped_at is not None:
            book.note("gpu.resumed", kept.user, describe(kept))
        book.ledger = book.ledger.changed(kept)
        return kept

    def _remember(self, before: Allocation | None, after: Allocation) -> None:
        if self.given is not None:
            self.given.append(Given(before, after))

    def _again(self, book: Book, devices: Devices, again: Request, keeper: ProcessRef) -> Grant | Refusal:
        if book.ledger.by_id(again.id) is not None:
            # A label is what its container's user wrote: that allocation is another container's.
            again = replace(again, id=new_id())
        answer = self._decide(book, devices, again, keeper)
        if isinstance(answer, Refusal):
            names = again.wanted.devices if isinstance(again.wanted, Named) else ()
            had = ", ".join(name if (unit := devices.find(name)) is None else unit.slot for name in names)
            text = f"{again.container} had GPU {had} and its hold is over: {answer.text}"
            return replace(answer, text=text, fix=_re_create(again.container))
        return answer

    def _is_other_by_now(self, book: Book, request: Request, refusal: Refusal) -> bool:
        """Whether anything changed once Docker was asked.

        It is asked when time would free something, or when what stands in the request's way is gone by its word.
        """
        held = book.ledger.allocations.values()
        due = any(is_due(each, book.moment, self.state.account_of) for each in held)
        if not due and not self.state.are_outdated(_in_the_way(book.ledger, request, refusal)):
            return False
        try:
            return self.state.reconcile(book) > 0
        except Ds01Error:
            # What cannot be seen to be free stays taken.
            return False

    def _limits_of(self, request: Request, waiting: list[str]) -> Limits:
        return self.limits({user: self.state.account_of(user) for user in {request.user, *waiting}})


def _undo(book: Book, given: Given) -> None:
    there = book.ledger.by_id(given.after.id)
    if there is None or there.reservation is None or given.after.reservation is None:
        return
    if there.reservation.process != given.after.reservation.process:
        return
    if given.before is None:
        book.ledger = book.ledger.released(there)
        book.note("gpu.released", there.user, describe(there))
        return
    back = replace(there, stopped_at=given.before.stopped_at, reservation=given.before.reservation)
    book.ledger = book.ledger.changed(back)
    if back.stopped_at is not None:
        book.note("gpu.held", back.user, describe(back))


def _in_the_way(ledger: Ledger, request: Request, refusal: Refusal) -> tuple[Allocation, ...]:
    """Return the allocations that a refusal is about: those that it names, and what has the request's name or id."""
    names = [each.container for each in refusal.holdings]
    found = [ledger.allocations.get(name) for name in (*names, request.container) if name is not None]
    return tuple({each.id: each for each in (*found, ledger.by_id(request.id)) if each is not None}.values())


def _meant(book: Book, name: str | Allocation) -> Allocation | None:
    """Return what is meant: of an allocation itself, by its own id alone, since a container can have any name."""
    return book.ledger.by_id(name.id) if isinstance(name, Allocation) else book.ledger.find(name)


def _rekeyed(book: Book, allocation: Allocation) -> Allocation:
    """Put an allocation under its new name; what Docker has given that name's former holder is no more called so."""
    there = book.ledger.allocations.get(allocation.container)
    if there is not None and there.id != allocation.id:
        book.ledger = book.ledger.changed(replace(there, container=nameless(there.id)))
    book.ledger = book.ledger.changed(allocation)
    return allocation


def _in_line(request: Request, book: Book, process: ProcessRef) -> Waiter:
    return Waiter(
        id=request.id,
        user=request.user,
        container=request.container,
        wanted=request.wanted,
        priority=request.priority,
        since=book.moment.now,
        process=process,
        most_units=request.most_units,
    )
