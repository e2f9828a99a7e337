"""The text of /run/ds01/pressure.json: what each slice showed at the last look, and what is remembered of it. Pure.

Everybody may read the file: nothing is in it that the control groups and gpu-state.json do not show to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from ds01.core.clock import format_instant, parse_instant
from ds01.core.errors import BadInputError
from ds01.core.typed import Final, TypeVar
from ds01.core.value import asdict, dataclass, field, replace
from ds01.runtime.cgroup.pressure import MemoryEvents, Pressure, Resource, Stall
from ds01.runtime.cgroup.tree import CannotTell
from ds01.runtime.telemetry.growth import Growth, Totals, growth
from ds01.runtime.telemetry.oom import ContainerCounters, Counters, SliceCounters
from ds01.runtime.telemetry.pressure import Lifted, Wait, Watch
from ds01.runtime.telemetry.pressure_read import Look
from ds01.runtime.telemetry.quota import Quota, Said

VERSION: Final = 1
_One = TypeVar("_One")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of one slice.

    Attributes:
        totals: to tell what comes until the next look.
    """

    counters: SliceCounters
    watch: Watch = field(default_factory=Watch)
    totals: Totals = field(default_factory=Totals)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered from one look to the next, also by another process, until the machine boots.

    Attributes:
        at: when the last look was.
        seconds: the same, of a clock that nobody can set.
        said: of which quotas each account was told.
    """

    at: datetime
    seconds: float
    slices: Mapping[str, Remembered] = field(default_factory=dict)
    said: Mapping[str, Said] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Since:
    """What came since the look before.

    Attributes:
        seconds: between the two looks.
    """

    seconds: float
    slices: Mapping[str, Growth]


def since(before: Memory | None, looks: Sequence[Look], seconds: float) -> Since | None:
    """Return what came since the look before; None when there was none in this boot.

    Args:
        seconds: of this look.
    """
    if before is None:
        return None
    span = seconds - before.seconds
    known = {name: each.totals for name, each in before.slices.items()}
    return Since(span, {each.name: growth(known.get(each.name), each.totals, span) for each in looks})


def to_document(memory: Memory, looks: Sequence[Look], boot: str, came: Since | None = None) -> dict[str, object]:
    """Return what the file is to say.

    Args:
        boot: which boot this is.
        came: since the look before.
    """
    return {
        "version": VERSION,
        "updated_at": format_instant(memory.at),
        "boot": boot,
        "seconds": memory.seconds,
        "since_seconds": None if came is None else round(came.seconds, 3),
        "slices": {
            each.name: _slice(each, memory.slices[each.name], _grown(came, each.name))
            for each in looks
            if each.name in memory.slices
        },
        "quota": {
            account: {quota.value: level for quota, level in said.items()} for account, said in memory.said.items()
        },
    }


def from_document(document: Mapping[str, object], boot: str) -> Memory | str:
    """Read what to_document() made, or return why it says nothing of this boot."""
    try:
        if document["version"] != VERSION:
            return f"it has version {document['version']!r}, this DS01 reads version {VERSION}"
        if document["boot"] != boot:
            return "it is from before the machine was booted"
        return Memory(
            parse_instant(_text(document["updated_at"])),
            _number(document["seconds"]),
            {name: _remembered(_object(each)) for name, each in _object(document["slices"]).items()},
            {account: _said(_object(each)) for account, each in _object(document["quota"]).items()},
        )
    except (KeyError, TypeError, ValueError, BadInputError) as error:
        return f"it is not complete: {type(error).__name__}: {error}"


# --- Writing ----------------------------------------------------------------------------------------------------------


def _grown(came: Since | None, name: str) -> Growth | None:
    return None if came is None else came.slices.get(name)


def _slice(look: Look, remembered: Remembered, grown: Growth | None) -> dict[str, object]:
    figures = look.figures
    containers = remembered.counters.containers
    named = dict(_readings(look))
    return {
        "memory": {
            "current_bytes": _known(figures.current_bytes),
            "working_set_bytes": _known(figures.working_set_bytes),
            "high_bytes": _known(figures.high_bytes),
            "max_bytes": _known(figures.max_bytes),
        },
        "pids": {"current": _known(look.pids_current), "max": _known(look.pids_max)},
        "cpu": {"usage_usec": _known(look.cpu_usec), "cpus": None if grown is None else grown.cpus},
        "pressure": {each.value: _pressure(look.pressures[each]) for each in Resource},
        "events": _events(look.events),
        "events_delta": dict(grown.events) if grown is not None and grown.events else None,
        "own_events": _events(look.own_events),
        "counters": asdict(remembered.counters.counters),
        "containers": None if containers is None else {id_: _container(each) for id_, each in containers.items()},
        "watch": {
            **asdict(replace(remembered.watch, others={})),
            "others": {each.value: asdict(wait) for each, wait in remembered.watch.others.items()},
        },
        "unknown": {name: each.words for name, each in named.items() if isinstance(each, CannotTell)},
    }


def _readings(look: Look) -> Iterator[tuple[str, object]]:
    """Yield everything that may be unknown, by its place."""
    figures = look.figures
    yield "memory.current_bytes", figures.current_bytes
    yield "memory.working_set_bytes", figures.working_set_bytes
    yield "memory.high_bytes", figures.high_bytes
    yield "memory.max_bytes", figures.max_bytes
    yield "pids.current", look.pids_current
    yield "pids.max", look.pids_max
    yield "cpu.usage_usec", look.cpu_usec
    for resource, pressure in look.pressures.items():
        yield f"pressure.{resource.value}", pressure
        if isinstance(pressure, Pressure):
            yield f"pressure.{resource.value}.full", pressure.full
    for name, events in (("events", look.events), ("own_events", look.own_events)):
        yield name, events
        if isinstance(events, MemoryEvents):
            yield from ((f"{name}.{key}", getattr(events, key)) for key in MemoryEvents.__match_args__)


def _pressure(pressure: Pressure | CannotTell) -> dict[str, object] | None:
    if isinstance(pressure, CannotTell):
        return None
    return {"some": _stall(pressure.some), "full": _stall(pressure.full)}


def _stall(stall: Stall | CannotTell) -> dict[str, object] | None:
    return None if isinstance(stall, CannotTell) else asdict(stall)


def _events(events: MemoryEvents | CannotTell) -> dict[str, object] | None:
    if isinstance(events, CannotTell):
        return None
    return {name: _known(getattr(events, name)) for name in MemoryEvents.__match_args__}


def _container(container: ContainerCounters) -> dict[str, object]:
    return {**asdict(container.counters), "memory_max_bytes": container.memory_max_bytes}


def _known(reading: int | CannotTell | None) -> int | None:
    return None if isinstance(reading, CannotTell) else reading


# --- Reading ----------------------------------------------------------------------------------------------------------


def _remembered(row: Mapping[str, object]) -> Remembered:
    containers = row["containers"]
    found = (
        None
        if containers is None
        else {
            id_: ContainerCounters(_counters(_object(each)), _maybe(_object(each)["memory_max_bytes"], _whole))
            for id_, each in _object(containers).items()
        }
    )
    counters = _counters(_object(row["counters"]))
    return Remembered(SliceCounters(counters, found), _watch(_object(row["watch"])), _totals(counters.group, row))


def _totals(group: int | None, row: Mapping[str, object]) -> Totals:
    """Read what was counted; a release before wrote less of it."""
    cpu, events = row.get("cpu"), row["events"]
    return Totals(
        group,
        None if cpu is None else _maybe(_object(cpu)["usage_usec"], _whole),
        {} if events is None else {name: _maybe(each, _whole) for name, each in _object(events).items()},
    )


def _counters(row: Mapping[str, object]) -> Counters:
    return Counters(*(_maybe(row[name], _whole) for name in Counters.__match_args__))


def _watch(row: Mapping[str, object]) -> Watch:
    lifted = row["lifted"]
    return Watch(
        above_since=_maybe(row["above_since"], _number),
        high_since=_maybe(row["high_since"], _number),
        stuck_since=_maybe(row["stuck_since"], _number),
        stalled_since=_maybe(row["stalled_since"], _number),
        eased_since=_maybe(row["eased_since"], _number),
        lifted=None if lifted is None else Lifted(_whole(_object(lifted)["was_bytes"])),
        others={Resource(name): _wait(_object(each)) for name, each in _object(row.get("others", {})).items()},
    )


def _wait(row: Mapping[str, object]) -> Wait:
    return Wait(_maybe(row["above_since"], _number), _maybe(row["high_since"], _number))


def _said(row: Mapping[str, object]) -> Said:
    return {Quota(name): _number(level) for name, level in row.items()}


def _maybe(value: object, read: Callable[[object], _One]) -> _One | None:
    return None if value is None else read(value)


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {value!r}")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, found {value!r}")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number, found {value!r}")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value
