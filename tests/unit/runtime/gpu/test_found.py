"""Containers as Docker has them, in units of this machine: what they really were given, not what they say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.gpu.hosts import LAB, STUDENT, held, ledger

from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.value import replace
from ds01.runtime.containers.container import Container, ContainerSummary, State, Undescribed
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.gpu.found import find_containers, lost_request, present, undescribed
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.reconcile import Present, Sight
from ds01.runtime.gpu.request import Named

MADE, STARTED, ENDED = (datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (9, 10, 11))
PLAIN = Container("c" * 64, "train", State.RUNNING, MADE, STARTED, None, "pytorch", "", "no", 4711, None, {})
LABELS = {"ds01.user": "alice", "ds01.allocation": "token-123", "ds01.gpu.uuids": "MIG-20", "ds01.gpu.slots": "2:0"}


def slots(request: GpuRequest | None, labels: dict[str, str] | None = None) -> tuple[str, ...]:
    return present(replace(PLAIN, gpu=request, labels=labels or {}), LAB).slots


EVERYTHING = tuple(unit.slot for unit in LAB.units)
GIVEN = {
    "a slot": (GpuRequest(Asked.NAMED, ("2:1",)), ("2:1",)),
    "an index": (GpuRequest(Asked.NAMED, ("1",)), ("1",)),
    "a UUID": (GpuRequest(Asked.NAMED, ("MIG-30", "GPU-0")), ("3:0", "0")),
    "a GPU in MIG mode is all its instances": (GpuRequest(Asked.NAMED, ("2",)), ("2:0", "2:1", "2:2")),
    "its UUID too": (GpuRequest(Asked.NAMED, ("GPU-3",)), ("3:0", "3:1", "3:2")),
    "a device file": (GpuRequest(Asked.NAMED, ("/dev/nvidia1",)), ("1",)),
    "the first two, as Docker counts": (GpuRequest(Asked.COUNT, ("0", "1")), ("0", "1")),
    "the first three": (GpuRequest(Asked.COUNT, ("0", "1", "2")), ("0", "1", "2:0", "2:1", "2:2")),
    "all": (GpuRequest(Asked.ALL), EVERYTHING),
    "one that this machine has no more": (GpuRequest(Asked.NAMED, ("MIG-gone",)), ("MIG-gone",)),
    "an index that there is not": (GpuRequest(Asked.NAMED, ("9",)), ()),
    "the same one twice": (GpuRequest(Asked.NAMED, ("1", "GPU-1")), ("1",)),
    "nothing": (None, ()),
    "what cannot be read": (GpuRequest(Asked.UNKNOWN), ()),
}


@pytest.mark.parametrize(("request_", "units"), GIVEN.values(), ids=GIVEN)
def test_what_a_container_was_given_is_said_in_units(request_: GpuRequest | None, units: tuple[str, ...]) -> None:
    assert slots(request_) == units


@pytest.mark.parametrize("name", ["a\x1b[2J", "a/b", "%", "-", "a\\b", "root\n"])
def test_a_label_that_can_name_no_account_names_nobody(name: str) -> None:
    """Or the look-up of that account's limits would fail, and with it every hand-out on the host."""
    assert present(replace(PLAIN, labels=LABELS | {"ds01.user": name}), LAB).user is None


def test_labels_count_only_where_the_configuration_cannot_be_read() -> None:
    assert slots(GpuRequest(Asked.UNKNOWN), LABELS) == ("2:0",)
    assert slots(GpuRequest(Asked.NAMED, ("1",)), LABELS) == ("1",)


def test_an_image_that_was_made_of_a_container_with_a_gpu_gives_no_gpu_to_its_own() -> None:
    """docker commit keeps labels, and every container of that image has them."""
    assert slots(None, LABELS) == ()


