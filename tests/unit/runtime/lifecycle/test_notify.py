"""Telling accounts something: real files, real terminals of another account, and whatever may be in the way."""

from __future__ import annotations

import os
import pwd
import select
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ds01.core.jsonstate import exclusive
from ds01.core.paths import HostPaths
from ds01.runtime.lifecycle.notices import MOST_BINDING, Notice, Weight, format_notices, parse_notices
from ds01.runtime.lifecycle.notify import Notifier, Told, _write_to_one, terminal_block

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
# An account that is on every Debian machine and never logs in: no terminal is its own but those of tests; of others at
# the same time too, so that each looks at its own terminals and at a text of its own.
GAMES = pwd.getpwnam("games")
USER, UID, GID = GAMES.pw_name, GAMES.pw_uid, GAMES.pw_gid
TEXT = f"container train-{os.getpid()} was ended at 09:12: out of memory"

pytestmark = pytest.mark.root


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path)
    paths.notices_folder.mkdir(parents=True)
    return paths


@pytest.fixture
def terminals(host: HostPaths) -> HostPaths:
    """The machine's own terminals: their devices work nowhere else."""
    host.terminals.parent.mkdir(parents=True)
    host.terminals.symlink_to("/dev/pts")
    return host


Terminal = tuple[int, str]


@pytest.fixture
def open_terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[int] = []

    def make(uid: int = UID, mode: int = 0o620) -> Terminal:
        """Open a terminal of an account's; returns its reader's side and its name."""
        reader, session = os.openpty()
        opened.extend((reader, session))
        os.fchown(session, uid, -1)
        os.fchmod(session, mode)
        return reader, os.ttyname(session).removeprefix("/dev/")

    yield make
    for fd in opened:
        os.close(fd)


def seen(reader: int) -> bytes:
    """Return what a terminal shows by now."""
    return os.read(reader, 65536) if select.select([reader], [], [], 0)[0] else b""


def fill(name: str) -> None:
    """Write to a terminal that nobody reads until it takes no more, also after the kernel has moved what it has."""
    fd = os.open(f"/dev/{name}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    refused = 0
    while refused < 5:
        try:
            os.write(fd, b"x" * 4096)
            refused = 0
        except BlockingIOError:
            refused += 1
            time.sleep(0.05)
    os.close(fd)


def notifier(host: HostPaths, now: datetime = NOW) -> Notifier:
    return Notifier(host, lambda: now)


def kept(host: HostPaths) -> tuple[Notice, ...]:
    return parse_notices(host.notices(UID).read_bytes())


def a_notice(text: str = TEXT, key: str = "oom.1", at: datetime = NOW, days: float = 3) -> Notice:
    return Notice(at, text, key, at + timedelta(days=days))


# --- The next login ---------------------------------------------------------------------------------------------------


def test_a_notice_is_kept_for_the_account_alone(host: HostPaths) -> None:
    assert notifier(host).tell(USER, TEXT, key="oom.1") == Told(kept=True)
    assert kept(host) == (a_notice(),)
    found = host.notices(UID).stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, GID, 0o640)
    assert sorted(each.name for each in host.notices_folder.iterdir()) == [f".{UID}.lock", f"{UID}"]


def test_the_same_key_replaces_and_what_is_over_goes(host: HostPaths) -> None:
    notifier(host).tell(USER, "first", key="a", keep_seconds=3600)
    notifier(host).tell(USER, "second", key="b")
    notifier(host).tell(USER, "third", key="b")
    assert [each.text for each in kept(host)] == ["first", "third"]
    later = NOW + timedelta(hours=2)
    notifier(host, later).tell(USER, "fourth", key="c")
    assert kept(host) == (a_notice("third", "b"), a_notice("fourth", "c", later))


