"""Stand in the line for a GPU: notice at once when one is free, say now and then how things stand, leave no trace."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import StateError, read_bytes
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.gpu.answer import Grant, Refusal
from ds01.runtime.gpu.hardware import Devices
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.operations import Gpus
from ds01.runtime.gpu.reconcile import LAPSE_SECONDS, Moment, hold_ends, is_due, is_just_gone
from ds01.runtime.gpu.request import Request
from ds01.runtime.identity import ProcessRef

TELL_SECONDS: Final = 30.0
# What comes without a change of the state file and without the end of a process: one that lets its GPU go and lives on.
LOOK_SECONDS: Final = 5.0
# A look at the file costs some ten microseconds, and works on every file system; one at a process costs as much.
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


def wait_for_gpu(gpus: Gpus, request: Request, keeper: ProcessRef, line: Line) -> Grant | Refusal:
    """Ask, and wait in the line while that can help; the last answer when the time is over.

    However this ends, by Ctrl-C too, nobody stands in the line afterwards. Nobody waits for a keeper that is gone.
    """
    with gpus.looking():
        return _ask_and_stand(gpus, request, keeper, line)


def _ask_and_stand(gpus: Gpus, request: Request, keeper: ProcessRef, line: Line) -> Grant | Refusal:
    # Looked at before the answer: what is freed right after it must not be taken for what was seen.
    seen = _version(gpus.state.paths.gpu_state)
    devices = gpus.look()
    answer = gpus.allocate_or_wait(request, keeper, line.process, devices)
    if isinstance(answer, Grant) or not answer.waitable:
        return answer
    granted = False
    try:
        answer = _stand(gpus, request, keeper, line, _Standing(answer, seen, _on_the_host(gpus, devices)))
        granted = isinstance(answer, Grant)
        return answer
    finally:
        if not granted:
            # On a full disk nothing can be written; the dead are left out of the line anyway.
            with suppress(Ds01Error):
                gpus.leave(request.id)


@dataclass(slots=True)
class _Standing:
    """What somebody in the line knows.

    Attributes:
        answer: the last one.
        seen: the state file from before that.
        strangers: processes outside containers that computed on GPUs at the last look.
    """

    answer: Refusal
    seen: bytes | None
    strangers: tuple[ProcessRef, ...]


def _stand(gpus: Gpus, request: Request, keeper: ProcessRef, line: Line, known: _Standing) -> Grant | Refusal:
    end = time.monotonic() + line.seconds
    tell_at = time.monotonic()
    while (now := time.monotonic()) < end:
        if now >= tell_at:
            line.tell(known.answer, _place(gpus, request, end - now))
            tell_at = now + line.tell_seconds
        _until_changed(gpus, known, min(end, tell_at, now + min(line.look_seconds, _due_in(gpus))))
        if not gpus.state.machine.is_alive(keeper):
            return known.answer
        devices = _look(gpus)
        known.strangers = () if devices is None else _on_the_host(gpus, devices)
        # Before it is said again who has it, Docker is asked whether that is so.
        is_outdated = time.monotonic() >= tell_at and _is_outdated(gpus, request, known.answer)
        if devices is None or is_outdated or _is_worth_a_try(gpus, request, devices):
            again = gpus.allocate_or_wait(request, keeper, line.process, devices)
            if isinstance(again, Grant) or not again.waitable:
                return again
            known.answer = again
    return known.answer


def _look(gpus: Gpus) -> Devices | None:
    try:
        return gpus.look()
    except Ds01Error:
        # Said properly by the try itself, which looks once more.
        return None


def _on_the_host(gpus: Gpus, devices: Devices) -> tuple[ProcessRef, ...]:
    """Return the processes whose end is waited for, since that may free a unit; none that has ended already."""
    boot, machine = gpus.state.moment().boot, gpus.state.machine
    found = (
        ProcessRef(each.pid, each.started, boot)
        for each in devices.processes
        if each.container_id is None and each.started is not None
    )
    return tuple(filter(machine.is_alive, found))


def _is_worth_a_try(gpus: Gpus, request: Request, devices: Devices) -> bool:
    """Whether the answer may be another one now; everybody who waits asks this, so it takes no lock."""
    try:
        before = gpus.state.moment()
        ledger = gpus.state.read()
        if all(each.id != request.id for each in ledger.queue) or _has_something_due(gpus, ledger, before):
            return True
        answer = gpus.would_answer(request, devices)
    except Ds01Error:
        # Said properly by the try itself.
        return True
    return isinstance(answer, Grant) or not answer.waitable


def _is_outdated(gpus: Gpus, request: Request, refusal: Refusal) -> bool:
    try:
        return gpus.is_outdated(request, refusal)
    except Ds01Error:
        return True


def _has_something_due(gpus: Gpus, ledger: Ledger, before: Moment) -> bool:
    """Whether time frees a unit, or begins to: that a process is gone counts from when a change has noted it.

    Args:
        before: when the ledger had not been read yet.
    """
    moment = gpus.state.moment()
    return any(
        is_due(each, moment, gpus.state.account_of) or is_just_gone(each, before)
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


def _place(gpus: Gpus, request: Request, left_seconds: float) -> Place:
    try:
        ids = [each.id for each in gpus.state.read().in_line()]
    except Ds01Error:
        ids = []
    number = ids.index(request.id) + 1 if request.id in ids else len(ids) + 1
    return Place(number, max(len(ids), number), left_seconds)


def _until_changed(gpus: Gpus, known: _Standing, until: float) -> None:
    """Return when the state file is another one, which is seen then, a stranger has ended, or the time is over."""
    while True:
        before, known.seen = known.seen, _version(gpus.state.paths.gpu_state)
        left = until - time.monotonic()
        if known.seen != before or left <= 0 or not all(map(gpus.state.machine.is_alive, known.strangers)):
            return
        time.sleep(min(_READ_SECONDS, left))


def _version(path: Path) -> bytes | None:
    """What the file says: of two writes in one tick of the clock, number and time may be the same."""
    try:
        return read_bytes(path)
    except (OSError, StateError):
        return None
