"""`ds01 lifecycle`: root's alone, one line or one JSON object, and an exit code that says what failed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.lifecycle.sites import ALICE, Site

from ds01.core.errors import ExitCode
from ds01.runtime.commands.lifecycle import main
from ds01.runtime.lifecycle.jobs import read_stamps

pytestmark = pytest.mark.root


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.change(defaults={"max_runtime_seconds": 0})
    return made


def run(site: Site, *words: str) -> int:
    with site.engine():
        return main([*words, "--root", os.fspath(site.root)])


def test_a_job_says_one_line_and_leaves_its_stamp(site: Site, capsys: pytest.CaptureFixture[str]):
    site.has("train", pid=os.getpid())
    assert run(site, "max-runtime") == ExitCode.DONE
    assert capsys.readouterr() == ("max-runtime: 1 looked at: 1 warned\n", "")
    stamp = read_stamps(site.paths)["max-runtime"]
    assert (stamp.ok, stamp.summary) == (True, "1 looked at: 1 warned")


def test_a_dry_run_says_what_and_why_and_leaves_no_stamp(site: Site, capsys: pytest.CaptureFixture[str]):
    site.has("train", pid=os.getpid())
    site.has("stranger", user=None)
    assert run(site, "max-runtime", "--dry-run") == ExitCode.DONE
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith(f"would warn  {ALICE}'s train: it has run for ")
    assert lines[1:] == [
        "leaves      nobody's stranger: nobody can be charged for it, so nobody's limits hold",
        "max-runtime: 2 looked at: 1 would be warned",
    ]
    assert err == ""
    assert read_stamps(site.paths) == {}


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_json_says_the_same(site: Site, capsys: pytest.CaptureFixture[str]):
    made = site.has("train", pid=os.getpid())
    site.has("stranger", user=None)
    assert run(site, "max-runtime", "--json") == ExitCode.DONE
    found = document(capsys)
    (decided,) = found.pop("decisions")
    reason, text = decided.pop("reason"), decided.pop("text")
    assert found == {
        "version": 1,
        "job": "max-runtime",
        "dry_run": False,
        "summary": "2 looked at: 1 warned",
        "looked_at": 2,
        "left_alone": [
            {
                "container": "stranger",
                "user": None,
                "why": "nobody can be charged for it, so nobody's limits hold",
            }
        ],
    }
    assert decided == {
        "container": "train",
        "id": made,
        "user": ALICE,
        "action": "warn",
        "rule": "max_runtime",
        "binding": True,
        "slots": [],
        "outcome": "done",
        "words": None,
    }
    assert reason in text


def test_what_could_not_be_done_is_a_failure_that_names_it(site: Site, capsys: pytest.CaptureFixture[str]):
    site.has("train", pid=os.getpid())
    site.paths.notices_folder.parent.mkdir(parents=True, exist_ok=True)
    site.paths.notices_folder.touch()
    assert run(site, "max-runtime") == ExitCode.FAILED
    out, err = capsys.readouterr()
    assert out == "max-runtime: 1 looked at: 1 failed\n"
    assert err.startswith(
        f"error: max-runtime: 1 looked at: 1 failed\ntrain: {ALICE} could not be told: the next login does not show it"
    )
    assert err.endswith("To fix: the next run tries again; sudo ds01 events --type lifecycle.failed shows all\n")
    assert not read_stamps(site.paths)["max-runtime"].ok


def test_without_docker_it_fails_and_says_so(site: Site, capsys: pytest.CaptureFixture[str]):
    assert main(["idle", "--root", os.fspath(site.root)]) == ExitCode.FAILED
    assert capsys.readouterr().err.startswith(f"error: there is no Docker engine at {site.paths.engine}")
    assert not read_stamps(site.paths)["idle"].ok
    assert main(["idle", "--dry-run", "--root", os.fspath(site.root)]) == ExitCode.FAILED


def test_a_policy_that_cannot_be_used_is_bad_input(site: Site, capsys: pytest.CaptureFixture[str]):
    site.paths.policy.unlink()
    assert run(site, "idle") == ExitCode.BAD_INPUT
    assert "there is no compiled policy" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["backup"], ["idle", "extra"], ["idle", "--force"]])
def test_other_words_are_bad_input(site: Site, words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--root", os.fspath(site.root)])
    assert ended.value.code == ExitCode.BAD_INPUT
    assert capsys.readouterr().err.startswith("usage: ds01 lifecycle ")
