"""What people and programs are shown: the same plan as text and as JSON, colour only where it is wanted."""

from __future__ import annotations

import io
import json
from pathlib import PurePosixPath

import pytest

from ds01.core.tree import TreeFile
from ds01.deployer.containers import RunningContainer
from ds01.deployer.plan import Action, Plan, Verb
from ds01.deployer.report import ProgressBar, Survey, ask, show_survey
from ds01.deployer.systemd import Deviation, LiveUnits

UNIT = TreeFile(PurePosixPath("/etc/systemd/system/a.slice"), "", source="a.j2")
ACTIONS = (
    Action(Verb.REMOVE, PurePosixPath("/etc/gone"), "no longer rendered", "old\n"),
    Action(
        Verb.CHANGE,
        UNIT.path,
        "MemoryMax 96G → 128G",
        "[Slice]\nMemoryMax=96G\n",
        "[Slice]\nMemoryMax=128G\n",
        file=UNIT,
        account="alice",
        handlers=("daemon-reload",),
    ),
    Action(Verb.ADD, PurePosixPath("/etc/new"), "new, from n.j2", None, "a\n\tb\n"),
    Action(
        Verb.CHANGE, PurePosixPath("/etc/edited"), "edited by hand since generation 7", "\x1b[2J\n", "x\n", drift=True
    ),
    Action(Verb.TAKE_OVER, PurePosixPath("/etc/theirs"), "a file that DS01 did not write is here", "y\r", "y\n"),
    Action(Verb.CHANGE, PurePosixPath("/etc/mode"), "mode is 0666, wanted 0644", "m\n", "m\n"),
    Action(Verb.BLOCKED, PurePosixPath("/etc/link"), "/etc/link is a symbolic link to \x1b[31m\nTo fix: move it"),
    Action(Verb.UNKNOWN, PurePosixPath("/etc/secret"), "it may not be read"),
    Action(Verb.UNCHANGED, PurePosixPath("/etc/same"), "as wanted", "s\n", "s\n"),
)
FULL = Survey(
    Plan("ds01", "hash", ACTIONS, ("docker-restart",)),
    "/",
    notices=("inventory/x.yaml:1:1: a; b",),
    live=LiveUnits(3, (Deviation("b.slice", "TasksMax", "5", "infinity"),), ("b.slice", "c.slice")),
    containers=(RunningContainer("g", has_gpu=True), RunningContainer("p", has_gpu=False)),
)
TEXT = """\
Plan for ds01 on /: 1 to add, 3 to change, 1 to take over, 1 to remove, 1 blocked, 1 unknown, 1 unchanged

- remove /etc/gone: no longer rendered
    --- /etc/gone
    +++ /dev/null
    @@ -1 +0,0 @@
    -old

~ change /etc/systemd/system/a.slice: MemoryMax 96G → 128G
    --- /etc/systemd/system/a.slice
    +++ /etc/systemd/system/a.slice
    @@ -1,2 +1,2 @@
     [Slice]
    -MemoryMax=96G
    +MemoryMax=128G

+ add /etc/new: new, from n.j2
    --- /dev/null
    +++ /etc/new
    @@ -0,0 +1,2 @@
    +a
    +\tb

~ change /etc/edited [drift]: edited by hand since generation 7
    --- /etc/edited
    +++ /etc/edited
    @@ -1 +1 @@
    -\\x1b[2J
    +x

! take over /etc/theirs: a file that DS01 did not write is here
    --- /etc/theirs
    +++ /etc/theirs
    @@ -1,2 +1 @@
    -y\\r
    -\\ No newline at end of file
    +y

~ change /etc/mode: mode is 0666, wanted 0644

x blocked /etc/link is a symbolic link to \\x1b[31m
    To fix: move it

? unknown /etc/secret: it may not be read

Afterwards
  daemon-reload: let systemd read the changed slices
    disturbs: may detach GPUs from running containers where the legacy nvidia hook gives them (README: Reloads and GPUs)
  docker-restart (only with --restart-docker): let Docker read the changed daemon.json
    disturbs: stops every container unless live-restore is on

Warning: daemon-reload may detach GPUs from running containers \
where the legacy nvidia hook gives them (README: Reloads and GPUs): g
Warning: docker-restart would stop 2 running: g, p

Live value differs: b.slice: TasksMax is infinity, the policy says 5

Changed since systemd read it, though no value in effect differs: c.slice

Notice: inventory/x.yaml:1:1: a; b

Plan for ds01 on /: 1 to add, 3 to change, 1 to take over, 1 to remove, 1 blocked, 1 unknown, 1 unchanged
Files marked [drift] were changed by hand; deploy refuses to overwrite them without --force.
"""


def shown(survey: Survey, *, as_json: bool = False, colour: bool = False) -> str:
    out = io.StringIO()
    show_survey(survey, as_json=as_json, out=out, colour=colour)
    return out.getvalue()


def test_a_plan_is_a_summary_line_then_a_diff_a_file_then_what_follows() -> None:
    assert shown(FULL) == TEXT


def test_a_plan_without_changes_is_one_line() -> None:
    quiet = Survey(Plan("ds01", "hash", ACTIONS[-1:]), "/tmp/x", can_run_handlers=False)
    assert shown(quiet) == "Plan for ds01 on /tmp/x: 0 to add, 0 to change, 0 to remove, 1 unchanged\n"


def test_in_a_folder_handlers_are_for_later() -> None:
    assert "\nAfterwards, on the host itself\n  daemon-reload: " in shown(
        Survey(Plan("ds01", "hash", ACTIONS[1:2]), "/tmp/x", can_run_handlers=False)
    )


