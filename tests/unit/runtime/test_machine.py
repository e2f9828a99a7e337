"""The machine's clocks and processes, asked of this machine's own kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ds01.core.value import replace
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

MACHINE = Machine()
# Sets a program's name as prctl(2), PR_SET_NAME, does, then waits.
NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]), 0, 0, 0)
print("ready", flush=True)
sys.stdin.read()
"""
# Goes on in another thread when the first one has ended. Source: pthread_exit(3).
HEADLESS = """
import ctypes, os, sys, threading, time

def work():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""
WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"
# Not in use: numbers end at 2^22. Source: proc_sys_kernel(5), pid_max.
NOBODY = 2**22 + 1


@contextmanager
def running(script: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-I", "-S", "-c", script, *arguments]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_whether_others_can_be_seen_is_told_by_process_1(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    assert (MACHINE.shows_others(), Machine(tmp_path).shows_others()) == (True, False)


def test_a_process_is_known_by_number_start_and_boot() -> None:
    found = MACHINE.process(os.getpid())
    assert found is not None
    assert (found.pid, found.boot) == (os.getpid(), Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    ticks = os.sysconf("SC_CLK_TCK")
    assert 0 < found.started / ticks <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_process_stays_the_same_across_exec() -> None:
    script = """
import os, sys
print("ready", flush=True)
sys.stdin.buffer.raw.read(1)
os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[1]])
"""
    with running(script, WAITS) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = MACHINE.process(process.pid)
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        assert before is not None
        assert MACHINE.process(process.pid) == before


def test_a_process_that_is_gone_is_none() -> None:
    assert (MACHINE.process(NOBODY), MACHINE.parent(NOBODY), MACHINE.uid(NOBODY), MACHINE.command(NOBODY)) == (
        None,
        None,
        None,
        "",
    )


def test_the_remains_of_a_process_are_no_process() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert (MACHINE.process(child), MACHINE.parent(child)) == (None, os.getpid())
    finally:
        os.waitpid(child, 0)


def test_a_process_whose_first_thread_has_ended_lives_until_all_have() -> None:
    with running(HEADLESS) as process:
        found = MACHINE.process(process.pid)
        assert found is not None
        assert MACHINE.is_alive(found)
        assert MACHINE.groups(process.pid) == MACHINE.groups(os.getpid())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert (MACHINE.process(process.pid), MACHINE.groups(process.pid)) == (None, None)


def test_the_groups_of_a_process_that_is_gone_are_none() -> None:
    assert MACHINE.groups(NOBODY) is None


def test_a_killed_process_lives_no_more() -> None:
    with running(WAITS) as process:
        found = MACHINE.process(process.pid)
        assert found is not None
        before = MACHINE.is_alive(found)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (before, MACHINE.is_alive(found)) == (True, False)


def test_a_stopped_process_lives() -> None:
    with running(WAITS) as process:
        found = MACHINE.process(process.pid)
        assert found is not None
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert MACHINE.is_alive(found)


def test_a_number_given_again_is_another_process() -> None:
    found = MACHINE.process(os.getpid())
    assert found is not None
    assert not MACHINE.is_alive(replace(found, started=found.started - 1))
    assert not MACHINE.is_alive(replace(found, boot="another boot"))


def test_parent_command_and_uid_are_those_of_the_process() -> None:
    with running(NAMED, b"train".hex()) as process:
        assert (MACHINE.parent(process.pid), MACHINE.command(process.pid), MACHINE.uid(process.pid)) == (
            os.getpid(),
            "train",
            os.getuid(),
        )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b") Z 1 1 1", id="bracket and state"),
        pytest.param(b"x\nUid: 4711", id="newline"),
        pytest.param(b"x\rUid: 4711", id="carriage return"),
        pytest.param(b"x\x0cUid: 4711", id="form feed"),
        pytest.param("x\u2028Uid: 7".encode(), id="line separator"),
        pytest.param("x\x85Uid: 7".encode(), id="next line"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_no_name_of_a_program_makes_it_another(name: bytes) -> None:
    with running(NAMED, name.hex()) as process:
        found = MACHINE.process(process.pid)
        assert found is not None
        assert (MACHINE.uid(process.pid), MACHINE.parent(process.pid), MACHINE.is_alive(found)) == (
            os.getuid(),
            os.getpid(),
            True,
        )
        assert MACHINE.command(process.pid) == name.decode(errors="replace")


@pytest.mark.root
def test_the_uid_is_the_real_one_and_not_what_the_process_acts_as() -> None:
    script = "import os; os.setresuid(1234, 0, 0)\n" + WAITS
    with running(script) as process:
        assert MACHINE.uid(process.pid) == 1234


def test_a_process_has_a_time_at_which_it_was_started(tmp_path: Path) -> None:
    noon = datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC)
    machine = Machine(tmp_path, lambda: noon, lambda: 1000.0)
    ticks = os.sysconf("SC_CLK_TCK")
    started = [machine.started_at(ProcessRef(1, seconds * ticks, "boot")) for seconds in (0, 400, 1000)]
    assert started == [
        datetime(2026, 3, 1, 11, 43, 20, tzinfo=UTC),
        datetime(2026, 3, 1, 11, 50, 0, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC),
    ]
    with subprocess.Popen(["sleep", "60"]) as child:
        before = datetime.now(UTC)
        process = Machine().process(child.pid)
        assert process is not None
        assert abs((Machine().started_at(process) - before).total_seconds()) < 60
        child.kill()


def test_the_clock_of_the_boot_goes_on() -> None:
    before = MACHINE.boot_seconds()
    between = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= between <= MACHINE.boot_seconds()


def test_the_wall_clock_is_in_utc() -> None:
    before = datetime.now(UTC)
    assert before <= MACHINE.now() <= datetime.now(UTC)
    assert MACHINE.now().tzinfo is UTC


def test_clocks_and_procfs_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("b\n")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("7 (a) b) S 3 " + " ".join(["0"] * 17) + " 99 0\n")
    then = datetime(2026, 3, 1, tzinfo=UTC)
    machine = Machine(tmp_path, lambda: then, lambda: 12.5)
    found = machine.process(7)
    assert found is not None
    assert (machine.now(), machine.boot_seconds(), machine.boot_id()) == (then, 12.5, "b")
    assert ((found.pid, found.started, found.boot), machine.parent(7)) == ((7, 99, "b"), 3)
