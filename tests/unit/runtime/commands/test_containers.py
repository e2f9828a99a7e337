"""`ds01 containers`: who sees which, how whose they are is said, and what is shown when Docker cannot be asked."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.rows import id_of, stray
from tests.unit.runtime.containers.rows import row as remembered
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.gpu.engines import engine_with, inspected

from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.commands import containers as module
from ds01.runtime.containers.claims import Claim, write_claim
from ds01.runtime.containers.container import State
from ds01.runtime.containers.look import remember
from ds01.runtime.containers.page import locked_page
from ds01.runtime.containers.record import Record
from ds01.runtime.containers.seen import Attribution, Evidence

pytestmark = pytest.mark.root
ALICE, BOB, ADMIN = "games", "www-data", "daemon"
TOKEN = "2026-03-01T08:59:59.000001Z"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path / "root")
    for path in (made.policy, made.engine, made.containers):
        path.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(SHIPPED.read_text())
    document["users"] = {ALICE: {"group": "student"}, BOB: {"group": "student"}}
    document["access_control"]["admin_users"] = [ADMIN]
    made.policy.write_text(json.dumps(document))
    with locked_page(made.pages, pwd.getpwnam(ALICE).pw_uid) as page:
        page.admitted = (TOKEN,)
    write_claim(made, Claim(id_of("old"), BOB, ADMIN, NOON, "old"))
    return made


@pytest.fixture
def run(paths: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def run_as(*words: str, account: str = ADMIN, docker: bool = True) -> tuple[int, str, str]:
        monkeypatch.setenv("SUDO_UID", str(pwd.getpwnam(account).pw_uid))
        argv = [*words, "--root", os.fspath(paths.root)]
        if docker:
            with engine_with(paths.engine, *there()):
                code = module.main(argv)
        else:
            code = module.main(argv)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_as


def there() -> list[dict[str, Any]]:
    labels = {"ds01.user": ALICE, "ds01.created_at": TOKEN, "ds01.protected": "true"}
    train = inspected("train", labels=labels, devices=["GPU-0"])
    train["HostConfig"]["RestartPolicy"] = {"Name": "always"}  # type: ignore[index] # an object
    forged = {"ds01.user": ALICE, "ds01.protected": "true"}
    return [
        train,
        inspected("forged", labels=forged, status="exited"),
        inspected("old", status="created"),
        inspected("ds01-grafana"),
        inspected("stray", everything=True),
    ]


def names(said: str) -> list[str]:
    return [line.split()[0] for line in said.splitlines()[1:]]


def test_an_administrator_sees_all_with_how_their_owners_are_known(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "OWNER", "KIND", "STATE", "SINCE", "IMAGE", "GPU", "FLAGS"],
        ["forged", "games?", "(label)", "unknown", "exited", "2026-03-01", "11:00", "pytorch", "-", "-"],
        ["train", "games", "(label)", "managed", "running", "2026-03-01", "10:00", "pytorch", "GPU-0", "protected",
         "restart=always"],
        ["old", "www-data", "(claim)", "unmanaged-docker", "created", "2026-03-01", "09:00", "pytorch", "-", "-"],
        ["ds01-grafana", "-", "unmanaged-docker", "running", "2026-03-01", "10:00", "pytorch", "-", "site"],
        ["stray", "-", "unmanaged-docker", "running", "2026-03-01", "10:00", "pytorch", "all", "-"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "account", "shown"),
    [
        (["--user", ALICE], ADMIN, ["forged", "train"]),
        (["--unmanaged"], ADMIN, ["forged", "old", "stray"]),
        (["--unmanaged", "--user", ALICE], ADMIN, ["forged"]),
        ([], ALICE, ["forged", "train"]),
        (["--user", ALICE], ALICE, ["forged", "train"]),
        (["--unmanaged"], BOB, ["old"]),
    ],
)
def test_what_is_asked_for_and_may_be_seen(run: Run, words: list[str], account: str, shown: list[str]) -> None:
    code, out, err = run(*words, account=account)
    assert (code, names(out), err) == (0, shown, "")


def test_another_accounts_are_shown_to_administrators_alone(run: Run) -> None:
    code, out, err = run("--user", BOB, account=ALICE)
    assert (code, out) == (4, "")
    assert "shown to administrators alone" in err


def test_nothing_to_show_is_said(run: Run) -> None:
    assert run("--user", "no.such")[:2] == (0, "no.such has no such container\n")


def test_programs_get_the_same(run: Run) -> None:
    code, out, err = run("--json", "--user", BOB)
    assert (code, err) == (0, "")
    said = json.loads(out)
    (old,) = said["containers"]
    assert (said["version"], said["lacking"]) == (1, [])
    assert {key: old[key] for key in ("id", "name", "state", "kind", "owner", "since", "flags", "admitted")} == {
        "id": id_of("old"),
        "name": "old",
        "state": "created",
        "kind": "unmanaged-docker",
        "owner": {"user": BOB, "evidence": "claim", "asserted": False},
        "since": "2026-03-01T09:00:00Z",
        "flags": [],
        "admitted": False,
    }


def test_without_docker_it_shows_what_was_known_and_says_so(run: Run, paths: HostPaths) -> None:
    rows = (remembered("train", owner=Attribution(ALICE, Evidence.LABEL)), stray("ds01-grafana", of_site=True))
    remember(paths, Record({each.id: each for each in rows}), NOON)
    code, out, err = run(docker=False)
    assert (code, names(out)) == (1, ["train", "ds01-grafana"])
    assert "there is no Docker engine" in err
    assert "shown is what was known before: 2026-03-01" in err
    code, out, _ = run("--json", docker=False)
    said = json.loads(out)
    assert (code, len(said["containers"]), len(said["lacking"])) == (1, 2, 1)


def test_without_docker_and_without_a_record_nothing_is_made_up(run: Run) -> None:
    code, out, err = run(docker=False)
    assert (code, out) == (1, "there is no such container\n")
    assert "nothing is known from before" in err


def test_names_and_images_move_no_terminal(run: Run, paths: HostPaths) -> None:
    evil = stray("evil", image="a\x1b[2Jb", owner=Attribution("x\x07y", Evidence.LABEL, asserted=True))
    remember(paths, Record({evil.id: evil}), NOON)
    _, out, _ = run(docker=False)
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"a\x1b[2Jb" in out


@pytest.mark.parametrize(
    ("state", "since"),
    [
        (State.CREATED, "created_at"),
        (State.RUNNING, "started_at"),
        (State.PAUSED, "started_at"),
        (State.RESTARTING, "started_at"),
        (State.EXITED, "finished_at"),
        (State.DEAD, "finished_at"),
    ],
)
def test_a_state_has_begun_at_its_own_time(state: State, since: str) -> None:
    times = {
        "created_at": NOON.replace(hour=1), "started_at": NOON.replace(hour=2), "finished_at": NOON.replace(hour=3),
    }  # fmt: skip
    there = replace(remembered("train"), state=state, **times)
    assert module.since(there) == times[since]


@pytest.fixture
def open_paths(paths: HostPaths) -> Iterator[HostPaths]:
    """The same host where others may enter: pytest's own folder is closed to them."""
    with tempfile.TemporaryDirectory(prefix="ds01-containers-") as folder:
        root = Path(folder) / "root"
        shutil.copytree(paths.root, root, symlinks=True)
        Path(folder).chmod(0o755)
        made = HostPaths(root)
        remember(made, Record({id_of("old"): remembered("old")}), NOON)
        yield made


