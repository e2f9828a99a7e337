"""`ds01 bare-metal`: grants given, taken back and shown; and by whom."""

from __future__ import annotations

import json
import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ds01.core.paths import HostPaths
from ds01.runtime.commands.bare_metal import main
from ds01.runtime.gpu.grantbook import change_grants, read_grants
from ds01.runtime.gpu.grants import Grant, granted

SHIPPED = Path(__file__).parents[3] / "golden/shipped/expected/root/etc/ds01/policy.json"
# An account that every Debian has, as a student.
STUDENT, STUDENT_UID = "games", "5"

pytestmark = pytest.mark.root


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostPaths:
    monkeypatch.delenv("SUDO_UID", raising=False)
    made = HostPaths(tmp_path)
    for folder in ("etc/ds01", "var/lib/ds01", "var/log/ds01"):
        (tmp_path / folder).mkdir(parents=True)
    made.policy.write_text(SHIPPED.read_text())
    return made


def run(paths: HostPaths, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main([*argv, "--root", str(paths.root)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def events(paths: HostPaths) -> list[dict[str, Any]]:
    if not paths.events.exists():
        return []
    return [json.loads(line) for line in paths.events.read_text().splitlines()]


def hours(grant: Grant) -> float:
    return (grant.until - grant.at) / timedelta(hours=1)


def test_a_grant_is_written_logged_and_said(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    code, out, err = run(paths, capsys, "grant", STUDENT, "--hours", "1.5", "--reason", "a demo\x1b")
    (grant,) = read_grants(paths)
    assert (code, err) == (0, "")
    assert out == f"games may use GPUs outside containers until {grant.until.astimezone():%Y-%m-%d %H:%M}\n"
    assert (grant.user, grant.by, grant.reason, hours(grant), grant.at >= before) == (
        STUDENT, "root", "a demo\\x1b", 1.5, True,
    )  # fmt: skip
    (event,) = events(paths)
    assert (event["event_type"], event["user"], event["source"]) == ("baremetal.granted", STUDENT, "bare-metal")
    assert event["details"] == {"by": "root", "until": f"{grant.until:%Y-%m-%dT%H:%M:%SZ}", "reason": "a demo\\x1b"}


def test_without_a_time_it_is_the_policys(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(paths, capsys, "grant", STUDENT, "--json")[1])
    (grant,) = read_grants(paths)
    assert (document["version"], document["granted"]["user"], hours(grant)) == (1, STUDENT, 24.0)


def test_a_second_grant_takes_the_place_of_the_first(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    run(paths, capsys, "grant", STUDENT, "--hours", "48")
    run(paths, capsys, "grant", STUDENT, "--hours", "1")
    assert [hours(each) for each in read_grants(paths)] == [1.0]


def test_taking_it_back_is_logged_and_done_twice_it_is_done_once(
    paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    run(paths, capsys, "grant", STUDENT)
    assert run(paths, capsys, "revoke", STUDENT) == (0, "games may use GPUs outside containers no more\n", "")
    assert run(paths, capsys, "revoke", STUDENT) == (0, "", "games has no grant; nothing to do\n")
    assert read_grants(paths) == ()
    assert [each["event_type"] for each in events(paths)] == ["baremetal.granted", "baremetal.revoked"]
    assert json.loads(run(paths, capsys, "revoke", STUDENT, "--json")[1]) == {"version": 1, "revoked": []}


def test_one_of_an_account_that_is_gone_can_be_taken_back(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    change_grants(paths, lambda grants: granted(grants, Grant("gone", "root", now, now + timedelta(hours=1))))
    assert run(paths, capsys, "revoke", "gone")[0] == 0
    assert read_grants(paths) == ()


def test_the_list_has_those_that_hold(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(paths, capsys, "list")
    assert (code, out) == (0, "nobody has a grant\n")
    assert err == "notice: the policy is warn; root and administrators always may, and sysop by the policy\n"
    now = datetime.now(UTC).replace(microsecond=0)
    over = Grant("bob", "root", now - timedelta(days=2), now - timedelta(days=1))
    change_grants(paths, lambda grants: (*grants, over))
    run(paths, capsys, "grant", STUDENT, "--hours", "1", "--reason", "a demo")
    (grant,) = (each for each in read_grants(paths) if each.user == STUDENT)
    code, out, _ = run(paths, capsys, "list")
    assert [line.split("  ") for line in out.splitlines()][1:] == [
        [
            STUDENT,
            f"{grant.until.astimezone():%Y-%m-%d %H:%M}",
            "root",
            f"{grant.at.astimezone():%Y-%m-%d %H:%M}",
            "a demo",
        ]
    ]
    assert [each["user"] for each in json.loads(run(paths, capsys, "list", "--json")[1])["grants"]] == [STUDENT]


@pytest.mark.parametrize("action", ["grant", "revoke"])
def test_only_administrators_have_a_say(
    action: str, paths: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", STUDENT_UID)
    code, out, err = run(paths, capsys, action, "root")
    assert (code, out) == (4, "")
    assert err.startswith("error: games is not an administrator")
    assert (read_grants(paths), events(paths)) == ((), [])
    assert run(paths, capsys, "list")[0] == 0


def test_who_is_behind_sudo_is_who_gave_it(
    paths: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(paths.policy.read_text())
    document["access_control"]["admin_users"].append(STUDENT)
    paths.policy.write_text(json.dumps(document))
    monkeypatch.setenv("SUDO_UID", STUDENT_UID)
    assert run(paths, capsys, "grant", "www-data")[0] == 0
    assert [each.by for each in read_grants(paths)] == [STUDENT]


def test_who_calls_through_sudo_sets_no_limit_that_keeps_it_out_of_the_log(
    paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        code, _, err = run(paths, capsys, "grant", STUDENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, err, len(read_grants(paths)), len(events(paths))) == (0, "", 1, 1)


def test_an_account_that_nobody_knows_is_bad_input(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(paths, capsys, "grant", "nob\x1bdy")
    assert (code, err.splitlines()[0]) == (2, "error: there is no account 'nob\\\\x1bdy'")
    # Listed in the policy it is one, before this machine knows it.
    assert run(paths, capsys, "grant", "student01")[0] == 0


@pytest.mark.parametrize("text", ["0", "0.0002", "-1", "nan", "inf", "8785", "soon", ""])
def test_a_time_that_makes_no_sense_is_bad_input(
    text: str, paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["grant", STUDENT, f"--hours={text}", "--root", str(paths.root)])
    assert ended.value.code == 2
    assert "is no time; write hours, up to 8784" in capsys.readouterr().err


def test_damaged_grants_are_reported_and_left_alone(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.bare_metal_grants.write_text("{")
    for argv in (("grant", STUDENT), ("revoke", STUDENT), ("list",)):
        code, _, err = run(paths, capsys, *argv)
        assert (code, "bare-metal-grants.json cannot be read" in err) == (1, True)
    assert (paths.bare_metal_grants.read_text(), events(paths)) == ("{", [])


def test_a_log_that_cannot_be_written_is_said(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.events.parent.rmdir()
    code, out, err = run(paths, capsys, "grant", STUDENT)
    assert (code, out != "", err.startswith("warning: ")) == (0, True, True)
    code, _, err = run(paths, capsys, "revoke", STUDENT)
    assert (code, err.startswith("warning: ")) == (0, True)


def test_a_folder_that_is_not_there_is_said(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.bare_metal_grants.parent.rmdir()
    code, _, err = run(paths, capsys, "grant", STUDENT)
    assert (code, "bare-metal-grants.json cannot be written, so nothing was changed" in err) == (1, True)
    assert events(paths) == []


def test_root_is_led_nowhere_by_a_folder_of_somebody_elses(
    paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:

    os.chown(paths.root, int(STUDENT_UID), -1)
    assert run(paths, capsys, "grant", STUDENT)[0] == 4
    assert read_grants(paths) == ()


def test_without_a_policy_the_list_is_shown_all_the_same(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.policy.unlink()
    code, out, err = run(paths, capsys, "list")
    assert (code, out, "there is no compiled policy" in err) == (0, "nobody has a grant\n", True)
    assert run(paths, capsys, "grant", STUDENT)[0] == 2
