"""The event log: whole lines whoever writes, is killed, finds the disk full or rotates it meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core import events as module
from ds01.core.events import LARGEST_LINE_BYTES, Event, EventLog, Torn, parse_line, read_events, to_line

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[3]
SCRIPTS = CHECKOUT / "scripts"
SCHEMA = jsonschema.Draft202012Validator(json.loads((CHECKOUT / "schemas/event.schema.json").read_text()))
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
EVENT = Event("gpu.allocated", "alice", "gpu", NOON, {"container": "train", "gpus": ["0:1"]})
LINE = (
    b'{"timestamp":"2026-03-01T12:00:00.123Z","event_type":"gpu.allocated","user":"alice","source":"gpu",'
    b'"details":{"container":"train","gpus":["0:1"]},"schema_version":"1"}\n'
)
TORN = b'{"timestamp":"2026-03-01T1'

# Appends its own numbers until it is told to stop, and says on its output which of them are in the log.
WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from datetime import datetime, UTC
from pathlib import Path
from ds01.core.events import Event, EventLog
log, stop, name, number = EventLog(Path(sys.argv[2])), Path(sys.argv[3]), sys.argv[4], 0
while not stop.exists():
    details = {"writer": name, "number": number, "fill": "x" * (number % 40 * int(sys.argv[5]))}
    if log.append(Event("test.written", None, "test", datetime.now(UTC), details)):
        print(number, flush=True)
    number += 1
"""