@pytest.mark.parametrize(
    ("state", "running"),
    [
        (State.RUNNING, True),
        (State.PAUSED, True),
        (State.RESTARTING, True),
        (State.CREATED, False),
        (State.EXITED, False),
        (State.DEAD, False),
        (State.REMOVING, False),
    ],
)
def test_what_comes_back_by_itself_counts_as_running(state: State, *, running: bool) -> None:
    assert present(replace(PLAIN, state=state), LAB).running is running


def test_a_container_is_said_with_its_owner_and_times() -> None:
    given = GpuRequest(Asked.NAMED, ("MIG-20",))
    stopped = replace(PLAIN, state=State.EXITED, finished_at=ENDED, labels=LABELS, gpu=given)
    assert present(stopped, LAB) == Present(
        "train",
        "c" * 64,
        "alice",
        "token-123",
        ("2:0",),
        (LAB.units[2].uuid,),
        running=False,
        created_at=MADE,
        since=ENDED,
        ran=True,
    )
    never = present(replace(stopped, started_at=None, finished_at=None), LAB)
    assert (never.since, never.ran) == (MADE, False)


def test_an_owner_that_only_an_older_label_names_is_nobody_to_charge() -> None:
    assert present(replace(PLAIN, labels={"aime.mlc.USER": "alice"}), LAB).user is None


@pytest.mark.parametrize("name", ["a/b", "%n", "..", "-x", "alice\n", "al\u200bice", "\\", "\udcff"])
def test_what_no_account_can_be_called_is_nobody_to_charge(name: str) -> None:
    assert present(replace(PLAIN, labels=LABELS | {"ds01.user": name}), LAB).user is None


def test_a_directory_services_name_can_be_charged() -> None:
    assert present(replace(PLAIN, labels=LABELS | {"ds01.user": "j.doe@lab-x.org"}), LAB).user == "j.doe@lab-x.org"


# --- Asking -----------------------------------------------------------------------------------------------------------


@contextmanager
def containers(tmp_path: Path, *found: dict[str, object]) -> Iterator[Engine]:
    with engine_with(tmp_path / "docker.sock", *found) as engine:
        yield engine


def test_containers_with_gpus_and_those_in_the_ledger_are_found(tmp_path: Path) -> None:
    known = held("alice", "2:0", name="known")
    found = (
        inspected("gpu", devices=["MIG-21"]),
        inspected("plain"),
        inspected("known"),
        inspected("by-id", id=known.container_id or ""),
        inspected("labelled", labels=LABELS),
    )
    with containers(tmp_path, *found) as engine:
        names = {each.name for each in find_containers(engine, LAB, ledger(known), ())}
    assert names == {"gpu", "known", "by-id", "labelled"}


def test_the_sites_own_exporter_holds_nothing_and_nobody_can_pass_as_it(tmp_path: Path) -> None:
    own = inspected("ds01-dcgm-exporter", everything=True)
    with containers(tmp_path, own) as engine:
        assert find_containers(engine, LAB, Ledger(), {"ds01-dcgm-exporter"}) == ()
        assert len(find_containers(engine, LAB, Ledger(), ())) == 1
    (tmp_path / "docker.sock").unlink(missing_ok=True)
    for labels in (
        {"ds01.user": "alice"},
        {"ds01.allocation": "token-123"},
        {"aime.mlc.USER": "alice"},
        {"devcontainer.local_folder": "/home/alice/project"},
    ):
        with containers(tmp_path, inspected("ds01-dcgm-exporter", everything=True, labels=labels)) as engine:
            assert len(find_containers(engine, LAB, Ledger(), {"ds01-dcgm-exporter"})) == 1
        (tmp_path / "docker.sock").unlink(missing_ok=True)


def test_a_container_that_is_named_like_a_gone_ones_id_is_found_once(tmp_path: Path) -> None:
    """The engine lists both, and answers for the one that went meanwhile with the one of that name."""
    gone = "a" * 64
    trickster = inspected(gone, id="b" * 64, devices=["MIG-20"])
    with containers(tmp_path, trickster, inspected("x", id=gone, devices=["MIG-21"])) as engine:
        assert [each.id for each in find_containers(engine, LAB, Ledger(), ())] == ["b" * 64]


