"""How an account stands, on trees of control groups laid down here and an engine on a real socket."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.cgroups import DATA, GIB, make_group, make_mount, make_slice
from tests.unit.runtime.gpu.engines import engine_of, engine_with, inspected

from ds01.core.names import cgroup_path
from ds01.core.value import replace
from ds01.runtime.containers.engine import Engine
from ds01.runtime.containers.pending import Pending
from ds01.runtime.containers.request import Usage, Verb
from ds01.runtime.containers.standing import Account, Place, Standing, read_standing
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

STUDENT = "ds01-student-alice.slice"
ALICE = Account("alice", ("alice",))
A, B, C = ("a" * 64, "b" * 64, "c" * 64)
NOW = 5000.0
# What engines.inspected says of every container that ever ran.
STARTED = datetime(2026, 3, 1, 10, tzinfo=UTC)
MACHINE = Machine(boot_seconds=lambda: NOW)
GONE = ProcessRef(2**22 + 1, 1, MACHINE.boot_id())


@pytest.fixture
def socket() -> Iterator[Path]:
    # Paths of sockets are short. Source: unix(7), sun_path.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "engine.sock"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = make_mount(tmp_path / "cgroup")
    make_slice(root, STUDENT, current=10 * GIB, inactive=3 * GIB, pids=70)
    return root


def scope(root: Path, id: str, memory_max: str = "max", current: int = 0) -> None:  # noqa: A002 - Docker's own word
    make_group(root / cgroup_path(STUDENT) / f"docker-{id}.scope", current, memory_max=memory_max)


def alive() -> ProcessRef:
    found = MACHINE.process(os.getpid())
    assert found is not None
    return found


def promise(id: str, verb: Verb = Verb.RUN, process: ProcessRef | None = None) -> Pending:  # noqa: A002
    return Pending(id, verb, GIB, process or alive(), started_at=None if verb.is_new else STARTED)


def made(id: str, name: str, status: str = "running", created_at: str = "", memory: int = 0) -> dict[str, object]:  # noqa: A002
    """A container of alice's."""
    labels = {"ds01.user": "alice"} | ({"ds01.created_at": created_at} if created_at else {})
    found = inspected(name, id=id, labels=labels, status=status)
    host_config, state = found["HostConfig"], found["State"]
    assert isinstance(host_config, dict)
    assert isinstance(state, dict)
    host_config["Memory"] = memory
    if status == "created":
        state["StartedAt"] = "0001-01-01T00:00:00Z"
    return found


def standing(
    tree: Path,
    engine: Engine,
    *promises: Pending,
    without: frozenset[str] = frozenset(),
    account: Account = ALICE,
    admitted: Collection[str] = (),
) -> Standing:
    return read_standing(Place(tree, engine, MACHINE), account, promises, without, admitted=admitted)


def look(
    tree: Path,
    socket: Path,
    *promises: Pending,
    there: Sequence[dict[str, object]] = (),
    without: frozenset[str] = frozenset(),
    admitted: Collection[str] = (),
) -> Standing:
    with engine_with(socket, *there) as engine:
        return standing(tree, engine, *promises, without=without, admitted=admitted)


def test_what_runs_counts_with_its_limit_and_by_its_name(tree: Path, socket: Path) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    scope(tree, B, memory_max=f"{2 * GIB}")
    there = [made(A, "one"), made(C, "old", "exited")]
    assert look(tree, socket, there=there) == Standing(Usage(2, ("one",), 6 * GIB, 7 * GIB, 70), ())


def test_what_carries_the_label_alone_charges_nobody(tree: Path, socket: Path) -> None:
    assert look(tree, socket, there=[made(A, "forged")]) == Standing(Usage(0, (), 0, 7 * GIB, 70), ())


ELSEWHERE = "no control group of the account has what Docker says runs: "


@pytest.mark.parametrize("status", ["running", "paused"])
def test_what_was_admitted_and_runs_elsewhere_counts_and_is_told(tree: Path, socket: Path, status: str) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    there = [
        made(A, "one", created_at="at-1"),
        made(B, "two", status, "at-2", memory=2 * GIB),
        made(C, "old", "exited", "at-3", memory=GIB),
    ]
    assert look(tree, socket, there=there, admitted=("at-1", "at-2", "at-3")) == Standing(
        Usage(2, ("one", "two"), 6 * GIB, 7 * GIB, 70, (f"{ELSEWHERE}two",)), ()
    )


