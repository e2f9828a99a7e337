"""`ds01 health`: lines, JSON and exit codes; what is looked at is in test_probes.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ds01.core.paths import HostPaths
from ds01.runtime.commands import health
from ds01.runtime.telemetry.health import Check, Status

SHIPPED = Path(__file__).resolve().parents[4] / "tests/golden/minimal/expected/root/etc/ds01/policy.json"
SCHEDULE = dict.fromkeys(("idle", "max_runtime", "stale_gpu", "stale_containers", "unmanaged"), "0 * * * *")


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    """A folder in which nothing failed: jobs are new, disks are there; only some things are not looked at."""
    paths = HostPaths(tmp_path)
    for path in (paths.policy, paths.cron, paths.claims, paths.events, paths.at("/var/lib/docker/x")):
        path.parent.mkdir(parents=True)
    document = json.loads(SHIPPED.read_text())
    document["policies"]["schedule"] = SCHEDULE
    paths.policy.write_text(json.dumps(document))
    paths.cron.touch()
    paths.events.touch()
    paths.events.chmod(0o640)
    return paths


def test_when_nothing_failed_it_ends_with_0(paths: HostPaths, capsys: pytest.CaptureFixture[str]):
    code = health.main(["--root", str(paths.root)])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"ok      policy: {paths.policy} is of this release"
    assert lines[1].startswith("?       host: ")
    assert lines[-1].endswith(", 1 not looked at")
    assert " 0 failed, " in lines[-1]


def test_what_failed_makes_it_1(paths: HostPaths, capsys: pytest.CaptureFixture[str]):
    paths.policy.write_text("{")
    assert health.main(["--root", str(paths.root)]) == 1
    assert capsys.readouterr().out.startswith("FAILED  policy: ")


def test_warnings_make_it_1_only_where_that_is_asked_for(paths: HostPaths, capsys: pytest.CaptureFixture[str]):
    paths.events.chmod(0o600)
    assert health.main(["--root", str(paths.root)]) == 0
    assert health.main(["--root", str(paths.root), "--strict"]) == 1
    assert "warning " in capsys.readouterr().out


def test_programs_are_told_the_same(paths: HostPaths, capsys: pytest.CaptureFixture[str]):
    assert health.main(["--root", str(paths.root), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["version"], said["ok"]) == (1, True)
    assert said["checks"][0] == {
        "name": "policy",
        "status": "ok",
        "text": f"{paths.policy} is of this release",
        "fix": "",
    }
    assert {each["status"] for each in said["checks"]} <= {"ok", "warning", "unknown"}


def test_a_check_is_one_line_with_its_fix():
    assert health.line(Check("a", Status.OK, "fine")) == "ok      a: fine"
    assert health.line(Check("a", Status.FAILED, "bad", "mend it")) == "FAILED  a: bad; mend it"
    assert health.as_json(Check("a", Status.UNKNOWN, "dark"))["status"] == "unknown"