def test_without_an_engine_it_is_an_error_and_never_no_containers(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        find_containers(Engine(tmp_path / "none.sock"), LAB, Ledger(), ())


def test_what_a_container_of_ours_had_is_asked_for_again_and_nothing_else(tmp_path: Path) -> None:
    found = (
        inspected("train", labels=LABELS, devices=["MIG-20"]),
        inspected("labels-alone", labels=LABELS),
        inspected("foreign", devices=["MIG-21"]),
        inspected("half", labels={"ds01.allocation": "token-999"}),
    )
    with containers(tmp_path, *found) as engine:
        names = ("train", "labels-alone", "foreign", "half", "ghost")
        asked = [lost_request(engine, LAB, name, lambda _: STUDENT) for name in names]
    assert asked[1:] == [None, None, None, None]
    assert asked[0] is not None
    assert (asked[0].id, asked[0].user, asked[0].wanted, asked[0].container, asked[0].priority) == (
        "token-123",
        "alice",
        Named((LAB.units[2].uuid,)),
        "train",
        10,
    )


# --- What Docker cannot describe --------------------------------------------------------------------------------------


def unseen(state: State = State.RUNNING, **labels: str) -> Present:
    said = {key.replace("__", "."): value for key, value in labels.items()}
    return undescribed(Undescribed(ContainerSummary("c" * 64, "train", state, MADE, "pytorch", said), "500"), LAB)


UNSEEN = {
    "its labels name its units": (unseen(**LABELS), ("2:0",), Sight.LIST),
    "also when it has ended": (unseen(State.EXITED, **LABELS), ("2:0",), Sight.LIST),
    "DS01 gave it none": (unseen(ds01__managed="true"), (), Sight.LIST),
    "it does not run, and has none of us": (unseen(State.CREATED), (), Sight.LIST),
    "nothing tells": (unseen(), EVERYTHING, Sight.NOTHING),
    "it was given some, and they cannot be read": (
        unseen(ds01__managed="true", ds01__allocation="token-123", ds01__gpu__uuids="?"),
        EVERYTHING,
        Sight.NOTHING,
    ),
}


@pytest.mark.parametrize(("found", "units", "sight"), UNSEEN.values(), ids=UNSEEN)
def test_what_docker_cannot_describe_may_have_what_its_labels_say_or_anything(
    found: Present, units: tuple[str, ...], sight: Sight
) -> None:
    assert (found.slots, found.sight) == (units, sight)


def test_what_is_known_of_one_that_docker_cannot_describe_is_what_its_list_says() -> None:
    assert unseen(**LABELS) == Present(
        "train", "c" * 64, "alice", "token-123", ("2:0",), (LAB.units[2].uuid,), running=True, created_at=MADE,
        since=MADE, sight=Sight.LIST,
    )  # fmt: skip


def test_one_that_docker_cannot_describe_is_found_whatever_it_has_and_hides_nothing(tmp_path: Path) -> None:
    containers_ = [inspected("stuck"), inspected("gpu", devices=["MIG-21"]), inspected("plain")]
    with engine_with(tmp_path / "docker.sock", *containers_, broken={"stuck"}) as engine:
        found = find_containers(engine, LAB, Ledger(), ())
    assert {each.name: each.sight for each in found} == {"stuck": Sight.NOTHING, "gpu": Sight.WHOLE}


def test_the_sites_own_exporter_holds_nothing_also_when_docker_cannot_describe_it(tmp_path: Path) -> None:
    own = inspected("ds01-dcgm-exporter", everything=True)
    with engine_with(tmp_path / "docker.sock", own, broken={"ds01-dcgm-exporter"}) as engine:
        assert find_containers(engine, LAB, Ledger(), {"ds01-dcgm-exporter"}) == ()