def test_where_the_account_has_no_slice_at_all_what_was_admitted_counts(tmp_path: Path, socket: Path) -> None:
    root = make_mount(tmp_path / "cgroup")
    there = [made(A, "one", created_at="at-1", memory=GIB), made(B, "two", created_at="at-2", memory=GIB)]
    assert look(root, socket, there=there, admitted=("at-1", "at-2")) == Standing(
        Usage(2, ("one", "two"), 2 * GIB, 0, 0, (f"{ELSEWHERE}one, two",)), ()
    )


def test_what_waits_to_be_started_again_counts_though_it_has_no_group(tree: Path, socket: Path) -> None:
    there = [made(A, "one", "restarting", "at-1", memory=GIB)]
    assert look(tree, socket, there=there, admitted=("at-1",)) == Standing(Usage(1, ("one",), GIB, 7 * GIB, 70), ())


def test_a_copied_label_counts_for_no_second_container(tree: Path, socket: Path) -> None:
    """Docker lists the newest first."""
    copy, own = made(B, "copy", created_at="at-1"), made(A, "own", "exited", "at-1")
    assert look(tree, socket, there=[copy, own], admitted=("at-1",)) == Standing(Usage(0, (), 0, 7 * GIB, 70), ())


def test_one_that_ends_while_we_look_counts_no_more(tree: Path, socket: Path) -> None:
    answers = iter([[made(A, "one", created_at="at-1")]])
    with engine_of(socket, lambda: next(answers, [made(A, "one", "exited", "at-1")])) as engine:
        found = standing(tree, engine, admitted=("at-1",))
    assert found == Standing(Usage(0, (), 0, 7 * GIB, 70), ())


def test_one_that_is_restarted_counts_once_while_it_has_no_group(tree: Path, socket: Path) -> None:
    kept = promise(A, Verb.RESTART)
    there = [made(A, "one", created_at="at-1", memory=GIB)]
    assert look(tree, socket, kept, there=there, admitted=("at-1",)) == Standing(
        Usage(1, ("one",), GIB, 7 * GIB, 70), (kept,)
    )


def test_one_without_a_limit_counts_for_what_it_uses(tree: Path, socket: Path) -> None:
    scope(tree, A, current=5 * GIB)
    assert look(tree, socket, there=[made(A, "one")]) == Standing(Usage(1, ("one",), 5 * GIB, 7 * GIB, 70), ())


def test_the_one_that_is_asked_for_does_not_count_beside_itself(tree: Path, socket: Path) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    scope(tree, B, memory_max=f"{2 * GIB}")
    itself = promise(A, Verb.RESTART)
    there = [made(A, "one"), made(B, "two")]
    assert look(tree, socket, itself, there=there, without=frozenset({A})) == Standing(
        Usage(1, ("two",), 2 * GIB, 7 * GIB, 70), (itself,)
    )
    kept = promise(C, Verb.START)
    assert look(tree, socket, kept, there=[*there, made(C, "three", "exited")], without=frozenset({C})) == Standing(
        Usage(2, ("one", "two"), 6 * GIB, 7 * GIB, 70), (kept,)
    )


# --- Promises ---------------------------------------------------------------------------------------------------------


def test_a_container_that_is_about_to_start_counts_as_promised(tree: Path, socket: Path) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    pulling, starting = promise("at-1"), promise(C, Verb.START)
    there = [made(A, "one"), made(C, "three", "exited")]
    assert look(tree, socket, pulling, starting, there=there) == Standing(
        Usage(3, ("one",), 6 * GIB, 7 * GIB, 70), (pulling, starting)
    )


def test_one_that_was_created_and_not_started_keeps_its_promise(tree: Path, socket: Path) -> None:
    kept = promise("at-1")
    there = [made(A, "one", "created", "at-1")]
    assert look(tree, socket, kept, there=there) == Standing(Usage(1, (), GIB, 7 * GIB, 70), (kept,))


