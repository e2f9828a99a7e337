"""The state file of the GPUs: read without a lock, changed in one transaction under it.

A file that cannot be believed is kept aside and rebuilt from what Docker has, with one warning. Where Docker cannot be
asked nothing is handed out: an empty ledger would give everything away a second time.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os.path
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.events import Event, EventLog
from ds01.core.jsonstate import StateError, exclusive, read_bytes, write_bytes
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.reconcile import AccountOf, Moment, Present, Sight, age, reconcile
from ds01.runtime.gpu.record import DamagedError, format_ledger, parse_ledger
from ds01.runtime.machine import Machine
from ds01.runtime.signals import ENDS, STOPS, put_off

logger = logging.getLogger(__name__)
LOCK_SECONDS: Final = 20.0
SOURCE: Final = "gpu"
# A link or a socket in the file's place. Source: open(2), O_NOFOLLOW and ENXIO.
_NO_FILE: Final = frozenset({errno.ELOOP, errno.ENXIO})


class GpuStateError(Ds01Error):
    """Who holds which GPU is not known, or cannot be written down; nothing is handed out."""


class NoGpuStateError(GpuStateError):
    """Nothing was ever written down here."""


@dataclass(slots=True)
class Book:
    """The ledger inside a transaction; what is put here is written when it ends without an exception.

    Attributes:
        notes: events that are told once the ledger is on disk.
        unseen: what containers are called that Docker could not describe when the ledger was held against it.
    """

    ledger: Ledger
    moment: Moment
    notes: list[Event] = field(default_factory=list)
    unseen: tuple[str, ...] = ()

    def note(self, event_type: str, user: str | None, details: Mapping[str, object]) -> None:
        """Tell of something when the transaction has ended well."""
        self.notes.append(Event(event_type, user, SOURCE, self.moment.now, details))


def _as_written(_: Sequence[Allocation]) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class GpuState:
    """The ledger on disk.

    Attributes:
        containers: asks Docker for all containers that have GPUs or are in the ledger; raises a Ds01Error where it
            cannot be asked.
        account_of: what the policy lets an account have, for how long it holds.
        are_outdated: asks Docker of a few allocations alone whether it says otherwise of one; never raises.
    """

    paths: HostPaths
    machine: Machine
    events: EventLog
    containers: Callable[[Ledger], Sequence[Present]]
    account_of: AccountOf
    are_outdated: Callable[[Sequence[Allocation]], bool] = _as_written

    def read(self) -> Ledger:
        """As read_ledger()."""
        return read_ledger(self.paths, self.machine)

    def moment(self) -> Moment:
        """Return the present."""
        return _moment(self.machine)

    @contextmanager
    def change(self) -> Iterator[Book]:
        """Hold the lock, hand out the ledger, and write what became of it.

        The first change after a boot holds the ledger against Docker's containers first. A signal that ends us comes
        before anything is written, or when it is written and told of.

        Raises:
            BusyError: others hold the lock for longer than 20 s.
            GpuStateError: the ledger is lost and Docker cannot be asked, or the disk takes nothing more; then
                everything is as before.
        """
        with ExitStack() as signals:
            signals.enter_context(put_off(STOPS))
            with self._locked():
                before, damage = self._load()
                moment = self.moment()
                book = Book(_aged(before, self.machine, moment), moment)
                if book.ledger.boot != moment.boot:
                    self._rebuild(book, damage)
                yield book
                signals.enter_context(put_off(ENDS))
                if book.ledger is not before or damage is not None:
                    self._write(book, damage)
            self.tell(*book.notes)

    def tell(self, *events: Event) -> None:
        """Put events into the log; what cannot be put there is said once, and is no failure."""
        lost = [answer for answer in map(self.events.append, events) if not answer]
        if lost:
            logger.warning("what became of GPUs is not in the event log: %s", lost[0].reason)

    def reconcile(self, book: Book) -> int:
        """Hold the ledger against Docker's containers, inside a transaction; returns how many differences there were.

        Raises:
            Ds01Error: Docker cannot be asked; the ledger is as before.
        """
        present = self.containers(book.ledger)
        book.unseen = tuple(each.name for each in present if each.sight is not Sight.WHOLE)
        book.ledger, corrections = reconcile(book.ledger, present, book.moment, self.account_of)
        for each in corrections:
            book.note(each.event_type, each.allocation.user, {**describe(each.allocation), "reason": each.words})
        return len(corrections)

    def _rebuild(self, book: Book, damage: str | None) -> None:
        lost = book.ledger.boot is None
        try:
            self.reconcile(book)
        except Ds01Error as error:
            why = damage or ("there is none yet" if lost else "it is from before the last boot")
            raise GpuStateError(
                "no GPU can be handed out: who holds which is not known",
                f"{self.paths.gpu_state}: {why}; and it cannot be made from the containers there are: {_words(error)}",
                error.resolution,
            ) from error
        if damage is not None:
            found = len(book.ledger.allocations)
            book.note("gpu.state_rebuilt", None, {"reason": damage, "allocations": found})

    def _load(self) -> tuple[Ledger, str | None]:
        """Return the ledger, and what is wrong with the file if it cannot be believed."""
        path = self.paths.gpu_state
        try:
            return parse_ledger(read_bytes(path, of_root=True)), None
        except FileNotFoundError:
            return Ledger(), None
        except (DamagedError, StateError) as error:
            return Ledger(), _words(error)
        except OSError as error:
            if error.errno in _NO_FILE:
                return Ledger(), _words(error)
            raise GpuStateError(f"{path} cannot be read", _words(error), "look at the disk and its messages") from error

    def _write(self, book: Book, damage: str | None) -> None:
        path = self.paths.gpu_state
        content = format_ledger(book.ledger, book.moment.now)
        try:
            if damage is None:
                write_bytes(path, content, mode=0o644)
            else:
                _write_beside_damage(path, content, _aside(path, book.moment.now), damage)
        except OSError as error:
            raise GpuStateError(
                f"{path} cannot be written, so nothing was changed",
                error.strerror,
                "make room on the disk (df -h), then try again",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self.paths.gpu_lock
        with ExitStack() as stack:
            try:
                lock.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                stack.enter_context(exclusive(lock, wait_seconds=LOCK_SECONDS, work="change of who holds which GPU"))
            except PermissionError as error:
                raise GpuStateError(
                    f"{lock} cannot be opened", error.strerror, "who holds which GPU is changed by root (sudo)"
                ) from error
            except OSError as error:
                raise GpuStateError(
                    f"{lock} cannot be opened", error.strerror, "look at what is there and at the disk (df -h)"
                ) from error
            yield


def read_ledger(paths: HostPaths, machine: Machine) -> Ledger:
    """Return the ledger as it is, without a lock and without the dead in the line; for those who only look.

    To whom the kernel hides others' processes the dead are in it too: see Machine.shows_others().

    Raises:
        GpuStateError: there is none yet, or it cannot be believed.
    """
    try:
        ledger = parse_ledger(read_bytes(paths.gpu_state, of_root=True))
    except FileNotFoundError as error:
        raise NoGpuStateError("no GPU was ever handed out here", None, "sudo ds01 gpu reconcile") from error
    except (DamagedError, StateError, OSError) as error:
        raise GpuStateError(
            f"{paths.gpu_state} cannot be believed", _words(error), "sudo ds01 gpu reconcile rebuilds it"
        ) from error
    return _aged(ledger, machine, _moment(machine))


def _aged(ledger: Ledger, machine: Machine, moment: Moment) -> Ledger:
    """Return the ledger without the dead; as it is where the living cannot be told from them."""
    return age(ledger, machine.is_alive, moment) if machine.shows_others() else ledger


def _moment(machine: Machine) -> Moment:
    return Moment(machine.now(), machine.boot_id(), machine.boot_seconds())


def describe(allocation: Allocation) -> dict[str, object]:
    """Return what an event says of an allocation."""
    return {
        "container": allocation.container,
        "allocation": allocation.id,
        "gpu_id": ",".join(allocation.slots),
        "gpu_uuids": list(allocation.uuids),
    }


def _aside(path: Path, now: datetime) -> Path:
    """Return a name beside a file that is not taken."""
    stamp = f"{path}.damaged-{now:%Y%m%dT%H%M%SZ}"
    names = (Path(stamp if number == 0 else f"{stamp}.{number}") for number in itertools.count())
    return next(name for name in names if not os.path.lexists(name))


def _write_beside_damage(path: Path, content: bytes, aside: Path, damage: str) -> None:
    """Replace what cannot be believed and keep it; it is back in its place when nothing can be written."""
    path.rename(aside)
    try:
        write_bytes(path, content, mode=0o644)
    except BaseException:
        aside.rename(path)
        raise
    logger.warning(
        "%s could not be believed: %s. It is kept as %s; who holds which GPU was rebuilt from Docker.",
        path,
        damage,
        aside,
    )


def _words(error: Exception) -> str:
    if isinstance(error, Ds01Error):
        return f"{error.brief}: {error.details}" if error.details else error.brief
    return str(error)
