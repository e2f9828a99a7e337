"""Stand in the line for a GPU: notice at once when one is free, say now and then how things stand, leave no trace."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import StateError, read_bytes
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.gpu.answer import Grant, Refusal
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.operations import Gpus
from ds01.runtime.gpu.reconcile import LAPSE_SECONDS, Moment, hold_ends, is_due
from ds01.runtime.gpu.request import Request
from ds01.runtime.identity import ProcessRef

TELL_SECONDS: Final = 30.0
# What comes without a change of the state file and at no known time: processes outside containers that end.
LOOK_SECONDS: Final = 5.0
# A look at the file costs some ten microseconds, and works on every file system.
_READ_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Place:
    """How things stand for somebody in the line.

    Attributes:
        number: 1 is next.
        of: how many wait.
        left_seconds: until the request is refused.
    """

    number: int
    of: int
    left_seconds: float


@dataclass(frozen=True, slots=True)
class Line:
    """How somebody waits.

    Attributes:
        seconds: at most so long.
        tell: gets why it is still refused and the place in the line, at once and then every tell_seconds.
        process: that waits; dead, it is in the line no more.
        look_seconds: how often to look for what comes without a change of the state file.
    """

    seconds: float
    tell: Callable[[Refusal, Place], None]
    process: ProcessRef
    tell_seconds: float = TELL_SECONDS
    look_seconds: float = LOOK_SECONDS


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Leave the line also when the terminal goes, or somebody ends us."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for_gpu(gpus: Gpus, request: Request, keeper: ProcessRef, line: Line) -> Grant | Refusal:
    """Ask, and wait in the line while that can help; the last answer when the time is over.

    However this ends, by Ctrl-C too, nobody stands in the line afterwards.
    """
    # Looked at before the answer: what is freed right after it must not be taken for what was seen.
    seen = _version(gpus.state.paths.gpu_state)
    answer = gpus.allocate_or_wait(request, keeper, line.process)
    if isinstance(answer, Grant) or not answer.waitable:
        return answer
    granted = False
    try:
        answer = _stand(gpus, request, keeper, line, (answer, seen))
        granted = isinstance(answer, Grant)
        return answer
    finally:
        if not granted:
            # On a full disk nothing can be written; the dead are left out of the line anyway.
            with suppress(Ds01Error):
                gpus.leave(request.id)


def _stand(
    gpus: Gpus, request: Request, keeper: ProcessRef, line: Line, before: tuple[Refusal, bytes | None]
) -> Grant | Refusal:
    answer, seen = before
    end = time.monotonic() + line.seconds
    tell_at = time.monotonic()
    while (now := time.monotonic()) < end:
        if now >= tell_at:
            line.tell(answer, _place(gpus, request, end - now))
            tell_at = now + line.tell_seconds
        seen = _until_changed(
            gpus.state.paths.gpu_state, seen, min(end, tell_at, now + min(line.look_seconds, _due_in(gpus)))
        )
        if _is_worth_a_try(gpus, request):
            again = gpus.allocate_or_wait(request, keeper, line.process)
            if isinstance(again, Grant) or not again.waitable:
                return again
            answer = again
    return answer


def _is_worth_a_try(gpus: Gpus, request: Request) -> bool:
    """Whether the answer may be another one now; everybody who waits asks this, so it takes no lock."""
    try:
        before = gpus.state.moment()
        ledger = gpus.state.read()
        if all(each.id != request.id for each in ledger.queue) or _has_something_due(gpus, ledger, before):
            return True
        answer = gpus.would_answer(request)
    except Ds01Error:
        # Said properly by the try itself.
        return True
    return isinstance(answer, Grant) or not answer.waitable


def _has_something_due(gpus: Gpus, ledger: Ledger, before: Moment) -> bool:
    """Whether time frees a unit, or begins to: that a process is gone counts from when a change has noted it.

    Args:
        before: when the ledger had not been read yet.
    """
    moment = gpus.state.moment()
    return any(
        is_due(each, moment, gpus.state.account_of) or _is_just_gone(each, before)
        for each in ledger.allocations.values()
    )


def _due_in(gpus: Gpus) -> float:
    """Return in how many seconds the next hold or reservation is over; endless when none will be."""
    try:
        ledger, moment = gpus.state.read(), gpus.state.moment()
    except Ds01Error:
        return math.inf
    times = [math.inf]
    for each in ledger.allocations.values():
        ends = hold_ends(each, gpus.state.account_of)
        if ends is not None:
            times.append((ends - moment.now).total_seconds())
        if each.reservation is not None and each.reservation.gone_at is not None:
            times.append(each.reservation.gone_at + LAPSE_SECONDS - moment.boot_seconds)
    # What is over already was tried, and Docker did not agree: that is looked at as seldom as all else.
    return min(time for time in times if time > 0)


def _is_just_gone(allocation: Allocation, before: Moment) -> bool:
    gone_at = None if allocation.reservation is None else allocation.reservation.gone_at
    return gone_at is not None and gone_at >= before.boot_seconds


def _place(gpus: Gpus, request: Request, left_seconds: float) -> Place:
    try:
        ids = [each.id for each in gpus.state.read().in_line()]
    except Ds01Error:
        ids = []
    number = ids.index(request.id) + 1 if request.id in ids else len(ids) + 1
    return Place(number, max(len(ids), number), left_seconds)


def _until_changed(path: Path, seen: bytes | None, until: float) -> bytes | None:
    """Return the file's version when it is another one, or the same when the time is over."""
    while True:
        version = _version(path)
        left = until - time.monotonic()
        if version != seen or left <= 0:
            return version
        time.sleep(min(_READ_SECONDS, left))


def _version(path: Path) -> bytes | None:
    """What the file says: of two writes in one tick of the clock, number and time may be the same."""
    try:
        return read_bytes(path)
    except (OSError, StateError):
        return None