def test_when_its_process_is_gone_a_promise_is_over(tree: Path, socket: Path) -> None:
    """At once, also when nobody has looked for hours: a start that failed and one that was cut off run nothing."""
    starting, pulling = promise(A, Verb.START, GONE), promise("at-1", process=GONE)
    there = [made(A, "one", "created"), made(B, "two", "created", "at-1")]
    assert look(tree, socket, starting, pulling, there=there) == Standing(Usage(0, (), 0, 7 * GIB, 70), ())


def test_one_that_starts_although_its_process_is_gone_is_never_missed(tree: Path, socket: Path) -> None:
    """The engine goes on with what it was told; it shows the container once that is done, and not before."""
    with starting_when_asked(socket, 2, lambda: scope(tree, A, memory_max=f"{4 * GIB}")) as engine:
        found = standing(tree, engine, promise("at-1", process=GONE))
    assert (found.usage.containers, found.usage.committed_bytes) == (1, 4 * GIB)


def test_one_that_runs_counts_once_and_its_promise_is_over(tree: Path, socket: Path) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    there = [made(A, "one", created_at="at-1")]
    assert look(tree, socket, promise("at-1"), promise(A, Verb.START), there=there) == Standing(
        Usage(1, ("one",), 4 * GIB, 7 * GIB, 70), ()
    )


def test_one_whose_group_is_there_before_docker_says_so_counts_once(tree: Path, socket: Path) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    kept = promise("at-1")
    there = [made(A, "one", "created", "at-1")]
    assert look(tree, socket, kept, there=there) == Standing(Usage(1, ("one",), 4 * GIB, 7 * GIB, 70), (kept,))


@contextmanager
def starting_when_asked(socket: Path, at: int, start: Callable[[], None]) -> Iterator[Engine]:
    """An engine on which a container starts just before it answers a question: 1 is the list, 2 the first inspect."""
    asked = 0

    def read() -> Sequence[dict[str, object]]:
        nonlocal asked
        asked += 1
        if asked == at:
            start()
        return [made(A, "one", "running" if asked >= at else "created", "at-1", memory=4 * GIB)]

    with engine_of(socket, read) as engine:
        yield engine


@pytest.mark.parametrize("at", [1, 2])
def test_one_that_starts_while_we_look_is_never_missed(tree: Path, socket: Path, at: int) -> None:
    with starting_when_asked(socket, at, lambda: scope(tree, A, memory_max=f"{4 * GIB}")) as engine:
        found = standing(tree, engine, promise("at-1"))
    assert (found.usage.containers, found.usage.committed_bytes) == (1, 4 * GIB)


@pytest.mark.parametrize("at", [1, 2])
def test_nor_where_the_kernel_cannot_tell(tmp_path: Path, socket: Path, at: int) -> None:
    with starting_when_asked(socket, at, lambda: None) as engine:
        usage = standing(tmp_path, engine, promise("at-1")).usage
    assert (usage.containers, usage.committed_bytes) == (1, 4 * GIB)


def test_one_that_is_being_given_more_memory_counts_with_it(tree: Path, socket: Path) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    more, less = replace(promise(A, Verb.UPDATE), memory_bytes=6 * GIB), promise(A, Verb.UPDATE)
    there = [made(A, "one", memory=4 * GIB)]
    for each, size in ((more, 6), (less, 4)):
        assert look(tree, socket, each, there=there) == Standing(Usage(1, ("one",), size * GIB, 7 * GIB, 70), (each,))
    gone = replace(more, process=GONE)
    assert look(tree, socket, gone, there=there) == Standing(Usage(1, ("one",), 4 * GIB, 7 * GIB, 70), ())


def test_one_that_ended_while_it_was_given_more_memory_counts_no_more(tree: Path, socket: Path) -> None:
    assert look(tree, socket, promise(A, Verb.UPDATE), there=[made(A, "one", "exited")]) == Standing(
        Usage(0, (), 0, 7 * GIB, 70), ()
    )


# --- What cannot be told ----------------------------------------------------------------------------------------------


def test_without_docker_the_kernel_still_counts_and_promises_lapse(tree: Path, socket: Path) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    pulling, started, gone = promise("at-1"), promise(A, Verb.START), promise("at-2", process=GONE)
    found = standing(tree, Engine(socket), pulling, started, gone)
    assert found == Standing(
        Usage(3, (), 6 * GIB, 7 * GIB, 70, (f"there is no Docker engine at {socket}: no such socket",)),
        (pulling, started, replace(gone, gone_at=NOW)),
    )


