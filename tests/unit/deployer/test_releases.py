"""Installed releases: what is found in each one's place, which can be used, which go."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from tests.releases import put_in_force, seal

from ds01.core.paths import HostPaths
from ds01.core.tree import Tree, sha256
from ds01.deployer.files import FilesError, UnsafeFolderError
from ds01.deployer.history import Generation, generation_path
from ds01.deployer.plan import Action, Plan, Verb
from ds01.deployer.release import CURRENT, Found, Release, State, current_link, with_runtime
from ds01.deployer.releases import (
    discard,
    in_force,
    look_at,
    plan_runtime,
    release_manifest,
    remove_unused,
    usable_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

needs_root = pytest.mark.root
NOBODY = 65534


def lay(root: Path, name: str, **versions: str) -> Path:
    """Make a folder as a release is, with next to nothing in it; returns it."""
    folder = root / "opt/ds01/releases" / name
    for path, text in {
        "bin/ds01": "#!/bin/sh\n",
        "venv/lib/ds01/cli.py": "x = 1\n",
        "venv/lib/ds01/__pycache__/cli.cpython-311.pyc": "compiled",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "venv/bin").mkdir()
    (folder / "venv/bin/python").symlink_to("/bin/sh")
    (folder / "venv/lib64").symlink_to("lib")
    seal(folder, release(name, **versions))
    return folder


def release(name: str, **versions: str) -> Release:
    return Release(name, {"ds01": "0.1.0", **versions})


def test_a_releases_manifest_names_every_file_and_link(tmp_path: Path) -> None:
    folder = lay(tmp_path, "a")
    assert release_manifest(release("a"), folder) == {
        "version": 1,
        "release": "a",
        "packages": {"ds01": "0.1.0"},
        "files": {
            "bin/ds01": sha256(b"#!/bin/sh\n"),
            "venv/bin/python": "-> /bin/sh",
            "venv/lib/ds01/cli.py": sha256(b"x = 1\n"),
            "venv/lib64": "-> lib",
        },
    }


def edit(path: str, text: str = "y = 1\n") -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_text(text)


def be(mode: int, path: str = ".") -> Callable[[Path], object]:
    return lambda folder: (folder / path).chmod(mode)


def replaced(path: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink()
        make(folder / path)

    return change


def pack(**changes: object) -> Callable[[Path], object]:
    """Change a key of release.json, or take it out."""

    def change(folder: Path) -> None:
        stored = json.loads((folder / "release.json").read_text()) | changes
        kept = {key: value for key, value in stored.items() if value is not None}
        (folder / "release.json").write_text(json.dumps(kept))

    return change


UNUSABLE = "release.json cannot be used"
DAMAGED = {
    "a changed module": (edit("venv/lib/ds01/cli.py"), "venv/lib/ds01/cli.py differs"),
    "a changed command": (edit("bin/ds01", "#!/bin/sh\n:\n"), "bin/ds01 differs"),
    "a module more": (edit("venv/lib/docker.py"), "venv/lib/docker.py was added"),
    "a module less": (lambda folder: (folder / "venv/lib/ds01/cli.py").unlink(), "venv/lib/ds01/cli.py is missing"),
    "another Python": (
        replaced("venv/bin/python", lambda path: path.symlink_to("/bin/true")),
        "venv/bin/python differs",
    ),
    "a link for a module": (
        replaced("venv/lib/ds01/cli.py", lambda path: path.symlink_to("/tmp/cli.py")),
        "venv/lib/ds01/cli.py differs",
    ),
    "a folder for a module": (replaced("bin/ds01", lambda path: path.mkdir()), "bin/ds01 is missing"),
    "a pipe for a module": (replaced("bin/ds01", os.mkfifo), "bin/ds01 differs"),
    "a link for a folder": (replaced("bin", lambda path: path.symlink_to("/tmp")), "bin was added"),
    "a pipe for its manifest": (replaced("release.json", os.mkfifo), "release.json cannot be used"),
    "no manifest": (lambda folder: (folder / "release.json").unlink(), f"{UNUSABLE}: it is missing"),
    "a manifest that is no JSON": (edit("release.json", "{"), UNUSABLE),
    "a manifest that is a list": (edit("release.json", "[]"), UNUSABLE),
    "a manifest without files": (pack(files=None), f"{UNUSABLE} (KeyError: 'files')"),
    "files that are a number": (pack(files=1), f"{UNUSABLE} (AttributeError: 'int' object has no attribute 'items')"),
    "another release's manifest": (pack(release="b"), "it is a copy of b"),
    "all may write a module": (be(0o666, "venv/lib/ds01/cli.py"), "venv/lib/ds01/cli.py can be written by others"),
    "a group may write the folder": (be(0o775), ". can be written by others"),
    "all may write compiled code": (
        be(0o777, "venv/lib/ds01/__pycache__"),
        "venv/lib/ds01/__pycache__ can be written by others",
    ),
}


@pytest.mark.parametrize(("damage", "why"), DAMAGED.values(), ids=DAMAGED)
def test_each_way_to_damage_a_release_is_found(tmp_path: Path, damage: Callable[[Path], object], why: str) -> None:
    folder = lay(tmp_path, "a")
    assert look_at(HostPaths(tmp_path), "a") == Found(State.WHOLE, release("a"))
    damage(folder)
    found = look_at(HostPaths(tmp_path), "a")
    assert (found.state, found.release.name) == (State.EDITED, "a")
    assert (found.why or "").startswith(why)


def test_what_python_compiles_later_is_no_edit(tmp_path: Path) -> None:
    folder = lay(tmp_path, "a")
    (folder / "venv/lib/ds01/__pycache__/other.cpython-311.pyc").write_text("compiled too")
    assert look_at(HostPaths(tmp_path), "a").state is State.WHOLE


def test_a_release_whose_python_is_gone_is_broken_and_still_known(tmp_path: Path) -> None:
    folder = lay(tmp_path, "a", docker="7.1.0")
    (folder / "venv/bin/python").unlink()
    (folder / "venv/bin/python").symlink_to("python3.11")
    (folder / "venv/bin/python3.11").symlink_to("/nowhere/python3.11")
    seal(folder, release("a", docker="7.1.0"))
    assert look_at(HostPaths(tmp_path), "a") == Found(
        State.BROKEN, release("a", docker="7.1.0"), "its Python is gone: /nowhere/python3.11"
    )


IN_ITS_PLACE = {
    "nothing": (lambda _: None, Found(State.ABSENT, Release("a"))),
    "a file": (
        lambda place: place.write_text("x"),
        Found(State.EDITED, Release("a"), "/opt/ds01/releases/a is a file, not a folder"),
    ),
    "a link": (
        lambda place: place.symlink_to("/tmp"),
        Found(State.EDITED, Release("a"), "/opt/ds01/releases/a is a symbolic link to /tmp"),
    ),
    "a pipe": (os.mkfifo, Found(State.EDITED, Release("a"), "/opt/ds01/releases/a is a pipe")),
}


@pytest.mark.parametrize(("make", "found"), IN_ITS_PLACE.values(), ids=IN_ITS_PLACE)
def test_what_is_no_folder_is_no_release(tmp_path: Path, make: Callable[[Path], object], found: Found) -> None:
    (tmp_path / "opt/ds01/releases").mkdir(parents=True)
    make(tmp_path / "opt/ds01/releases/a")
    assert look_at(HostPaths(tmp_path), "a") == found


@needs_root
def test_for_others_what_they_may_not_read_is_unknown() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        folder = lay(root, "a")
        whole = look_at(HostPaths(root), "a")
        seen = {}
        for path in ("opt/ds01/releases", "opt/ds01/releases/a/release.json", "opt/ds01/releases/a/bin/ds01"):
            before = (root / path).stat().st_mode
            (root / path).chmod(0o600)
            os.seteuid(NOBODY)
            try:
                seen[path] = look_at(HostPaths(root), "a")
                names = usable_name(HostPaths(root), "a")
            finally:
                os.seteuid(0)
            (root / path).chmod(before)
            assert names == "a"
        assert (whole.state, look_at(HostPaths(root), "a").state) == (State.WHOLE, State.WHOLE)
        assert {path: (found.state, found.why) for path, found in seen.items()} == {
            "opt/ds01/releases": (
                State.UNKNOWN,
                "/opt/ds01/releases/a may not be read; run the command as root (sudo)",
            ),
            "opt/ds01/releases/a/release.json": (
                State.UNKNOWN,
                f"{folder}/release.json may not be read; run the command as root (sudo)",
            ),
            "opt/ds01/releases/a/bin/ds01": (
                State.UNKNOWN,
                f"{folder}/bin/ds01 may not be read; run the command as root (sudo)",
            ),
        }


@needs_root
def test_what_another_account_could_have_put_there_is_no_release(tmp_path: Path) -> None:
    folder = lay(tmp_path, "a")
    os.chown(folder / "bin/ds01", NOBODY, NOBODY)
    assert look_at(HostPaths(tmp_path), "a").why == f"bin/ds01 belongs to uid {NOBODY}"
    os.chown(folder / "bin/ds01", 0, 0)
    os.chown(folder, NOBODY, NOBODY)
    found = look_at(HostPaths(tmp_path), "a")
    assert (found.state, found.why) == (
        State.EDITED,
        f"{folder} belongs to uid {NOBODY}, so root neither reads nor writes below it",
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _: None, None),
        (lambda link: link.symlink_to("releases/a"), "a"),
        (lambda link: link.symlink_to("/opt/ds01/releases/a"), None),
        (lambda link: link.write_text("releases/a"), None),
        (lambda link: link.mkdir(), None),
    ],
)
def test_only_a_link_of_ours_puts_a_release_in_force(
    tmp_path: Path, make: Callable[[Path], object], name: str | None
) -> None:
    (tmp_path / "opt/ds01").mkdir(parents=True)
    make(tmp_path / "opt/ds01/current")
    assert in_force(HostPaths(tmp_path)) == name


# --- Which one is used --------------------------------------------------------------------------------------


def spoil(root: Path, name: str) -> None:
    (root / "opt/ds01/releases" / name / "bin/ds01").write_text("edited\n")


def test_a_release_is_used_under_its_own_name_until_that_is_spoilt(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path)
    assert usable_name(paths, "a") == "a"
    lay(tmp_path, "a")
    assert usable_name(paths, "a") == "a"
    spoil(tmp_path, "a")
    assert usable_name(paths, "a") == "a.2"
    (tmp_path / "opt/ds01/releases/a.2").write_text("in the way\n")
    assert usable_name(paths, "a") == "a.3"
    lay(tmp_path, "a.3")
    assert usable_name(paths, "a") == "a.3"


def test_the_one_in_force_stays_also_when_the_spoilt_one_was_cleared_away(tmp_path: Path) -> None:
    lay(tmp_path, "a")
    lay(tmp_path, "a.2")
    lay(tmp_path, "b")
    put_in_force(tmp_path, "a.2")
    assert usable_name(HostPaths(tmp_path), "a") == "a.2"
    shutil.rmtree(tmp_path / "opt/ds01/releases/a")
    assert usable_name(HostPaths(tmp_path), "a") == "a.2"
    spoil(tmp_path, "a.2")
    assert usable_name(HostPaths(tmp_path), "a") == "a"
    put_in_force(tmp_path, "b")
    assert usable_name(HostPaths(tmp_path), "a") == "a"


def test_with_every_name_spoilt_a_plan_can_still_say_so(tmp_path: Path) -> None:
    (tmp_path / "opt/ds01").mkdir(parents=True)
    (tmp_path / "opt/ds01/releases").symlink_to("/tmp")
    assert usable_name(HostPaths(tmp_path), "a") == "a"
    assert plan_runtime(first_plan("a"), HostPaths(tmp_path), release("a")).actions[0] == Action(
        Verb.BLOCKED,
        CURRENT,
        "/opt/ds01/releases/a: /opt/ds01/releases is a symbolic link to /tmp; --no-runtime leaves the runtime as it is",
        None,
        "releases/a",
        file=current_link("a"),
    )


@needs_root
@pytest.mark.parametrize("folder", ["opt", "opt/ds01"])
def test_root_uses_no_release_where_others_can_write(tmp_path: Path, folder: str) -> None:
    lay(tmp_path, "a")
    put_in_force(tmp_path, "a")
    (tmp_path / folder).chmod(0o777)
    with pytest.raises(UnsafeFolderError) as caught:
        usable_name(HostPaths(tmp_path), "a")
    assert caught.value.render() == (
        f"{tmp_path / folder} can be written by others than root, so root neither reads nor writes below it\n"
        f"To fix: chmod go-w {tmp_path / folder}, after a look at what is in it;"
        " a folder of your own needs no root: run it without sudo"
    )


def first_plan(name: str) -> Plan:
    link = current_link(name)
    return Plan("ds01", "hash", (Action(Verb.ADD, CURRENT, "a link", None, link.content, file=link),))


def test_a_plan_without_a_runtime_is_left_as_it_is(tmp_path: Path) -> None:
    plan = Plan("ds01", "hash", (Action(Verb.ADD, PurePosixPath("/etc/a"), "new", None, "x\n"),))
    assert plan_runtime(plan, HostPaths(tmp_path), release("a")) is plan


@pytest.mark.parametrize(
    ("offered", "verb", "reason"),
    [
        (release("a"), Verb.ADD, "runtime a (ds01 0.1.0)"),
        (
            release("b"),
            Verb.BLOCKED,
            "/opt/ds01/releases/a: this release is gone, since only 2 stay; --no-runtime leaves the runtime as it is",
        ),
        (
            None,
            Verb.BLOCKED,
            "/opt/ds01/releases/a: this release is gone, since only 2 stay; --no-runtime leaves the runtime as it is",
        ),
    ],
)
def test_a_release_that_is_not_there_must_be_on_offer(
    tmp_path: Path, offered: Release | None, verb: Verb, reason: str
) -> None:
    (action,) = plan_runtime(first_plan("a"), HostPaths(tmp_path), offered).actions
    assert (action.verb, action.reason) == (verb, reason)


def test_a_release_that_is_there_needs_no_offer_and_is_held_against_the_one_in_force(tmp_path: Path) -> None:
    lay(tmp_path, "a", docker="7.1.0")
    lay(tmp_path, "b", docker="7.2.0")
    put_in_force(tmp_path, "a")
    (action,) = plan_runtime(first_plan("b"), HostPaths(tmp_path), None).actions
    assert (action.verb, action.reason) == (Verb.ADD, "runtime a → b (docker 7.1.0 → 7.2.0)")


# --- Which ones go ------------------------------------------------------------------------------------------


def remember(root: Path, number: int, name: str | None) -> None:
    """Write the generation that put a release in force, or none."""
    tree = Tree.of("ds01", "hash", ())
    tree = tree if name is None else with_runtime(tree, name)
    file = root / str(generation_path(number)).lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(Generation(number, "ds01", "hash", "alice", "then", "what", tree).to_json()))


def left(root: Path) -> set[str]:
    return {path.name for path in (root / "opt/ds01/releases").iterdir()}


def test_the_two_newest_stay_and_what_was_left_unfinished_goes(tmp_path: Path) -> None:
    assert remove_unused(HostPaths(tmp_path)) == ()
    for number, name in enumerate(("a", "b", "c"), 1):
        lay(tmp_path, name)
        remember(tmp_path, number, name)
    remember(tmp_path, 4, None)
    put_in_force(tmp_path, "c")
    lay(tmp_path, ".new-xyz")
    (tmp_path / "opt/ds01/releases/.new-file").write_text("x\n")
    (tmp_path / "opt/ds01/releases/.new-link").symlink_to(tmp_path / "opt/ds01/releases/a/bin")
    assert remove_unused(HostPaths(tmp_path)) == ()
    assert left(tmp_path) == {"b", "c"}


def test_going_back_keeps_the_one_that_was_left(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "a", "c"), 1):
        if number != 3:
            lay(tmp_path, name)
        remember(tmp_path, number, name)
    put_in_force(tmp_path, "c")
    remove_unused(HostPaths(tmp_path))
    assert left(tmp_path) == {"a", "c"}


def test_broken_ones_go_and_edited_ones_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        lay(tmp_path, name)
    remember(tmp_path, 1, "d")
    remember(tmp_path, 2, "e")
    put_in_force(tmp_path, "e")
    spoil(tmp_path, "a")
    spoil(tmp_path, "d")
    (tmp_path / "opt/ds01/releases/b/venv/bin/python").unlink()
    (tmp_path / "opt/ds01/releases/b/venv/bin/python").symlink_to("/nowhere")
    seal(tmp_path / "opt/ds01/releases/b", release("b"))
    (tmp_path / "opt/ds01/releases/note.txt").write_text("somebody's\n")
    (tmp_path / "opt/ds01/releases/link").symlink_to("/etc")
    assert remove_unused(HostPaths(tmp_path)) == ("a", "link", "note.txt")
    assert left(tmp_path) == {"a", "d", "e", "link", "note.txt"}


def test_a_damaged_generation_counts_for_nothing(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "c"), 1):
        lay(tmp_path, name)
        remember(tmp_path, number, name)
    (tmp_path / str(generation_path(2)).lstrip("/")).write_text("{")
    put_in_force(tmp_path, "c")
    remove_unused(HostPaths(tmp_path))
    assert left(tmp_path) == {"a", "c"}


def test_nothing_is_removed_through_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for name in (".new-mine", "b"):
        (elsewhere / name).mkdir(parents=True)
    (tmp_path / "root/opt/ds01").mkdir(parents=True)
    (tmp_path / "root/opt/ds01/releases").symlink_to(elsewhere)
    with pytest.raises(FilesError) as caught:
        remove_unused(HostPaths(tmp_path / "root"))
    assert caught.value.brief == f"/opt/ds01/releases is a symbolic link to {elsewhere}"
    assert sorted(path.name for path in elsewhere.iterdir()) == [".new-mine", "b"]


def test_whatever_lies_in_a_folders_place_is_discarded_itself(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / "link").symlink_to(kept)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder/in").mkdir(parents=True)
    for name in ("link", "file", "folder"):
        discard(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
