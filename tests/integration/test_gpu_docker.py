"""The GPUs' ledger held against a real Docker: containers come, stop, are renamed and go, and it says just that.

The hardware is told, the engine is the session's (tests/engine). Where it has no runtime for GPUs it starts no
container with `--gpus`, only makes it; those that run here have their units by a way that cannot be read to its end,
so that their labels count.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.integration.dockers import docker
from tests.unit.runtime.gpu.hosts import ask
from tests.unit.runtime.gpu.sites import Site

from ds01.core.gpurequest import Asked
from ds01.core.value import replace
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.gpu.answer import Grant, Refusal
from ds01.runtime.gpu.blockers import are_outdated
from ds01.runtime.gpu.found import find_containers, lost_request, present
from ds01.runtime.gpu.launch import docker_args
from ds01.runtime.gpu.operations import new_id
from ds01.runtime.gpu.state import GpuStateError
from ds01.runtime.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ds01.core.gpurequest import GpuRequest
    from ds01.runtime.gpu.ledger import Allocation, Ledger
    from ds01.runtime.gpu.reconcile import Present

pytestmark = pytest.mark.docker
# Every device of the machine, under a folder that nothing looks into: for DS01 that may be any GPU.
ANY_DEVICE = "--device=/dev:/opt/devices"


@dataclass
class Real(Site):
    """A place to hand out GPUs in, whose containers are the engine's.

    Attributes:
        prefix: of the names of this test's containers; others on the engine are left out.
    """

    engine: Engine | None = None
    image: Sequence[str] = ()
    prefix: str = ""

    def containers(self, ledger: Ledger) -> Sequence[Present]:
        self.asked += 1
        assert self.engine is not None
        found = find_containers(self.engine, self.devices, ledger, ())
        return [each for each in found if each.name.startswith(self.prefix)]

    def are_outdated(self, blockers: Sequence[Allocation]) -> bool:
        assert self.engine is not None
        return are_outdated(self.engine, blockers)

    def grant(self, name: str, wanted: str = "1", user: str = "alice") -> Grant:
        request = replace(ask(user, wanted, name=f"{self.prefix}{name}"), id=new_id())
        answer = self.gpus.allocate(request, self.me)
        assert isinstance(answer, Grant)
        return answer

    def run(self, name: str, *options: str) -> str:
        """Start a container; returns its id."""
        return docker("run", "--detach", "--network=none", f"--name={self.prefix}{name}", *options, *self.image)

    def held(self) -> dict[str, Allocation]:
        """Return the ledger by the names without what is before them all."""
        return {name.removeprefix(self.prefix): each for name, each in self.gpus.state.read().allocations.items()}

    def reconcile(self) -> list[str]:
        """Return what was corrected; a second time that is nothing."""
        told = [each.removeprefix(self.prefix).replace(self.prefix, "") for each in self.gpus.reconcile()]
        assert self.gpus.reconcile() == ()
        return told

    def later(self, **time: float) -> None:
        """Let time go on, by both clocks."""
        delta = timedelta(**time)
        boot = Machine().boot_seconds
        self.machine = Machine(
            now=lambda: datetime.now(UTC) + delta, boot_seconds=lambda: boot() + delta.total_seconds()
        )


@pytest.fixture
def site(tmp_path: Path, engine: Engine, image: list[str], prefix: str) -> Real:
    return Real(tmp_path, engine=engine, image=image, prefix=f"{prefix}-")


def labels(grant: Grant) -> tuple[str, ...]:
    """The options for a container that runs, on any engine."""
    return ANY_DEVICE, *docker_args(grant)[1:]


# --- The life of a container ------------------------------------------------------------------------------------------


def test_a_container_is_followed_from_its_making_to_its_removal(site: Real) -> None:
    given = site.grant("train")
    made = docker("create", "--network=none", f"--name={site.prefix}train", *labels(given), *site.image)
    assert site.reconcile() == []
    created = site.held()["train"]
    assert (created.container_id, created.reservation is None, created.stopped_at) == (made, False, None)

    docker("start", made)
    assert site.reconcile() == []
    assert site.held()["train"] == replace(created, reservation=None)

    docker("rename", made, f"{site.prefix}final")
    assert site.reconcile() == ["final: it was renamed from train"]
    docker("restart", "--time=0", made)
    assert site.reconcile() == []

    docker("stop", "--time=0", made)
    assert site.reconcile() == ["final: it is stopped; its units are held"]
    finished = datetime.fromisoformat(docker("inspect", "--format={{.State.FinishedAt}}", made))
    assert site.held()["final"].stopped_at == finished.replace(microsecond=0)

    resumed = site.gpus.clear_stopped(made, site.me)
    assert isinstance(resumed, Grant)
    assert resumed.allocation.uuids == given.allocation.uuids
    assert site.reconcile() == [], "it is about to be started"
    docker("start", made)
    assert site.reconcile() == []
    assert site.held() == {"final": replace(created, container=f"{site.prefix}final", reservation=None)}

    docker("rm", "--force", made)
    assert site.reconcile() == ["final: Docker has its container no more"]
    assert site.held() == {}


def test_a_hold_is_over_when_its_time_is_and_a_later_start_has_to_ask_again(site: Real) -> None:
    given = site.grant("train", "device=2:0")
    made = site.run("train", *labels(given))
    site.reconcile()
    docker("stop", "--time=0", made)
    site.reconcile()
    site.later(seconds=880)
    assert site.reconcile() == []
    site.later(seconds=1000)
    assert site.reconcile() == ["train: its container stopped and the hold is over"]

    assert site.engine is not None
    again = lost_request(site.engine, site.devices, f"{site.prefix}train", site.gpus.state.account_of)
    assert again is not None
    assert again.id == given.allocation.id
    back = site.gpus.clear_stopped(made, site.me, again)
    assert isinstance(back, Grant)
    assert (back.allocation.slots, back.allocation.user) == (("2:0",), "alice")
    assert site.gpus.release(f"{site.prefix}train") is not None
    site.grant("other", "device=2:0", user="bob")
    late = site.gpus.clear_stopped(made, site.me, again)
    assert isinstance(late, Refusal)
    assert "re-create it" in late.fix


def test_a_container_that_was_made_and_never_started_is_held_for_a_while(site: Real) -> None:
    """As where the start fails, because the engine has no runtime for GPUs."""
    with subprocess.Popen(["sleep", "600"]) as gone:
        keeper = site.machine.process(gone.pid)
        assert keeper is not None
        given = site.gpus.allocate(ask("alice", name=f"{site.prefix}train"), keeper)
        assert isinstance(given, Grant)
        gone.kill()
    docker("create", "--network=none", f"--name={site.prefix}train", *docker_args(given), *site.image)
    assert site.reconcile() == []
    site.later(seconds=55)
    assert site.reconcile() == [], "its minute is not over"
    site.later(seconds=100)
    assert site.reconcile() == ["train: it is stopped; its units are held"]
    site.later(seconds=1100)
    assert site.reconcile() == ["train: its container stopped and the hold is over"]


def test_one_that_ended_while_nobody_looked_is_held_though_who_asked_for_it_lives(site: Real) -> None:
    made = site.run("train", *labels(site.grant("train")))
    docker("stop", "--time=0", made)
    assert site.reconcile() == []
    there = site.held()["train"]
    assert (there.container_id, there.reservation, there.stopped_at is None) == (made, None, False)


@pytest.mark.root
def test_one_that_docker_starts_again_by_itself_never_counts_as_stopped(site: Real) -> None:
    made = site.run("train", "--restart=always", *labels(site.grant("train")))
    site.reconcile()
    os.kill(int(docker("inspect", "--format={{.State.Pid}}", made)), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while docker("inspect", "--format={{.RestartCount}} {{.State.Running}}", made) != "1 true":
        assert time.monotonic() < deadline, "Docker starts it again"
        assert site.gpus.reconcile() == ()
    assert site.reconcile() == []


def test_one_that_was_removed_without_a_word_is_in_nobodys_way(site: Real) -> None:
    made = site.run("train", *labels(site.grant("train", "device=2:0")))
    site.reconcile()
    wish = ask("bob", "device=2:0", name=f"{site.prefix}heir")
    asked = site.asked
    assert isinstance(site.gpus.allocate(wish, site.me), Refusal)
    assert site.asked == asked, "it is there"
    docker("rm", "--force", made)
    assert isinstance(site.gpus.allocate(wish, site.me), Grant)


def test_a_container_made_anew_under_its_name_has_the_same_units(site: Real) -> None:
    given = site.grant("train")
    old = site.run("train", *labels(given))
    site.reconcile()
    docker("rm", "--force", old)
    again = site.grant("train")
    assert (again.fresh, again.allocation.uuids) == (False, given.allocation.uuids)
    assert site.reconcile() == [], "the image may take long to come"
    new = site.run("train", *labels(again))
    assert site.reconcile() == []
    assert {name: each.container_id for name, each in site.held().items()} == {"train": new}


# --- What Docker really gave ------------------------------------------------------------------------------------------


def made_with(site: Real, name: str, *options: str) -> GpuRequest | None:
    assert site.engine is not None
    docker("create", f"--name={site.prefix}{name}", "--network=none", *options, *site.image)
    found = site.engine.inspect(f"{site.prefix}{name}")
    assert found is not None
    return found.gpu


def test_the_client_reads_our_options_as_they_are_meant(site: Real) -> None:
    """Several units are one line of CSV for it, and come back as they were granted."""
    assert site.engine is not None
    for name, wanted, user in (("whole", "device=0,1", "bob"), ("mig", "device=3:1", "alice")):
        given = site.grant(name, wanted, user=user)
        request = made_with(site, name, *docker_args(given))
        assert request is not None
        assert (request.asked, request.names) == (Asked.NAMED, given.allocation.uuids)
        container = site.engine.inspect(f"{site.prefix}{name}")
        assert container is not None
        read = present(container, site.devices)
        assert (read.uuids, read.slots, read.user, read.allocation_id, read.running) == (
            given.allocation.uuids,
            given.allocation.slots,
            user,
            given.allocation.id,
            False,
        )
    assert site.reconcile() == []


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        (("--gpus=all",), ("0", "1", "2:0", "2:1", "2:2", "3:0", "3:1", "3:2")),
        (("--gpus=1",), ("0",)),
        (('--gpus="device=GPU-1,MIG-30"',), ("1", "3:0")),
        (("--gpus=device=2",), ("2:0", "2:1", "2:2")),
        ((), ()),
        (("--label=ds01.gpu.uuids=MIG-20",), ()),
    ],
)
def test_what_people_write_is_found_in_units(site: Real, options: tuple[str, ...], slots: tuple[str, ...]) -> None:
    assert site.engine is not None
    made_with(site, "theirs", *options)
    container = site.engine.inspect(f"{site.prefix}theirs")
    assert container is not None
    assert present(container, site.devices).slots == slots


def test_a_container_that_nobody_asked_for_is_adopted_while_it_runs(site: Real) -> None:
    made = site.run("stray", ANY_DEVICE, "--label=ds01.gpu.uuids=MIG-20")
    assert site.reconcile() == ["stray: a container with GPU 2:0 was not in the ledger"]
    stray = site.held()["stray"]
    assert (stray.user, stray.container_id, stray.id) == (None, made, f"docker-{made[:12]}")
    assert isinstance(site.gpus.allocate(ask("alice", "device=2:0", name=f"{site.prefix}x"), site.me), Refusal)
    docker("stop", "--time=0", made)
    assert site.reconcile() == ["stray: its container stopped and the hold is over"]
    docker("start", made)
    site.reconcile()
    docker("stop", "--time=0", made)
    assert isinstance(site.gpus.allocate(ask("alice", "device=2:0", name=f"{site.prefix}x"), site.me), Grant)


# --- When it is lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["gone", "torn", "empty"])
def test_a_lost_ledger_is_rebuilt_as_it_was(site: Real, loss: str) -> None:
    ids = {}
    for name, wanted in (("runs", "device=2:0"), ("held", "device=2:1"), ("gone", "device=2:2")):
        ids[name] = site.run(name, *labels(site.grant(name, wanted)))
    site.run("stray", ANY_DEVICE, "--label=ds01.gpu.uuids=MIG-30")
    docker("stop", "--time=0", ids["held"], ids["gone"])
    site.reconcile()
    assert site.gpus.release(ids["gone"]) is not None
    docker("rm", ids["gone"])
    before = site.held()
    assert set(before) == {"runs", "held", "stray"}
    state = site.paths.gpu_state
    match loss:
        case "gone":
            state.unlink()
        case "torn":
            state.write_bytes(state.read_bytes()[:-40])
        case _:
            state.write_bytes(b"")
    assert isinstance(site.gpus.allocate(ask("bob", "device=2:0", name=f"{site.prefix}x"), site.me), Refusal)
    after = site.held()
    assert {name: replace(each, allocated_at=before[name].allocated_at) for name, each in after.items()} == before
    assert len(list(state.parent.glob("gpu-state.json.damaged-*"))) == int(loss != "gone")


def test_without_docker_what_is_known_stays_and_what_is_lost_refuses(site: Real, tmp_path: Path) -> None:
    given = site.grant("train", "device=2:0")
    made = site.run("train", *labels(given))
    site.reconcile()
    site.gpus.mark_stopped(made)
    site.later(hours=9)
    real, site.engine = site.engine, Engine(tmp_path / "none.sock")
    assert isinstance(site.gpus.allocate(ask("bob", "device=2:0", name=f"{site.prefix}x"), site.me), Refusal)
    assert isinstance(site.gpus.allocate(ask("bob", "device=2:1", name=f"{site.prefix}y"), site.me), Grant)
    with pytest.raises(EngineError):
        site.gpus.reconcile()
    site.paths.gpu_state.unlink()
    with pytest.raises(GpuStateError, match="who holds which is not known"):
        site.gpus.allocate(ask("bob", "device=2:1", name=f"{site.prefix}z"), site.me)
    assert not site.paths.gpu_state.exists()
    site.engine = real
    assert isinstance(site.gpus.allocate(ask("bob", "device=2:0", name=f"{site.prefix}z"), site.me), Refusal)
    assert set(site.held()) == {"train"}


# --- What users can make of it ----------------------------------------------------------------------------------------


def test_copied_labels_take_nothing_from_their_owner(site: Real) -> None:
    given = site.grant("train", "device=2:0")
    thief = site.run("thief", *labels(given)[1:])
    named = site.run(given.allocation.id, ANY_DEVICE, "--label=ds01.gpu.uuids=MIG-31")
    assert site.reconcile() == [f"{given.allocation.id}: a container with GPU 3:1 was not in the ledger"]
    made = site.run("train", *labels(given))
    docker("rm", "--force", thief)
    assert site.reconcile() == []
    held = site.held()
    assert (held["train"].container_id, held["train"].user) == (made, "alice")
    assert (held[given.allocation.id].container_id, held[given.allocation.id].user) == (named, None)
    docker("rm", "--force", made)
    site.run("copy", *labels(given)[1:])
    assert site.reconcile() == ["train: Docker has its container no more"]


def test_an_image_made_of_a_container_with_a_gpu_gives_none(site: Real) -> None:
    given = site.grant("train", "device=2:0")
    site.run("train", *labels(given))
    site.reconcile()
    image = docker("commit", f"{site.prefix}train")
    try:
        made = docker("run", "--detach", "--network=none", f"--name={site.prefix}cpu-only", image, *site.image[1:])
        kept = json.loads(docker("inspect", "--format={{json .Config.Labels}}", made))
        assert kept["ds01.allocation"] == given.allocation.id
        assert site.reconcile() == []
        assert set(site.held()) == {"train"}
        docker("rm", "--force", f"{site.prefix}train")
        assert site.reconcile() == ["train: Docker has its container no more"]
        docker("rm", "--force", made)
    finally:
        docker("rmi", "--force", image)
