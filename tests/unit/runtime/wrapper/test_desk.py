"""Who calls comes from the kernel, or sudo; what is said is said once and in the log."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.unit.runtime.wrapper.desks import asked, desk_of, events, make_paths

from ds01.core.policy import PolicyError
from ds01.core.rules import Rule
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.denials import Telling
from ds01.runtime.wrapper.desk import code_of, instant, open_desk
from ds01.runtime.wrapper.protocol import RequestError

REFUSAL = Refusal(
    Rule.MEMORY,
    "DS01 Aggregate Memory Quota Exceeded",
    (("Requested", "2G"),),
    "Too much.",
    ("Stop one",),
    {"limit": 1},
)


def test_the_caller_and_what_holds_for_them(tmp_path: Path, student: str):
    desk = desk_of(make_paths(tmp_path, me=student), "run")
    assert (desk.caller.name, desk.caller.is_admin) == (student, False)
    assert desk.rules.limits.slice_name == f"ds01-student-{student}.slice"
    assert desk.account.name == student
    assert desk.account.parts[0] == student
    assert desk.keeper.pid == os.getpid()
    assert desk.contact == "ds01-help@lab-x.org"


def test_a_command_that_stands_above_us_may_ask(tmp_path: Path):
    assert open_desk(make_paths(tmp_path), asked(pid=os.getppid())).keeper.pid == os.getppid()


def test_no_other_process_is_taken_for_the_command(tmp_path: Path):
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            for pid in (other.pid, 1, 0, 2**22):
                with pytest.raises(RequestError, match=f"process {pid} is not the docker command that asks"):
                    open_desk(make_paths(tmp_path), asked(pid=pid))
        finally:
            other.kill()


def test_without_a_policy_there_is_no_desk(tmp_path: Path):
    paths = make_paths(tmp_path)
    paths.policy.unlink()
    with pytest.raises(PolicyError):
        desk_of(paths)


def test_a_rule_is_enforced_where_the_policy_says_so(tmp_path: Path):
    def change(document):
        document["enforcement"]["rules"]["ownership"] = "warn"

    desk = desk_of(make_paths(tmp_path, change))
    assert desk.enforces(Rule.MEMORY)
    assert not desk.enforces(Rule.OWNERSHIP)


def test_a_refusal_is_told_in_full_and_logged(tmp_path: Path, capfd: pytest.CaptureFixture[str], student: str):
    paths = make_paths(tmp_path, me=student)
    desk_of(paths, unicode=False).tell(REFUSAL, Telling(in_full=True, number=1, unsaid=3), "run")
    said = capfd.readouterr().err
    assert said.startswith("+---")
    assert "|  DS01 Aggregate Memory Quota Exceeded " in said
    (event,) = events(paths)
    assert (event["event_type"], event["user"], event["source"]) == ("admission.refused", student, "docker-wrapper")
    assert event["details"] == {
        "rule": "memory", "verb": "run", "text": REFUSAL.title, "limit": 1, "not_told_before": 3
    }  # fmt: skip


def test_one_of_too_many_refusals_is_a_line_and_the_log_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    paths = make_paths(tmp_path)
    for number in (11, 12):
        desk_of(paths).tell(REFUSAL, Telling(in_full=False, number=number, unsaid=number - 11), "run")
    assert capfd.readouterr().err == "".join(
        f"ds01: run refused: {REFUSAL.title} (refusal {number} within an hour; check-limits says more)\n"
        for number in (11, 12)
    )
    assert [each["details"] for each in events(paths)] == [{"text": "more refusals of this hour are only counted"}]


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    paths = make_paths(tmp_path)
    paths.events.parent.rmdir()
    desk_of(paths).log_open(("the cgroup is gone",), "run")
    assert "cannot be opened" in capfd.readouterr().err


def test_refusals_end_as_the_clients_own():
    assert [code_of(verb) for verb in ("run", "create", "stop", "")] == [125, 1, 1, 1]


def test_every_moment_is_another_text():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", instant())
