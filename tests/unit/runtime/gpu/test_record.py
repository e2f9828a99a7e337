"""The ledger as text: what is written is read back the same, and nothing else is believed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.gpu.ledgers import NOON, SCHEMA, VALIDATOR, instants, ledgers, sample

from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.record import DamagedError, format_ledger, parse_ledger

WHOLE = format_ledger(sample(), NOON)
TEXT = """\
{
 "version": 1,
 "allocations": {
  "my-project._.alice": {"id": "a1", "user": "alice", "gpu_id": "0:1,0:2", "gpu_uuids": ["MIG-1", "MIG-2"], \
"allocated_at": "2026-03-01T12:00:00Z", "priority": 10, "stopped_at": "2026-03-01T12:00:00Z", \
"container_id": "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "reserved_by": null},
  "b2": {"id": "b2", "user": "bob", "gpu_id": "1", "gpu_uuids": ["GPU-b"], "allocated_at": "2026-03-01T12:00:00Z", \
"priority": 50, "stopped_at": null, "container_id": null, \
"reserved_by": {"pid": 4711, "started": 123456, "boot_id": "b6e1ae7c-0b5f-4c11-9e0a-3e1a4b0c2d3e", "gone_at": null}}
 },
 "queue": [
  {"id": "c3", "user": "student01", "container": null, "wanted": "1", "priority": 10, "since": "2026-03-01T12:00:00Z", \
"most_units": null, "process": {"pid": 4711, "started": 123456, "boot_id": "b6e1ae7c-0b5f-4c11-9e0a-3e1a4b0c2d3e"}}
 ],
 "boot_id": "b6e1ae7c-0b5f-4c11-9e0a-3e1a4b0c2d3e",
 "last_updated": "2026-03-01T12:00:00Z",
"""


def with_checksum(body: bytes) -> bytes:
    """End a body as the program itself would: what is wrong in it is not given away by the checksum."""
    return body + f' "checksum": "{zlib.crc32(body):08x}"\n}}\n'.encode()


def rewritten(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Change the sample's document and give it a right checksum."""
    document = json.loads(WHOLE)
    del document["checksum"]
    change(document)
    return with_checksum(json.dumps(document).removesuffix("}").encode() + b",\n")


def why(content: bytes) -> str:
    with pytest.raises(DamagedError) as damaged:
        parse_ledger(content)
    return damaged.value.brief


# --- Round trip ------------------------------------------------------------------------------------------------------


def test_the_file_is_text_that_people_can_read_and_grep() -> None:
    assert with_checksum(TEXT.encode()) == WHOLE


def test_nobody_holds_and_nobody_waits() -> None:
    assert parse_ledger(format_ledger(Ledger(), NOON)) == Ledger()


@given(ledgers(), instants)
def test_what_is_written_is_read_back_the_same(ledger: Ledger, now: Any) -> None:
    content = format_ledger(ledger, now)
    read = parse_ledger(content)
    assert read == ledger
    assert list(read.allocations) == list(ledger.allocations)
    assert format_ledger(read, now) == content


@given(ledgers(), instants)
def test_whatever_is_written_is_utf8_and_as_the_schema_says(ledger: Ledger, now: Any) -> None:
    document = json.loads(format_ledger(ledger, now).decode())
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def test_names_of_people_stay_readable() -> None:
    ledger = sample()
    odd = Ledger({"zoë": ledger.allocations["b2"]}, (), None)
    assert '"zoë"'.encode() in format_ledger(odd, NOON)


def test_the_order_of_arrival_is_kept() -> None:
    first = sample().queue[0]
    line = tuple(type(first)(f"{n}", "bob", None, first.wanted, 1, NOON, first.process) for n in (3, 1, 2))
    assert [each.id for each in parse_ledger(format_ledger(Ledger({}, line), NOON)).queue] == ["3", "1", "2"]


# --- The schema -------------------------------------------------------------------------------------------------------


def nodes(node: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in {**node.get("properties", {}), **node.get("$defs", {})}.items():
        yield f"{place}/{name}", child
        yield from nodes(child, f"{place}/{name}")


def test_the_schema_is_one_and_describes_every_field() -> None:
    VALIDATOR.check_schema(SCHEMA)
    said = {place: child.get("description") or "$ref" in child for place, child in nodes(SCHEMA)}
    assert [place for place, words in said.items() if not words] == []
    assert len(said) > 30


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda each: each.update(version=2), id="another version"),
        pytest.param(lambda each: each.update(more=1), id="a field nobody knows"),
        pytest.param(lambda each: each.pop("queue"), id="no queue"),
        pytest.param(lambda each: each["allocations"]["b2"].update(priority="50"), id="a number as text"),
        pytest.param(lambda each: each["allocations"]["b2"].pop("reserved_by"), id="a field of an allocation"),
        pytest.param(lambda each: each["queue"][0].update(wanted="some"), id="no request"),
        pytest.param(lambda each: each.update(last_updated="yesterday"), id="no point in time"),
    ],
)
def test_the_schema_refuses_what_is_never_written(change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(WHOLE)
    assert VALIDATOR.is_valid(document)
    change(document)
    assert not VALIDATOR.is_valid(document)


# --- Damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\n", b"\0", b"\0" * 4096, b" \n\0\n"])
def test_a_file_without_anything_in_it_is_empty(content: bytes) -> None:
    assert why(content) == "it is empty"


def test_a_file_torn_at_any_byte_is_not_believed() -> None:
    said = [why(WHOLE[:end]) for end in range(1, len(WHOLE))]
    # The last one lacks nothing but the end of its last line.
    assert said == ["it is torn"] * (len(WHOLE) - 2) + ["it was edited by hand, or by another program"]


def test_a_file_whose_end_is_zeros_is_not_believed() -> None:
    """As file systems leave one whose data never reached the disk."""
    for end in range(1, len(WHOLE), 7):
        assert why(WHOLE[:end].ljust(len(WHOLE), b"\0")) == "it is torn"


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_no_flipped_bit_is_believed(place: int, bit: int) -> None:
    flipped = bytearray(WHOLE)
    flipped[place] ^= 1 << bit
    assert why(bytes(flipped))


@given(st.binary(max_size=200))
def test_no_other_bytes_are_believed(content: bytes) -> None:
    assert why(content)


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.0])
def test_a_file_of_another_version_is_not_read(version: object) -> None:
    content = rewritten(lambda each: each.update(version=version))
    assert why(content) == f"it has version {version!r}, this DS01 reads version 1"