def test_without_a_tree_docker_tells_what_runs(tmp_path: Path, socket: Path) -> None:
    kept = promise("at-1")
    there = [
        made(A, "one", memory=4 * GIB),
        made(B, "two", "paused", memory=2 * GIB),
        made(C, "three", "exited", memory=GIB),
    ]
    assert look(tmp_path, socket, kept, there=there) == Standing(
        Usage(3, ("one", "two"), 7 * GIB, None, None, (f"{tmp_path}: no control groups are mounted here",)), (kept,)
    )


def test_without_a_tree_one_that_is_restarted_counts_once(tmp_path: Path, socket: Path) -> None:
    kept = promise(A, Verb.RESTART)
    there = [made(A, "one", memory=4 * GIB)]
    usage = look(tmp_path, socket, kept, there=there).usage
    assert (usage.containers, usage.committed_bytes) == (1, 4 * GIB)
    there = [made(A, "one", "exited", memory=4 * GIB)]
    assert look(tmp_path, socket, kept, there=there).usage.containers == 1


def test_without_a_tree_and_without_docker_nothing_can_be_told(tmp_path: Path, socket: Path) -> None:
    kept = promise("at-1")
    assert standing(tmp_path, Engine(socket), kept) == Standing(
        Usage(
            None,
            (),
            None,
            None,
            None,
            (
                f"there is no Docker engine at {socket}: no such socket",
                f"{tmp_path}: no control groups are mounted here",
            ),
        ),
        (kept,),
    )


TREES = {"missing": "there is no", "v1": "version 1; DS01", "hybrid": "version 1 and 2"}


@pytest.mark.parametrize(("name", "why"), TREES.items(), ids=TREES)
def test_a_tree_of_another_kind_is_only_missed_once_something_runs(
    tmp_path: Path, socket: Path, name: str, why: str
) -> None:
    tree = tmp_path / name
    shutil.copytree(DATA / name, tree)
    assert look(tree, socket, there=[made(A, "one", "exited")]) == Standing(Usage(0, (), 0, None, None), ())
    (unknown,) = look(tree, socket, there=[made(A, "one")]).usage.unknown
    assert why in unknown


def test_an_account_without_a_slice_uses_nothing(tmp_path: Path, socket: Path) -> None:
    assert look(make_mount(tmp_path / "cgroup"), socket) == Standing(Usage(0, (), 0, 0, 0), ())


@pytest.mark.parametrize(
    ("file", "usage"),
    {
        "memory.current": Usage(1, ("one",), 4 * GIB, None, 70),
        "memory.stat": Usage(1, ("one",), 4 * GIB, None, 70),
        "pids.current": Usage(1, ("one",), 4 * GIB, 7 * GIB, None),
    }.items(),
)
def test_one_counter_that_cannot_be_read_hides_no_other(tree: Path, socket: Path, file: str, usage: Usage) -> None:
    scope(tree, A, memory_max=f"{4 * GIB}")
    path = tree / cgroup_path(STUDENT) / file
    path.write_text("garbage")
    found = look(tree, socket, there=[made(A, "one")]).usage
    assert replace(found, unknown=()) == usage
    assert [each.partition(": ")[0] for each in found.unknown] == [str(path)]


def test_a_container_whose_limit_cannot_be_read_counts_for_what_it_uses(tree: Path, socket: Path) -> None:
    scope(tree, A, memory_max="garbage", current=GIB)
    assert look(tree, socket).usage == Usage(1, (), GIB, 7 * GIB, 70)


def test_the_slices_of_a_former_group_and_of_a_former_name_count_too(tree: Path, socket: Path) -> None:
    for name, id in (("ds01-researcher-alice.slice", B), ("ds01-student-alice_u1001.slice", C)):  # noqa: A001
        make_slice(tree, name, current=GIB, pids=5)
        make_group(tree / cgroup_path(name) / f"docker-{id}.scope", memory_max=f"{GIB}")
    scope(tree, A, memory_max=f"{4 * GIB}")
    with engine_with(socket) as engine:
        found = standing(tree, engine, account=Account("alice", ("alice", "alice_u1001")))
    assert found.usage == Usage(3, (), 6 * GIB, 9 * GIB, 80)
