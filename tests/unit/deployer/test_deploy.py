"""Deploys below a folder: what is written, what is kept, what is refused, and what an interruption leaves."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from tests.caller import my_group, my_name

from ds01.core.errors import BusyError, Ds01Error, RefusedError
from ds01.core.jsonstate import exclusive
from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.core.tree import Merge, Tree, TreeFile
from ds01.core.value import replace
from ds01.deployer.apply import Write, stage
from ds01.deployer.deploy import Options, World, deploy
from ds01.deployer.history import numbers, read_generation
from ds01.deployer.owned import read_owned
from ds01.deployer.plan import Scope
from ds01.deployer.staged import CheckError

if TYPE_CHECKING:
    from collections.abc import Sequence

ME, MY_GROUP = my_name(), my_group()
STATE = "var/lib/ds01/deploy"


def file(path: str, content: str, **more: object) -> TreeFile:
    return TreeFile(PurePosixPath(path), content, owner=ME, group=MY_GROUP, source="x.j2", **more)  # type: ignore[arg-type]


def limits(account: str, memory: str) -> TreeFile:
    path = f"/etc/systemd/system/ds01-student-{account}.slice.d/10-resource-limits.conf"
    return file(path, f"[Slice]\nMemoryMax={memory}\n", account=account, handlers=("daemon-reload",))


def tree(*files: TreeFile, policy_hash: str = "hash") -> Tree:
    return Tree.of("ds01", policy_hash, files)


POLICY = file("/etc/ds01/policy.json", "{}\n")
FIRST = tree(POLICY, limits("alice", "96G"), limits("bob", "96G"))
SECOND = tree(POLICY, limits("alice", "128G"), limits("carol", "96G"))


@dataclass
class Host:
    """A folder that stands for /, and what happened around it."""

    root: Path
    answers: list[bool] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    check: tuple[int, str] = (0, "")

    @property
    def paths(self) -> HostPaths:
        return HostPaths(self.root)

    def run(self, argv: Sequence[str], **_: object) -> Completed:
        self.ran.append(" ".join(argv))
        return Completed(tuple(argv), self.check[0], "", self.check[1])

    def ask(self, question: str) -> bool:
        self.asked.append(question)
        return self.answers.pop(0)

    def deploy(self, wanted: Tree, **options: object) -> bool:
        world = World(
            run=self.run, now=lambda: datetime(2030, 1, 2, tzinfo=UTC), ask=self.ask, environment={"SUDO_UID": "0"}
        )
        return deploy(wanted, self.paths, Options(**{"yes": True, **options}), world)  # type: ignore[arg-type]

    def write(self, path: str, content: str) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return target

    def files(self) -> dict[str, str]:
        """Everything below the root but the deployer's own state."""
        found = (each for each in self.root.rglob("*") if not each.is_dir() or each.is_symlink())
        shown = {str(each.relative_to(self.root)): each for each in sorted(found)}
        return {
            name: f"→ {each.readlink()}" if each.is_symlink() else each.read_text()
            for name, each in shown.items()
            if not name.startswith(STATE)
        }

    def kept(self) -> dict[str, str]:
        folder = self.root / STATE / "kept"
        return {str(each.relative_to(folder)): each.read_text() for each in folder.rglob("*") if each.is_file()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def contents(wanted: Tree) -> dict[str, str]:
    return {str(path).lstrip("/"): each.content for path, each in sorted(wanted.files.items())}


def test_the_first_deploy_writes_everything_and_the_second_nothing(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.deploy(FIRST)
    assert host.files() == contents(FIRST)
    assert capsys.readouterr().err == "Deployed generation 1: 3 to add, 0 to change, 0 to remove, 0 unchanged.\n"
    before = {path: path.stat() for path in host.root.rglob("*") if path.name != ".lock"}
    assert not host.deploy(FIRST)
    assert capsys.readouterr() == (
        f"Plan for ds01 on {host.root}: 0 to add, 0 to change, 0 to remove, 3 unchanged\n",
        "Nothing to do: the host is as the policy says.\n",
    )
    assert {path: path.stat() for path in host.root.rglob("*") if path.name != ".lock"} == before
    assert host.ran == []  # in a folder no handler has anything to do


def test_what_is_written_has_its_mode_whatever_the_umask(host: Host) -> None:
    old = os.umask(0o077)
    try:
        host.deploy(tree(file("/usr/local/sbin/x", "#!/bin/sh\n", mode=0o755), POLICY))
    finally:
        os.umask(old)
    found = {str(p.relative_to(host.root)): p.stat().st_mode & 0o7777 for p in host.root.rglob("*")}
    assert {name: f"{mode:o}" for name, mode in found.items() if not name.startswith("var")} == {
        "etc": "755",
        "etc/ds01": "755",
        "etc/ds01/policy.json": "644",
        "usr": "755",
        "usr/local": "755",
        "usr/local/sbin": "755",
        "usr/local/sbin/x": "755",
    }
    assert f"{found[f'{STATE}/manifest.json']:o} {found[f'{STATE}/generations/000001.json']:o}" == "644 640"


def test_an_account_that_left_loses_file_and_folder_and_one_that_came_gets_its_own(host: Host) -> None:
    foreign = host.write("/etc/systemd/system/ds01-student-bob.slice.d.bak/10.conf", "mine\n")
    host.deploy(FIRST)
    host.deploy(SECOND)
    name = str(foreign.relative_to(host.root))
    assert host.files() == {**contents(SECOND), name: "mine\n"}
    assert not (host.root / "etc/systemd/system/ds01-student-bob.slice.d").exists()


def test_a_folder_that_holds_anything_else_stays(host: Host) -> None:
    host.deploy(FIRST)
    host.write("/etc/systemd/system/ds01-student-bob.slice.d/99-mine.conf", "[Slice]\n")
    host.deploy(SECOND)
    host.deploy(tree())
    assert host.files() == {"etc/systemd/system/ds01-student-bob.slice.d/99-mine.conf": "[Slice]\n"}
    assert not (host.root / "etc/ds01").exists()


def test_folders_that_were_there_before_ds01_are_never_removed(host: Host) -> None:
    (host.root / "etc/ds01").mkdir(parents=True)
    host.deploy(FIRST)
    host.deploy(tree())
    assert host.files() == {}
    assert [str(each.relative_to(host.root)) for each in (host.root / "etc").rglob("*")] == ["etc/ds01"]


def test_drift_is_refused_and_nothing_changes(host: Host) -> None:
    host.deploy(FIRST)
    alice = "/etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"
    host.write(alice, "[Slice]\nMemoryMax=1T\n")
    (host.root / "etc/ds01/policy.json").unlink()
    before = host.files()
    with pytest.raises(RefusedError) as caught:
        host.deploy(SECOND)
    assert caught.value.render() == (
        "2 files changed by hand since the last deploy; nothing was deployed\n"
        "  /etc/ds01/policy.json: deleted by hand since generation 1\n"
        f"  {alice}: edited by hand since generation 1\n"
        "To fix: bring the edit into the inventory, or deploy --force"
        " (a copy is kept under /var/lib/ds01/deploy/kept)"
    )
    assert (host.files(), numbers(host.paths), host.asked) == (before, (1,), [])


def test_force_overwrites_drift_and_keeps_a_copy(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.deploy(FIRST)
    alice = "etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"
    bob = alice.replace("alice", "bob")
    host.write(alice, "mine\n")
    host.write(bob, "mine too\n")
    host.deploy(SECOND, force=True)
    assert host.files() == contents(SECOND)
    assert host.kept() == {f"000002/{alice}": "mine\n", f"000002/{bob}": "mine too\n"}
    assert {f"{each.stat().st_mode & 0o777:o}" for each in (host.root / STATE / "kept").rglob("*.conf")} == {"600"}
    assert capsys.readouterr().err.endswith(
        "What others had written there is kept below /var/lib/ds01/deploy/kept/000002.\n"
    )


def test_a_foreign_file_that_is_taken_over_is_kept_too(host: Host) -> None:
    host.write("/etc/ds01/policy.json", "theirs\n")
    host.deploy(FIRST)
    assert (host.files(), host.kept()) == (contents(FIRST), {"000001/etc/ds01/policy.json": "theirs\n"})


def test_files_that_are_as_wanted_already_become_ds01s(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    for path, content in contents(FIRST).items():
        host.write(path, content)
    assert host.deploy(FIRST)
    assert set(read_owned(host.paths).files) == set(FIRST.files)
    assert not host.deploy(FIRST)
    host.deploy(tree())
    assert host.files() == {}
    assert "Deployed generation 1: took files as they are." in capsys.readouterr().err


def test_an_edit_that_policy_caught_up_with_is_no_drift_later(host: Host) -> None:
    host.deploy(tree(limits("alice", "96G")))
    host.write(str(limits("alice", "").path), limits("alice", "128G").content)
    assert host.deploy(tree(limits("alice", "128G")))
    assert host.deploy(tree(limits("alice", "200G")))
    assert host.files() == contents(tree(limits("alice", "200G")))


def test_a_stale_file_that_somebody_removed_is_forgotten(host: Host) -> None:
    host.deploy(FIRST)
    (host.root / str(limits("bob", "").path).lstrip("/")).unlink()
    without = tree(POLICY, limits("alice", "96G"))
    assert host.deploy(without)
    assert set(read_owned(host.paths).files) == set(without.files)
    assert not host.deploy(without)


@pytest.mark.parametrize("yes", [True, False])
def test_only_without_yes_it_asks(host: Host, *, yes: bool) -> None:
    host.answers = [True]
    assert host.deploy(FIRST, yes=yes)
    assert host.asked == ([] if yes else ["Deploy this?"])


def test_any_answer_but_yes_changes_nothing(host: Host) -> None:
    host.answers = [False]
    with pytest.raises(RefusedError) as caught:
        host.deploy(FIRST, yes=False)
    assert caught.value.render() == "not deployed: the answer was not yes\nTo fix: answer y, or deploy --yes"
    assert (host.files(), numbers(host.paths)) == ({}, ())


def test_nothing_to_do_asks_nothing(host: Host) -> None:
    host.deploy(FIRST)
    assert not host.deploy(FIRST, yes=False)


@pytest.mark.parametrize("deep", [True, False])
def test_a_link_in_the_way_is_refused_and_not_followed(host: Host, *, deep: bool) -> None:
    elsewhere = host.root / "elsewhere"
    elsewhere.mkdir()
    link = host.root / ("etc" if deep else "etc/ds01")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(RefusedError) as caught:
        host.deploy(tree(POLICY))
    shown = "/etc" if deep else "/etc/ds01"
    assert caught.value.render() == (
        "1 file cannot be deployed; nothing was changed\n"
        f"  /etc/ds01/policy.json: {shown} is a symbolic link to {elsewhere}\n"
        "To fix: see to what each line names, then deploy again"
    )
    assert list(elsewhere.iterdir()) == []


def test_a_link_where_the_state_should_be_is_refused(host: Host) -> None:
    (host.root / "var/lib").mkdir(parents=True)
    (host.root / "var/lib/ds01").symlink_to("/tmp")
    with pytest.raises(Ds01Error) as caught:
        host.deploy(FIRST)
    assert caught.value.brief == "/var/lib/ds01 is a symbolic link to /tmp"


DAEMON = file("/etc/docker/daemon.json", '{\n  "live-restore": true\n}\n', merge=Merge.JSON)
FOREIGN = '{\n    "dns": ["8.8.8.8"],\n    "live-restore": false\n}\n'


def test_daemon_json_is_merged_and_given_back_to_the_byte(host: Host) -> None:
    found = host.write("/etc/docker/daemon.json", FOREIGN)
    found.chmod(0o600)
    host.deploy(tree(DAEMON))
    assert host.files() == {"etc/docker/daemon.json": FOREIGN.replace("false", "true")}
    assert found.stat().st_mode & 0o777 == 0o600
    assert host.kept() == {"000001/etc/docker/daemon.json": FOREIGN}
    found.write_text(FOREIGN.replace("false", "true").replace("8.8.8.8", "9.9.9.9"))
    assert not host.deploy(tree(DAEMON))
    host.deploy(tree())
    assert host.files() == {"etc/docker/daemon.json": FOREIGN.replace("8.8.8.8", "9.9.9.9")}


def test_a_daemon_json_of_ours_alone_goes_as_it_came(host: Host) -> None:
    host.deploy(tree(DAEMON))
    host.deploy(tree())
    assert (host.files(), (host.root / "etc/docker").exists()) == ({}, False)


def test_a_daemon_json_that_is_no_json_is_refused_with_its_place(host: Host) -> None:
    host.write("/etc/docker/daemon.json", '{\n  "dns": ["8.8.8.8",]\n}\n')
    with pytest.raises(RefusedError) as caught:
        host.deploy(tree(DAEMON, POLICY))
    assert caught.value.render() == (
        "1 file cannot be deployed; nothing was changed\n"
        "  /etc/docker/daemon.json, line 2, column 20: there is a comma before ]\n"
        "  To fix: remove that comma; nothing was changed\n"
        "To fix: see to what each line names, then deploy again"
    )
    assert list(host.files()) == ["etc/docker/daemon.json"]


def test_a_refused_check_changes_nothing(host: Host) -> None:
    host.deploy(FIRST)
    before = host.files()
    host.check = (1, "line 1: no")
    with pytest.raises(CheckError):
        host.deploy(tree(POLICY, file("/usr/local/sbin/x", "if\n", check=("bash", "-n", "{file}"))))
    assert (host.files(), numbers(host.paths)) == (before, (1,))


def test_history_keeps_ten_generations_with_who_when_and_what(host: Host) -> None:
    for number in range(12):
        host.deploy(tree(limits("alice", f"{number + 1}G"), policy_hash=f"hash {number}"))
    assert numbers(host.paths) == tuple(range(3, 13))
    last = read_generation(host.paths, 12)
    assert last.to_json(files=False) == {
        "version": 1,
        "generation": 12,
        "host": "ds01",
        "policy_hash": "hash 11",
        "who": ME,
        "when": "2030-01-02T00:00:00Z",
        "what": "0 to add, 1 to change, 0 to remove, 0 unchanged",
    }
    assert last.tree == tree(limits("alice", "12G"), policy_hash="hash 11")


def test_a_part_leaves_the_rest_and_its_generation_holds_what_the_host_holds(host: Host) -> None:
    host.deploy(FIRST)
    host.deploy(replace(SECOND, policy_hash="new"), scope=Scope(account="alice"))
    now = tree(POLICY, limits("alice", "128G"), limits("bob", "96G"), policy_hash="new")
    assert host.files() == contents(now)
    assert read_generation(host.paths, 2).tree == now
    assert set(read_owned(host.paths).files) == set(now.files)
    host.deploy(SECOND)
    assert host.files() == contents(SECOND)


def test_one_deploy_at_a_time(host: Host) -> None:
    host.paths.deploy.mkdir(parents=True)
    with exclusive(host.paths.deploy / ".lock"), pytest.raises(BusyError) as caught:
        host.deploy(FIRST)
    assert caught.value.brief == f"another deploy is at work (pid {os.getpid()})"
    assert host.files() == {}


def test_a_root_that_is_no_folder_is_refused(host: Host) -> None:
    missing = Host(host.root / "missing")
    with pytest.raises(RefusedError) as caught:
        missing.deploy(FIRST)
    assert caught.value.render() == f"there is no folder {missing.root}\nTo fix: mkdir -p {missing.root}"


def interrupt(host: Host, *, in_place: bool) -> None:
    """Leave what a deploy leaves that dies after staging, or with all files in place."""
    changes = [Write(POLICY.path, b"half\n", 0o644), Write(PurePosixPath("/etc/new"), b"new\n", 0o644)]
    transaction = stage(host.paths, changes, context={"generation": 2, "handlers": []})
    if in_place:
        transaction.commit()


def test_a_deploy_that_died_early_is_undone_by_the_next(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.deploy(FIRST)
    interrupt(host, in_place=False)
    capsys.readouterr()
    assert not host.deploy(FIRST)
    assert host.files() == contents(FIRST)
    assert capsys.readouterr().err == (
        "An interrupted deploy (generation 2) was undone: the host is as before it.\n"
        "Nothing to do: the host is as the policy says.\n"
    )


def test_a_deploy_whose_files_were_in_place_is_checked_and_put_back_when_they_are_wrong(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.deploy(FIRST)
    interrupt(host, in_place=True)  # the manifest still says generation 1, so the policy it wrote is wrong
    capsys.readouterr()
    with pytest.raises(Ds01Error) as caught:
        host.deploy(FIRST)
    assert caught.value.render() == (
        "not deployed: the host does not do what was deployed\n"
        "  FAILED  /etc/ds01/policy.json: differs from generation 1; see ./inv plan; deploy --force writes it again\n"
        "Rolled back: the files are as before the deploy."
    )
    assert host.files() == contents(FIRST)
    assert capsys.readouterr().err == (
        "An interrupted deploy (generation 2) had all its files in place; finishing it.\n"
        "failed: the host does not do what was deployed; putting the files back\n"
    )
    assert not host.deploy(FIRST)


def test_what_somebody_edited_after_an_interruption_stays_and_is_named(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.deploy(FIRST)
    interrupt(host, in_place=True)
    host.write("/etc/new", "edited\n")
    with pytest.raises(Ds01Error) as caught:
        host.deploy(FIRST)
    assert caught.value.render().endswith(
        "Rolled back: the files are as before the deploy; but /etc/new was edited meanwhile and is left as it is."
    )
    assert host.files() == {**contents(FIRST), "etc/new": "edited\n"}
