"""Who holds which units and who waits for some: a value, and what can happen to it. Pure; state.py keeps the file.

Every change is idempotent and returns a new ledger. Nothing here decides who may have what; allocate.py does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.request import Wanted
from ds01.runtime.identity import ProcessRef

# What docker ps shows of an id.
_SHORTEST_ID: Final = 12


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units that are taken for a container that is not there yet, as while its image is pulled.

    Attributes:
        process: keeps the reservation while it lives.
        gone_at: when it was first seen gone, in seconds since boot (which nobody can set back); None while it lives.
    """

    process: ProcessRef
    gone_at: float | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """Units that one container holds.

    Attributes:
        container: its name, or the allocation's id while it has none.
        id: random; also in the label `ds01.allocation`.
        user: account that is charged; None for a container that nobody can be charged for.
        slots: what the units were called when they were given.
        stopped_at: since when its container is stopped and the units are only held; None while it runs.
        container_id: Docker's; None while there is only a reservation.
    """

    container: str
    id: str
    user: str | None
    slots: tuple[str, ...]
    uuids: tuple[GpuUuid, ...]
    allocated_at: datetime
    priority: int
    stopped_at: datetime | None = None
    container_id: str | None = None
    reservation: Reservation | None = None


@dataclass(frozen=True, slots=True)
class Waiter:
    """Somebody in the line.

    Attributes:
        id: of the request, and of the allocation it becomes.
        process: is in the line as long as it lives.
    """

    id: str
    user: str
    container: str | None
    wanted: Wanted
    priority: int
    since: datetime
    process: ProcessRef
    most_units: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that is known of holding and waiting.

    Attributes:
        allocations: by container name.
        queue: in the order of arrival.
        boot: the boot in which this was last held against Docker; None when it never was.
    """

    allocations: Mapping[str, Allocation] = field(default_factory=lambda: MappingProxyType({}))
    queue: tuple[Waiter, ...] = ()
    boot: str | None = None

    def by_id(self, allocation_id: str) -> Allocation | None:
        """Return the allocation with an id."""
        return next((each for each in self.allocations.values() if each.id == allocation_id), None)

    def find(self, name: str) -> Allocation | None:
        """Return an allocation by its container's id, its name, its own id, or 12 characters or more of the former.

        A container may be called like another's id, so whoever has an allocation's own id asks by_id() instead. What
        is a whole id is one here too, as for Docker itself.
        """
        whole = (each for each in self.allocations.values() if each.container_id == name)
        first = next(whole, None) or self.allocations.get(name)
        if first is not None:
            return first
        return next((each for each in self.allocations.values() if _is_called(each, name)), None)

    def of_user(self, user: str) -> tuple[Allocation, ...]:
        """Return what an account holds, stopped containers too."""
        return tuple(each for each in self.allocations.values() if each.user == user)

    def holders(self) -> Mapping[GpuUuid, Allocation]:
        """Return every UUID that is held, with its holder."""
        return {uuid: each for each in self.allocations.values() for uuid in each.uuids}

    def in_line(self) -> tuple[Waiter, ...]:
        """Return the queue as it is served: by priority, then by arrival."""
        return tuple(sorted(self.queue, key=lambda each: -each.priority))

    def ahead_of(self, request_id: str, priority: int) -> tuple[Waiter, ...]:
        """Return who is served before a request, which may be in the line itself."""
        line = self.in_line()
        place = next((number for number, each in enumerate(line) if each.id == request_id), None)
        return tuple(each for each in line if each.priority >= priority) if place is None else line[:place]

    # --- What can happen --------------------------------------------------------------------------------------------

    def granted(self, allocation: Allocation) -> Ledger:
        """Add an allocation; whoever waited for it waits no more."""
        return replace(_add(self, allocation), queue=tuple(each for each in self.queue if each.id != allocation.id))

    def released(self, allocation: Allocation) -> Ledger:
        """Take an allocation away."""
        rest = {name: each for name, each in self.allocations.items() if each.id != allocation.id}
        return replace(self, allocations=MappingProxyType(rest))

    def changed(self, allocation: Allocation) -> Ledger:
        """Put an allocation in the place of the one with its id, also under another name.

        Raises:
            ValueError: the name is another allocation's, as granted() also says.
        """
        return _add(self.released(allocation), allocation)

    def waiting(self, waiter: Waiter) -> Ledger:
        """Put somebody at the end of the line; who is in it already keeps the place."""
        if any(each.id == waiter.id for each in self.queue):
            return self
        return replace(self, queue=(*self.queue, waiter))

    def left(self, request_ids: Iterable[str]) -> Ledger:
        """Take some out of the line."""
        gone = frozenset(request_ids)
        stay = tuple(each for each in self.queue if each.id not in gone)
        return self if len(stay) == len(self.queue) else replace(self, queue=stay)


def nameless(allocation_id: str) -> str:
    """Return the key of an allocation whose container has no name any more; no container can be called so."""
    return f"?{allocation_id}"


def _add(ledger: Ledger, allocation: Allocation) -> Ledger:
    there = ledger.allocations.get(allocation.container)
    if there is not None and there.id != allocation.id:
        raise ValueError(f"{allocation.container} is the name of another allocation, {there.id}")
    return replace(ledger, allocations=MappingProxyType({**ledger.allocations, allocation.container: allocation}))


def _is_called(allocation: Allocation, name: str) -> bool:
    if allocation.id == name:
        return True
    full = allocation.container_id
    return full is not None and len(name) >= _SHORTEST_ID and full.startswith(name)