def test_a_warning_that_finds_no_place_is_not_told_at_all_and_nothing_makes_room_for_it(
    host: HostPaths, open_terminal: Callable[..., Terminal]
) -> None:
    host.terminals.parent.mkdir(parents=True)
    host.terminals.symlink_to("/dev/pts")
    reader, _ = open_terminal()
    until = NOW + timedelta(days=1)
    waiting = tuple(Notice(NOW, "t", f"idle:{each}", until, Weight.END) for each in range(MOST_BINDING))
    host.notices(UID).write_bytes(format_notices(waiting))
    text = f"container train-{os.getpid()} is stopped at 14:00"
    told = notifier(host).tell(USER, text, key="max_runtime:1", weight=Weight.END)
    assert told == Told(remarks=("too many warnings of other things to come wait already",))
    assert not told
    assert kept(host) == waiting
    assert text.encode() not in seen(reader)
    # Those that are over leave their places.
    assert notifier(host, until).tell(USER, text, key="max_runtime:1", weight=Weight.END).kept
    assert [each.text for each in kept(host)] == [text]


def test_what_was_told_is_brought_up_to_date_without_a_word_on_terminals(
    host: HostPaths, open_terminal: Callable[..., Terminal]
) -> None:
    host.terminals.parent.mkdir(parents=True)
    host.terminals.symlink_to("/dev/pts")
    reader, _ = open_terminal()
    text = f"2 containers-{os.getpid()} are removed"
    assert notifier(host).restate(USER, text, key="container_hold", weight=Weight.HOLD) is None
    assert kept(host) == (Notice(NOW, text, "container_hold", NOW + timedelta(days=3), Weight.HOLD),)
    assert text.encode() not in seen(reader)
    assert notifier(host).restate("nobody-has-this-name", text, key="k") is None
    host.notices(UID).unlink()
    host.notices(UID).mkdir()
    (host.notices_folder / f".{UID}.bad").mkdir()
    (host.notices_folder / f".{UID}.bad/full").touch()
    assert notifier(host).restate(USER, text, key="k") == f"{host.notices(UID)}: Directory not empty"


def test_a_notice_is_taken_back_by_its_key(host: HostPaths) -> None:
    notifier(host).tell(USER, "first", key="a")
    notifier(host).tell(USER, "second", key="b")
    assert notifier(host).clear(USER, "a") is None
    assert kept(host) == (a_notice("second", "b"),)
    before = host.notices(UID).stat()
    assert notifier(host).clear(USER, "a") is None
    assert host.notices(UID).stat() == before
    assert notifier(host).clear(USER, "b") is None
    assert not host.notices(UID).exists()


def test_taking_back_what_is_not_there_leaves_no_trace(host: HostPaths) -> None:
    assert notifier(host).clear(USER, "a") is None
    assert notifier(host).clear("nobody-has-this-name", "a") is None
    assert list(host.notices_folder.iterdir()) == []


def test_what_everybody_was_told_is_taken_back_by_how_its_key_begins(host: HostPaths) -> None:
    for key in ("quota.memory", "pressure.x", "oom.1"):
        notifier(host).tell(USER, key, key=key)
    notifier(host).tell("root", "quota.tasks", key="quota.tasks")
    host.notices(4_000_000_000).write_bytes(format_notices([a_notice(key="quota.gpus")]))
    host.notices(10**30).write_text("[]")
    (host.notices_folder / "notes").write_text("not ours")
    notifier(host).clear_everywhere(("quota.", "pressure."))
    assert [each.key for each in kept(host)] == ["oom.1"]
    assert not host.notices(0).exists()
    assert host.notices(4_000_000_000).exists()


def test_without_a_folder_nobody_was_told_anything(host: HostPaths) -> None:
    host.notices_folder.rmdir()
    notifier(host).clear_everywhere(("quota.",))
    assert not host.notices_folder.exists()


@pytest.mark.parametrize("user", ["nobody-has-this-name", "", "a\0b", "\x1b[31m"])
def test_an_account_that_is_not_there_is_told_nothing(host: HostPaths, user: str) -> None:
    told = notifier(host).tell(user, TEXT, key="k")
    shown = {"a\0b": "a\\x00b", "\x1b[31m": "\\x1b[31m"}.get(user, user)
    assert told == Told(remarks=(f"this machine has no account {shown}, so nobody was told",))
    assert not told
    assert list(host.notices_folder.iterdir()) == []


