"""What an account uses: whole trees read as the kernel's own, and each half that can be missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cgroups import DATA, GIB, make_group, make_mount, make_slice

from ds01.core.names import SliceName
from ds01.runtime.cgroup.tree import CannotTell, Cause
from ds01.runtime.cgroup.usage import (
    AccountUsage,
    ContainerUsage,
    Counted,
    SliceLimits,
    SliceUsage,
    read_usage,
    slices_of,
    total,
    user_slices,
)

STUDENT, LAB = SliceName("ds01-student-alice.slice"), SliceName("ds01-research_lab-alice.slice")
ALICE = "ds01.slice/ds01-student.slice/ds01-student-alice.slice"


def known(answer: AccountUsage | CannotTell) -> AccountUsage:
    assert isinstance(answer, AccountUsage)
    return answer


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(DATA / "full", tmp_path / "cgroup")
    return tmp_path / "cgroup"


def test_an_account_is_summed_over_its_slices_also_of_a_former_group() -> None:
    slices = slices_of(DATA / "full", ["alice"])
    assert slices == (LAB, STUDENT)
    assert read_usage(DATA / "full", slices) == AccountUsage(
        (
            SliceUsage(
                LAB,
                Counted(5 * GIB, GIB, 4, 500_000),
                SliceLimits(320 * GIB, 288 * GIB, 327680, 24000),
                (ContainerUsage("e" * 64, 64 * GIB, Counted(4 * GIB, GIB, 2, 300_000)),),
            ),
            SliceUsage(
                STUDENT,
                Counted(40 * GIB, 12 * GIB, 70, 7_000_000),
                SliceLimits(96 * GIB, 86 * GIB, 12288, 9600),
                (
                    ContainerUsage("a" * 64, 32 * GIB, Counted(30 * GIB, 10 * GIB, 60, 5_000_000)),
                    ContainerUsage("b" * 64, None, Counted(8 * GIB, 2 * GIB, 9, 1_500_000)),
                ),
            ),
        )
    )


def test_the_sums_are_over_all_slices_and_containers_are_counted_once() -> None:
    usage = known(read_usage(DATA / "full", [STUDENT, LAB]))
    sums = (usage.memory_current_bytes, usage.inactive_file_bytes, usage.working_set_bytes)
    assert sums == (45 * GIB, 13 * GIB, 32 * GIB)
    assert (usage.pids_current, usage.cpu_usec) == (74, 7_500_000)
    assert isinstance(usage.containers, tuple)
    assert [each.id[0] for each in usage.containers] == ["a", "b", "e"]


@pytest.mark.parametrize(
    ("part", "slices"),
    [
        ("bob", ("ds01-student-bob.slice",)),
        ("lab_alice", ("ds01-research_lab-lab_alice.slice",)),
        ("student", ()),
        ("lab", ()),
        ("nobody", ()),
        ("", ()),
    ],
)
def test_only_slices_of_exactly_this_account_are_found(part: str, slices: tuple[str, ...]) -> None:
    assert slices_of(DATA / "full", [part]) == slices


def test_all_forms_of_an_accounts_name_are_looked_for(tree: Path) -> None:
    make_slice(tree, "ds01-student-alice_u1001.slice")
    assert slices_of(tree, ["alice_u1001", "alice", "alice"]) == (LAB, STUDENT, "ds01-student-alice_u1001.slice")


def test_a_slice_that_lies_where_systemd_would_not_put_it_is_nobodys(tree: Path) -> None:
    make_group(tree / "ds01.slice/ds01-faculty.slice/ds01-student-carol.slice")
    make_group(tree / "ds01-student-carol.slice")
    assert slices_of(tree, ["carol"]) == ()


def test_every_accounts_slice_is_listed_and_nothing_else() -> None:
    assert user_slices(DATA / "full") == (
        "ds01-research_lab-alice.slice",
        "ds01-research_lab-lab_alice.slice",
        "ds01-student-alice.slice",
        "ds01-student-bob.slice",
    )
    assert user_slices(DATA / "empty") == ()


def test_an_account_of_which_nothing_runs_uses_nothing() -> None:
    assert slices_of(DATA / "empty", ["alice"]) == ()
    for usage in (known(read_usage(DATA / "empty", [STUDENT])), known(read_usage(DATA / "empty", []))):
        assert usage == AccountUsage(())
        assert (usage.working_set_bytes, usage.pids_current, usage.containers) == (0, 0, ())


@pytest.mark.parametrize(
    ("tree", "cause"),
    [
        ("missing", Cause.NO_ROOT_SLICE),
        ("v1", Cause.VERSION_1),
        ("hybrid", Cause.HYBRID),
        ("none at all", Cause.NOT_MOUNTED),
    ],
)
def test_where_nothing_can_be_known_the_cause_is_told(tree: str, cause: Cause) -> None:
    for answer in (
        read_usage(DATA / tree, [STUDENT]),
        slices_of(DATA / tree, ["alice"]),
        user_slices(DATA / tree),
    ):
        assert isinstance(answer, CannotTell)
        assert answer.cause is cause


def test_without_the_memory_controller_the_rest_is_known(tree: Path) -> None:
    for name in ("memory.current", "memory.stat", "memory.max", "memory.high"):
        (tree / ALICE / name).unlink()
    usage = known(read_usage(tree, [STUDENT, LAB]))
    missing = CannotTell(
        Cause.NO_FILE, tree / ALICE / "memory.current", "there is no such file; its controller may be off"
    )
    assert (usage.memory_current_bytes, usage.working_set_bytes, usage.pids_current) == (missing, missing, 74)
    assert usage.slices[0].limits.pids_max == 12288
    assert isinstance(usage.slices[0].limits.memory_max_bytes, CannotTell)


def test_a_file_that_cannot_be_read_hides_only_what_it_would_say(tree: Path) -> None:
    path = tree / ALICE / f"docker-{'a' * 64}.scope/memory.max"
    path.unlink()
    path.mkdir()
    usage = known(read_usage(tree, [STUDENT]))
    assert isinstance(usage.containers, tuple)
    first, second = usage.containers
    assert first == ContainerUsage(
        "a" * 64,
        CannotTell(Cause.UNREADABLE, path, "Is a directory"),
        Counted(30 * GIB, 10 * GIB, 60, 5_000_000),
    )
    assert second.memory_max_bytes is None


def test_garbage_in_a_counter_makes_its_sum_unknown_and_no_other(tree: Path) -> None:
    (tree / ALICE / "pids.current").write_text("many\n")
    usage = known(read_usage(tree, [LAB, STUDENT]))
    garbage = CannotTell(Cause.GARBAGE, tree / ALICE / "pids.current", "expected a number, found b'many'")
    assert (usage.pids_current, usage.working_set_bytes) == (garbage, 32 * GIB)


AS_NOBODY = """
import os, sys
from pathlib import Path
from ds01.runtime.cgroup.usage import read_usage, slices_of
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
root = Path(sys.argv[1])
usage = read_usage(root, slices_of(root, ["alice"]))
print([each.name for each in usage.slices], usage.working_set_bytes.cause.value, usage.containers.cause.value)
"""


def test_a_folder_that_others_may_not_read_is_unknown_and_not_empty() -> None:
    # Below no folder of the tests' own, which are closed to others; a child process, since the tests may run as root.
    with tempfile.TemporaryDirectory() as folder:
        tree = shutil.copytree(DATA / "full", Path(folder) / "cgroup")
        Path(folder).chmod(0o755)
        closed = tree / "ds01.slice/ds01-student.slice"
        closed.chmod(0o700 if os.geteuid() == 0 else 0)
        argv = [sys.executable, "-c", AS_NOBODY, tree]
        path = {"PYTHONPATH": f"{Path(__file__).parents[4] / 'scripts'}"}
        done = subprocess.run(argv, check=False, env=path, capture_output=True, text=True)
        closed.chmod(0o755)
    assert (done.stderr, done.stdout) == ("", f"{[LAB, STUDENT]} unreadable unreadable\n")


def test_a_container_that_ends_while_it_is_read_is_simply_gone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder list is the kernel's, from before; the group has vanished since."""
    scope = tree / ALICE / f"docker-{'a' * 64}.scope"
    real = Path.stat

    def vanish(path: Path, **options: bool):
        if path == scope:
            shutil.rmtree(scope, ignore_errors=True)
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", vanish)
    usage = known(read_usage(tree, [STUDENT]))
    assert isinstance(usage.containers, tuple)
    assert [each.id[0] for each in usage.containers] == ["b"]


