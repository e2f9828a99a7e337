"""How an account stands: from the kernel where it can be read, else from Docker; nothing that starts is ever missed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.gpu.engines import engine_with, inspected

from ds01.core.value import replace
from ds01.runtime.containers.engine import Engine
from ds01.runtime.containers.pending import Pending
from ds01.runtime.containers.request import Usage, Verb
from ds01.runtime.containers.standing import Account, Place, Standing, read_standing
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

GIB = 1024**3
ALICE = Account("alice", ("alice",))
AT = "2026-03-01T09:00:00.000001Z"
SLICE = "ds01.slice/ds01-student.slice/ds01-student-alice.slice"


def me() -> ProcessRef:
    found = Machine().process(os.getpid())
    assert found is not None
    return found


GONE = ProcessRef(2**22, 1, "another boot")


def group(folder: Path, *, memory: int = 0, cache: int = 0, pids: int = 0, most: int | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("memory.current", memory), ("memory.stat", f"inactive_file {cache}"), ("pids.current", pids),
        ("cpu.stat", "usage_usec 1"), ("memory.max", "max" if most is None else most), ("memory.high", "max"),
        ("pids.max", "max"), ("cpu.max", "max 100000"),
    ):  # fmt: skip
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "cgroup"
    for folder in (root / SLICE, *(root / SLICE).parents[:2]):
        group(folder)
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
    return root


def container(name: str, status: str = "running", *, at: str | None = None, memory: int = GIB) -> dict[str, Any]:
    labels = {"ds01.user": "alice"} | ({} if at is None else {"ds01.created_at": at})
    found: dict[str, Any] = inspected(name, labels=labels, status=status)
    found["HostConfig"]["Memory"] = memory
    if status == "created":
        found["State"]["StartedAt"] = "0001-01-01T00:00:00Z"
    return found


def scope(tree: Path, of: dict[str, Any], most: int | None, memory: int = 0) -> None:
    group(tree / SLICE / f"docker-{of['Id']}.scope", memory=memory, most=most)


def look(
    tmp_path: Path, root: Path, *containers: dict[str, Any], promises: tuple[Pending, ...] = (), without: str = ""
) -> Standing:
    with engine_with(tmp_path / "docker.sock", *containers) as engine:
        return read_standing(Place(root, engine, Machine()), ALICE, promises, frozenset({without}))


def test_nothing_at_all(tmp_path: Path, tree: Path):
    assert look(tmp_path, tree) == Standing(Usage(), ())


def test_what_runs_counts_as_the_kernel_has_it(tmp_path: Path, tree: Path):
    web, db = container("web", memory=GIB), container("db", "paused")
    group(tree / SLICE, memory=5 * GIB, cache=2 * GIB, pids=77)
    scope(tree, web, 4 * GIB)
    scope(tree, db, None, memory=GIB // 2)
    assert look(tmp_path, tree, web, db, container("old", "exited")).usage == Usage(
        containers=2,
        names=("db", "web"),
        committed_bytes=4 * GIB + GIB // 2,
        working_set_bytes=3 * GIB,
        pids=77,
    )


def test_what_carries_the_label_alone_charges_nobody(tmp_path: Path, tree: Path):
    assert look(tmp_path, tree, container("forged")).usage.containers == 0


def test_what_is_asked_for_does_not_count_beside_itself(tmp_path: Path, tree: Path):
    web = container("web")
    scope(tree, web, GIB)
    pending = Pending(web["Id"], Verb.RESTART, GIB, me())
    assert look(tmp_path, tree, web, without=web["Id"]).usage.containers == 0
    stopped = container("web", "exited")
    (tree / SLICE / f"docker-{web['Id']}.scope").rename(tree / SLICE / "gone")
    assert look(tmp_path, tree, stopped, promises=(pending,), without=web["Id"]).usage.containers == 0
    assert look(tmp_path, tree, stopped, promises=(pending,)).usage == Usage(1, (), GIB)


def test_a_promise_counts_until_docker_shows_it_run(tmp_path: Path, tree: Path):
    pending = Pending(AT, Verb.RUN, 2 * GIB, me())
    assert look(tmp_path, tree, promises=(pending,)) == Standing(Usage(1, (), 2 * GIB), (pending,))
    made = container("web", "created", at=AT)
    assert look(tmp_path, tree, made, promises=(pending,)) == Standing(Usage(1, (), 2 * GIB), (pending,))
    ended = container("web", "exited", at=AT)
    assert look(tmp_path, tree, ended, promises=(pending,)) == Standing(Usage(), ())


def test_what_has_just_begun_counts_once(tmp_path: Path, tree: Path):
    """Docker's list is older than the kernel's: there it is still made, here it runs."""
    made = container("web", "created", at=AT)
    scope(tree, made, 2 * GIB)
    pending = Pending(AT, Verb.RUN, 2 * GIB, me())
    assert look(tmp_path, tree, made, promises=(pending,)).usage == Usage(1, ("web",), 2 * GIB)


def test_a_promise_of_a_process_that_is_gone(tmp_path: Path, tree: Path):
    pending = Pending(AT, Verb.RUN, GIB, GONE)
    assert look(tmp_path, tree, promises=(pending,)) == Standing(Usage(), ())
    made = container("web", "created", at=AT)
    (kept,) = look(tmp_path, tree, made, promises=(pending,)).promises
    assert kept.gone_at is not None
    assert look(tmp_path, tree, made, promises=(replace(kept, gone_at=kept.gone_at - 61),)).promises == ()


# --- What cannot be told ----------------------------------------------------------------------------------------------


def test_without_control_groups_docker_tells(tmp_path: Path):
    root = tmp_path / "none"
    web, old = container("web", memory=2 * GIB), container("old", "exited")
    usage = look(tmp_path, root, web, old, promises=(Pending(AT, Verb.RUN, GIB, me()),)).usage
    assert usage == Usage(2, ("web",), 3 * GIB, None, None, (f"{root}: no control groups are mounted here",))
    assert look(tmp_path, root, old).usage == Usage(0, (), 0, None, None, ())


def test_without_an_answer_of_docker_the_kernel_tells(tmp_path: Path, tree: Path):
    web = container("web")
    scope(tree, web, GIB, memory=1)
    place = Place(tree, Engine(tmp_path / "none.sock"), Machine())
    pending = Pending(AT, Verb.RUN, GIB, me())
    standing = read_standing(place, ALICE, (pending,), frozenset())
    assert standing.promises == (pending,)
    assert replace(standing.usage, unknown=()) == Usage(2, (), 2 * GIB)
    assert "there is no Docker engine" in standing.usage.unknown[0]


def test_with_neither_nothing_is_told(tmp_path: Path):
    place = Place(tmp_path / "none", Engine(tmp_path / "none.sock"), Machine())
    usage = read_standing(place, ALICE, (), frozenset()).usage
    assert (usage.containers, usage.committed_bytes, usage.working_set_bytes, usage.pids) == (None, None, None, None)
    assert len(usage.unknown) == 2


def test_a_file_that_cannot_be_read_hides_its_own_half_alone(tmp_path: Path, tree: Path):
    (tree / SLICE / "memory.stat").unlink()
    (tree / SLICE / "memory.stat").mkdir()
    web = container("web")
    scope(tree, web, GIB)
    usage = look(tmp_path, tree, web).usage
    assert (usage.containers, usage.committed_bytes, usage.working_set_bytes, usage.pids) == (1, GIB, None, 0)
    assert str(tree / SLICE / "memory.stat") in usage.unknown[0]
