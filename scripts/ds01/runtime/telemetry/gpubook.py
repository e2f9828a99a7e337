"""Keeps the GPU ledger beside what becomes of single containers; a reconcile repairs what this could not do.

Looks at each container as it is now, whatever it was told of it: done late or twice, it is done right.
"""

from __future__ import annotations

import os

from ds01.core.rules import Rule
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.engine import Engine
from ds01.runtime.containers.record import Row
from ds01.runtime.gpu import answer as gpu
from ds01.runtime.gpu.found import lost_request
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.operations import Gpus
from ds01.runtime.gpu.state import Book, NoGpuStateError, describe


@dataclass(slots=True)
class GpuBook:
    """The ledger, and what containers that are not confirmed yet were let have."""

    gpus: Gpus
    engine: Engine
    _expected: dict[str, str] = field(default_factory=dict)

    def settle(self, row: Row, allocation: str | None) -> bool:
        """Make the ledger say of a container what it is now.

        Args:
            allocation: the id that its label names, of a container that DS01 let come to be: that label is DS01's own.

        Returns:
            False while somebody still waits for what it had; then it has to be looked at again.

        Raises:
            Ds01Error: the engine or the ledger cannot be asked, or the lock is taken; nothing was changed.
        """
        if allocation is not None:
            self._expected[row.id] = allocation
        container = self.engine.inspect(row.id)
        if container is None:
            settled = self._gone(row, self._expected.get(row.id))
            if settled:
                self._expected.pop(row.id, None)
            return settled
        there = _of_container(self._read(), container.id)
        if there is None:
            self._unknown(container, row)
            return True
        if container.name not in {there.container, ""}:  # one whose removal is under way has none
            self.gpus.rename(container.id, container.name)
        if container.is_live and (there.stopped_at is not None or there.reservation is not None):
            self._runs(container)
        elif not container.is_live and container.state is not State.CREATED and there.stopped_at is None:
            self._stopped(container)
        return True

    def again(self, container: Container) -> Refusal | None:
        """Let a container that runs again have the units it had; returns why it may not, None when it may.

        What the ledger has, it has; what it gave back is asked for anew. Of what nobody knows nothing is said.

        Raises:
            Ds01Error: the engine, the hardware or the ledger cannot be asked.
        """
        me = self.gpus.state.machine.process(os.getpid())
        if me is None or _of_container(self._read(), container.id) is not None:
            return None
        wish = lost_request(self.engine, self.gpus.look(), container.name, self.gpus.state.account_of)
        if wish is None:
            return None
        answer = self.gpus.clear_stopped(container.name, me, wish)
        if isinstance(answer, gpu.Refusal):
            self.gpus.tell_refused(wish, answer)
            return _refusal(container, answer)
        if answer is not None:
            self._take_up(container, answer.allocation)
        return None

    def _take_up(self, container: Container, granted: Allocation) -> None:
        """Put down that a container has its units, or holds them when it has stopped meanwhile.

        No reservation may stay: its process is this one, which does not end, and what is reserved is never held or
        freed.
        """
        self.gpus.confirm(granted.id, container.name, container.id)
        with self.gpus.state.change() as book:
            there = book.ledger.by_id(granted.id)
            if there is not None:
                book.ledger = book.ledger.changed(replace(there, reservation=None))
        found = self.engine.inspect(container.id)
        if found is None:
            self.gpus.release(granted)
        elif not found.is_live:
            self.gpus.mark_stopped(granted)

    def _read(self) -> Ledger:
        try:
            return self.gpus.state.read()
        except NoGpuStateError:
            return Ledger()

    def _unknown(self, container: Container, row: Row) -> None:
        expected = self._expected.get(row.id)
        if expected is not None and self._confirm(expected, container, row):
            if container.is_live:
                self._runs(container)
        elif container.is_live and container.gpu is not None:
            # Nobody let it have one: the reconcile finds out which it really has.
            self.gpus.reconcile()

    def _confirm(self, expected: str, container: Container, row: Row) -> bool:
        """Give a container what was reserved for it, and whether that was so.

        An image may carry the label too, with the id of what is another's.
        """
        there = self._read().by_id(expected)
        if there is None or there.user != row.charged or container.gpu is None:
            return False
        waits = there.container_id is None or there.reservation is not None
        if not waits or set(container.gpu.names) != set(there.uuids):
            return False
        return self.gpus.confirm(expected, container.name, container.id) is not None

    def _runs(self, container: Container) -> None:
        with self.gpus.state.change() as book:
            there = _of_container(book.ledger, container.id)
            if there is None:
                return
            if there.stopped_at is not None:
                book.note("gpu.resumed", there.user, describe(there))
            # One that runs needs no reservation.
            book.ledger = book.ledger.changed(replace(there, stopped_at=None, reservation=None))

    def _stopped(self, container: Container) -> None:
        with self.gpus.state.change() as book:
            there = _of_container(book.ledger, container.id)
            if there is None or there.stopped_at is not None or self._is_awaited(there):
                return
            held = replace(there, stopped_at=book.moment.now, reservation=None)
            book.ledger = book.ledger.changed(held)
            book.note("gpu.held", held.user, describe(held))

    def _gone(self, row: Row, expected: str | None) -> bool:
        ledger = self._read()
        if _of_container(ledger, row.id) is None and (expected is None or ledger.by_id(expected) is None):
            return True
        with self.gpus.state.change() as book:
            there = _of_container(book.ledger, row.id) or _of_label(book, expected, row)
            if there is None:
                return True
            if self._is_awaited(there):
                return False
            book.ledger = book.ledger.released(there)
            book.note("gpu.released", there.user, describe(there))
            return True

    def _is_awaited(self, there: Allocation) -> bool:
        """Whether somebody is about to start a container with these units; also under the name of one that is gone."""
        kept = there.reservation
        return kept is not None and self.gpus.state.machine.is_alive(kept.process)


def _refusal(container: Container, answer: gpu.Refusal) -> Refusal:
    had = ", ".join(container.gpu_slots) or "what it had"
    return Refusal(
        Rule.GPU,
        "DS01 GPU Taken",
        (("Requested", f"GPU {had}"),),
        f"{answer.text[:1].upper()}{answer.text[1:]}.",
        () if answer.fix is None else (answer.fix,),
        {"reason": answer.reason.value},
    )


def _of_container(ledger: Ledger, container_id: str) -> Allocation | None:
    return next((each for each in ledger.allocations.values() if each.container_id == container_id), None)


def _of_label(book: Book, expected: str | None, row: Row) -> Allocation | None:
    """Return what a container was let have that was gone before it could be confirmed."""
    there = None if expected is None else book.ledger.by_id(expected)
    return there if there is not None and there.container_id is None and there.user == row.charged else None