def test_the_folder_is_made_where_it_is_missing(host: HostPaths) -> None:
    host.notices_folder.rmdir()
    assert notifier(host).tell(USER, TEXT, key="oom.1") == Told(kept=True)
    assert stat.S_IMODE(host.notices_folder.stat().st_mode) == 0o755


def test_a_damaged_file_is_put_aside(host: HostPaths) -> None:
    host.notices(UID).write_text("{")
    told = notifier(host).tell(USER, TEXT, key="oom.1")
    assert (told.kept, len(told.remarks)) == (True, 1)
    assert told.remarks[0].startswith(f"{host.notices(UID)} could not be used and lies in .{UID}.bad now: JSONDecode")
    assert kept(host) == (a_notice(),)
    assert (host.notices_folder / f".{UID}.bad").read_text() == "{"


def test_a_file_that_others_wrote_is_not_believed(host: HostPaths) -> None:
    host.notices(UID).write_bytes(format_notices([a_notice("planted")]))
    os.chown(host.notices(UID), UID, -1)
    assert notifier(host).tell(USER, TEXT, key="k").kept
    assert kept(host) == (a_notice(key="k"),)


def test_what_cannot_be_written_is_said(host: HostPaths, open_terminal: Callable[..., Terminal]) -> None:
    host.terminals.parent.mkdir(parents=True)
    host.terminals.symlink_to("/dev/pts")
    reader, name = open_terminal()
    host.notices(UID).mkdir()
    (host.notices_folder / f".{UID}.bad").mkdir()
    (host.notices_folder / f".{UID}.bad/full").touch()
    told = notifier(host).tell(USER, TEXT, key="k")
    assert told
    assert (told.kept, name in told.terminals) == (False, True)
    assert f"the next login does not show it: {host.notices(UID)}: Directory not empty" in told.remarks
    assert TEXT.encode() in seen(reader)
    assert notifier(host).clear(USER, "k") == f"{host.notices(UID)}: Directory not empty"


def test_no_folder_and_none_to_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "var").touch()
    told = notifier(HostPaths(tmp_path)).tell(USER, TEXT, key="k")
    assert told == Told(
        remarks=(f"the next login does not show it: {tmp_path / 'var/lib/ds01/notices'}: Not a directory",)
    )


def test_somebody_elses_long_change_is_not_waited_for(host: HostPaths) -> None:
    with exclusive(host.notices_folder / f".{UID}.lock"):
        told = notifier(host).tell(USER, TEXT, key="k")
    assert not told.kept
    assert told.remarks[0].startswith(f"the next login does not show it: another notice is at work (pid {os.getpid()})")


def test_many_at_once_lose_nothing(host: HostPaths) -> None:
    keys = [str(number) for number in range(12)]
    threads = [threading.Thread(target=notifier(host).tell, args=(USER, each), kwargs={"key": each}) for each in keys]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(each.text for each in kept(host)) == sorted(keys)


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from ds01.core.paths import HostPaths
from ds01.runtime.lifecycle.notify import Notifier
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(Notifier(HostPaths(Path(sys.argv[1]))).tell("games", "text", key="k"))
"""


def test_a_service_that_may_not_give_files_away_says_so_and_counts_nobody_as_told() -> None:
    """As nobody, which is to an account's group what root without CAP_CHOWN is."""
    with tempfile.TemporaryDirectory() as folder:
        host = HostPaths(Path(folder))
        host.notices_folder.mkdir(parents=True)
        for each in (Path(folder), host.notices_folder):
            each.chmod(0o755)
        os.chown(host.notices_folder, 65534, 65534)
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RIGHTS, folder],
            env={"PYTHONPATH": f"{Path(__file__).parents[4] / 'scripts'}"},
            check=True,
            capture_output=True,
            text=True,
        )
        why = f"{host.notices(UID)} may be read by root alone: giving it to group {GID} is not permitted"
        assert done.stdout == f"{Told(kept=False, remarks=(why,))}\n"
        assert stat.S_IMODE(host.notices(UID).stat().st_mode) == 0o640


# --- Terminals --------------------------------------------------------------------------------------------------------


