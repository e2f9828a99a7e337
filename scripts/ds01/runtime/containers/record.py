"""What /var/lib/ds01/containers.json says: every container, whose it is, and what DS01 has seen of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from ds01.core.clock import format_instant, parse_instant
from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.labels import ContainerType
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.core.visible import visible
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.scan import token_of, type_of
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.containers.start import Start

VERSION: Final = 1
# Those that no page has any more are forgotten at each look at all containers; many more than can come in between.
_MOST_SPENT: Final = 100_000


class RecordError(ValueError):
    """The text is not what to_document() made."""


@dataclass(frozen=True, slots=True)
class Row:
    """One container, as it was seen last.

    Attributes:
        image: as it was asked for, safe to show.
        gpu: what it was given as people say it: slots, `all`, a number, names; None when none.
        gpu_uuids: as far as they are known without looking at the hardware.
        token: of its admission; None when its labels have none.
        bypass_told: whether the event log has that it came past DS01.
        start: how it came to run; None when it never did, or when nobody asked about it since.
    """

    id: str
    name: str
    state: State
    image: str
    kind: Kind
    owner: Attribution | None
    admitted: bool
    of_site: bool
    type: ContainerType
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    first_seen: datetime
    gpu: str | None = None
    gpu_uuids: tuple[str, ...] = ()
    token: str | None = None
    bypass_told: bool = False
    start: Start | None = None

    @property
    def charged(self) -> str | None:
        """The account that it counts for; None when nobody can be charged."""
        return None if self.owner is None or self.owner.asserted else self.owner.user


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that is remembered.

    Attributes:
        rows: by id.
        spent: which container came to be by a token, also of those that are gone.
        updated_at: None when nothing was ever written.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    spent: Mapping[str, str] = field(default_factory=dict)
    updated_at: datetime | None = None


def row_of(seen: Seen, before: Row | None = None) -> Row:
    """Return what is remembered of a container.

    Args:
        before: what was remembered of it till now.
    """
    there = seen.container
    return Row(
        id=there.id,
        name=there.name or (before.name if before else ""),  # one whose removal is under way has none
        state=there.state,
        image=visible(there.image),
        kind=seen.kind,
        owner=seen.owner,
        admitted=seen.admitted,
        of_site=seen.of_site,
        type=type_of(seen.kind, there.labels),
        created_at=there.created_at,
        started_at=there.started_at,
        finished_at=there.finished_at,
        first_seen=seen.first_seen,
        gpu=_gpu(there, admitted=seen.admitted),
        gpu_uuids=_uuids(there, admitted=seen.admitted),
        token=None if (token := token_of(there)) is None else visible(token),
        bypass_told=before is not None and before.bypass_told,
        start=seen.start,
    )


def spend(spent: Mapping[str, str], rows: Iterable[Row]) -> Mapping[str, str]:
    """Return the tokens that are used up, with those of these containers; the newest of them, should they be many."""
    new = {row.token: row.id for row in rows if row.admitted and row.token is not None and row.token not in spent}
    if not new:
        return spent
    together = {**spent, **new}
    return dict(list(together.items())[-_MOST_SPENT:])


def _gpu(container: Container, *, admitted: bool) -> str | None:
    if admitted and container.gpu_slots:
        return ",".join(container.gpu_slots)
    return None if container.gpu is None else _asked(container.gpu)


def _asked(request: GpuRequest) -> str:
    match request.asked:
        case Asked.ALL:
            return "all"
        case Asked.COUNT:
            return str(len(request.names))
        case Asked.NAMED:
            return ",".join(request.names)
        case Asked.UNKNOWN:
            return "?"


def _uuids(container: Container, *, admitted: bool) -> tuple[str, ...]:
    if admitted and container.gpu_uuids:
        return container.gpu_uuids
    names = container.gpu.names if container.gpu is not None else ()
    return tuple(name for name in names if name.startswith(("GPU-", "MIG-")))


# --- As it is written -------------------------------------------------------------------------------------------------


def to_document(record: Record, now: datetime) -> Mapping[str, object]:
    """Return what containers.json says."""
    return {
        "version": VERSION,
        "updated_at": format_instant(now, milliseconds=True),
        "containers": {row.id: entry_of(row) for row in record.rows.values()},
        "spent": dict(record.spent),
    }


def format_record(record: Record, now: datetime) -> bytes:
    """Return to_document() as the file has it: short, since every docker command that makes a container reads it."""
    return (json.dumps(to_document(record, now), ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def entry_of(row: Row) -> Mapping[str, object]:
    """Return what the file says of one container."""
    owner = row.owner
    return {
        "name": row.name,
        "state": row.state.value,
        "image": row.image,
        "kind": row.kind.value,
        "owner": None
        if owner is None
        else {"user": owner.user, "evidence": owner.evidence.value, "asserted": owner.asserted},
        "admitted": row.admitted,
        "of_site": row.of_site,
        "type": row.type.value,
        "created_at": _time(row.created_at),
        "started_at": _time(row.started_at),
        "finished_at": _time(row.finished_at),
        "first_seen": _time(row.first_seen),
        "gpu": row.gpu,
        "gpu_uuids": list(row.gpu_uuids),
        "token": row.token,
        "bypass_told": row.bypass_told,
        "start": None if row.start is None else _start(row.start),
    }


def _start(start: Start) -> Mapping[str, object]:
    return {
        "asked_at": _time(start.asked_at),
        "restarts": start.restarts,
        "started_at": _time(start.started_at),
    }


def from_document(document: Mapping[str, object]) -> Record:
    """Read what to_document() made.

    Raises:
        RecordError: another version, or anything in it has another form.
    """
    if document.get("version") != VERSION:
        raise RecordError(f"its version is {document.get('version')!r}")
    rows, spent = document.get("containers"), document.get("spent")
    if not isinstance(rows, dict) or not isinstance(spent, dict):
        raise RecordError("it has no containers")
    try:
        read = {container_id: _row(container_id, entry) for container_id, entry in rows.items()}
        return Record(read, {str(key): str(value) for key, value in spent.items()}, _read_time(document["updated_at"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"a container is not whole: {type(error).__name__} {error}") from error


def _row(container_id: str, entry: Mapping[str, object]) -> Row:
    owner, uuids, first_seen = entry["owner"], entry["gpu_uuids"], _read_time(entry["first_seen"])
    if not isinstance(uuids, list) or first_seen is None:
        raise TypeError("gpu_uuids, first_seen")
    return Row(
        id=container_id,
        name=_text(entry["name"]),
        state=State(entry["state"]),
        image=_text(entry["image"]),
        kind=Kind(entry["kind"]),
        owner=None if owner is None else _owner(owner),
        admitted=entry["admitted"] is True,
        of_site=entry["of_site"] is True,
        type=ContainerType(entry["type"]),
        created_at=_read_time(entry["created_at"]),
        started_at=_read_time(entry["started_at"]),
        finished_at=_read_time(entry["finished_at"]),
        first_seen=first_seen,
        gpu=None if entry["gpu"] is None else _text(entry["gpu"]),
        gpu_uuids=tuple(map(str, uuids)),
        token=None if entry["token"] is None else _text(entry["token"]),
        bypass_told=entry["bypass_told"] is True,
        # A record from before this was remembered is no damaged one.
        start=None if entry.get("start") is None else _read_start(entry["start"]),
    )


def _read_start(entry: object) -> Start:
    if not isinstance(entry, dict):
        raise TypeError("start")
    asked_at, restarts, started_at = _read_time(entry["asked_at"]), entry["restarts"], _read_time(entry["started_at"])
    if started_at is None or not isinstance(restarts, int):
        raise TypeError("start")
    return Start(asked_at, restarts, started_at)


def _owner(entry: object) -> Attribution:
    if not isinstance(entry, dict):
        raise TypeError("owner")
    return Attribution(_text(entry["user"]), Evidence(entry["evidence"]), asserted=entry["asserted"] is not False)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant, milliseconds=True)


def _read_time(value: object) -> datetime | None:
    return None if value is None else parse_instant(_text(value))
