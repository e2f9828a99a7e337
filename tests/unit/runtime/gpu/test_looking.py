"""A look in a child: its answer, its failure, one that hangs, and one that hangs on."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.samples import shipped_host
from tests.unit.runtime.gpu.hosts import LAB

from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.gpu.hardware import DevicesError, GpuUuid, Usage
from ds01.runtime.gpu.looking import Looker, Seen
from ds01.runtime.machine import Machine

if TYPE_CHECKING:
    from tests.fake_nvml.fixture import FakeNvml

SEEN = Seen(LAB, {GpuUuid("GPU-0"): Usage(97, None)})
ADVICE = "see dmesg for NVRM lines; when nvidia-smi hangs too, only a restart of the machine helps"


@pytest.fixture
def looker(tmp_path: Path) -> Looker:
    return Looker(HostPaths(tmp_path))


# Source: prctl(2).
PR_SET_CHILD_SUBREAPER = 36


def hang() -> Seen:
    threading.Event().wait()
    return SEEN


def raises(error: BaseException) -> Seen:
    raise error


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def descriptors() -> list[str]:
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


def test_what_the_child_saw_is_the_answer(looker: Looker) -> None:
    before = descriptors()
    assert looker.ask(lambda: SEEN) == SEEN
    assert descriptors() == before
    assert looker.stuck is None


def test_a_large_answer_comes_whole(looker: Looker) -> None:
    large = replace(SEEN, devices=replace(LAB, unknown="x" * 1_000_000))
    assert looker.ask(lambda: large) == large


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DevicesError("NVML does not start", "cause one\ncause two", "do this"),
         "NVML does not start. cause one. cause two. do this"),
        (DevicesError("no GPU"), "no GPU"),
        (ValueError("a bug"), "the look at the driver failed: ValueError: a bug"),
        (SystemExit(5), "the look at the driver failed: SystemExit: 5"),
    ],
)  # fmt: skip
def test_a_look_that_fails_says_why(error: BaseException, words: str, looker: Looker) -> None:
    assert looker.ask(lambda: raises(error)) == words


def test_a_child_that_dies_is_told_from_one_that_says_nothing(looker: Looker) -> None:
    def die() -> Seen:
        os.kill(os.getpid(), signal.SIGKILL)
        return SEEN

    assert looker.ask(die) == "the look at the driver ended without an answer"


def test_one_that_hangs_is_given_up_and_ended_and_the_next_look_is_made(looker: Looker) -> None:
    looker.limit_seconds = 0.3
    before = children()
    assert looker.ask(hang) == f"the driver gave no answer within 0.3 s; {ADVICE}"
    looker.limit_seconds = 60
    while (found := looker.ask(lambda: SEEN)) != SEEN:
        assert isinstance(found, str)
    assert (looker.stuck, children()) == (None, before)


def test_while_one_is_stuck_no_other_is_begun(looker: Looker) -> None:
    """A child that lives on stands for one that SIGKILL does not end, as in the kernel's arms."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    looker.stuck, looker.machine = (child, 100.0), replace(Machine(), boot_seconds=lambda: 190.4)
    before = children()
    found = [looker.ask(lambda: SEEN) for _ in range(2)]
    assert found == [f"the driver has not answered for 90 s; {ADVICE}"] * 2
    assert children() == before
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    looker.machine = Machine()
    assert looker.ask(lambda: SEEN) == SEEN


def test_one_that_has_said_all_and_does_not_end_is_no_reason_to_wait(looker: Looker) -> None:
    """As when the driver hangs once its files are closed."""

    def stay() -> Seen:
        # The answer is whole as soon as its end of the pipe is closed.
        os.closerange(3, 256)
        return hang()

    looker.limit_seconds = 0.3
    before = children()
    assert looker.ask(stay) == "the look at the driver ended without an answer"
    looker.limit_seconds = 60
    while (found := looker.ask(lambda: SEEN)) != SEEN:
        assert isinstance(found, str)
    assert (looker.stuck, children()) == (None, before)


def test_what_a_child_started_is_ended_with_it_and_holds_up_the_next_look(looker: Looker, tmp_path: Path) -> None:
    """As nvidia-smi is started, where there is no NVML; one that is not reaped stands for one that cannot be killed."""
    number = tmp_path / "number"

    def tool() -> Seen:
        child = os.fork()
        if child == 0:
            signal.pause()
        number.write_text(str(child))
        return hang()

    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        looker.limit_seconds = 3
        assert looker.ask(tool) == f"the driver gave no answer within 3 s; {ADVICE}"
        grandchild = int(number.read_text())
        while str(grandchild) not in children():
            time.sleep(0.01)
        assert str(looker.ask(lambda: SEEN)).startswith("the driver has not answered for ")
        assert os.WTERMSIG(os.waitpid(grandchild, 0)[1]) == signal.SIGKILL
        assert looker.ask(lambda: SEEN) == SEEN
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_whoever_is_interrupted_leaves_no_child(looker: Looker) -> None:
    def interrupt() -> Seen:
        # Once the other one waits for an answer.
        while Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGINT)
        return hang()

    before = children()
    with pytest.raises(KeyboardInterrupt):
        looker.ask(interrupt)
    (child,) = set(children()) - set(before)
    assert os.WTERMSIG(os.waitpid(int(child), 0)[1]) == signal.SIGKILL


def test_the_driver_itself_is_asked(loaded_nvml: FakeNvml, tmp_path: Path) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    loaded_nvml.write(shipped_host())
    found = Looker(HostPaths(tmp_path)).look()
    assert isinstance(found, Seen)
    assert [unit.slot for unit in found.devices.units] == ["0", "1", "2:0", "2:1", "2:2", "3:0", "3:1", "3:2"]
    assert found.usage[found.devices.units[0].uuid].utilisation_percent == 0


def test_a_driver_that_does_not_start_in_time_is_named(loaded_nvml: FakeNvml, tmp_path: Path) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    loaded_nvml.write(shipped_host().with_rules("delay nvmlInit 600000"))
    looker = Looker(HostPaths(tmp_path), limit_seconds=0.5)
    assert looker.look() == f"the driver gave no answer within 0.5 s; {ADVICE}"