def test_a_systemd_that_gives_no_answer_is_a_notice() -> None:
    silent = Survey(Plan("ds01", "hash", ()), "/", live=LiveUnits(3, error="Failed to connect to bus"))
    assert shown(silent).splitlines()[-1] == (
        "Notice: systemd gave no answer, so its values were not compared: Failed to connect to bus"
    )


def test_colour_only_adds_colour() -> None:
    painted = shown(FULL, colour=True)
    assert "\033[32m+\033[0m add \033[1m/etc/new\033[0m: new" in painted
    assert "    \033[31m-MemoryMax=96G\033[0m\n" in painted
    for code in ("32", "31", "33", "35", "31;1", "36", "1", "33;1"):
        painted = painted.replace(f"\033[{code}m", "")
    assert painted.replace("\033[0m", "") == TEXT


def test_json_holds_names_that_are_no_utf_8() -> None:
    path = PurePosixPath("/usr/local/bin/gr\udcfcn")
    odd = Survey(Plan("ds01", "hash", (Action(Verb.CHANGE, path, "leads to a instead of \udcff", "\udcff", "a"),)), "/")
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    show_survey(odd, as_json=True, out=out, colour=False)
    out.seek(0)
    (action,) = json.loads(out.read())["actions"]
    assert (action["path"], action["reason"]) == ("/usr/local/bin/gr\\udcfcn", "leads to a instead of \\udcff")


def test_json_says_all_that_the_text_says() -> None:
    document = json.loads(shown(FULL, as_json=True))
    changed = next(each for each in document["actions"] if each["account"] == "alice")
    assert changed == {
        "action": "change",
        "path": "/etc/systemd/system/a.slice",
        "reason": "MemoryMax 96G → 128G",
        "drift": False,
        "account": "alice",
        "source": "a.j2",
        "diff": "--- /etc/systemd/system/a.slice\n+++ /etc/systemd/system/a.slice\n@@ -1,2 +1,2 @@\n"
        " [Slice]\n-MemoryMax=96G\n+MemoryMax=128G",
    }
    assert len(document["actions"]) == 8
    assert {key: value for key, value in document.items() if key != "actions"} == {
        "version": 1,
        "host": "ds01",
        "root": "/",
        "policy_hash": "hash",
        "summary": "1 to add, 3 to change, 1 to take over, 1 to remove, 1 blocked, 1 unknown, 1 unchanged",
        "counts": {
            "add": 1,
            "change": 3,
            "take over": 1,
            "remove": 1,
            "remove older": 0,
            "keep older": 0,
            "older": 0,
            "unchanged": 1,
            "blocked": 1,
            "unknown": 1,
        },
        "handlers": [
            {
                "name": "daemon-reload",
                "purpose": "let systemd read the changed slices",
                "disturbs": "may detach GPUs from running containers where the legacy nvidia hook gives them "
                "(README: Reloads and GPUs)",
            },
            {
                "name": "docker-restart",
                "purpose": "let Docker read the changed daemon.json",
                "disturbs": "stops every container unless live-restore is on",
            },
        ],
        "warnings": list(FULL.warnings),
        "notices": ["inventory/x.yaml:1:1: a; b"],
        "lacking": [],
        "live": {
            "units": 3,
            "deviations": [{"unit": "b.slice", "property": "TasksMax", "wanted": "5", "actual": "infinity"}],
            "stale": ["b.slice", "c.slice"],
            "error": None,
        },
    }


WARNINGS = {
    "nothing runs": ((), False, ()),
    "Docker gave no answer": (None, False, ()),
    "no GPU, and live-restore keeps them": ((RunningContainer("p", has_gpu=False),), True, ()),
    "a GPU": (
        (RunningContainer("g", has_gpu=True),),
        True,
        (
            (
                "daemon-reload may detach GPUs from running containers"
                " where the legacy nvidia hook gives them (README: Reloads and GPUs): g"
            ),
        ),
    ),
}


@pytest.mark.parametrize(("containers", "live_restore", "warnings"), WARNINGS.values(), ids=WARNINGS)
def test_only_containers_that_would_be_disturbed_are_named(
    containers: tuple[RunningContainer, ...] | None, warnings: tuple[str, ...], *, live_restore: bool
) -> None:
    actions = (Action(Verb.ADD, UNIT.path, "", None, "", handlers=("daemon-reload", "docker-restart")),)
    survey = Survey(Plan("ds01", "", actions), "/", containers=containers, live_restore=live_restore)
    assert survey.warnings == warnings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_that_ends_its_line() -> None:
    out = Terminal()
    bar = ProgressBar("Writing", out)
    for done in range(1, 61):
        bar(done, 60)
    steps = out.getvalue().split("\r")
    assert steps[1] == "Writing [" + "." * 30 + "] 1/60"
    assert steps[-1] == "Writing [" + "#" * 30 + "] 60/60\n"
    assert len(steps) == 32


@pytest.mark.parametrize(("out", "total"), [(io.StringIO(), 1000), (Terminal(), 20), (Terminal(), 0)])
def test_progress_is_silent_in_a_pipe_and_when_there_is_little_to_do(out: io.StringIO, total: int) -> None:
    bar = ProgressBar("Writing", out)
    for done in range(total + 1):
        bar(done, total)
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("said", "yes"),
    [("y\n", True), ("YES\n", True), (" yes ", True), ("\n", False), ("", False), ("n\n", False), ("yep\n", False)],
)
def test_only_yes_is_yes(
    said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, yes: bool
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(said))
    assert ask("Deploy this?") is yes
    assert capsys.readouterr() == ("", "Deploy this? [y/N] ")
