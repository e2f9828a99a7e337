"""Ending real processes: one that goes, one that does not listen, and never one that only has the number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ds01.core.value import replace
from ds01.runtime.gpu.ending import Ender, Outcome
from ds01.runtime.gpu.hostprocesses import HostProcess, Verdict
from ds01.runtime.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE = Machine()
WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
LONG = 600.0


@contextmanager
def running(script: str = WAITS) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-I", "-S", "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            yield child
        finally:
            child.kill()


def condemned(pid: int) -> HostProcess:
    found = MACHINE.process(pid)
    assert found is not None
    now = datetime.now(UTC)
    return HostProcess(
        pid, found.started, os.getuid(), "alice", "python", (), (), None, now, 2, Verdict.TERMINATE, now, 1.0, now
    )


def outcomes(ender: Ender) -> tuple[Outcome, ...]:
    """Go on until anything becomes of any."""
    found: tuple[Outcome, ...] = ()
    while not found:
        ender.wait(LONG)
        found = ender.proceed()
    return found


def test_it_is_told_to_end_and_that_it_did_is_noticed() -> None:
    ender = Ender(MACHINE)
    with running() as child, running() as other:
        process = condemned(child.pid)
        assert ender.begin(process, LONG) is None
        assert ender.begin(process, LONG) is None
        assert outcomes(ender) == (Outcome(process, "SIGTERM"),)
        assert child.wait() == -signal.SIGTERM
        assert other.poll() is None
    assert ender.under_way == {}


def test_one_that_does_not_listen_is_killed_and_nothing_else_is() -> None:
    ender = Ender(MACHINE)
    with running(DEAF) as child, running() as other:
        process = condemned(child.pid)
        assert ender.begin(process, 0.2) is None
        assert outcomes(ender) == (Outcome(process, "SIGKILL"),)
        assert child.wait() == -signal.SIGKILL
        assert other.poll() is None


def test_several_are_ended_side_by_side_and_one_that_waits_holds_up_none() -> None:
    ender = Ender(MACHINE)
    with running(DEAF) as deaf, running() as child:
        slow, quick = condemned(deaf.pid), condemned(child.pid)
        assert (ender.begin(slow, LONG), ender.begin(quick, LONG)) == (None, None)
        assert outcomes(ender) == (Outcome(quick, "SIGTERM"),)
        assert set(ender.under_way) == {slow.key}
        assert ender.spare({slow.key}) == ()
        assert ender.spare(()) == (slow,)
        assert deaf.poll() is None
    assert ender.under_way == {}


def test_one_that_ended_as_it_was_told_is_not_spared_but_told_of() -> None:
    """It is condemned no more since it is gone, and that is what is to be told."""
    ender = Ender(MACHINE)
    with running() as child:
        process = condemned(child.pid)
        ender.begin(process, LONG)
        child.wait()
        assert ender.spare(()) == ()
        assert ender.proceed() == (Outcome(process, "SIGTERM"),)


def test_one_that_was_killed_is_not_spared() -> None:
    ender = Ender(MACHINE)
    with running(DEAF) as child:
        process = condemned(child.pid)
        ender.begin(process, 0)
        assert ender.proceed() == ()
        assert ender.spare(()) == ()
        assert outcomes(ender) == (Outcome(process, "SIGKILL"),)


def test_one_that_lives_on_after_it_was_killed_is_told_once() -> None:
    """As in a driver's call that does not end: here a clock that runs ahead, and a process that was not waited for."""
    seconds = iter((0.0, 1.0, 2.0, 100.0, 200.0))
    ender = Ender(replace(MACHINE, boot_seconds=lambda: next(seconds)))
    with running() as stuck:
        process = condemned(stuck.pid)
        ender.begin(process, 0)
        # The pidfd of another process, which nobody kills, stands for one that cannot be killed.
        with running() as alive:
            os.dup2(os.pidfd_open(alive.pid), ender.under_way[process.key].fd)
            ender.under_way[process.key].killed = True
            assert ender.is_busy
            assert ender.proceed() == (Outcome(process, "SIGKILL", ended=False),)
            assert not ender.is_busy
            assert ender.proceed() == ()
            alive.kill()
            alive.wait()
            assert ender.proceed() == (Outcome(process, "SIGKILL"),)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"started": 1}, "it has ended, and its number may be another's"),
        ({"uid": 54321}, "it is another account's now"),
    ],
)
def test_one_that_is_not_the_condemned_gets_no_signal(changes: dict[str, int], why: str) -> None:
    ender = Ender(MACHINE)
    with running() as child:
        assert ender.begin(replace(condemned(child.pid), **changes), 0) == why
        assert ender.under_way == {}
        assert ender.proceed() == ()
        assert child.poll() is None


def test_one_that_is_in_a_container_now_gets_no_signal(tmp_path: Path) -> None:
    with running() as child:
        process = condemned(child.pid)
        (tmp_path / "sys").symlink_to("/proc/sys")
        (tmp_path / str(child.pid)).mkdir()
        for name in ("stat", "status"):
            (tmp_path / str(child.pid) / name).symlink_to(f"/proc/{child.pid}/{name}")
        (tmp_path / str(child.pid) / "cgroup").write_text(f"0::/system.slice/docker-{'a' * 64}.scope\n")
        assert Ender(Machine(tmp_path)).begin(process, 0) == "it is in a container now"
        assert child.poll() is None


def test_one_that_has_ended_is_said_to_have() -> None:
    with running() as child:
        process = condemned(child.pid)
        child.kill()
        child.wait()
        assert Ender(MACHINE).begin(process, 0) == "it has ended"


def test_its_remains_are_no_process() -> None:
    with running() as child:
        process = condemned(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Ender(MACHINE).begin(process, 0) == "it has ended, and its number may be another's"


@pytest.mark.root
def test_where_it_may_not_be_done_it_is_said() -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import encodings.ascii\n"
        "from datetime import UTC, datetime\n"
        "from ds01.runtime.gpu.ending import Ender\n"
        "from ds01.runtime.gpu.hostprocesses import HostProcess, Verdict\n"
        "from ds01.runtime.machine import Machine\n"
        "os.setuid(54321); pid = int(sys.argv[2]); now = datetime.now(UTC)\n"
        "there = Machine().process(pid)\n"
        "print(Ender(Machine()).begin(HostProcess(pid, there.started, 0, 'root', 'x', (), (), None, now, 2,"
        " Verdict.TERMINATE), 0))"
    )
    scripts = Path(__file__).parents[4] / "scripts"
    with running() as child:
        argv = [sys.executable, "-I", "-S", "-c", code, os.fspath(scripts), str(child.pid)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert done.stdout == "SIGTERM cannot be sent to it: Operation not permitted\n"
        assert child.poll() is None