def test_every_terminal_of_the_account_shows_it(terminals: HostPaths, open_terminal: Callable[..., Terminal]) -> None:
    first, second, another = open_terminal(), open_terminal(), open_terminal(uid=UID + 1)
    told = notifier(terminals).tell(USER, TEXT, key="k")
    assert told.kept
    mine = [name for name in told.terminals if name in {first[1], second[1], another[1]}]
    assert mine == sorted((first[1], second[1]), key=lambda name: int(name[4:]))
    block = f"\r\nDS01: {TEXT}\r\n".encode()
    # What the terminal itself makes of a newline is a return and a newline.
    shown = block.replace(b"\n", b"\r\n")
    assert (shown in seen(first[0]), shown in seen(second[0]), seen(another[0])) == (True, True, b"")


def test_a_terminal_that_takes_no_messages_is_left_alone(
    terminals: HostPaths, open_terminal: Callable[..., Terminal]
) -> None:
    reader, name = open_terminal(mode=0o600)
    told = notifier(terminals).tell(USER, TEXT, key="k")
    assert told.kept
    assert name not in told.terminals
    assert TEXT.encode() not in seen(reader)


def test_a_number_that_is_another_accounts_by_now_is_not_written_to(open_terminal: Callable[..., Terminal]) -> None:
    reader, name = open_terminal(uid=0)
    with pytest.raises(OSError, match="No such device"):
        _write_to_one(Path(f"/dev/{name}"), UID, b"text")
    assert seen(reader) == b""


def test_a_terminal_that_stands_still_is_not_waited_for(
    terminals: HostPaths, open_terminal: Callable[..., Terminal]
) -> None:
    stopped, name = open_terminal()
    _, full_name = open_terminal()
    working, working_name = open_terminal()
    # Ctrl-S: the reader's side sends the character that stops the other.
    os.write(stopped, b"\x13")
    fill(full_name)
    told = notifier(terminals).tell(USER, TEXT, key="k")
    assert {f"{name}: its reader stands still", f"{full_name}: its reader stands still"} <= set(told.remarks)
    assert told.kept
    assert {name, full_name, working_name}.intersection(told.terminals) == {working_name}
    assert TEXT.encode() in seen(working)


def test_of_many_terminals_that_stand_still_a_few_are_named(
    terminals: HostPaths, open_terminal: Callable[..., Terminal]
) -> None:
    for _ in range(5):
        stopped, _name = open_terminal()
        os.write(stopped, b"\x13")
    told = notifier(terminals).tell(USER, TEXT, key="k")
    assert (len(told.remarks), told.remarks[-1]) == (4, "and 2 more terminals")


def test_what_is_no_terminal_is_not_written_to(host: HostPaths, tmp_path: Path) -> None:
    host.terminals.mkdir(parents=True)
    target = tmp_path / "target"
    target.write_text("")
    os.chown(target, UID, GID)
    target.chmod(0o664)
    (host.terminals / "0").symlink_to(target)
    os.link(target, host.terminals / "1")
    os.mkfifo(host.terminals / "2")
    (host.terminals / "ptmx").symlink_to("/dev/null")
    os.mknod(host.terminals / "3", 0o620 | stat.S_IFCHR, os.makedev(1, 3))
    for number in range(4):
        os.chown(host.terminals / str(number), UID, GID, follow_symlinks=False)
    assert notifier(host).tell(USER, TEXT, key="k") == Told(kept=True)
    assert target.read_text() == ""


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("plain", "\r\nDS01: plain\r\n"),
        ("\x1b]0;title\x07\n", "\r\nDS01: \\x1b]0;title\\x07\\n\r\n"),
        ("é … \u202e", "\r\nDS01: \\xe9 ... \\u202e\r\n"),
        ("", "\r\nDS01:\r\n"),
        ("word " * 20, f"\r\nDS01: {'word ' * 14}\r\n      {'word ' * 6}\r\n".replace(" \r", "\r")),
        ("x" * 80, f"\r\nDS01: {'x' * 72}\r\n      {'x' * 8}\r\n"),
    ],
)
def test_the_block_is_lines_that_move_no_terminal(text: str, block: str) -> None:
    assert terminal_block(text) == block.encode()
    assert all(len(line) <= 78 for line in terminal_block(text).split(b"\r\n"))
