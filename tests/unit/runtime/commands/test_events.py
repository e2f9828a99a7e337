"""`ds01 events`: the table, JSON lines, what is asked for, who may read, and following a log that is rotated."""

from __future__ import annotations

import ast
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ds01
from ds01.core.events import Event, EventLog, Torn
from ds01.runtime.commands.events import follow, main
from ds01.runtime.gpu.answer import Reason
from ds01.runtime.telemetry.happening import Action
from ds01.runtime.telemetry.telling import PREFIX

SCRIPTS = Path(ds01.__file__).parents[1]
CHECKOUT = SCRIPTS.parent
NOW = datetime.now(UTC).replace(microsecond=0)
OLD = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVENTS = (
    Event("gpu.allocated", "alice", "gpu", OLD, {"container": "train", "gpus": ["0:1"]}),
    Event("container.die", None, "events", OLD, {"exit": 137, "why": "out of memory", "none": None}),
    Event("gpu.refused", "j.doe@lab-x.org", "gpu", NOW, {"evil": "\x1b[2J\nx", "a": "b=c"}),
)
TABLE = f"""\
TIME                  TYPE                  USER              SOURCE        DETAILS
2026-03-01 12:00:00Z  gpu.allocated         alice             gpu           container=train gpus=["0:1"]
2026-03-01 12:00:00Z  container.die         -                 events        exit=137 why="out of memory" none=null
{NOW:%Y-%m-%d %H:%M:%SZ}  gpu.refused           j.doe@lab-x.org   gpu           evil=\\x1b[2J\\nx a="b=c"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "var/log/ds01"
    folder.mkdir(parents=True)
    for event in EVENTS:
        assert EventLog(folder / "events.jsonl").append(event)
    return tmp_path


def log(root: Path) -> Path:
    return root / "var/log/ds01/events.jsonl"


def asked(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["--root", str(root), *words]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


def test_the_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(root, capsys) == TABLE


def test_json_is_the_log(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(root, capsys, "--json") == log(root).read_text()


@pytest.mark.parametrize(
    ("words", "types"),
    [
        (["--type", "gpu.*"], ["gpu.allocated", "gpu.refused"]),
        (["--type", "container.die"], ["container.die"]),
        (["--type", "gpu"], []),
        (["--user", "alice"], ["gpu.allocated"]),
        (["--user", "ali*"], []),
        (["--since", "2h"], ["gpu.refused"]),
        (["--type", "gpu.*", "--user", "alice", "--since", "2h"], []),
    ],
)
def test_what_is_asked_for(words: list[str], types: list[str], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = asked(root, capsys, "--json", *words)
    assert [json.loads(line)["event_type"] for line in shown.splitlines()] == types


def test_since_reaches_into_rotated_logs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log(root)
    ages = {"a": 1, "b": 3, "c": 200}
    for name, hours in ages.items():
        EventLog(path.with_name("x")).append(Event(f"test.{name}", None, "test", NOW - timedelta(hours=hours)))
        packed = path.with_name(f"{path.name}-2026-{name}.gz")
        packed.write_bytes(gzip.compress(path.with_name("x").read_bytes()))
        path.with_name("x").unlink()
        then = (NOW - timedelta(hours=hours)).timestamp()
        os.utime(packed, (then, then))
    shown = asked(root, capsys, "--json", "--since", "24h")
    assert [json.loads(line)["event_type"] for line in shown.splitlines()] == ["test.b", "test.a", "gpu.refused"]
    assert "test." not in asked(root, capsys, "--json")


def test_a_line_that_is_no_event_is_said_and_the_rest_is_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log(root).open("ab") as out:
        out.write(b'{"torn\x1b')
    assert main(["--root", str(root)]) == 0
    assert capsys.readouterr() == (TABLE, 'warning: a line is no event: it is no JSON: {"torn\\x1b\n')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2", "error: '2' is not a duration\n"),
        ("", "error: '' is not a duration\n"),
        ("9999999w", "error: 9999999w ago is before all time\n"),
        ("99999999999w", "error: 99999999999w ago is before all time\n"),
    ],
)
def test_a_time_that_is_none(text: str, words: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(root), "--since", text]) == 2
    assert capsys.readouterr().err.startswith(words)


def test_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"error: there is no log of events at {log(tmp_path)}\nTo fix: it comes with a deploy: sudo ./inv deploy\n"
    )


def test_nothing_since_the_rotation_is_no_failure(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(root).rename(log(root).with_name("events.jsonl-1"))
    assert asked(root, capsys) == TABLE.splitlines(keepends=True)[0]
    assert len(asked(root, capsys, "--since", "1h").splitlines()) == 2


def test_following_waits_for_the_first_event_after_a_rotation(root: Path) -> None:
    log(root).rename(log(root).with_name("events.jsonl-1"))
    found = follow(log(root), lambda _: EventLog(log(root)).append(EVENTS[0]))
    assert next(found) == EVENTS[0]
    found.close()


def test_there_is_nothing_to_follow_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(follow(tmp_path / "log", lambda _: None))


def test_a_folder_in_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(tmp_path).mkdir(parents=True)
    assert main(["--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {log(tmp_path)} cannot be read to its end\n")


NOISE = {
    "cut short": gzip.compress(b"x" * 9000, mtime=0)[:-20],
    "no archive": bytes(range(256)) * 2,
    "no block": b"\x1f\x8b\x08" + b"\xff" * 50,
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_a_damaged_archive_hides_neither_the_next_nor_the_log(
    noise: bytes, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(root).with_name("events.jsonl-20261122-1.gz").write_bytes(noise)
    good = log(root).with_name("events.jsonl-20261129-1.gz")
    good.write_bytes(gzip.compress(log(root).read_bytes()))
    os.utime(good, (NOW.timestamp() + 9, NOW.timestamp() + 9))
    assert main(["--root", str(root), "--json", "--since", "1h"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["event_type"] for line in out.splitlines()] == ["gpu.refused"] * 2
    assert err == ("warning: a line is no event: the archive is damaged from here on: events.jsonl-20261122-1.gz\n")


def test_a_rotated_log_that_cannot_be_read_hides_none_and_is_a_failure(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = log(root).with_name("events.jsonl-1")
    folder.mkdir()
    assert main(["--root", str(root), "--json", "--since", "1h"]) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["event_type"] for line in out.splitlines()] == ["gpu.refused"]
    assert err == f"warning: {folder} cannot be read to its end: Is a directory\n"


@pytest.mark.root
def test_who_may_not_read_is_told_how(root: Path) -> None:
    code = (
        "import os, sys, ds01.runtime.commands.events as events\n"
        "as_root = events.main(['--root', '.'])\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(as_root, events.main(['--root', '.']))\n"
    )
    for folder in (root, *(each for each in log(root).parents if each.is_relative_to(root))):
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )
    assert (done.stdout, done.stderr) == (
        f"{TABLE}0 1\n",
        "error: var/log/ds01/events.jsonl may not be read\nroot alone reads the log\nTo fix: sudo ds01 events …\n",
    )


def test_following_goes_on_behind_a_rotation(root: Path) -> None:
    path = log(root)
    steps = [
        lambda: EventLog(path).append(EVENTS[0]),
        # A line in two pieces is one line.
        lambda: append(path, b'{"timestamp":"2026-03-01T12:00:00.000Z","event_type":"test.two_pieces","user":null,'),
        lambda: append(path, b'"source":"x","details":{},"schema_version":"1"}\n'),
        lambda: path.rename(path.with_name("events.jsonl-1")),
        # Somebody had it open.
        lambda: append(path.with_name("events.jsonl-1"), b"torn"),
        lambda: EventLog(path).append(EVENTS[1]),
    ]
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        steps.pop(0)()

    found = follow(path, sleep)
    shown = [next(found) for _ in range(7)]
    assert [each.why if isinstance(each, Torn) else each.event_type for each in shown] == [
        *(event.event_type for event in EVENTS),
        "gpu.allocated",
        "test.two_pieces",
        "it is no JSON",
        "container.die",
    ]
    assert (steps, waited) == ([], [0.5] * 6)
    found.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as out:
        out.write(data)


def run(root: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ds01.cli", "events", "--root", str(root), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )


def test_following_ends_with_an_interrupt(root: Path) -> None:
    with run(root, "--follow") as running:
        assert running.stdout is not None
        assert [running.stdout.readline() for _ in range(4)] == TABLE.splitlines(keepends=True)
        assert EventLog(log(root)).append(EVENTS[0])
        assert "gpu.allocated" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate()
    assert (running.returncode, out, err) == (130, "", "interrupted\n")


def test_a_reader_that_goes_away_gets_no_traceback(root: Path) -> None:
    for _ in range(2000):
        EventLog(log(root)).append(EVENTS[0])
    with run(root) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.wait() == 1
        assert running.stderr is not None
        assert running.stderr.read() == ""


# --- The page ---------------------------------------------------------------------------------------------------------


def told_in_code() -> set[str]:
    """Every type that the code tells of, by what makes an event: directly, in a transaction, or as a correction."""
    found = {f"{PREFIX}{each.value}" for each in Action}
    for path in sorted((CHECKOUT / "scripts/ds01").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and call.args:
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                if name in {"Event", "note", "Correction", "log"}:
                    found |= {
                        each.value
                        for each in ast.walk(call.args[0])
                        if isinstance(each, ast.Constant) and isinstance(each.value, str) and "." in each.value
                    }
    return found


def test_every_type_stands_in_the_page_and_no_other() -> None:
    page = (CHECKOUT / "docs/events.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z_.]+)` \|", page.partition("## Types")[2], re.MULTILINE)
    assert sorted(listed) == sorted(told_in_code())
    assert "gpu.state_rebuilt" in listed


def test_every_reason_of_a_refusal_stands_in_the_page() -> None:
    page = (CHECKOUT / "docs/events.md").read_text(encoding="utf-8")
    assert [each.value for each in Reason if f"`{each.value}`" not in page] == []
