"""What goes into a prepared machine: people, the checkout, and when it is made anew. Needs no machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.lab.machine import prepared
from tests.lab.machine.accounts import LISTED, UNLISTED, Accounts, make_accounts
from tests.lab.machine.checkout import CHECKOUT, host_file, pack_checkout
from tests.lab.machine.errors import LabError
from tests.lab.machine.lab import Lab
from tests.lab.machine.settings import Bootable, Cache, Hardware, Suite

from ds01.generator.build import check
from ds01.generator.inventory import load_inventory


def test_people_have_numbers_of_their_own_and_groups_of_the_policy_a_member():
    uids = {"alice": 1001, "bob": 1002, "student01": 1003, "j.doe@lab-x.org": 1004, "guest01": 1005}
    assert make_accounts({"student": "students", "phd": "phd guests"}) == Accounts(
        passwd="".join(f"{name}:x:{uid}:{uid}::/home/{name}:/bin/bash\n" for name, uid in uids.items()),
        shadow="".join(f"{name}:*:19000:0:99999:7:::\n" for name in uids),
        group="".join(f"{name}:x:{uid}:\n" for name, uid in uids.items())
        + "phd guests:x:2001:\nstudents:x:2002:guest01\n",
        homes={f"/home/{name}": uid for name, uid in uids.items()},
    )


def test_people_are_listed_in_the_shipped_inventory_or_not_as_they_should():
    lists = load_inventory(CHECKOUT / "inventory").members
    listed = {member.name for members in lists.values() for member in members}
    assert (set(LISTED) - listed, UNLISTED in listed) == (set(), False)


@pytest.mark.parametrize("suite", Suite)
def test_the_shipped_policy_holds_on_the_lab_host(tmp_path: Path, suite: Suite):
    shutil.copytree(CHECKOUT / "inventory", tmp_path / "inventory")
    (tmp_path / "inventory/hosts/lab.yaml").write_text(host_file(suite, Hardware(memory="512M")))
    host = check(CHECKOUT, tmp_path / "inventory", "lab").document["host"]
    assert (host["cpus"], host["memory_bytes"], host["engine_version"]) == (1, 512 << 20, suite.engine)


def test_the_checkout_goes_as_the_working_tree_is(tmp_path: Path):
    tree, archive = tmp_path / "tree", tmp_path / "tar"
    (tree / "folder").mkdir(parents=True)
    for name in ("changed", "removed", "folder/tool", ".gitignore"):
        (tree / name).write_text("ignored\n")
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    subprocess.run(["git", "add", "--all"], cwd=tree, check=True)
    (tree / "changed").write_text("later\n")
    (tree / "removed").unlink()
    (tree / "-new \n one").write_text("")
    (tree / "ignored").write_text("")
    (tree / "link").symlink_to("/nowhere")
    (tree / "folder/tool").chmod(0o777)
    os.chown(tree / "changed", 12345, 12345)
    pack_checkout(archive, tree)
    with tarfile.open(archive) as packed:
        found = {one.name: (one.mode, one.uid, one.gid, one.linkname) for one in packed.getmembers()}
        changed = packed.extractfile("changed")
        assert changed is not None
        assert changed.read() == b"later\n"
    assert found == {
        ".gitignore": (0o644, 0, 0, ""),
        "-new \n one": (0o644, 0, 0, ""),
        "changed": (0o644, 0, 0, ""),
        "folder/tool": (0o755, 0, 0, ""),
        "link": (0o755, 0, 0, "/nowhere"),  # a link's mode means nothing
    }


def test_what_is_no_checkout_is_named(tmp_path: Path):
    with pytest.raises(LabError, match="git failed"):
        pack_checkout(tmp_path / "tar", tmp_path)


@pytest.mark.parametrize("name", ["inv", "requirements/dev.txt", "requirements/host.txt"])
def test_prepared_machines_are_made_anew_when_what_made_them_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    cache, checkout = Cache(tmp_path / "cache"), tmp_path / "checkout"
    (checkout / "requirements").mkdir(parents=True)
    for file in ("inv", "requirements/dev.txt", "requirements/host.txt"):
        shutil.copy(CHECKOUT / file, checkout / file)
    before = {suite: prepared.prepared_artefact(cache, suite).path for suite in Suite}
    assert len(set(before.values())) == len(Suite)
    monkeypatch.setattr(prepared, "CHECKOUT", checkout)
    assert {suite: prepared.prepared_artefact(cache, suite).path for suite in Suite} == before
    (checkout / name).write_text((checkout / name).read_text() + "# changed\n")
    after = {suite: prepared.prepared_artefact(cache, suite).path for suite in Suite}
    assert not set(before.values()) & set(after.values())


def test_what_cannot_be_made_is_tried_once_and_keeps_nothing_else_from_being_made(tmp_path: Path):
    lab, tried = Lab(Cache(tmp_path), nullcontext), []

    def broken(suite: Suite, cache: Cache) -> Bootable:
        tried.append(suite)
        raise LabError("no space")

    def works(suite: Suite, cache: Cache) -> Bootable:
        return Bootable(Path(suite), cache.folder)

    for suite in (Suite.TRIXIE, Suite.BOOKWORM):
        with pytest.raises(LabError, match="no space"):
            lab._make(broken, suite)
    assert (tried, str(lab.failure)) == ([Suite.TRIXIE], "no space")
    assert lab._make(works, Suite.TRIXIE) == Bootable(Path("trixie"), tmp_path)
