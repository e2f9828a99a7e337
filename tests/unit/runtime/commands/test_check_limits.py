"""`check-limits`: one's own usage, another's for administrators alone, and the same numbers as the greeting."""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.overview.hosts import FIRST, SECOND, THIRD, allocation, make_host, put_gpus, put_rates

from ds01.core.paths import HostPaths
from ds01.core.policy import read_policy
from ds01.runtime.commands.check_limits import main
from ds01.runtime.machine import Machine
from ds01.runtime.overview.reader import read_overview
from ds01.runtime.overview.words import Style, greeting

ME = pwd.getpwuid(os.getuid()).pw_name
Ask = Callable[..., tuple[int, str, str]]


REFUSED = """\
error: what alice uses is not shown to nobody
only administrators see what other accounts use
To fix: leave the name out to see your own
"""


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    paths = make_host(tmp_path)
    put_rates(paths, at=Machine().now())
    put_gpus(paths, allocation("train", "0:0"))
    return paths


@pytest.fixture
def ask(host: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks as root, who is an administrator, or as somebody whom sudo works for."""

    def run(*words: str, sudo_uid: int | None = None) -> tuple[int, str, str]:
        if sudo_uid is None:
            monkeypatch.delenv("SUDO_UID", raising=False)
        else:
            monkeypatch.setenv("SUDO_UID", str(sudo_uid))
        monkeypatch.setenv("LC_ALL", "C")
        code = main(["--root", str(host.root), *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_without_a_name_it_is_about_the_one_who_asks(ask: Ask) -> None:
    code, out, err = ask()
    assert (code, out.split(":")[0], err) == (0, ME, "")


@pytest.mark.root
def test_administrators_see_everybody(ask: Ask) -> None:
    code, out, err = ask("alice")
    assert (code, err) == (0, "")
    assert "  Memory      [######--------------] 32G of 96G " in out


@pytest.mark.root
def test_others_see_themselves_alone(ask: Ask) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    assert ask("alice", sudo_uid=nobody) == (
        4,
        "",
        REFUSED,
    )
    code, out, _ = ask("nobody", sudo_uid=nobody)
    assert (code, out) == ask(sudo_uid=nobody)[:2]
    assert out.startswith("nobody: group student, not listed")


@pytest.mark.root
def test_a_refusal_does_not_tell_whether_there_is_such_an_account(ask: Ask) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    told = [ask(name, sudo_uid=nobody) for name in ("alice", "no-such-account", "")]
    assert {code for code, _, _ in told} == {4}
    assert {err.replace("no-such-account", "alice").split("\n")[1] for _, _, err in told} == {
        "only administrators see what other accounts use"
    }


@pytest.mark.root
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_slip_in_a_name_is_no_account_that_uses_nothing(ask: Ask, words: tuple[str, ...]) -> None:
    assert ask("alcie", *words) == (
        2,
        "",
        "error: there is no account 'alcie'\nTo fix: write it as in the inventory, or as id -un does\n",
    )
    assert ask("", *words)[:2] == (2, "")


@pytest.mark.root
def test_an_account_of_this_machine_that_nobody_listed_is_shown(ask: Ask) -> None:
    code, out, err = ask("nobody")
    assert (code, out.split("\n")[0], err) == (0, "nobody: group student, not listed: the group's limits hold", "")


@pytest.mark.root
@pytest.mark.parametrize(("uid", "code"), [("x", 4), (str(2**31 - 7), 4)])
def test_who_is_not_known_sees_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch, uid: str, code: int) -> None:
    assert ask("alice", sudo_uid=uid)[:2] == (code, "")  # type: ignore[arg-type]


@pytest.mark.root
def test_names_of_containers_come_from_the_engine(ask: Ask, host: HostPaths) -> None:
    there = [inspected("train", id=FIRST), inspected("x[31m", id=SECOND), inspected("other", id="9" * 64)]
    with engine_with(host.engine, *there):
        code, out, _ = ask("alice")
        document = json.loads(ask("alice", "--json")[1])
    assert code == 0
    rows = {line.split()[0]: line.split()[1] for line in out.split("\n") if re.match("  [abe]{12} ", line)}
    assert rows == {"e" * 12: "unknown", "a" * 12: "train", "b" * 12: "x[31m"}
    assert {each["id"]: each["name"] for each in document["containers"]["running"]} == {
        THIRD: None,
        FIRST: "train",
        SECOND: "x[31m",
    }


@pytest.mark.root
def test_without_an_engine_only_the_names_are_unknown(ask: Ask, host: HostPaths) -> None:
    code, out, err = ask("alice")
    assert (code, err) == (0, "")
    assert out.endswith(f"\n\nunknown: names of containers: there is no Docker engine at {host.engine}\n")


@pytest.mark.root
def test_greeting_sheet_and_json_show_the_same_numbers(ask: Ask, host: HostPaths) -> None:
    overview = read_overview(host, read_policy(host.policy), "alice", Machine().now())
    pattern = re.compile(r"^ *(Memory|Tasks|CPU|GPUs|Containers) +\[.*\] (\S+) of (\S+)", re.MULTILINE)
    greeted = pattern.findall(greeting(overview, Style()))
    assert greeted == pattern.findall(ask("alice")[1])
    document = json.loads(ask("alice", "--json")[1])
    gib = 2**30
    assert greeted == [
        ("Memory", f"{document['memory']['used_bytes'] // gib}G", f"{document['memory']['limit_bytes'] // gib}G"),
        ("Tasks", f"{document['tasks']['used']}", f"{document['tasks']['limit']}"),
        ("CPU", f"{document['cpu']['used_percent'] / 100:.1f}", f"{document['cpu']['limit_percent'] // 100}"),
        ("GPUs", f"{document['gpus']['used']}", f"{document['gpus']['limit']}"),
        ("Containers", f"{document['containers']['used']}", f"{document['containers']['limit']}"),
    ]


def test_without_a_policy_it_says_what_to_do(ask: Ask, host: HostPaths) -> None:
    host.policy.unlink()
    assert ask() == (
        2,
        "",
        f"error: there is no compiled policy at {host.policy}\nTo fix: deploy first (sudo ./inv deploy)\n",
    )


@pytest.mark.root
@pytest.mark.parametrize("name", ["", "a/b", "x\ny"])
def test_a_name_that_cannot_be_is_bad_input(ask: Ask, name: str) -> None:
    assert ask(name)[:2] == (2, "")
