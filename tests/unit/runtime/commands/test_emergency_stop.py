"""`ds01 emergency-stop`: who may, what is shown and asked before anything happens; test_admin_tools.py has the rest."""

from __future__ import annotations

import io
import json
import pwd
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.gpu.engines import engine_with, inspected

from ds01.core.paths import HostPaths
from ds01.core.services import SERVICES
from ds01.generator.model import JOBS
from ds01.runtime.commands import emergency_stop

CHECKOUT = Path(__file__).resolve().parents[4]
SHIPPED = CHECKOUT / "generated/ds01/root/etc/ds01/policy.json"
GAMES, DAEMON = (str(pwd.getpwnam(name).pw_uid) for name in ("games", "daemon"))
WEB = inspected("web", labels={"ds01.user": "games"})
TRAIN = inspected("train", labels={"ds01.user": "www-data"}, everything=True)
GRAFANA = inspected("ds01-grafana")
OLD = inspected("old", status="exited", labels={"ds01.user": "games"})
KILL = "sudo systemctl kill --signal=KILL"
HEAD = "CONTAINER  ID            ACCOUNT   BY ITS  STATE    GPU  PROTECTED"
pytestmark = pytest.mark.root
Run = Callable[..., tuple[int, str, str]]


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path / "root")
    for path in (paths.policy, paths.engine, paths.claims, paths.events):
        path.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(SHIPPED.read_text())
    document["access_control"]["admin_users"] = ["daemon"]
    paths.policy.write_text(json.dumps(document))
    return paths


@pytest.fixture
def run(paths: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with ExitStack() as stack:

        def call(
            *argv: str, sudo: str | None = None, typed: str | None = None, containers: Any = (WEB, TRAIN, GRAFANA, OLD)
        ) -> tuple[int, str, str]:
            monkeypatch.delenv("SUDO_UID", raising=False)
            if sudo is not None:
                monkeypatch.setenv("SUDO_UID", sudo)
            monkeypatch.setattr("sys.stdin", io.StringIO() if typed is None else Terminal(typed))
            if containers is not None:
                stack.enter_context(engine_with(paths.engine, *containers))
            code = emergency_stop.main([*argv, "--root", str(paths.root)])
            stack.close()
            shown = capsys.readouterr()
            return code, shown.out, shown.err

        yield call


def events(paths: HostPaths) -> list[dict[str, Any]]:
    return [] if not paths.events.exists() else [json.loads(line) for line in paths.events.read_text().splitlines()]


def row(container: dict[str, Any], user: str, gpu: str) -> str:
    name = container["Name"][1:]
    return f"{name:9}  {container['Id'][:12]}  {user:8}  label   running  {gpu:3}  no"


def test_a_dry_run_shows_what_would_be_stopped_and_changes_nothing(paths: HostPaths, run: Run):
    code, out, err = run("--all", "--dry-run")
    assert code == 0
    assert out.splitlines() == [HEAD, row(WEB, "games", "no"), row(TRAIN, "www-data", "yes")]
    assert err == (
        "left alone: ds01-grafana: it is one of the site's own\n2 containers would be stopped; nothing was done\n"
    )
    assert events(paths) == []


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        (("--user", "games"), ["web"]),
        (("--user", "www-data"), ["train"]),
        (("--gpu",), ["train"]),
        (("--all",), ["web", "train"]),
        (("--all", "--including-site"), ["web", "train", "ds01-grafana"]),
    ],
    ids=" ".join,
)
def test_programs_are_told_what_would_be_stopped(run: Run, scope: tuple[str, ...], names: list[str]):
    said = json.loads(run(*scope, "--dry-run", "--json")[1])
    assert [each["container"] for each in said["containers"]] == names
    assert {each["outcome"] for each in said["containers"]} == {"would stop"}
    assert (said["version"], said["scope"], said["dry_run"]) == (1, " ".join(scope).split(" --inc")[0], True)


def test_of_a_container_programs_are_told_all_there_is(run: Run):
    said = json.loads(run("--gpu", "--dry-run", "--json")[1])
    assert said["containers"] == [
        {
            "container": "train", "container_id": TRAIN["Id"], "user": "www-data", "evidence": "label",
            "state": "running", "gpu": True, "protected": False, "outcome": "would stop",
        }
    ]  # fmt: skip


@pytest.mark.parametrize("typed", ["no\n", "y\n", "YES\n", "\n", ""])
def test_whoever_does_not_type_the_whole_word_stops_nothing(paths: HostPaths, run: Run, typed: str):
    code, out, err = run("--user", "games", typed=typed)
    assert code == 4
    assert out.splitlines()[1].startswith("web ")
    assert err == (
        "Type yes to stop 1 container at once: error: nothing was stopped: the answer was not yes\n"
        "To fix: type yes, or add --yes\n"
    )
    assert events(paths) == []


@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_where_nobody_can_be_asked_nothing_is_stopped(paths: HostPaths, run: Run, json_: tuple[str, ...]):
    code, _, err = run("--all", *json_)
    assert code == 2
    assert err.endswith(
        "error: nobody can be asked whether 2 containers shall be stopped: the input is no terminal\n"
        "To fix: add --yes, or --dry-run to see them only\n"
    )
    assert events(paths) == []


def test_with_json_what_is_asked_about_is_shown_beside_the_result(run: Run):
    code, out, err = run("--all", "--json", typed="no\n")
    assert (code, out) == (4, "")
    assert HEAD in err