def schema_holds(line: bytes) -> dict[str, object]:
    """Hold one line against the schema; it is one line, and plain ASCII."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert len(line) <= LARGEST_LINE_BYTES
    said = json.loads(line)
    SCHEMA.validate(said)
    return said


class Writers:
    """Processes that write to one log."""

    def __init__(self, folder: Path, log: Path, fill: int = 10) -> None:
        self.folder, self.log, self.fill = folder, log, fill
        self.stop = folder / "stop"
        self.running: list[subprocess.Popen[bytes]] = []
        self.outputs: dict[str, Path] = {}

    def start(self) -> subprocess.Popen[bytes]:
        name = f"w{len(self.outputs)}"
        self.outputs[name] = self.folder / f"{name}.out"
        words = [SCRIPTS, self.log, self.stop, name, str(self.fill)]
        with self.outputs[name].open("wb") as out:
            made = subprocess.Popen([sys.executable, "-I", "-S", "-c", WRITER, *map(os.fspath, words)], stdout=out)
        self.running.append(made)
        return made

    def wait_for(self, name: str, lines: int) -> None:
        while len(self.outputs[name].read_bytes().splitlines()) < lines:
            assert all(each.poll() is None for each in self.running)
            time.sleep(0.01)

    def end(self) -> None:
        self.stop.touch()
        for each in self.running:
            each.wait()

    def told(self) -> set[tuple[str, int]]:
        """What the writers say is in the log; the last line of one that was killed may lack its end."""
        return {
            (name, int(line)) for name, path in self.outputs.items() for line in path.read_bytes().split(b"\n")[:-1]
        }


def numbers(*paths: Path) -> tuple[Counter[tuple[str, int]], list[Torn]]:
    """What stands in logs, and what in them is no event."""
    found: Counter[tuple[str, int]] = Counter()
    torn = []
    for path in paths:
        for each in read_events(path):
            if isinstance(each, Torn):
                torn.append(each)
            else:
                found[str(each.details["writer"]), int(str(each.details["number"]))] += 1
    return found, torn


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events.jsonl")


def test_an_event_is_one_line(log: EventLog) -> None:
    assert log.append(EVENT)
    assert log.path.read_bytes() == LINE
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o640


def test_what_was_there_stays(log: EventLog) -> None:
    log.path.write_bytes(LINE)
    log.path.chmod(0o600)
    assert log.append(EVENT)
    assert (log.path.read_bytes(), stat.S_IMODE(log.path.stat().st_mode)) == (LINE * 2, 0o600)


def test_what_is_written_is_read_back(log: EventLog) -> None:
    nobody = Event("container.die", None, "events", NOON.astimezone(timezone(timedelta(hours=5))))
    assert [bool(log.append(each)) for each in (EVENT, nobody)] == [True, True]
    cut = NOON.replace(microsecond=123000)
    assert list(read_events(log.path)) == [
        Event("gpu.allocated", "alice", "gpu", cut, {"container": "train", "gpus": ["0:1"]}),
        Event("container.die", None, "events", cut),
    ]


@pytest.mark.parametrize(
    "name", ["gpu", "", "Gpu.allocated", "gpu.", ".gpu", "gpu..x", "gpu.a b", "gpu.x\n", "a.b.c.d.e", "gpu.1", "gpü.x"]
)
def test_a_type_is_a_dotted_name(name: str) -> None:
    with pytest.raises(ValueError, match="is not a dotted lower-case name"):
        Event(name, None, "test", NOON)
    # In Python's own expressions, not in a schema's, $ lets a newline pass.
    assert name.endswith("\n") or not SCHEMA.is_valid(json.loads(LINE) | {"event_type": name})


def test_a_time_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Event("gpu.allocated", None, "test", NOON.replace(tzinfo=None))


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\n", '"}', "\x00", "\x1b[2J", "\u2028\u2029\x85", "\u202e", "zoë 漢 😀", "\udcff", "\\"]
)
def test_text_of_users_makes_no_second_line(text: str) -> None:
    said = schema_holds(to_line(Event("gpu.allocated", text, text, NOON, {text: text, "list": [text]})))
    assert (said["user"], said["source"], said["details"]) == (text, text, {text: text, "list": [text]})


class Thing:
    def __str__(self) -> str:
        return "a thing"


ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("details", "written"),
    [
        ({"at": NOON, "path": Path("/x"), "thing": Thing()}, {"at": str(NOON), "path": "/x", "thing": "a thing"}),
        ({1: 2}, {"1": 2}),
        ({"n": float("nan")}, {"n": "nan", "cut": True}),
        ({"n": float("inf"), "m": 1.5}, {"n": "inf", "m": "1.5", "cut": True}),
        ({(1, 2): 3}, {"(1, 2)": 3, "cut": True}),
        ({"n": 10**5000}, {"n": "…", "cut": True}),
        ({"n": ENDLESS}, {"n": "[[...]]", "cut": True}),
    ],
)
def test_details_that_json_lacks_are_written_as_text(details: dict[str, object], written: object) -> None:
    assert schema_holds(to_line(Event("gpu.allocated", None, "test", NOON, details)))["details"] == written


def test_details_too_large_are_cut_with_a_mark() -> None:
    details = {"short": 1, "long": "x" * 100_000, "none": None}
    said = schema_holds(to_line(Event("gpu.allocated", None, "test", NOON, details)))
    assert said["details"] == {"short": 1, "long": "x" * 1023 + "…", "none": None, "cut": True}


def test_what_just_fits_is_not_cut() -> None:
    room = LARGEST_LINE_BYTES - len(to_line(Event("gpu.allocated", None, "test", NOON, {"x": ""})))
    for more, cut in ((0, False), (1, True)):
        line = to_line(Event("gpu.allocated", None, "test", NOON, {"x": "y" * (room + more)}))
        assert ("cut" in json.loads(line)["details"]) is cut
        assert (len(line) == LARGEST_LINE_BYTES) is not cut


@pytest.mark.parametrize("key", ["😀" * 1000, "x"])
def test_the_worst_details_fit(key: str) -> None:
    details = {f"{number}{key}": "😀" * 10_000 for number in range(1000)}
    said = schema_holds(to_line(Event("gpu.allocated", "😀" * 9999, "😀" * 9999, NOON, details)))
    assert isinstance(said["details"], dict)
    assert (len(said["details"]), said["details"]["cut"]) == (33, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(), st.text(), st.dictionaries(st.text(), JSON))
def test_whatever_it_is_the_line_holds_to_the_schema(user: str, source: str, details: dict[str, object]) -> None:
    line = to_line(Event("gpu.allocated", user, source, NOON, details))
    schema_holds(line)
    assert isinstance(parse_line(line), Event)


def test_a_torn_line_does_not_take_the_next_one_with_it(log: EventLog) -> None:
    log.path.write_bytes(LINE + TORN)
    assert [bool(log.append(EVENT)) for _ in range(2)] == [True, True]
    assert log.path.read_bytes() == LINE + TORN + b"\n" + LINE + LINE


def test_a_line_torn_between_the_look_and_the_write_is_noticed(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    real, late = module._is_whole, []

    def look(fd: int, end: int) -> bool:
        answer = real(fd, end)
        if not late:
            late.append(log.path.write_bytes(LINE + TORN))
        return answer

    monkeypatch.setattr(module, "_is_whole", look)
    log.path.write_bytes(LINE)
    assert log.append(EVENT)
    assert log.path.read_bytes() == LINE + TORN + LINE + b"\n" + LINE


@pytest.mark.parametrize("what", ["folder", "fifo", "socket", "link", "dangling", "no folder", "no folder but a file"])
def test_what_is_in_its_place_is_said_and_nobody_waits(what: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    listener = socket.socket(socket.AF_UNIX)
    (tmp_path / "victim").write_text("precious")
    match what:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            listener.bind(str(path))
        case "link":
            path.symlink_to("victim")
        case "dangling":
            path.symlink_to("nowhere")
        case "no folder":
            path = tmp_path / "ds01/events.jsonl"
        case "no folder but a file":
            path = tmp_path / "victim/events.jsonl"
    before = sorted(tmp_path.iterdir())
    appended = EventLog(path).append(EVENT)
    listener.close()
    words = {
        "folder": "cannot be opened: Is a directory",
        "fifo": "is not a file",
        "socket": "cannot be opened: No such device or address",
        "link": "cannot be opened: Too many levels of symbolic links",
        "dangling": "cannot be opened: Too many levels of symbolic links",
        "no folder": "cannot be opened: No such file or directory",
        "no folder but a file": "cannot be opened: Not a directory",
    }
    assert (bool(appended), appended.reason) == (False, f"{path} {words[what]}")
    assert (sorted(tmp_path.iterdir()), (tmp_path / "victim").read_text()) == (before, "precious")


def test_no_descriptor_is_left(log: EventLog, tmp_path: Path) -> None:
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    log.append(EVENT)
    os.mkfifo(tmp_path / "fifo")
    EventLog(tmp_path / "fifo").append(EVENT)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "ds01-test", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.root
def test_a_full_disk_loses_events_and_mixes_none(small_disk: Path) -> None:
    log = EventLog(small_disk / "events.jsonl")
    told: list[int] = []
    reasons = set()
    for number in range(3000):
        details = {"writer": "w", "number": number, "fill": "x" * (number % 100)}
        if appended := log.append(Event("test.written", None, "test", NOON, details)):
            told.append(number)
        else:
            reasons.add(appended.reason)
    assert 0 < len(told) < 3000
    assert reasons <= {
        f"{log.path} took a part of it only: the disk is full",
        f"{log.path} cannot be written: No space left on device",
    }
    assert reasons
    # Somebody frees space: the next one is whole, behind whatever was torn.
    kept = log.path.read_bytes()
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    assert log.append(Event("test.written", None, "test", NOON, {"writer": "w", "number": 5000}))
    assert log.path.read_bytes().startswith(kept)
    found, torn = numbers(log.path)
    assert found == Counter({("w", number): 1 for number in [*told, 5000]})
    assert len(torn) == 1


@pytest.mark.root
def test_many_on_a_disk_that_fills_and_empties_mix_nothing(small_disk: Path, tmp_path: Path) -> None:
    log = small_disk / "events.jsonl"
    writers = Writers(tmp_path, log, fill=20)
    for _ in range(3):
        writers.start()
    for size in ("128k", "192k", "256k", "320k", "64m"):
        while shutil.disk_usage(small_disk).free:
            time.sleep(0.01)
        subprocess.run(["mount", "-o", f"remount,size={size}", small_disk], check=True)
    for name in writers.outputs:
        writers.wait_for(name, 5)
    writers.end()
    found, _ = numbers(log)
    told = writers.told()
    assert told <= set(found)
    assert max(found.values()) == 1


@pytest.mark.root
def test_a_disk_that_nobody_may_write(small_disk: Path) -> None:
    log = EventLog(small_disk / "events.jsonl")
    assert log.append(EVENT)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert log.append(EVENT).reason == f"{log.path} cannot be opened: Read-only file system"
    assert log.path.read_bytes() == LINE


def test_many_processes_lose_and_mix_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writers = Writers(tmp_path, path)
    for _ in range(6):
        writers.start()
    for name in writers.outputs:
        writers.wait_for(name, 200)
    writers.end()
    found, torn = numbers(path)
    assert (found, torn) == (Counter(dict.fromkeys(writers.told(), 1)), [])


def test_killed_processes_take_no_line_of_others_with_them(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    # Lines of many pages: the kernel looks for the kill between two of them.
    writers = Writers(tmp_path, path, fill=1500)
    chance = random.Random(4)
    for _ in range(3):
        writers.start()
    for _ in range(12):
        victim = writers.start()
        writers.wait_for(f"w{len(writers.outputs) - 1}", 1)
        time.sleep(chance.uniform(0, 0.02))
        victim.send_signal(signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL
        writers.running.remove(victim)
    writers.end()
    found, _ = numbers(path)
    assert writers.told() <= set(found)
    assert max(found.values()) == 1


class Rotation:
    """The rules that are deployed, for a log of the test's own, and the real logrotate."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("logrotate") is None:
            pytest.skip("needs logrotate (apt-get install logrotate)")
        self.state, self.rules = folder / "state", folder / "rules"
        self.folder = folder / "log"
        self.folder.mkdir(mode=0o755)
        template = (CHECKOUT / "templates/etc/logrotate.d/ds01.j2").read_text()
        # Debian's own settings begin with create.
        rules = template.replace("{{ header }}", "test").replace("/var/log/ds01", str(self.folder))
        self.rules.write_text(f"create\n{rules}")
        self.rules.chmod(0o644)

    def rotate(self) -> None:
        done = subprocess.run(
            ["logrotate", "--force", "--state", self.state, self.rules], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.root
def test_the_next_event_makes_the_log_and_not_logrotate(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path)
    log = EventLog(rotation.folder / "events.jsonl")
    assert log.append(EVENT)
    rotation.rotate()
    # A log that logrotate makes takes the place of one that was made since the rename: its events would be gone.
    assert [each.name.startswith("events.jsonl-") for each in rotation.folder.iterdir()] == [True]
    assert log.append(EVENT)
    assert (log.path.read_bytes(), stat.S_IMODE(log.path.stat().st_mode)) == (LINE, 0o640)


@pytest.mark.root
def test_rotation_loses_and_misplaces_nothing(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path)
    folder, path = rotation.folder, rotation.folder / "events.jsonl"
    writers = Writers(tmp_path, path)
    for _ in range(3):
        writers.start()
    for name in writers.outputs:
        writers.wait_for(name, 20)
    for number in range(1, 4):
        # The names of rotated logs differ by the second.
        time.sleep(1.1)
        rotation.rotate()
        while not path.exists():
            time.sleep(0.01)
        assert len(list(folder.iterdir())) == number + 1
    for name in writers.outputs:
        writers.wait_for(name, 500)
    writers.end()
    files = sorted(folder.iterdir())
    assert [each.suffix == ".gz" for each in files] == [False, True, True, False]
    found, torn = numbers(*files)
    assert (found, torn) == (Counter(dict.fromkeys(writers.told(), 1)), [])
    assert all(numbers(each)[0] for each in files)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


UNREAD = {
    "torn": (TORN + b"\n", Torn('{"timestamp":"2026-03-01T1', "it is no JSON")),
    "another thing": (b"[1]\n", Torn("[1]", "it is no object")),
    "no UTF-8": (b"\xff\x1b\n", Torn("\ufffd\\x1b", "it is no JSON")),
    "a nest": (b"[" * 50_000 + b"\n", Torn("[" * 79 + "…", "it is no JSON")),
    "another version": (LINE.replace(b'"1"', b'"2"'), "its schema_version is not 1"),
    "no user": (LINE.replace(b'"alice"', b"7"), "its user or details have another form"),
    "a bad time": (LINE.replace(b"12:00", b"noon"), "Invalid isoformat string: '2026-03-01Tnoon:00.123Z'"),
    "a bad type": (
        LINE.replace(b"gpu.a", b"GPU.a"),
        "'GPU.allocated' is not a dotted lower-case name such as gpu.allocated",
    ),
    "too long": (b"x" * 200_000 + b"\n", Torn("x" * 79 + "…", "it is longer than 65536 bytes")),
}


@pytest.mark.parametrize(("line", "torn"), UNREAD.values(), ids=UNREAD)
def test_what_is_no_event_hides_none(line: bytes, torn: Torn | str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINE + line + b"\n" + LINE)
    first, found, last = read_events(tmp_path / "log")
    assert first == last
    assert isinstance(first, Event)
    assert isinstance(found, Torn)
    assert (found if isinstance(torn, Torn) else found.why) == torn


def test_the_last_line_may_lack_its_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINE + TORN)
    assert [type(each) for each in read_events(tmp_path / "log")] == [Event, Torn]


