"""Slices that hold more than a plan leaves them, read from control group trees as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from ds01.core.paths import HostPaths
from ds01.core.tree import TreeFile
from ds01.deployer.memory import overfull
from ds01.deployer.plan import Action, Plan, Verb

UNITS = "/etc/systemd/system"
GIB = 1024**3
STUDENTS = "ds01.slice/ds01-student.slice"
END = "the kernel will kill processes in it; have its containers make room first"


def sets(path: str, limit: str, verb: Verb = Verb.ADD) -> Action:
    text = f"[Slice]\nMemoryMax={limit}\n"
    file = TreeFile(PurePosixPath(f"{UNITS}/{path}"), text)
    return Action(verb, file.path, "", None, text, file=file)


ALICE = sets("ds01-student-alice.slice.d/10-resource-limits.conf", "8G")
GROUP = sets("ds01-student-.slice.d/10-resource-limits.conf", "4G")


def holds(root: Path, folder: str, current: int, inactive: int = 0) -> None:
    group = root / "sys/fs/cgroup" / folder
    group.mkdir(parents=True)
    (group / "memory.current").write_text(f"{current}\n")
    (group / "memory.stat").write_text(f"anon 0\nfile 0\ninactive_file {inactive}\nactive_file 0\n")


def said(root: Path, *actions: Action) -> tuple[str, ...]:
    return overfull(Plan("ds01", "hash", actions), HostPaths(root))


def test_what_does_not_fit_is_said_and_files_read_once_do_not_count(tmp_path: Path) -> None:
    holds(tmp_path, f"{STUDENTS}/ds01-student-alice.slice", 10 * GIB + 4096, GIB)
    assert said(tmp_path, ALICE) == (f"ds01-student-alice.slice holds 9G and is to have 8G: {END}",)
    holds(tmp_path / "fits", f"{STUDENTS}/ds01-student-alice.slice", 10 * GIB, 2 * GIB)
    assert said(tmp_path / "fits", ALICE) == ()


def test_accounts_that_no_file_names_get_their_groups_limit(tmp_path: Path) -> None:
    for name in ("alice", "eve"):
        holds(tmp_path, f"{STUDENTS}/ds01-student-{name}.slice", 6 * GIB)
    eve = f"ds01-student-eve.slice holds 6G and is to have 4G: {END}"
    assert said(tmp_path, ALICE, GROUP) == (eve,)
    assert said(tmp_path, GROUP, sets(str(ALICE.path.relative_to(UNITS)), "8G", Verb.UNCHANGED)) == (eve,)


@pytest.mark.parametrize(
    "action",
    [
        sets("ds01-student-alice.slice.d/10-resource-limits.conf", "infinity"),
        sets("ds01-student-alice.slice.d/10-resource-limits.conf", "1G", Verb.UNCHANGED),
        sets("ds01-student-bob.slice.d/10-resource-limits.conf", "1G"),
        sets("docker.service.d/x.conf", "1G"),
        Action(Verb.REMOVE, PurePosixPath(f"{UNITS}/ds01-student-alice.slice"), "", "[Slice]\nMemoryMax=1G\n"),
    ],
    ids=["no limit", "no change", "no such slice", "no slice", "goes"],
)
def test_the_rest_says_nothing(tmp_path: Path, action: Action) -> None:
    holds(tmp_path, f"{STUDENTS}/ds01-student-alice.slice", 10 * GIB)
    assert said(tmp_path, action) == ()


def test_a_slice_that_says_nothing_of_its_memory_is_passed_over(tmp_path: Path) -> None:
    holds(tmp_path, f"{STUDENTS}/ds01-student-alice.slice", 10 * GIB)
    (tmp_path / "sys/fs/cgroup" / STUDENTS / "ds01-student-alice.slice/memory.current").write_text("")
    assert said(tmp_path, ALICE) == ()
    assert said(tmp_path / "nothing", ALICE, GROUP) == ()
