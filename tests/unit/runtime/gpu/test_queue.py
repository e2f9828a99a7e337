"""The line: told at once who has what, served in order, left without a trace however a wait ends."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.hosts import LAB, ask, outside
from tests.unit.runtime.gpu.sites import Site

from ds01.core.value import replace
from ds01.runtime.gpu import queue as module
from ds01.runtime.gpu.answer import Grant, Reason, Refusal
from ds01.runtime.gpu.hardware import Devices, DevicesError, GpuProcess, GpuUuid
from ds01.runtime.gpu.operations import Gpus
from ds01.runtime.gpu.queue import Line, Place, wait_for_gpu
from ds01.runtime.gpu.reconcile import Present
from ds01.runtime.gpu.request import Request

CHECKOUT = Path(__file__).resolve().parents[4]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    taken = made.gpus.allocate(ask("root", "device=2:0", name="nb"), made.me)
    assert isinstance(taken, Grant)
    return made


class Told:
    """What somebody who waits was told."""

    def __init__(self) -> None:
        self.words: list[tuple[str, int, int]] = []
        self.event = threading.Event()

    def __call__(self, refusal: Refusal, place: Place) -> None:
        self.words.append((refusal.text, place.number, place.of))
        self.event.set()


def wait(
    site: Site, request: Request, seconds: float = 60, told: Told | None = None, **often: float
) -> Grant | Refusal:
    return wait_for_gpu(site.gpus, request, site.me, Line(seconds, told or Told(), site.me, **often))


def line(site: Site) -> list[str | None]:
    return [each.container for each in site.gpus.state.read().in_line()]


WISH = ask("alice", "device=2:0", name="train")


def test_who_is_served_at_once_does_not_wait(site: Site) -> None:
    told = Told()
    assert isinstance(wait(site, ask("alice", "device=2:1"), told=told), Grant)
    assert told.words == []


def test_what_time_cannot_change_is_not_waited_for(site: Site) -> None:
    answer = wait(site, ask("alice", "device=0"))
    assert isinstance(answer, Refusal)
    assert (answer.reason, line(site)) == (Reason.NOT_ALLOWED, [])


def test_who_waits_is_told_why_and_the_place_and_refused_when_the_time_is_over(site: Site) -> None:
    told = Told()
    answer = wait(site, WISH, 0.3, told)
    assert isinstance(answer, Refusal)
    assert told.words == [("GPU 2:0 is held by root's nb", 1, 1)]
    assert line(site) == []


def test_it_is_said_again_after_a_while(site: Site) -> None:
    told = Told()
    wait(site, WISH, 1.1, told, tell_seconds=0.2)
    assert module.TELL_SECONDS == 30
    assert len(told.words) >= 3


def test_a_freed_unit_goes_to_who_waits_for_it(site: Site) -> None:
    told = Told()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(wait, site, WISH, told=told)
        assert told.event.wait(60)
        assert line(site) == ["train"]
        site.gpus.release("nb")
        answer = going.result(60)
    assert isinstance(answer, Grant)
    assert (answer.allocation.slots, line(site)) == (("2:0",), [])


def test_the_line_is_served_by_priority_then_by_arrival(site: Site) -> None:
    served: list[str | None] = []
    wishes = [
        ask("alice", "device=2:0", name="a"),
        ask("student01", "device=2:0", name="b"),
        ask("bob", "device=2:0", name="c"),
    ]

    def stand(wish: Request, told: Told) -> None:
        answer = wait(site, wish, told=told)
        assert isinstance(answer, Grant)
        served.append(answer.allocation.container)
        site.gpus.release(answer.allocation.id)

    with ThreadPoolExecutor(3) as pool:
        going = []
        for wish in wishes:
            told = Told()
            going.append(pool.submit(stand, wish, told))
            assert told.event.wait(60)
        assert line(site) == ["c", "a", "b"]
        site.gpus.release("nb")
        for each in going:
            each.result(60)
    assert served == ["c", "a", "b"]


def test_a_process_outside_that_ends_is_noticed(site: Site) -> None:
    site.devices = outside(LAB, "MIG-21")
    told = Told()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(wait, site, ask("alice", "device=2:1"), told=told, look_seconds=0.1)
        assert told.event.wait(60)
        site.devices = LAB
        assert isinstance(going.result(60), Grant)
    assert told.words == [("GPU 2:1 is used by alice's python (pid 4711) outside a container", 1, 1)]


def test_the_end_of_a_process_outside_is_not_waited_for_until_the_next_look(site: Site) -> None:
    told = Told()
    with subprocess.Popen(["sleep", "600"]) as stranger, ThreadPoolExecutor(1) as pool:
        there = site.machine.process(stranger.pid)
        assert there is not None
        process = GpuProcess(there.pid, GpuUuid("MIG-21"), "bob", "python", started=there.started)
        site.devices = Devices(LAB.gpus, (process,))
        going = pool.submit(wait, site, ask("alice", "device=2:1"), 120, told, look_seconds=600)
        assert told.event.wait(60)
        site.devices = LAB
        stranger.kill()
        assert isinstance(going.result(60), Grant)


def test_hardware_is_looked_at_once_for_each_try_and_all_looks_belong_together(site: Site) -> None:
    told, done = Told(), []

    @contextmanager
    def looking() -> Iterator[None]:
        done.append("begin")
        yield
        done.append("end")

    def look() -> Devices:
        done.append("look")
        return LAB

    gpus = replace(site.gpus, look=look, looking=looking)
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(wait_for_gpu, gpus, WISH, site.me, Line(60, told, site.me, look_seconds=600))
        assert told.event.wait(60)
        site.gpus.release("nb")
        assert isinstance(going.result(60), Grant)
    # The first, perhaps one for the change of the file that putting oneself in the line is, and one for the release.
    assert (done[0], set(done[1:-1]), done[-1]) == ("begin", {"look"}, "end")
    assert done.count("look") in {2, 3}


def test_a_driver_that_fails_once_ends_no_wait_and_one_that_fails_twice_does(site: Site) -> None:
    told = Told()
    answers: list[Devices | DevicesError] = [LAB, DevicesError("lost"), LAB, DevicesError("lost"), DevicesError("gone")]

    def look() -> Devices:
        answer = answers.pop(0)
        if isinstance(answer, DevicesError):
            raise answer
        return answer

    gpus = replace(site.gpus, look=look)
    with pytest.raises(DevicesError, match="gone"):
        wait_for_gpu(gpus, WISH, site.me, Line(60, told, site.me, look_seconds=0.1))
    assert (answers, line(site)) == ([], [])


def test_a_container_that_went_without_a_word_is_noticed_before_it_is_named_again(site: Site) -> None:
    gone = site.gpus.state.read().allocations["nb"]
    assert site.gpus.confirm(gone.id, "nb", "f" * 64) is not None
    with site.gpus.state.change() as book:
        book.ledger = book.ledger.changed(replace(book.ledger.allocations["nb"], reservation=None))
    there = Present("nb", "f" * 64, "root", gone.id, gone.slots, gone.uuids, True, gone.allocated_at, gone.allocated_at)  # noqa: FBT003 - fields of a value
    site.docker = (there,)
    told = Told()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(wait, site, WISH, told=told, tell_seconds=0.5)
        assert told.event.wait(60)
        site.docker = ()
        answer = going.result(60)
    assert isinstance(answer, Grant)
    assert line(site) == []


def test_a_state_that_is_lost_meanwhile_is_rebuilt_and_the_wait_goes_on(site: Site) -> None:
    told = Told()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(wait, site, WISH, told=told)
        assert told.event.wait(60)
        site.paths.gpu_state.write_text("{")
        answer = going.result(60)
    assert isinstance(answer, Grant), "Docker has no container that holds it"
    assert (line(site), len(list(site.paths.gpu_state.parent.glob("gpu-state.json.damaged-*")))) == ([], 1)


# --- Ends -------------------------------------------------------------------------------------------------------------

WAITER = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pathlib import Path
from tests.unit.runtime.gpu.test_queue import wait_and_say
wait_and_say(Path(sys.argv[3]))
"""