def test_containers_in_a_slice_below_are_the_accounts_too(tree: Path) -> None:
    make_group(tree / ALICE / "ds01-student-alice-job.slice" / f"docker-{'9' * 64}.scope", GIB)
    for name in (f"docker-{'9' * 63}.scope", f"docker-{'G' * 64}.scope", f"docker-{'8' * 64}.scope.d", "init.scope"):
        make_group(tree / ALICE / name)
    usage = known(read_usage(tree, [STUDENT]))
    assert isinstance(usage.containers, tuple)
    assert [each.id[0] for each in usage.containers] == ["9", "a", "b"]


def test_the_working_set_is_never_below_nothing() -> None:
    assert Counted(5, 7, 0, 0).working_set_bytes == 0


COUNTS = st.tuples(*[st.integers(0, 2**63)] * 4)
WORD = st.text("ab_1", min_size=1, max_size=4)


@given(
    st.dictionaries(st.tuples(WORD, WORD), st.tuples(COUNTS, st.dictionaries(st.integers(0, 15), COUNTS)), max_size=4)
)
def test_any_tree_gives_each_account_exactly_its_own(tmp_path_factory: pytest.TempPathFactory, accounts) -> None:
    root = make_mount(tmp_path_factory.mktemp("cgroup"))
    for (group, part), (counts, scopes) in accounts.items():
        folder = make_slice(root, f"ds01-{group}-{part}.slice", *counts)
        for digit, counted in scopes.items():
            make_group(folder / f"docker-{f'{digit:x}' * 64}.scope", *counted)
    for wanted in {part for _, part in accounts}:
        slices = slices_of(root, [wanted])
        assert not isinstance(slices, CannotTell)
        own = {f"ds01-{group}-{part}.slice": found for (group, part), found in accounts.items() if part == wanted}
        assert set(slices) == set(own)
        usage = known(read_usage(root, slices))
        assert usage.memory_current_bytes == sum(counts[0] for counts, _ in own.values())
        assert usage.working_set_bytes == sum(max(0, counts[0] - counts[1]) for counts, _ in own.values())
        assert isinstance(usage.containers, tuple)
        found = [(each.id, each.counted) for each in usage.containers]
        expected = [
            (f"{digit:x}" * 64, Counted(*counted)) for name in slices for digit, counted in sorted(own[name][1].items())
        ]
        assert found == expected


def test_a_sum_keeps_the_first_reason() -> None:
    why = [CannotTell(Cause.NO_FILE, Path(name), "gone") for name in ("one", "two")]
    assert (total([1, 2]), total([]), total([1, why[0], why[1]])) == (3, 0, why[0])