@pytest.fixture
def as_account(open_paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, account: str = ALICE, docker: int = 0o666) -> tuple[int, str, str]:
        # One who became another by sudo -u is none that root acts for.
        environment = {name: text for name, text in os.environ.items() if name != "SUDO_UID"}
        with engine_with(open_paths.engine, *there()), pytest.MonkeyPatch.context() as patched:
            open_paths.engine.chmod(docker)
            patched.setattr("os.environ", environment)
            entry, groups = pwd.getpwnam(account), os.getgroups()
            os.setgroups([])
            os.setegid(entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, 0)
            try:
                code = module.main([*words, "--root", os.fspath(open_paths.root)])
            finally:
                os.setresuid(0, 0, 0)
                os.setegid(0)
                os.setgroups(groups)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_without_root_an_account_sees_its_own_and_what_it_cannot_see(as_account: Run) -> None:
    code, out, err = as_account()
    assert (code, names(out)) == (0, ["forged", "train"])
    # Nobody but root can tell which of the two it was that DS01 let come to be.
    assert [line.split()[1:4] for line in out.splitlines()[1:]] == [["games?", "(label)", "unknown"]] * 2
    assert err.startswith("notice: claims, and which containers DS01 let come to be, are read by root alone")
    code, out, _ = as_account("--json", account=BOB)
    said = json.loads(out)
    assert (code, said["containers"], len(said["lacking"])) == (0, [], 1)


@pytest.mark.parametrize("account", [ALICE, ADMIN])
def test_without_root_nobody_is_shown_what_is_anothers(as_account: Run, account: str) -> None:
    code, out, err = as_account("--user", BOB, account=account)
    assert (code, out) == (4, "")
    assert "administrators run the command through sudo" in err


def test_an_account_that_may_not_ask_docker_is_told_how_to_ask(as_account: Run, open_paths: HostPaths) -> None:
    code, out, err = as_account(docker=0o600)
    assert (code, out) == (1, "")
    assert f"{open_paths.engine} may not be used" in err
    assert "sudo" in err


def test_what_docker_cannot_describe_is_shown_as_it_was_seen_last(
    run: Run, paths: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run()  # for the clock of this test
    monkeypatch.setenv("SUDO_UID", str(pwd.getpwnam(ADMIN).pw_uid))
    owner = Attribution(ALICE, Evidence.LABEL)
    remember(paths, Record({id_of("train"): remembered("train", owner=owner)}), NOON)
    argv = ["--json", "--root", os.fspath(paths.root)]
    with engine_with(paths.engine, *there(), inspected("new"), broken={"train", "new"}):
        assert module.main(argv) == 0
    said = json.loads(capsys.readouterr().out)
    shown = {each["name"]: (each["owner"], each["flags"]) for each in said["containers"]}
    assert shown["train"] == ({"user": ALICE, "evidence": "label", "asserted": False}, ["undescribed"])
    assert shown["new"] == (None, ["undescribed"])
    assert (len(shown), said["lacking"]) == (6, [])
