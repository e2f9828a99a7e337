"""`ds01 claim`: who may say whose a container is, of what, and what is told of it."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.recorded import row, write_record
from tests.unit.runtime.gpu.engines import engine_with, inspected

from ds01.core.paths import HostPaths
from ds01.runtime.commands import claim
from ds01.runtime.containers.claims import read_claims
from ds01.runtime.containers.page import locked_page

SHIPPED = Path(__file__).resolve().parents[4] / "generated/ds01/root/etc/ds01/policy.json"
GAMES = pwd.getpwnam("games").pw_uid
TOKEN = "2026-03-01T09:00:00.123456Z"
OLD, OLDER = inspected("old"), inspected("older")
MADE = inspected("made", labels={"ds01.user": "games", "ds01.created_at": TOKEN})
SAID = inspected("said", labels={"ds01.user": "games", "ds01.created_at": "2026-03-01T09:00:00.000000Z"})
pytestmark = pytest.mark.root
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path / "root")
    for path in (paths.policy, paths.engine, paths.claims, paths.events):
        path.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(SHIPPED.read_text())
    document["users"] |= {"j.doe@lab-x.org": {"group": "researcher"}}
    paths.policy.write_text(json.dumps(document))
    with locked_page(paths.pages, GAMES) as page:
        page.admitted = (TOKEN,)
    return paths


@pytest.fixture
def docker(paths: HostPaths) -> Iterator[Callable[..., None]]:
    """What containers there are from now on; none when Docker does not answer."""
    with ExitStack() as stack:

        def become(*containers: dict[str, object]) -> None:
            stack.close()
            if containers:
                stack.enter_context(engine_with(paths.engine, *containers))

        become(OLD, OLDER, MADE, SAID)
        yield become


@pytest.fixture
def run(paths: HostPaths, docker: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*argv: str, sudo: str | None = None) -> tuple[int, str, str]:
        monkeypatch.delenv("SUDO_UID", raising=False)
        if sudo is not None:
            monkeypatch.setenv("SUDO_UID", sudo)
        code = claim.main([*argv, "--root", str(paths.root)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def claimed(paths: HostPaths) -> dict[str, tuple[str, str, str]]:
    return {each.name: (each.container_id, each.user, each.by) for each in read_claims(paths).values()}


def events(paths: HostPaths) -> list[dict[str, Any]]:
    if not paths.events.exists():
        return []
    lines = [json.loads(line) for line in paths.events.read_text().splitlines()]
    return [{key: each[key] for key in ("event_type", "user", "source", "details")} for each in lines]


@pytest.mark.parametrize("called", ["old", str(OLD["Id"])])
def test_a_container_without_an_owner_is_given_one(paths: HostPaths, run: Run, called: str):
    assert run(called, "games") == (0, "old is games's now\n", "")
    assert claimed(paths) == {"old": (OLD["Id"], "games", "root")}
    assert events(paths) == [
        {
            "event_type": "container.claimed",
            "user": "games",
            "source": "claim",
            "details": {"container": "old", "container_id": OLD["Id"], "by": "root", "label_owner": None},
        }
    ]


@pytest.mark.parametrize("argv", [(), ("--remove",)])
def test_a_name_that_is_the_beginning_of_anothers_id_takes_no_claim_for_it(
    paths: HostPaths, run: Run, docker: Callable[..., None], argv: tuple[str, ...]
):
    """As docker ps shows ids, and as anybody may call a container: Docker itself takes the name first."""
    called = str(OLD["Id"])[:12]
    docker(OLD, inspected(called))
    code, out, err = run(*argv, called, *(() if argv else ("games",)))
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == f"error: '{called}' is the name of a container, and the beginning of the id of old"
    assert (claimed(paths), events(paths)) == ({}, [])
    assert run(str(OLD["Id"]), "games")[0] == 0


def test_a_listed_account_may_be_unknown_to_this_machine(paths: HostPaths, run: Run):
    assert run("old", "j.doe@lab-x.org", "--json")[0] == 0
    assert claimed(paths) == {"old": (OLD["Id"], "j.doe@lab-x.org", "root")}


def test_a_label_that_anybody_can_write_stops_nobody(paths: HostPaths, run: Run):
    code, out, err = run("said", "www-data")
    assert (code, out) == (0, "said is www-data's now\n")
    assert err == "notice: its label says games; the claim stands above that\n"
    assert claimed(paths) == {"said": (SAID["Id"], "www-data", "root")}


def test_what_ds01_let_another_make_is_claimed_only_by_force(paths: HostPaths, run: Run):
    code, out, err = run("made", "www-data")
    assert (code, out) == (4, "")
    assert err == (
        "error: made is games's, by a label that DS01 itself gave it\n"
        "To fix: leave it; --force claims it for www-data all the same\n"
    )
    assert run("made", "games")[0] == 0
    assert run("made", "www-data", "--force")[0] == 0
    assert claimed(paths) == {"made": (MADE["Id"], "www-data", "root")}
    assert [each["details"]["label_owner"] for each in events(paths)] == ["games", "games"]


@pytest.mark.parametrize(("admitted", "code"), [(True, 4), (False, 0)])
def test_what_was_recorded_as_admitted_counts_when_the_page_has_forgotten_it(
    paths: HostPaths, run: Run, admitted: object, code: int
):
    write_record(paths, row(SAID, admitted=admitted))
    assert run("said", "www-data")[0] == code


def test_when_the_record_cannot_be_read_a_label_is_taken_for_true(paths: HostPaths, run: Run):
    paths.containers.write_text("{")
    assert run("said", "www-data")[0] == 4
    assert run("old", "www-data")[0] == 0


@pytest.mark.parametrize(
    ("argv", "brief", "fix"),
    [
        (("old", "nobody-at-all"), "there is no account 'nobody-at-all'", "write it as in the inventory"),
        (("old", "a\x1b[2J"), "there is no account 'a\\\\x1b[2J'", "write it as in the inventory"),
        (("gone", "games"), "there is no container 'gone'", "docker ps --all"),
        (("no such name", "games"), "'no such name' is not a container's name", "use letters"),
    ],
)
def test_what_is_not_there_is_bad_input_that_says_what_to_write(
    paths: HostPaths, run: Run, argv: tuple[str, ...], brief: str, fix: str
):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {brief}\nTo fix: {fix}")
    assert claimed(paths) == {}


@pytest.mark.parametrize(
    "argv",
    [(), ("old",), ("", "games"), ("old", ""), ("--list", "old"), ("--remove",), ("--remove", "old", "games"),
     ("--remove", "--list")],
)  # fmt: skip
def test_a_line_that_names_too_little_or_too_much_is_bad_input(run: Run, argv: tuple[str, ...]):
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2


@pytest.mark.parametrize("argv", [("old", "games"), ("--remove", "old"), ("--list",)])
def test_it_is_for_administrators(paths: HostPaths, run: Run, argv: tuple[str, ...]):
    code, _, err = run(*argv, sudo=str(GAMES))
    assert code == 4
    assert err == "error: games is not an administrator\nTo fix: ask one; this command is theirs\n"
    assert claimed(paths) == {}
    assert events(paths) == []


def test_a_claim_is_taken_back_once(paths: HostPaths, run: Run):
    run("old", "games")
    assert run("--remove", "old") == (0, "the claim of old for games is taken back\n", "")
    assert claimed(paths) == {}
    assert events(paths)[-1]["event_type"] == "container.unclaimed"
    assert run("--remove", "old") == (0, "", "nobody claimed old; nothing to do\n")
    assert len(events(paths)) == 2


def test_without_docker_or_its_container_a_claim_can_be_taken_back_all_the_same(
    paths: HostPaths, run: Run, docker: Callable[..., None]
):
    run("old", "games")
    run("older", "games")
    docker(OLD, MADE)
    assert run("--remove", "older")[0] == 0
    docker()
    code, out, err = run("--remove", str(OLD["Id"])[:12])
    assert (code, out) == (0, "the claim of old for games is taken back\n")
    assert err.startswith("notice: there is no Docker engine at ")
    assert claimed(paths) == {}


def test_a_beginning_that_two_claims_have_takes_none_back(paths: HostPaths, run: Run, docker: Callable[..., None]):
    run("old", "games")
    run("older", "games")
    docker()
    code, _, err = run("--remove", str(OLD["Id"])[:6])
    assert code == 2
    assert "may be any of" in err
    assert set(claimed(paths)) == {"old", "older"}


def test_what_was_said_of_containers_that_are_gone_is_forgotten_at_the_next_claim(
    paths: HostPaths, run: Run, docker: Callable[..., None]
):
    run("old", "games")
    docker(OLDER)
    run("older", "games")
    assert set(claimed(paths)) == {"older"}


def test_all_claims_are_listed_oldest_first(paths: HostPaths, run: Run):
    assert run("--list") == (0, "", "no container is claimed\n")
    run("old", "games")
    paths.claims.write_text(paths.claims.read_text().replace("20", "19", 1))
    run("said", "www-data", sudo="0")
    code, out, err = run("--list")
    assert (code, err) == (0, "")
    assert [line.split()[:4] for line in out.splitlines()] == [
        ["CONTAINER", "ID", "ACCOUNT", "BY"],
        ["old", str(OLD["Id"])[:12], "games", "root"],
        ["said", str(SAID["Id"])[:12], "www-data", "root"],
    ]
    said = json.loads(run("--list", "--json")[1])
    assert [(each["container"], each["user"]) for each in said["claims"]] == [("old", "games"), ("said", "www-data")]
    assert said["version"] == 1


def test_programs_are_told_the_same(run: Run):
    said = json.loads(run("old", "games", "--json")[1])
    assert said == {
        "version": 1,
        "claimed": {
            "container_id": OLD["Id"], "container": "old", "user": "games", "by": "root", "at": said["claimed"]["at"]
        },
    }  # fmt: skip
    assert json.loads(run("--remove", "old", "--json")[1]) == {"version": 1, "removed": said["claimed"]}
    assert json.loads(run("--remove", "old", "--json")[1]) == {"version": 1, "removed": None}


def test_without_docker_nothing_is_claimed(paths: HostPaths, run: Run, docker: Callable[..., None]):
    docker()
    code, _, err = run("old", "games")
    assert code == 1
    assert err.startswith("error: there is no Docker engine at ")
    assert claimed(paths) == {}


def test_a_damaged_file_is_left_and_said(paths: HostPaths, run: Run):
    paths.claims.write_text('{"version": 1')
    code, _, err = run("old", "games")
    assert code == 1
    assert f"mv {paths.claims} {paths.claims}.bad" in err
    assert paths.claims.read_text() == '{"version": 1'


def test_a_claim_that_cannot_be_written_is_none(paths: HostPaths, run: Run):
    paths.claims_lock.mkdir()
    code, out, err = run("old", "games")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {paths.claims} cannot be written, and is as it was\n")
    assert events(paths) == []


def test_a_log_that_cannot_be_written_stops_no_claim(paths: HostPaths, run: Run):
    os.mkfifo(paths.events)
    code, out, err = run("old", "games")
    assert (code, out) == (0, "old is games's now\n")
    assert err.startswith(f"warning: {paths.events} ")
