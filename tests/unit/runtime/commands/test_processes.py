"""`ds01 processes`: what was written last, and never "none" where nothing could be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.hosts import NOON
from tests.unit.runtime.gpu.test_hostrecord import ONE

from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.commands.processes import main
from ds01.runtime.gpu.hostprocesses import HostProcess, Verdict
from ds01.runtime.gpu.hostrecord import HostRecord, to_document

AT = f"{NOON.astimezone():%Y-%m-%d %H:%M}"


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    made.host_processes.parent.mkdir(parents=True)
    return made


def write(paths: HostPaths, *processes: HostProcess, age: float = 0, unknown: str | None = None) -> None:
    now = datetime.now(UTC) - timedelta(seconds=age)
    paths.host_processes.write_text(json.dumps(to_document(HostRecord(now, "boot", processes, (), unknown))))


def run(paths: HostPaths, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main([*argv, "--root", str(paths.root)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_each_process_has_its_verdict_and_its_end(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        paths,
        replace(ONE, memory_bytes=5 * 1024**3, slots=("0", "2:1")),
        replace(
            ONE, pid=4712, user="b\x1b", command="x\ny", memory_bytes=None, ends_at=None, note="nobody knows whose"
        ),
        replace(ONE, pid=4713, verdict=Verdict.GRANTED, ends_at=None, granted_until=NOON),
        replace(ONE, pid=4714, verdict=Verdict.EXEMPT, ends_at=None),
    )
    code, out, err = run(paths, capsys)
    assert (code, err) == (0, "")
    assert [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()] == [
        ["PID", "USER", "COMMAND", "GPU", "MEMORY", "SINCE", "VERDICT", "ENDS AT"],
        ["4711", "alice", "python", "0,2:1", "5.0G", AT, "warned", AT],
        ["4712", "b\\x1b", "x\\ny", "0", "-", AT, "warned, never ended: nobody knows whose", "-"],
        ["4713", "alice", "python", "0", "0.0G", AT, "granted", f"- (granted until {AT})"],
        ["4714", "alice", "python", "0", "0.0G", AT, "exempt", "-"],
    ]


def test_json_has_what_stands_in_the_file(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    write(paths, ONE)
    code, out, _ = run(paths, capsys, "--json")
    document = json.loads(out)
    assert (code, document["version"], document["known"], document["lacking"]) == (0, 1, True, [])
    assert document["processes"] == json.loads(paths.host_processes.read_text())["processes"]


def test_none_is_said_only_where_it_is_known(paths: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    write(paths)
    assert run(paths, capsys) == (0, "nothing computes on a GPU outside containers\n", "")
    paths.host_processes.unlink()
    code, out, err = run(paths, capsys)
    assert (code, out) == (1, "what computes on GPUs outside containers cannot be told\n")
    assert "nobody watches (systemctl status ds01-gpuwatch)" in err
    for content in ("{", '{"version": 2}'):
        paths.host_processes.write_text(content)
        code, out, err = run(paths, capsys)
        assert (code, out) == (1, "what computes on GPUs outside containers cannot be told\n")
        assert "cannot be read" in err
        document = json.loads(run(paths, capsys, "--json")[1])
        assert (document["known"], document["processes"], len(document["lacking"])) == (False, [], 1)


def test_what_is_old_or_lacks_something_is_shown_with_that(
    paths: HostPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    write(paths, ONE, age=600)
    code, out, err = run(paths, capsys)
    assert (code, "4711" in out) == (1, True)
    assert err.startswith("notice: what is shown may be over: it is from ")
    write(paths, ONE, unknown="the driver hangs")
    assert run(paths, capsys)[::2] == (1, "notice: the driver hangs\n")
