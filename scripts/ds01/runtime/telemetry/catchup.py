"""What must have happened while nobody listened: what was told of containers, held against those there are. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum

from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.record import Row
from ds01.runtime.telemetry.happening import Action, Happening, nano_of

# A message says when it was written, a container when it began: of one start they differ by less.
_SAME_SECONDS: Final = 2.0


class _Phase(Enum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


# One that is restarting or being removed is on its way, and what becomes of it is told of.
_PHASES: Final = {
    State.CREATED: _Phase.CREATED,
    State.RUNNING: _Phase.RUNNING,
    State.PAUSED: _Phase.PAUSED,
    State.EXITED: _Phase.STOPPED,
    State.DEAD: _Phase.STOPPED,
}


def missed(
    rows: Mapping[str, Row], found: Iterable[Container], now: datetime, *, unseen: Collection[str] = ()
) -> Mapping[str, Sequence[Happening]]:
    """Return what must have happened, by the container's id, each in its order.

    Args:
        rows: what was told.
        found: all containers there are, but for some that cannot be told more of.
        unseen: ids of those: they are there, and what happened to them will be found out.
    """
    there = {each.id: each for each in found}
    lacking: dict[str, Sequence[Happening]] = {}
    for container in there.values():
        row = rows.get(container.id)
        steps = _appeared(container, now) if row is None else _went_on(row, container, now)
        if happened := tuple(steps):
            lacking[container.id] = happened
    for row in rows.values():
        if row.id not in there and row.id not in unseen:
            lacking[row.id] = (_of(row.id, row.name, row.image, Action.DESTROY, now),)
    return lacking


def _appeared(container: Container, now: datetime) -> Iterator[Happening]:
    yield _happened(container, Action.CREATE, container.created_at or now)
    yield from _since(_Phase.CREATED, container, now)


def _went_on(row: Row, container: Container, now: datetime) -> Iterator[Happening]:
    if container.name and container.name != row.name:
        yield _happened(container, Action.RENAME, now)
    before, after = _PHASES.get(row.state), _PHASES.get(container.state)
    if before is None or after is None:
        return
    if before is after:
        yield from _again(row, container, now)
    else:
        yield from _since(before, container, now)


def _again(row: Row, container: Container, now: datetime) -> Iterator[Happening]:
    """Yield what must have happened to a container that is as it was, but not by the same start."""
    if not _is_later(container.started_at, row.started_at):
        return
    yield _happened(container, Action.START, container.started_at or now)
    if container.state is State.PAUSED:
        yield _happened(container, Action.PAUSE, now)
    if not container.is_live:
        yield _happened(container, Action.DIE, container.finished_at or now)


def _since(before: _Phase, container: Container, now: datetime) -> Iterator[Happening]:
    after = _PHASES.get(container.state)
    runs = before in {_Phase.RUNNING, _Phase.PAUSED}
    started = container.started_at
    if after in {_Phase.RUNNING, _Phase.PAUSED}:
        if not runs:
            yield _happened(container, Action.START, started or now)
        if after is _Phase.PAUSED:
            yield _happened(container, Action.PAUSE, now)
        elif before is _Phase.PAUSED:
            yield _happened(container, Action.UNPAUSE, now)
    elif after is _Phase.STOPPED and (runs or started is not None):
        if not runs and started is not None:
            yield _happened(container, Action.START, started)
        yield _happened(container, Action.DIE, container.finished_at or now)


def _is_later(found: datetime | None, told: datetime | None) -> bool:
    return found is not None and told is not None and found - told > timedelta(seconds=_SAME_SECONDS)


def _happened(container: Container, action: Action, at: datetime) -> Happening:
    code = container.exit_code if action is Action.DIE else None
    return _of(container.id, container.name, container.image, action, at, code)


def _of(
    container_id: str, name: str, image: str, action: Action, at: datetime, exit_code: int | None = None
) -> Happening:
    return Happening(action, container_id, name, image, nano_of(at), exit_code=exit_code, reconstructed=True)


# --- What is only on its way ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Suspects:
    """Differences that were seen once: their message may be on its way, and then they are none.

    Attributes:
        settle_seconds: how long a message may take.
    """

    settle_seconds: float
    _since: dict[str, tuple[tuple[Action, ...], float]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._since)

    def clear(self, container_id: str) -> None:
        """Forget what was suspected of a container, because a message about it came."""
        self._since.pop(container_id, None)

    def settle(self, lacking: Mapping[str, Sequence[Happening]], seconds: float) -> Mapping[str, Sequence[Happening]]:
        """Return the differences that have lasted; the others are suspected from now on.

        Args:
            lacking: all that there are now.
            seconds: now, by a clock that nobody sets.
        """
        before, self._since = self._since, {}
        lasted: dict[str, Sequence[Happening]] = {}
        for container_id, happened in lacking.items():
            actions = tuple(each.action for each in happened)
            known = before.get(container_id)
            since = known[1] if known is not None and known[0] == actions else seconds
            if seconds - since >= self.settle_seconds:
                lasted[container_id] = happened
            else:
                self._since[container_id] = (actions, since)
        return lasted