@pytest.mark.parametrize("content", [b"[]", b"1", b"null", b'"x"', b"{}"])
def test_json_of_another_kind_has_no_version(content: bytes) -> None:
    assert why(content) == "it has version None, this DS01 reads version 1"


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param(WHOLE.replace(b'"alice"', b'"bob"'), id="another account"),
        pytest.param(WHOLE.replace(b'"priority": 10', b'"priority": 99'), id="another priority"),
        pytest.param(WHOLE.replace(b"\n", b"\r\n"), id="other line ends"),
        pytest.param(WHOLE + b"\n", id="one more line"),
        pytest.param(WHOLE[:-1], id="no line end"),
        pytest.param(b"\xef\xbb\xbf" + WHOLE, id="a byte order mark"),
        pytest.param(WHOLE.decode().encode("utf-16"), id="another encoding"),
        pytest.param(json.dumps(json.loads(WHOLE)).encode(), id="reformatted on one line"),
        pytest.param(json.dumps(json.loads(WHOLE), indent=2).encode(), id="reformatted, as jq does"),
        pytest.param(WHOLE.replace(b' "checksum"', b' "other"'), id="no checksum"),
    ],
)
def test_a_file_that_somebody_edited_is_not_believed(edited: bytes) -> None:
    assert edited != WHOLE
    assert why(edited) == "it was edited by hand, or by another program"


