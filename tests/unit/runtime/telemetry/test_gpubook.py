"""The GPU ledger beside what becomes of containers: a real ledger, hardware as told, containers of a played engine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.rows import id_of, row, stray
from tests.unit.runtime.gpu.hosts import ask
from tests.unit.runtime.gpu.sites import Site
from tests.unit.runtime.telemetry.played import PlayedEngine

from ds01.core.errors import Ds01Error
from ds01.core.value import replace
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.describe import inspect_all
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.containers.seen import Attribution, Evidence
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.gpu.found import present
from ds01.runtime.gpu.ledger import Allocation, Reservation
from ds01.runtime.identity import ProcessRef
from ds01.runtime.telemetry.gpubook import GpuBook

GONE = ProcessRef(2**22 + 1, 1, "a boot from before")
ROW = row("train")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def played(tmp_path: Path) -> Iterator[PlayedEngine]:
    with PlayedEngine(tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
def book(site: Site, played: PlayedEngine) -> GpuBook:
    return GpuBook(site.gpus, Engine(played.path))


def grant(site: Site, keeper: ProcessRef | None = None, name: str = "train", wanted: str = "1") -> Allocation:
    """As the docker command does before it makes a container."""
    answer = site.gpus.allocate(ask("alice", wanted, name=name), keeper or site.me)
    assert isinstance(answer, Grant)
    return answer.allocation


def there(site: Site) -> dict[str, Allocation]:
    return dict(site.gpus.state.read().allocations)


def told(site: Site) -> list[str]:
    return [event_type for event_type, _, _ in site.events()]


def put(played: PlayedEngine, allocation: Allocation, status: str = "running", name: str = "train") -> None:
    labels = {"ds01.user": "alice", "ds01.allocation": allocation.id}
    played.put(name, id=id_of("train"), labels=labels, devices=list(allocation.uuids), status=status)


def test_a_container_that_was_made_has_what_was_reserved_for_it(
    site: Site, played: PlayedEngine, book: GpuBook
) -> None:
    allocation = grant(site)
    put(played, allocation, "created")
    assert book.settle(ROW, allocation.id)
    after = there(site)["train"]
    assert (after.container_id, after.reservation, after.stopped_at) == (
        id_of("train"), Reservation(site.me), None,
    )  # fmt: skip


def test_one_that_runs_needs_no_reservation(site: Site, played: PlayedEngine, book: GpuBook) -> None:
    allocation = grant(site)
    put(played, allocation)
    assert book.settle(ROW, allocation.id)
    after = there(site)["train"]
    assert (after.container_id, after.reservation, after.stopped_at) == (id_of("train"), None, None)
    before = site.paths.gpu_state.read_bytes()
    assert book.settle(ROW, None)
    assert site.paths.gpu_state.read_bytes() == before
    assert told(site) == ["gpu.allocated"]


def test_one_that_stops_holds_its_units_and_has_them_when_it_runs_again(
    site: Site, played: PlayedEngine, book: GpuBook
) -> None:
    allocation = grant(site)
    put(played, allocation)
    book.settle(ROW, allocation.id)
    put(played, allocation, "exited")
    for _ in range(2):
        assert book.settle(ROW, None)
    assert there(site)["train"].stopped_at is not None
    put(played, allocation)
    assert book.settle(ROW, None)
    assert there(site)["train"].stopped_at is None
    assert told(site) == ["gpu.allocated", "gpu.held", "gpu.resumed"]


def test_one_that_restarts_by_itself_keeps_its_units(site: Site, played: PlayedEngine, book: GpuBook) -> None:
    allocation = grant(site)
    put(played, allocation)
    book.settle(ROW, allocation.id)
    put(played, allocation, "restarting")
    assert book.settle(ROW, None)
    assert told(site) == ["gpu.allocated"]


def test_one_that_is_about_to_be_started_is_not_held(site: Site, played: PlayedEngine, book: GpuBook) -> None:
    """docker start has reserved its units, and the word of its last end comes late."""
    allocation = grant(site)
    put(played, allocation, "exited")
    book.settle(ROW, allocation.id)
    assert there(site)["train"].stopped_at is None
    assert told(site) == ["gpu.allocated"]


def test_one_that_is_removed_gives_its_units_back(site: Site, played: PlayedEngine, book: GpuBook) -> None:
    allocation = grant(site)
    put(played, allocation)
    book.settle(ROW, allocation.id)
    played.containers.clear()
    assert book.settle(ROW, None)
    assert there(site) == {}
    assert book.settle(ROW, None)
    assert told(site) == ["gpu.allocated", "gpu.released"]


def test_units_that_are_reserved_under_the_name_of_one_that_is_gone_stay(
    site: Site, played: PlayedEngine, book: GpuBook
) -> None:
    """docker rm and docker run under the same name."""
    first = grant(site)
    put(played, first)
    book.settle(ROW, first.id)
    played.containers.clear()
    second = grant(site)
    assert second.id == first.id
    assert not book.settle(ROW, None)
    assert there(site)["train"].reservation == Reservation(site.me)


def test_one_that_was_gone_before_it_was_seen_gives_back_what_it_was_let_have(
    site: Site, played: PlayedEngine, book: GpuBook
) -> None:
    with subprocess.Popen(["sleep", "60"]) as client:
        keeper = site.machine.process(client.pid)
        assert keeper is not None
        allocation = grant(site, keeper)
        assert not book.settle(ROW, allocation.id), "its command runs still"
        client.kill()
    assert book.settle(ROW, None)
    assert there(site) == {}
    assert told(site) == ["gpu.allocated", "gpu.released"]


def test_nobody_elses_units_are_given_back_by_a_label(site: Site, played: PlayedEngine, book: GpuBook) -> None:
    allocation = grant(site, GONE)
    assert book.settle(replace(row("thief"), owner=None), allocation.id)
    assert book.settle(stray("other"), None)
    assert list(there(site)) == ["train"]


@pytest.mark.parametrize("devices", [[], ["GPU-0"]])
def test_what_another_container_has_cannot_be_taken_over_by_an_images_label(
    site: Site, played: PlayedEngine, book: GpuBook, devices: list[str]
) -> None:
    """The thief's container came to be with leave, of an image with the label `ds01.allocation` of another's."""
    allocation = grant(site)
    put(played, allocation)
    book.settle(ROW, allocation.id)
    engine = Engine(played.path)
    site.docker = [present(each, site.devices) for each in inspect_all(engine) if isinstance(each, Container)]
    labels = {"ds01.user": "bob", "ds01.allocation": allocation.id, "ds01.gpu.slots": "0:0"}
    played.put("thief", labels=labels, devices=devices)
    thief = replace(row("thief"), owner=Attribution("bob", Evidence.LABEL))
    book.settle(thief, allocation.id)
    assert [(each.container, each.container_id) for each in there(site).values()] == [("train", id_of("train"))]
    played.containers.pop(id_of("thief"))
    book.settle(thief, None)
    assert list(there(site)) == ["train"]


def test_what_is_reserved_for_another_container_cannot_be_taken_by_an_images_label(
    site: Site, played: PlayedEngine, book: GpuBook
) -> None:
    allocation = grant(site)
    played.put("thief", labels={"ds01.user": "bob", "ds01.allocation": allocation.id}, devices=list(allocation.uuids))
    book.settle(replace(row("thief"), owner=Attribution("bob", Evidence.LABEL)), allocation.id)
    assert there(site)["train"].container_id is None


def test_a_container_takes_its_new_name_along(site: Site, played: PlayedEngine, book: GpuBook) -> None:
    allocation = grant(site)
    put(played, allocation)
    book.settle(ROW, allocation.id)
    put(played, allocation, name="other")
    assert book.settle(replace(ROW, name="other"), None)
    assert list(there(site)) == ["other"]
    put(played, allocation, "exited", name="third")
    assert book.settle(replace(ROW, name="third"), None)
    put(played, allocation, "removing", name="")
    assert book.settle(replace(ROW, name="third"), None)
    assert [(name, each.stopped_at is not None) for name, each in there(site).items()] == [("third", True)]


def test_a_gpu_that_nobody_let_a_container_have_is_found_out_by_a_reconcile(
    site: Site, played: PlayedEngine, book: GpuBook
) -> None:
    grant(site)
    played.put("stray", devices=["GPU-0"])
    asked = site.asked
    assert book.settle(stray("stray", gpu="GPU-0"), None)
    assert site.asked == asked + 1
    played.put("stray", devices=["GPU-0"], status="exited")
    assert book.settle(stray("stray", gpu="GPU-0"), None)
    assert site.asked == asked + 1


def test_without_an_engine_nothing_is_given_back(tmp_path: Path, site: Site) -> None:
    allocation = grant(site)
    with pytest.raises(EngineError):
        GpuBook(site.gpus, Engine(tmp_path / "nowhere")).settle(ROW, allocation.id)
    assert list(there(site)) == ["train"]


def test_where_no_gpu_was_ever_handed_out_there_is_nothing_to_do(
    site: Site, played: PlayedEngine, book: GpuBook
) -> None:
    assert book.settle(ROW, None)
    assert not site.paths.gpu_state.exists()


# --- Having units again -----------------------------------------------------------------------------------------------


def again(site: Site, played: PlayedEngine) -> Refusal | None:
    engine = Engine(played.path)
    container = engine.inspect("train")
    assert container is not None
    return GpuBook(site.gpus, engine).again(container)


def test_what_the_ledger_has_it_has(site: Site, played: PlayedEngine, book: GpuBook) -> None:
    allocation = grant(site)
    put(played, allocation)
    book.settle(ROW, allocation.id)
    before = site.paths.gpu_state.read_bytes()
    assert again(site, played) is None
    assert site.paths.gpu_state.read_bytes() == before


@pytest.mark.parametrize("lost", [False, True])
def test_one_that_came_back_and_stops_again_holds_its_units(
    site: Site, played: PlayedEngine, book: GpuBook, *, lost: bool
) -> None:
    """Who let it have them again goes on living, and keeps nothing reserved."""
    allocation = grant(site)
    put(played, allocation, "exited")
    book.settle(ROW, allocation.id)
    if lost:
        site.gpus.release(allocation)
    put(played, allocation)
    assert again(site, played) is None
    assert book.settle(ROW, None)
    after = there(site)["train"]
    assert (after.container_id, after.reservation, after.stopped_at) == (id_of("train"), None, None)
    put(played, allocation, "exited")
    assert book.settle(ROW, None)
    assert there(site)["train"].stopped_at is not None


@pytest.mark.parametrize(("status", "held"), [("exited", True), (None, None)])
def test_one_that_is_over_before_it_has_its_units_again_keeps_none(
    site: Site, played: PlayedEngine, status: str | None, held: object
) -> None:
    allocation = grant(site)
    put(played, allocation)
    container = Engine(played.path).inspect("train")
    assert container is not None
    site.gpus.confirm(allocation.id, container.name, container.id)
    played.containers.clear()
    if status is not None:
        put(played, allocation, status)
    GpuBook(site.gpus, Engine(played.path))._take_up(container, allocation)
    assert [each.stopped_at is not None for each in there(site).values()] == ([] if held is None else [held])


def test_what_was_given_back_meanwhile_it_gets_when_it_is_free(site: Site, played: PlayedEngine, book: GpuBook) -> None:
    allocation = grant(site)
    site.gpus.release(allocation)
    put(played, allocation)
    assert again(site, played) is None
    after = there(site)["train"]
    assert (after.uuids, after.user, after.container_id, after.reservation) == (
        allocation.uuids, "alice", id_of("train"), None,
    )  # fmt: skip
    played.containers.clear()
    assert book.settle(ROW, None)
    assert there(site) == {}


def test_what_is_somebody_elses_by_now_is_refused(site: Site, played: PlayedEngine) -> None:
    allocation = grant(site)
    site.gpus.release(allocation)
    other = site.gpus.allocate(ask("bob", f"device={allocation.slots[0]}", name="nb"), site.me)
    assert isinstance(other, Grant)
    put(played, allocation)
    answer = again(site, played)
    assert answer is not None
    assert (answer.title, answer.rows[0][0]) == ("DS01 GPU Taken", "Requested")
    assert "its hold is over" in answer.meaning
    assert told(site)[-1] == "gpu.refused"


def test_what_nobody_knows_is_not_refused(site: Site, played: PlayedEngine) -> None:
    grant(site, name="other")
    played.put("train", labels={"ds01.user": "alice"}, devices=["GPU-0"])
    assert again(site, played) is None
    assert list(there(site)) == ["other"]


def test_hardware_that_cannot_be_seen_is_an_error(site: Site, played: PlayedEngine) -> None:
    allocation = grant(site)
    site.gpus.release(allocation)
    put(played, allocation)

    def blind() -> Any:
        raise Ds01Error("NVML does not answer")

    engine = Engine(played.path)
    container = engine.inspect("train")
    assert container is not None
    with pytest.raises(Ds01Error, match="NVML"):
        GpuBook(replace(site.gpus, look=blind), engine).again(container)
