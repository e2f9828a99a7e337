"""The last part of a deploy: kept when all is well, put back when it is not, and gone through again after a crash."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from tests.caller import my_group, my_name
from tests.releases import put_in_force

from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.core.tree import Part, sha256
from ds01.core.value import replace
from ds01.deployer.apply import Transaction, Write, stage
from ds01.deployer.changes import STATE
from ds01.deployer.conclude import DeployError, conclude, finish_interrupted, sweep
from ds01.deployer.journal import State, pending, switch
from ds01.deployer.owned import Owned, OwnedFile
from ds01.deployer.plan import Scope
from ds01.deployer.release import CURRENT

if TYPE_CHECKING:
    from collections.abc import Sequence

A, B = PurePosixPath("/etc/a"), PurePosixPath("/etc/ds01/b")
# What a reload makes systemd do: look which slices are there.
SLICES = "systemctl list-units --type=slice --state=active --plain --no-legend ds01.slice ds01-*.slice"
RELOAD, TMPFILES = "systemctl daemon-reload", "systemd-tmpfiles --create /etc/tmpfiles.d/ds01.conf"


@dataclass
class Tools:
    """Remembers what was run, and lets some of it fail so many times."""

    ran: list[str] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)
    interrupted_at: str | None = None

    def __call__(self, argv: Sequence[str], **_: object) -> Completed:
        line = " ".join(argv)
        self.ran.append(line)
        if line == self.interrupted_at:
            raise KeyboardInterrupt
        left = self.failing.get(line, 0)
        self.failing[line] = max(0, left - 1)
        return Completed(tuple(argv), 1 if left else 0, "", f"{argv[0]} has its reasons" if left else "")


def owned(content: str, **more: object) -> OwnedFile:
    return OwnedFile(sha256(content.encode()), 0o644, my_name(), my_group(), "x.j2", **more)  # type: ignore[arg-type]


def owned_files(a: str = "new a\n", b: str = "new b\n") -> dict[PurePosixPath, OwnedFile]:
    return {A: owned(a), B: owned(b)}


def deployed(
    root: Path, files: dict[PurePosixPath, OwnedFile] | None = None, *, commit: bool = True, **context: object
) -> Transaction:
    """Go as far as a deploy of two files, one of them new, goes before its last part."""
    (root / "etc").mkdir()
    (root / "etc/a").write_text("old a\n")
    manifest = Owned(2, "ds01", "hash", owned_files() if files is None else files).to_json()
    changes = [
        Write(A, b"new a\n", 0o644),
        Write(B, b"new b\n", 0o644),
        Write(STATE / "manifest.json", json.dumps(manifest).encode(), 0o644),
    ]
    transaction = stage(HostPaths(root), changes, context={"generation": 2, "handlers": [], "scope": None} | context)
    if commit:
        transaction.commit()
    return transaction


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() for path in sorted((root / "etc").rglob("*")) if path.is_file()
    }


OLD = {"etc/a": "old a\n"}
NEW = {"etc/a": "new a\n", "etc/ds01/b": "new b\n"}


def test_handlers_run_in_their_order_and_good_files_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = Tools()
    conclude(deployed(tmp_path), ["daemon-reload", "tmpfiles"], HostPaths(tmp_path), tools)
    assert (files(tmp_path), pending(HostPaths(tmp_path))) == (NEW, None)
    assert tools.ran == ["test -e /etc/tmpfiles.d/ds01.conf", TMPFILES, RELOAD, SLICES]
    assert capsys.readouterr().err == (
        "tmpfiles: make DS01's folders\ndaemon-reload: let systemd read the changed slices\n"
    )


def test_a_handler_that_fails_puts_the_files_back_and_what_read_them_reads_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = Tools(failing={RELOAD: 1})
    with pytest.raises(DeployError) as caught:
        conclude(deployed(tmp_path), ["daemon-reload"], HostPaths(tmp_path), tools)
    assert caught.value.render() == (
        "not deployed: systemctl daemon-reload failed with exit code 1\n"
        "systemctl has its reasons\n"
        "Rolled back: the files are as before the deploy and services have read them again.\n"
        "To fix: journalctl -xe shows what the service said"
    )
    assert (files(tmp_path), tools.ran, pending(HostPaths(tmp_path))) == (OLD, [RELOAD, RELOAD, SLICES], None)
    assert capsys.readouterr().err.endswith(
        "failed: systemctl daemon-reload failed with exit code 1; putting the files back\n"
    )


def test_what_cannot_be_put_back_is_named(tmp_path: Path) -> None:
    transaction = deployed(tmp_path)
    (tmp_path / "etc/ds01/b").write_text("somebody's\n")
    with pytest.raises(DeployError) as caught:
        conclude(transaction, ["daemon-reload"], HostPaths(tmp_path), Tools(failing={RELOAD: 2}))
    assert (caught.value.details or "").splitlines()[-1] == (
        "Rolled back: the files are as before the deploy; but /etc/ds01/b was edited meanwhile and is left as it is;"
        " daemon-reload failed again with the old files: systemctl daemon-reload failed with exit code 1."
    )
    assert files(tmp_path) == {**OLD, "etc/ds01/b": "somebody's\n"}


def test_files_that_are_not_as_the_manifest_says_are_put_back(tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        conclude(deployed(tmp_path, owned_files(b="other\n")), [], HostPaths(tmp_path), Tools())
    assert caught.value.render() == (
        "not deployed: the host does not do what was deployed\n"
        "  FAILED  /etc/ds01/b: differs from generation 2; see ./inv plan; deploy --force writes it again\n"
        "Rolled back: the files are as before the deploy."
    )
    assert files(tmp_path) == OLD


def test_an_interruption_leaves_it_for_the_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        conclude(deployed(tmp_path), ["daemon-reload"], HostPaths(tmp_path), Tools(interrupted_at=RELOAD))
    assert files(tmp_path) == NEW | {"etc/.a.ds01-old~": "old a\n"}
    assert pending(HostPaths(tmp_path)) is State.APPLIED
    assert capsys.readouterr().err.endswith(
        "interrupted: the files are in place, but handlers and checks are not through; ./inv deploy goes on with it\n"
    )


WRONG = {
    "another account's": (PurePosixPath("/etc/bob"), owned("x\n", account="bob"), Scope(account="alice")),
    "outside a pattern": (PurePosixPath("/opt/x"), owned("x\n"), Scope(pattern="/etc/*")),
    "of the runtime": (PurePosixPath("/etc/unit"), owned("x\n", part=Part.RUNTIME), Scope(without=Part.RUNTIME)),
    "the runtime itself": (CURRENT, owned("releases/gone", part=Part.RUNTIME), Scope(without=Part.RUNTIME)),
}


@pytest.mark.parametrize(("path", "file", "scope"), WRONG.values(), ids=WRONG)
def test_what_a_deploy_left_alone_is_not_its_fault(
    tmp_path: Path, path: PurePosixPath, file: OwnedFile, scope: Scope
) -> None:
    mine = {each: replace(known, account=scope.account) for each, known in owned_files().items()}
    (tmp_path / "whole").mkdir()
    with pytest.raises(DeployError, match="the host does not do what was deployed"):
        conclude(deployed(tmp_path / "whole", {**mine, path: file}), [], HostPaths(tmp_path / "whole"), Tools())
    (tmp_path / "part").mkdir()
    transaction = deployed(tmp_path / "part", {**mine, path: file}, scope=scope.to_json())
    conclude(transaction, [], HostPaths(tmp_path / "part"), Tools())
    assert files(tmp_path / "part") == NEW


# --- After a crash ------------------------------------------------------------------------------------------


def test_without_a_crash_there_is_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not finish_interrupted(HostPaths(tmp_path), Tools(), at_boot=True)
    assert (list(tmp_path.iterdir()), capsys.readouterr()) == ([], ("", ""))


CUT_OFF = {
    State.STAGING: (OLD, "was undone: the host is as before it.\n"),
    State.APPLYING: (OLD, "was undone: the host is as before it.\n"),
    State.UNDOING: (OLD, "was undone: the host is as before it.\n"),
    State.APPLIED: (NEW, "had all its files in place; finishing it.\n"),
    State.FINISHING: (NEW, "had succeeded and is tidied up.\n"),
}
HANDLERS = ["tmpfiles", "daemon-reload", "docker-reload", "docker-restart"]


@pytest.mark.parametrize("at_boot", [False, True])
@pytest.mark.parametrize("state", State)
def test_in_a_folder_a_crash_is_cleared_up_and_no_handler_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: State, *, at_boot: bool
) -> None:
    paths = HostPaths(tmp_path)
    deployed(tmp_path, commit=state is not State.STAGING, handlers=HANDLERS)
    if state not in {State.STAGING, State.APPLIED}:
        switch_from_applied(paths, state)
    assert pending(paths) is state
    tools = Tools()
    assert finish_interrupted(paths, tools, at_boot=at_boot)
    after, words = CUT_OFF[state]
    assert (files(tmp_path), pending(paths), tools.ran) == (after, None, [])
    assert capsys.readouterr().err == f"An interrupted deploy (generation 2) {words}"
    assert [path.name for path in tmp_path.rglob(".*ds01-*~")] == []


def switch_from_applied(paths: HostPaths, state: State) -> None:
    """Go back or on to a state; what it needs was written when the deploy began, save what was used up since."""
    waiting = paths.deploy / f".journal.json.{state.value}"
    if not waiting.exists():
        text = json.loads((paths.deploy / "journal.json").read_text()) | {"state": state.value}
        waiting.write_text(json.dumps(text) + "\n")
    switch(paths, state)


@pytest.mark.parametrize("at_boot", [False, True])
def test_what_somebody_edited_since_stays_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, at_boot: bool
) -> None:
    deployed(tmp_path)
    switch_from_applied(HostPaths(tmp_path), State.APPLYING)
    (tmp_path / "etc/a").write_text("somebody's\n")
    finish_interrupted(HostPaths(tmp_path), Tools(), at_boot=at_boot)
    assert capsys.readouterr().err == (
        "An interrupted deploy (generation 2) was undone: the host is as before it.\n"
        "notice: /etc/a was edited meanwhile and is left as it is; the old version is beside it\n"
    )
    assert files(tmp_path) == {"etc/.a.ds01-old~": "old a\n", "etc/a": "somebody's\n"}


def test_a_scope_holds_after_a_crash_too(tmp_path: Path) -> None:
    wrong = {**owned_files(), PurePosixPath("/etc/unit"): owned("x\n", part=Part.RUNTIME)}
    deployed(tmp_path, wrong, scope=Scope(without=Part.RUNTIME).to_json())
    assert finish_interrupted(HostPaths(tmp_path), Tools())
    assert files(tmp_path) == NEW


# --- Old releases -------------------------------------------------------------------------------------------


def test_old_releases_go_and_edited_ones_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in-force", "edited", ".new-xyz"):
        (tmp_path / "opt/ds01/releases" / name).mkdir(parents=True)
    put_in_force(tmp_path, "in-force")
    conclude(deployed(tmp_path), [], HostPaths(tmp_path), Tools())
    assert {path.name for path in (tmp_path / "opt/ds01/releases").iterdir()} == {"in-force", "edited"}
    assert capsys.readouterr().err == (
        "notice: /opt/ds01/releases/edited is not needed, but was edited by hand: look at it, then remove it (rm -r)\n"
    )


def test_old_releases_that_cannot_be_looked_at_fail_no_deploy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "opt/ds01").mkdir(parents=True)
    (tmp_path / "opt/ds01/releases").symlink_to("/etc")
    sweep(HostPaths(tmp_path))
    assert capsys.readouterr().err == (
        "notice: old releases of the runtime could not be removed: /opt/ds01/releases is a symbolic link to /etc;"
        " the next deploy tries again\n"
    )


@pytest.mark.root
def test_root_removes_nothing_where_others_can_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "opt/ds01/releases/.new-xyz").mkdir(parents=True)
    os.chown(tmp_path / "opt/ds01/releases", 65534, 65534)
    sweep(HostPaths(tmp_path))
    assert (tmp_path / "opt/ds01/releases/.new-xyz").is_dir()
    assert f"{tmp_path}/opt/ds01/releases belongs to uid 65534" in capsys.readouterr().err