def wait_and_say(root: Path) -> None:
    """What the waiting process of the tests below does."""
    site = Site(root)

    def tell(*_: object) -> None:
        sys.stdout.write("waiting\n")
        sys.stdout.flush()

    wait_for_gpu(site.gpus, WISH, site.me, Line(120, tell, site.me))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_wait_that_is_broken_off_leaves_no_trace(site: Site, number: signal.Signals) -> None:
    command = [sys.executable, "-c", WAITER, os.fspath(CHECKOUT), os.fspath(CHECKOUT / "scripts"), os.fspath(site.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as waiter:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "waiting\n"
        assert line(site) == ["train"]
        waiter.send_signal(number)
        waiter.wait(60)
    assert line(site) == []
    site.gpus.release("nb")
    assert isinstance(site.gpus.allocate(ask("student01", "device=2:0"), site.me), Grant)
    assert '"queue": []' in site.paths.gpu_state.read_text()


def test_a_reservation_of_the_dead_goes_to_who_waits_when_its_minute_is_over(site: Site) -> None:
    with subprocess.Popen(["sleep", "60"]) as keeper:
        process = site.machine.process(keeper.pid)
        assert process is not None
        assert isinstance(site.gpus.allocate(ask("bob", "device=2:1", name="dead"), process), Grant)
        keeper.kill()
    site.gpus.reconcile()  # notes that it is gone
    uptime = site.machine.boot_seconds()
    begin = time.monotonic()
    site.machine = type(site.machine)(boot_seconds=lambda: uptime + 59.8 + time.monotonic() - begin)
    answer = wait(site, ask("alice", "device=2:1", name="heir"))
    assert isinstance(answer, Grant)


def test_the_end_of_a_hold_is_waited_for_to_the_moment(site: Site) -> None:
    begin = time.monotonic()
    site.gpus.mark_stopped("nb")
    assert module._due_in(site.gpus) == math.inf, "an administrator's hold ends with the container"
    taken = site.gpus.allocate(ask("alice", "device=2:1", name="held"), site.me)
    assert isinstance(taken, Grant)
    site.gpus.mark_stopped("held")
    assert 898 - (time.monotonic() - begin) < module._due_in(site.gpus) <= 900


def test_a_place_is_counted_also_when_the_state_cannot_be_read(tmp_path: Path) -> None:
    gpus: Gpus = Site(tmp_path).gpus
    assert module._place(gpus, WISH, 5.0) == Place(1, 1, 5.0)
