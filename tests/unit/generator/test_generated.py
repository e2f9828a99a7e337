"""The committed picture of a host: written whole, cleaned of what is no longer made, and told when stale."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from ds01.core.tree import Tree, TreeFile, sha256
from ds01.generator.generated import generated_files, left_over, stale_reason, write_generated

TREE = Tree.of(
    "box",
    "0" * 64,
    [
        TreeFile(PurePosixPath("/etc/a/x.conf"), "zoë\n", source="templates/x.j2", account="alice"),
        TreeFile(PurePosixPath("/usr/y"), "y\n", mode=0o755),
    ],
)


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_picture_is_every_file_and_a_manifest() -> None:
    picture = generated_files(TREE)
    manifest = json.loads(picture.pop("manifest.json"))
    assert (picture, manifest["files"]["/etc/a/x.conf"], sorted(manifest)) == (
        {"root/etc/a/x.conf": "zoë\n", "root/usr/y": "y\n"},
        {
            "mode": "0644",
            "owner": "root",
            "group": "root",
            "source": "templates/x.j2",
            "merge": None,
            "check": [],
            "handlers": [],
            "account": "alice",
            "sha256": sha256("zoë\n".encode()),
        },
        ["files", "generated", "host", "policy_hash"],
    )


def test_written_picture_is_fresh(tmp_path: Path) -> None:
    assert (write_generated(tmp_path, TREE), stale_reason(tmp_path, TREE)) == (3, None)


def test_files_and_folders_that_are_no_longer_made_are_removed(tmp_path: Path) -> None:
    write_generated(tmp_path, TREE)
    old = tmp_path / "generated" / "box" / "root" / "etc" / "old" / "deep"
    old.mkdir(parents=True)
    (old / "z").write_text("z")
    assert (write_generated(tmp_path, TREE), files(tmp_path / "generated" / "box"), old.parent.exists()) == (
        1,
        generated_files(TREE),
        False,
    )


def test_other_hosts_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "generated" / "other").mkdir(parents=True)
    (tmp_path / "generated" / "other" / "x").write_text("x")
    write_generated(tmp_path, TREE)
    assert files(tmp_path / "generated" / "other") == {"x": "x"}


@pytest.mark.parametrize(
    ("file", "content", "first"),
    [
        ("root/usr/y", "edited\n", "root/usr/y"),
        ("root/usr/more", "more\n", "root/usr/more"),
        ("manifest.json", "{}", "manifest.json"),
    ],
)
def test_stale_picture_is_told_with_its_first_file(file: str, content: str, first: str, tmp_path: Path) -> None:
    write_generated(tmp_path, TREE)
    (tmp_path / "generated" / "box" / file).write_text(content)
    assert stale_reason(tmp_path, TREE) == (
        f"generated/box is stale in 1 files ({first} first); run ./inv render and commit it"
    )


def test_link_in_the_picture_is_stale_and_replaced_never_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    write_generated(tmp_path, TREE)
    target = tmp_path / "generated" / TREE.host / "manifest.json"
    target.unlink()
    target.symlink_to(victim)
    assert stale_reason(tmp_path, TREE) is not None
    write_generated(tmp_path, TREE)
    assert (victim.read_text(), target.is_symlink(), stale_reason(tmp_path, TREE)) == ("mine", False, None)


def test_linked_folder_in_the_picture_is_replaced_too(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_generated(tmp_path, TREE)
    inside = tmp_path / "generated" / TREE.host / "root"
    inside.rename(elsewhere)
    inside.symlink_to(elsewhere)
    before = files(elsewhere)
    write_generated(tmp_path, TREE)
    assert (files(elsewhere), inside.is_symlink(), stale_reason(tmp_path, TREE)) == (before, False, None)


def test_folder_without_a_host_is_left_over(tmp_path: Path) -> None:
    write_generated(tmp_path, TREE)
    (tmp_path / "generated/gone").mkdir()
    assert left_over(tmp_path, [TREE.host]) == ("gone",)
    assert left_over(tmp_path / "nowhere", []) == ()