def test_an_account_that_runs_nothing_is_nothing_to_do(run: Run):
    assert run("--user", "daemon", "--yes") == (0, "", "nothing of that runs; nothing to do\n")


def test_a_slip_in_a_name_is_told_from_that(run: Run):
    code, _, err = run("--user", "gmaes", "--yes")
    assert code == 2
    assert err.startswith("error: there is no account 'gmaes', and nothing of that name runs\n")


def test_an_account_that_is_gone_has_containers_all_the_same(run: Run):
    ghost = inspected("ghost", labels={"ds01.user": "ghost"})
    assert run("--user", "ghost", "--dry-run", containers=[ghost])[0] == 0


@pytest.mark.parametrize(
    "argv",
    [(), ("--user", ""), ("--user", "games", "--all"), ("--gpu", "--all"), ("--gpu", "--including-site")],
    ids=" ".join,
)
def test_a_line_that_says_not_whom_or_too_much_is_bad_input(run: Run, argv: tuple[str, ...]):
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2


def test_it_is_for_administrators(paths: HostPaths, run: Run):
    code, out, err = run("--all", "--yes", sudo=GAMES)
    assert (code, out) == (4, "")
    assert err == "error: games is not an administrator\nTo fix: ask one; this command is theirs\n"
    assert events(paths) == []
    assert run("--all", "--dry-run", sudo=DAEMON)[0] == 0


@pytest.mark.parametrize("text", [None, "{", '{"version": 7}'])
def test_without_a_policy_root_itself_goes_on_and_what_may_be_the_sites_is_left(
    paths: HostPaths, run: Run, text: str | None
):
    paths.policy.unlink()
    if text is not None:
        paths.policy.write_text(text)
    code, out, err = run("--all", "--dry-run")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["CONTAINER", "web", "train"]
    assert "; going on without a policy\n" in err
    assert "left alone: ds01-grafana: it may be one of the site's own; without a policy nobody can tell\n" in err


def test_without_a_policy_an_administrator_is_told_how_to_go_on(paths: HostPaths, run: Run):
    paths.policy.unlink()
    code, _, err = run("--user", "games", "--reason", "it burns", sudo=DAEMON)
    assert code == 4
    assert err.endswith(
        "To fix: become root first: sudo env -u SUDO_UID ds01 emergency-stop --user games --reason 'it burns'"
        f" --root {paths.root}\n"
    )


def test_what_cannot_be_read_is_said_and_hinders_nothing(paths: HostPaths, run: Run):
    paths.containers.write_text("{")
    paths.claims.write_text("{")
    code, out, err = run("--user", "games", "--dry-run")
    assert (code, out.splitlines()[1].split()[0]) == (0, "web")
    assert [line.rpartition(": ")[2] for line in err.splitlines()[:2]] == [
        "claims are not known",
        "only labels and slices say whose a container is",
    ]


@pytest.mark.parametrize(
    ("scope", "fix"),
    [
        (("--all",), f"{KILL} ds01.slice ends what runs there without Docker; then look"),
        (("--gpu",), f"{KILL} ds01.slice ends all that runs there without Docker, also what has no GPU; then look"),
        (("--user", "a.weber"), f"{KILL} ds01-student-a_weber.slice ends what runs there without Docker; then look"),
        # Never the slice of all: whoever names one account does not mean the others.
        (("--user", "no/name"), "look"),
    ],
    ids=str,
)
def test_without_docker_it_fails_and_says_how_processes_are_ended_all_the_same(
    paths: HostPaths, run: Run, scope: tuple[str, ...], fix: str
):
    document = json.loads(paths.policy.read_text())
    document["users"]["a.weber"] = {"group": "student"}
    paths.policy.write_text(json.dumps(document))
    code, _, err = run(*scope, "--yes", containers=None)
    assert code == 1
    assert err.startswith("error: there is no Docker engine at ")
    assert f"To fix: {fix} after Docker (systemctl status docker), and call this again\n" in err


def test_without_docker_and_policy_an_accounts_slices_are_named_and_not_the_one_of_all(paths: HostPaths, run: Run):
    paths.policy.unlink()
    _, _, err = run("--user", "games", "--yes", containers=None)
    assert f"To fix: {KILL} 'ds01-*-games.slice' ends what runs there without Docker; " in err


def test_names_of_users_move_no_terminal(run: Run):
    odd = inspected("odd", labels={"ds01.user": "a\x1b]0;x\x07"})
    _, out, err = run("--all", "--dry-run", containers=[odd])
    assert "\x1b" not in out + err


def test_the_page_names_options_that_there_are(capsys: pytest.CaptureFixture[str]):
    page = (CHECKOUT / "docs/operations.md").read_text(encoding="utf-8")
    section = page.partition("## End it")[2].partition("\n## ")[0]
    with pytest.raises(SystemExit):
        emergency_stop.main(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    # Of other programs.
    known |= {"--lock", "--expiredate", "--signal"}
    named = set(re.findall(r"--[a-z-]+", section))
    assert named <= known
    assert {"--user", "--gpu", "--all", "--dry-run", "--yes", "--reason", "--spare-protected"} <= named


def test_the_page_knows_the_limits_of_health():
    page = (CHECKOUT / "docs/operations.md").read_text(encoding="utf-8")
    assert all(each.name in page for each in SERVICES)
    assert all(f"`{job}`" in page or f"lifecycle {job}`" in page for job in JOBS)
