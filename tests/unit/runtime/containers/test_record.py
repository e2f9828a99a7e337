"""What is remembered of containers: from what is seen to a file and back, and nothing else is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.containers.rows import NOON, id_of, row, stray

from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.labels import ContainerType
from ds01.core.value import replace
from ds01.runtime.containers import record as module
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.record import (
    Record,
    RecordError,
    Row,
    format_record,
    from_document,
    row_of,
    spend,
    to_document,
)
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.containers.start import Start

LATER = NOON + timedelta(hours=1, milliseconds=250)
LABELS = {
    "ds01.user": "alice",
    "ds01.container_type": "compose",
    "ds01.created_at": "2026-03-01T11:59:58.123456Z",
    "ds01.gpu.slots": "2:0,2:1",
    "ds01.gpu.uuids": "MIG-20,MIG-21",
}


def seen(*, admitted: bool, gpu: GpuRequest | None = None, **changes: object) -> Seen:
    container = Container(
        id=id_of("train"),
        name="train",
        state=State.EXITED,
        created_at=NOON,
        started_at=NOON,
        finished_at=LATER,
        image="py\x1btorch",
        cgroup_parent="",
        restart_policy="no",
        pid=None,
        gpu=gpu,
        labels=LABELS,
    )
    kind = Kind.MANAGED if admitted else Kind.UNKNOWN
    owner = Attribution("alice", Evidence.LABEL, asserted=not admitted)
    return Seen(replace(container, **changes), kind, owner, admitted, of_site=False, first_seen=LATER)  # type: ignore[arg-type] # fields by name


def test_what_is_seen_is_remembered() -> None:
    assert row_of(seen(admitted=True, gpu=GpuRequest(Asked.NAMED, ("MIG-20", "MIG-21")))) == Row(
        id=id_of("train"),
        name="train",
        state=State.EXITED,
        image=r"py\x1btorch",
        kind=Kind.MANAGED,
        owner=Attribution("alice", Evidence.LABEL),
        admitted=True,
        of_site=False,
        type=ContainerType.COMPOSE,
        created_at=NOON,
        started_at=NOON,
        finished_at=LATER,
        first_seen=LATER,
        gpu="2:0,2:1",
        gpu_uuids=("MIG-20", "MIG-21"),
        token="2026-03-01T11:59:58.123456Z",
    )


@pytest.mark.parametrize(
    ("gpu", "said", "uuids"),
    [
        (None, None, ()),
        (GpuRequest(Asked.ALL), "all", ()),
        (GpuRequest(Asked.UNKNOWN), "?", ()),
        (GpuRequest(Asked.COUNT, ("0", "1")), "2", ()),
        (GpuRequest(Asked.NAMED, ("0:1", "MIG-99", "GPU-1")), "0:1,MIG-99,GPU-1", ("MIG-99", "GPU-1")),
    ],
)
def test_labels_about_gpus_that_ds01_did_not_write_say_nothing(
    gpu: GpuRequest | None, said: str | None, uuids: tuple[str, ...]
) -> None:
    found = row_of(seen(admitted=False, gpu=gpu))
    assert (found.gpu, found.gpu_uuids, found.type, found.charged) == (said, uuids, ContainerType.UNKNOWN, None)


def test_what_was_told_of_a_container_stays_told_and_its_name_stays_while_it_is_removed() -> None:
    found = row_of(seen(admitted=True, name="", state=State.REMOVING), row("train", bypass_told=True))
    assert (found.name, found.bypass_told) == ("train", True)
    assert row_of(seen(admitted=True, name="")).name == ""


def test_it_goes_through_a_file_unchanged() -> None:
    rows = (
        row("train", finished_at=LATER, gpu="2:0", gpu_uuids=("MIG-20",), start=Start(NOON, 2, LATER)),
        row("nb", start=Start(None, 7, LATER)),
        stray("web", created_at=None, started_at=None, state=State.CREATED, bypass_told=True, of_site=True),
        stray("dev", owner=Attribution("bob", Evidence.LABEL, asserted=True), kind=Kind.DEVCONTAINER),
    )
    record = Record({each.id: each for each in rows}, {"token": "id"}, LATER)
    written = json.loads(json.dumps(to_document(record, LATER)))
    assert from_document(written) == record


def test_the_file_has_the_form_that_others_read() -> None:
    start = Start(NOON, 3, LATER)
    train = row("train", gpu="2:0", gpu_uuids=("MIG-20",), start=start)
    document = to_document(Record({id_of("train"): train}), LATER)
    assert document == {
        "version": 1,
        "updated_at": "2026-03-01T13:00:00.250Z",
        "containers": {
            id_of("train"): {
                "name": "train",
                "state": "running",
                "image": "pytorch",
                "kind": "managed",
                "owner": {"user": "alice", "evidence": "label", "asserted": False},
                "admitted": True,
                "of_site": False,
                "type": "docker",
                "created_at": "2026-03-01T12:00:00.000Z",
                "started_at": "2026-03-01T12:00:00.000Z",
                "finished_at": None,
                "first_seen": "2026-03-01T12:00:00.000Z",
                "gpu": "2:0",
                "gpu_uuids": ["MIG-20"],
                "token": "2026-03-01T11:59:58.123456Z",
                "bypass_told": False,
                "start": {
                    "asked_at": "2026-03-01T12:00:00.000Z",
                    "restarts": 3,
                    "started_at": "2026-03-01T13:00:00.250Z",
                },
            }
        },
        "spent": {},
    }


def _of(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = json.loads(json.dumps(to_document(Record({id_of("a"): row("a")}), LATER)))
    change(document)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(version=2),
        lambda document: document.pop("spent"),
        lambda document: document.update(containers=[]),
        lambda document: document.pop("updated_at"),
        lambda document: document["containers"][id_of("a")].pop("admitted"),
        lambda document: document["containers"][id_of("a")].update(state="sleeping"),
        lambda document: document["containers"][id_of("a")].update(owner="alice"),
        lambda document: document["containers"][id_of("a")].update(first_seen=None),
        lambda document: document["containers"][id_of("a")].update(name=None),
        lambda document: document["containers"][id_of("a")].update(created_at="yesterday"),
        lambda document: document["containers"][id_of("a")].update(start="noon"),
        lambda document: document["containers"][id_of("a")].update(start={}),
        lambda document: document["containers"][id_of("a")].update(
            start={"asked_at": None, "restarts": 0, "started_at": None}
        ),
        lambda document: document["containers"].update(b=None),
    ],
)
def test_another_form_is_not_believed(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(RecordError):
        from_document(_of(change))


def test_a_record_from_before_starts_were_remembered_is_believed() -> None:
    """Or an upgrade would forget what was admitted."""
    document = _of(lambda document: document["containers"][id_of("a")].pop("start"))
    assert from_document(document).rows == {id_of("a"): row("a")}


@pytest.mark.parametrize("value", ["true", 1, None])
def test_only_a_plain_yes_is_one(value: object) -> None:
    def change(document: dict[str, Any]) -> None:
        document["containers"][id_of("a")].update(admitted=value, bypass_told=value)
        document["containers"][id_of("a")]["owner"].update(asserted=value)

    found = from_document(_of(change)).rows[id_of("a")]
    assert (found.admitted, found.bypass_told, found.charged) == (False, False, None)


def test_a_token_is_spent_once_and_by_those_that_were_admitted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row("a", token="t1"),
        stray("b", token="t2"),
        row("c", token=None),
        row("d", token="t0"),
    ]
    before = {"t0": id_of("first")}
    after = spend(before, rows)
    assert after == {"t0": id_of("first"), "t1": id_of("a")}
    assert spend(after, rows) is after
    monkeypatch.setattr(module, "_MOST_SPENT", 2)
    assert spend(after, [row("e", token="t3")]) == {"t1": id_of("a"), "t3": id_of("e")}


def test_the_file_is_short_and_whole() -> None:
    record = Record({id_of("train"): row("train", image="pyt\N{LATIN SMALL LETTER O WITH DIAERESIS}rch")}, {"t": "id"})
    text = format_record(record, LATER)
    assert json.loads(text) == to_document(record, LATER)
    assert (text.count(b"\n"), text.endswith(b"\n"), b": " in text) == (1, True, False)