def test_the_rewritten_sample_itself_is_believed() -> None:
    """Or the cases below would prove nothing."""
    assert parse_ledger(rewritten(lambda each: None)) == sample()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda each: each.pop("allocations"), id="no allocations"),
        pytest.param(lambda each: each.pop("queue"), id="no queue"),
        pytest.param(lambda each: each.pop("boot_id"), id="no boot"),
        pytest.param(lambda each: each.update(allocations=[]), id="allocations as a list"),
        pytest.param(lambda each: each.update(allocations={"x": None}), id="an allocation of nothing"),
        pytest.param(lambda each: each.update(queue={"a": 1}), id="queue as an object"),
        pytest.param(lambda each: each.update(queue=None), id="queue of nothing"),
        pytest.param(lambda each: each.update(boot_id=7), id="boot as a number"),
        pytest.param(lambda each: each["allocations"]["b2"].update(id=1), id="id as a number"),
        pytest.param(lambda each: each["allocations"]["b2"].update(user=["bob"]), id="user as a list"),
        pytest.param(lambda each: each["allocations"]["b2"].update(gpu_uuids="GPU-b"), id="uuids as text"),
        pytest.param(lambda each: each["allocations"]["b2"].update(gpu_uuids=[1]), id="a uuid as a number"),
        pytest.param(lambda each: each["allocations"]["b2"].update(priority=True), id="priority as a truth"),
        pytest.param(lambda each: each["allocations"]["b2"].update(priority=1.5), id="priority with parts"),
        pytest.param(lambda each: each["allocations"]["b2"].update(allocated_at=None), id="never given"),
        pytest.param(lambda each: each["allocations"]["b2"].update(allocated_at="noon"), id="given at noon"),
        pytest.param(lambda each: each["allocations"]["b2"].update(stopped_at=0), id="stopped at a number"),
        pytest.param(lambda each: each["allocations"]["b2"].update(reserved_by=4711), id="kept by a number"),
        pytest.param(lambda each: each["allocations"]["b2"]["reserved_by"].pop("pid"), id="kept by no number"),
        pytest.param(lambda each: each["allocations"]["b2"]["reserved_by"].update(gone_at="1"), id="gone as text"),
        pytest.param(lambda each: each["allocations"]["b2"]["reserved_by"].update(gone_at=True), id="gone as a truth"),
        pytest.param(
            lambda each: each["allocations"]["b2"]["reserved_by"].update(gone_at=float("nan")), id="gone at no number"
        ),
        pytest.param(
            lambda each: each["allocations"]["b2"]["reserved_by"].update(gone_at=float("inf")), id="never gone"
        ),
        pytest.param(lambda each: each["allocations"]["b2"]["reserved_by"].update(gone_at=10**400), id="gone too late"),
        pytest.param(lambda each: each["queue"].append("bob"), id="a waiter as text"),
        pytest.param(lambda each: each["queue"][0].update(wanted=1), id="wanted as a number"),
        pytest.param(lambda each: each["queue"][0].update(wanted="0"), id="none wanted"),
        pytest.param(lambda each: each["queue"][0].update(wanted="device=1,1"), id="the same one twice"),
        pytest.param(lambda each: each["queue"][0].update(process=None), id="no process that waits"),
        pytest.param(lambda each: each["queue"][0].update(most_units="2"), id="a quota as text"),
    ],
)
def test_wrong_types_under_a_right_checksum_are_damage(change: Callable[[dict[str, Any]], object]) -> None:
    assert why(rewritten(change)) == "it is not complete"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 1_000_000, id="deep"),
        pytest.param(b'{"version": ' + b"9" * 1_000_000 + b"}", id="a number of a million digits"),
        pytest.param(b'{"version": 1, "x": "' + b"x" * 10_000_000, id="ten million characters, torn"),
    ],
)
def test_huge_content_is_damage_like_any_other(content: bytes) -> None:
    assert why(content) == "it is torn"