def test_a_compressed_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(LINE * 3))
    assert len(list(read_events(tmp_path / "log.gz"))) == 3


WHOLE = gzip.compress(LINE * 3)
NOISE = random.Random(1).randbytes(2000)
# A block of a kind that there is none of. Source: RFC 1951, 3.2.3, BTYPE 11.
NO_BLOCK = WHOLE[:10] + b"\xff" * 20
DAMAGED = {
    "cut short": (gzip.compress(LINE * 3 + NOISE.hex().encode())[:-200], 3),
    "cut in its head": (WHOLE[:5], 0),
    "another checksum": (WHOLE[:-8] + bytes(4) + WHOLE[-4:], 3),
    "no archive": (NOISE, 0),
    "no block": (NO_BLOCK, 0),
    "a good one, then no archive": (WHOLE + NOISE, 3),
    "a good one, then no block": (WHOLE + NO_BLOCK, 3),
}


@pytest.mark.parametrize(("data", "good"), DAMAGED.values(), ids=DAMAGED)
def test_of_a_damaged_archive_what_is_before_the_damage_is_read(data: bytes, good: int, tmp_path: Path) -> None:
    (tmp_path / "log-1.gz").write_bytes(data)
    *events, last = read_events(tmp_path / "log-1.gz")
    assert [type(each) for each in events] == [Event] * good
    assert last == Torn("log-1.gz", "the archive is damaged from here on")


@given(st.binary(max_size=300), st.integers(0, len(WHOLE)))
def test_no_archive_of_whatever_bytes_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int
) -> None:
    path = tmp_path_factory.mktemp("archive") / "log-1.gz"
    path.write_bytes(WHOLE[:cut] + data)
    assert all(isinstance(each, Event | Torn) for each in read_events(path))


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_events(tmp_path / "log"))
