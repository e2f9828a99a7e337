"""What happened to a container, read from one message of the Docker engine, and what it makes of it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum

from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.record import Row

_ID: Final = pattern(r"[0-9a-f]{64}", re.ASCII)
_NANO: Final = 10**9
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Words of the engine's own in a message. A label of the same name overwrites them, so they are believed of no
# container that has one. Source: moby, daemon/events.go, LogContainerEventWithAttributes; tried with 20.10.
EXIT_CODE: Final = "exitCode"
SIGNAL: Final = "signal"
OLD_NAME: Final = "oldName"
_WORDS: Final = (EXIT_CODE, SIGNAL, OLD_NAME)
_NUMBER: Final = pattern(r"\d{1,4}", re.ASCII)


class MessageError(ValueError):
    """A message is not what the engine writes."""


class Action(Enum):
    """What can happen to a container. All else that the engine tells of is passed by: it floods, and shows commands."""

    CREATE = "create"
    START = "start"
    RESTART = "restart"
    STOP = "stop"
    KILL = "kill"
    DIE = "die"
    OOM = "oom"
    DESTROY = "destroy"
    RENAME = "rename"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    UPDATE = "update"


_ACTIONS: Final = {each.value: each for each in Action}
_STATES: Final = {
    Action.CREATE: State.CREATED,
    Action.START: State.RUNNING,
    Action.RESTART: State.RUNNING,
    Action.UNPAUSE: State.RUNNING,
    Action.PAUSE: State.PAUSED,
    Action.DIE: State.EXITED,
}


@dataclass(frozen=True, slots=True)
class Key:
    """Which message it is, as no other.

    Attributes:
        time_nano: since 1970, by the engine's clock.
        action: its first word; what follows may be a command.
    """

    time_nano: int
    id: str
    action: str


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to a container.

    Attributes:
        attributes: its labels, and words of the engine's own among them.
        exit_code: of a die; None where it cannot be told.
        reconstructed: no message told of it; it was seen afterwards.
    """

    action: Action
    id: str
    name: str
    image: str
    time_nano: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    reconstructed: bool = False

    @property
    def key(self) -> Key:
        """Which one it is."""
        return Key(self.time_nano, self.id, self.action.value)

    @property
    def at(self) -> datetime:
        """When it happened, to the microsecond."""
        return time_of(self.time_nano)


@dataclass(frozen=True, slots=True)
class Passed:
    """A message that is passed by."""

    key: Key


def read_message(line: bytes) -> Happening | Passed:
    """Read one line of the engine's answer to `/events`.

    Raises:
        MessageError: it is none.

    Source: Docker Engine API 1.41, SystemEvents.
    """
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"it is no JSON: {error}") from error
    actor = said.get("Actor") if isinstance(said, dict) else None
    if not isinstance(actor, dict):
        raise MessageError("it names nothing that something happened to")
    identity, action, time_nano = actor.get("ID"), said.get("Action"), said.get("timeNano")
    if not isinstance(identity, str) or not isinstance(action, str) or not isinstance(time_nano, int):
        raise MessageError("it lacks an id, an action or a time")
    time_of(time_nano)
    word = action.partition(":")[0].strip()
    known = _ACTIONS.get(action) if said.get("Type") == "container" else None
    if known is None or not _ID.fullmatch(identity):
        return Passed(Key(time_nano, identity, word))
    attributes = _texts(actor.get("Attributes"))
    name, image = attributes.pop("name", ""), attributes.pop("image", "")
    exit_code = _number(attributes.get(EXIT_CODE)) if known is Action.DIE else None
    return Happening(known, identity, name, image, time_nano, attributes, exit_code)


def clashing(labels: Mapping[str, str]) -> frozenset[str]:
    """Return the words of the engine's own that labels overwrite."""
    return frozenset(word for word in _WORDS if word in labels)


def signal_of(happening: Happening, overwritten: Iterable[str]) -> str | None:
    """Return the signal that was sent; None where it cannot be told."""
    return None if SIGNAL in overwritten else happening.attributes.get(SIGNAL)


def container_from(happening: Happening) -> Container:
    """Return as much of a container as a message tells, for one that is gone before it could be asked about."""
    created = happening.action is Action.CREATE
    own = () if created else _WORDS
    return Container(
        id=happening.id,
        name=happening.name,
        state=_STATES.get(happening.action, State.EXITED),
        created_at=happening.at if created else None,
        started_at=None,
        finished_at=None,
        image=happening.image,
        cgroup_parent="",
        restart_policy="no",
        pid=None,
        gpu=None,
        labels={key: text for key, text in happening.attributes.items() if key not in own},
    )


def after(row: Row, happening: Happening) -> Row:
    """Return what is remembered of a container once something has happened to it, save that it was destroyed."""
    changed = replace(row, name=happening.name or row.name, state=_STATES.get(happening.action, row.state))
    if happening.action is Action.START:
        return replace(changed, started_at=happening.at)
    if happening.action is Action.DIE:
        return replace(changed, finished_at=happening.at)
    return changed


def nano_of(instant: datetime) -> int:
    """Return a point in time as the engine's messages have it."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * _NANO + since.microseconds * 1000


def time_of(time_nano: int) -> datetime:
    """Return the point in time, to the microsecond.

    Raises:
        MessageError: no calendar has it.
    """
    try:
        return _EPOCH + timedelta(microseconds=time_nano // 1000)
    except OverflowError as error:
        raise MessageError(f"{time_nano} is no time") from error


def _texts(value: object) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None
