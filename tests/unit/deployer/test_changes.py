"""From a plan to what is written, removed and remembered."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from ds01.core.paths import HostPaths
from ds01.core.tree import Form, Part, Tree, TreeFile
from ds01.deployer.apply import Link, Remove, Write
from ds01.deployer.changes import (
    STATE,
    deployed_tree,
    digest,
    file_changes,
    kept_copies,
    kept_folder,
    next_owned,
    state_changes,
    unused_folders,
)
from ds01.deployer.history import Generation
from ds01.deployer.owned import Owned, OwnedFile
from ds01.deployer.plan import Action, Plan, Verb
from ds01.deployer.release import CURRENT

A, B, C = (PurePosixPath(f"/etc/ds01/{name}") for name in "abc")


def wanted(path: PurePosixPath, content: str, **more: object) -> TreeFile:
    return TreeFile(path, content, source="templates/x.j2", **more)  # type: ignore[arg-type]  # tests name fields


def add(path: PurePosixPath, content: str) -> Action:
    return Action(Verb.ADD, path, "new", None, content, file=wanted(path, content))


def owned_file(content: str) -> OwnedFile:
    return OwnedFile(digest(content), 0o644, "root", "root", "templates/x.j2")


def plan(*actions: Action) -> Plan:
    return Plan("box", "f" * 64, actions)


def test_unchanged_files_are_not_written(tmp_path: Path) -> None:
    stays = Action(Verb.UNCHANGED, A, "as wanted", "a", "a", file=wanted(A, "a"))
    goes = Action(Verb.REMOVE, B, "no longer rendered", "b")
    found = file_changes(plan(stays, goes, add(C, "c")), HostPaths(tmp_path))
    assert [type(each) for each in found] == [Remove, Write]
    assert [each.path for each in found] == [B, C]


def test_what_somebody_else_wrote_is_copied_for_the_owner_alone() -> None:
    taken = Action(Verb.TAKE_OVER, A, "a file that DS01 did not write is here", "theirs", "ours", keep=True)
    assert kept_copies(plan(taken, add(B, "b")), 7) == [Write(kept_folder(7) / "etc/ds01/a", b"theirs", 0o600)]


def test_an_older_file_goes_and_is_copied_as_it_was() -> None:
    gone = Action(Verb.RETIRE, A, "a link", "/opt/older/x", keep=True, was=Form.LINK)
    program = Action(Verb.RETIRE, B, "no text", "\x7fELF\udcff\0", keep=True)
    stays = Action(Verb.KEEP, C, "stays")
    found = plan(gone, program, stays)
    assert file_changes(found, HostPaths(Path("/nowhere"))) == [Remove(A), Remove(B)]
    assert kept_copies(found, 3) == [
        Link(kept_folder(3) / "etc/ds01/a", "/opt/older/x"),
        Write(kept_folder(3) / "etc/ds01/b", b"\x7fELF\xff\0", 0o600),
    ]


@pytest.mark.parametrize(("verb", "settled"), [(Verb.RETIRE, True), (Verb.KEEP, True), (Verb.OLDER, False)])
def test_a_choice_about_older_files_is_remembered(tmp_path: Path, verb: Verb, *, settled: bool) -> None:
    def settles(action: Action, owned: Owned) -> bool:
        return next_owned(plan(action), HostPaths(tmp_path), owned, 1, (), whole=True).settled

    assert settles(Action(verb, A, "what it does", "x"), Owned()) is settled
    assert settles(add(A, "a"), Owned(settled=True))


def test_manifest_is_the_last_of_all_changes(tmp_path: Path) -> None:
    tree = Tree.of("box", "f" * 64, [wanted(A, "a")])
    generation = Generation(1, "box", "f" * 64, "alice", "2026-01-31T12:00:00Z", "1 to add", tree)
    changes = state_changes(generation, Owned(generation=1), HostPaths(tmp_path))
    assert [str(each.path.relative_to(STATE)) for each in changes] == ["generations/000001.json", "manifest.json"]
    assert isinstance(changes[-1], Write)
    assert json.loads(changes[-1].content)["generation"] == 1


def test_manifest_forgets_what_is_gone_and_remembers_folders_that_are_made(tmp_path: Path) -> None:
    before = Owned(3, "box", "e" * 64, {B: owned_file("b")}, ())
    goes = Action(Verb.REMOVE, B, "no longer rendered", "b")
    after = next_owned(plan(goes, add(A, "a")), HostPaths(tmp_path), before, 4, (), whole=True)
    folders = (PurePosixPath("/etc"), PurePosixPath("/etc/ds01"))
    assert after == Owned(4, "box", "f" * 64, {A: owned_file("a")}, folders, ())


def test_part_of_a_plan_leaves_the_rest_of_the_manifest_alone(tmp_path: Path) -> None:
    (tmp_path / "etc/ds01").mkdir(parents=True)
    before = Owned(3, "box", "e" * 64, {B: owned_file("b")}, ())
    part = next_owned(plan(add(A, "a")), HostPaths(tmp_path), before, 4, (), whole=False)
    whole = next_owned(plan(add(A, "a")), HostPaths(tmp_path), before, 4, (), whole=True)
    assert (list(part.files), list(whole.files)) == ([B, A], [A])


def test_folders_that_hold_nothing_any_more_go_inner_ones_first() -> None:
    folders = tuple(map(PurePosixPath, ("/etc/x", "/etc/x/y", "/etc/z")))
    after = Owned(folders=(PurePosixPath("/etc/z"),))
    assert unused_folders(Owned(folders=folders), after) == (folders[1], folders[0])


def test_tree_of_a_part_on_a_fresh_host_is_that_part(tmp_path: Path) -> None:
    whole = Tree.of("box", "f" * 64, [wanted(A, "a"), wanted(B, "b")])
    part = deployed_tree(whole, plan(add(A, "a")), HostPaths(tmp_path), Owned())
    assert part == Tree.of("box", "f" * 64, [wanted(A, "a")])


def test_the_runtime_comes_before_all_else_and_goes_after_it(tmp_path: Path) -> None:
    unit, wants, command = map(
        PurePosixPath,
        (
            "/etc/systemd/system/r.service",
            "/etc/systemd/system/x.wants/r.service",
            "/usr/bin/ds01",
        ),
    )
    comes = [
        Action(Verb.ADD, path, "new", None, "x", file=wanted(path, "x", part=Part.RUNTIME), part=Part.RUNTIME)
        for path in (unit, wants, CURRENT, command)
    ]
    goes = [Action(Verb.REMOVE, each.path, "no longer", "x", part=Part.RUNTIME) for each in comes]
    paths = HostPaths(tmp_path)
    found = [each.path for each in file_changes(plan(add(A, "a"), *comes, add(B, "b")), paths)]
    assert found == [CURRENT, unit, wants, command, A, B]
    found = [each.path for each in file_changes(plan(*goes, add(A, "a"), add(B, "b")), paths)]
    assert found == [A, B, command, wants, unit, CURRENT]
