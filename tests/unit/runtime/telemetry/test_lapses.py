"""A reservation ends a minute after its process, whoever asks meanwhile; the processes and the record are real."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.hosts import ask
from tests.unit.runtime.gpu.sites import Site
from tests.unit.runtime.telemetry.played import until

from ds01.runtime.gpu.answer import Grant
from ds01.runtime.gpu.ledger import Allocation
from ds01.runtime.gpu.reconcile import Present
from ds01.runtime.gpu.record import parse_ledger
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.lapses import Lapses


class Clock:
    """A site, and what looks after its reservations, on a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self.uptime = self.site.machine.boot_seconds()
        self.site.machine = Machine(boot_seconds=lambda: self.uptime)
        self.lapses = Lapses(lambda: self.site.gpus.state, lambda: self.uptime)

    def pass_by(self, seconds: float) -> None:
        """Let time go by, as it does between two looks."""
        for _ in range(int(seconds // 5)):
            self.uptime += 5
            self.lapses.tick()

    @property
    def held(self) -> dict[str, Allocation]:
        return dict(parse_ledger(self.site.paths.gpu_state.read_bytes()).allocations)

    @contextmanager
    def reserved(self, name: str) -> Iterator[Allocation]:
        """Reserve a unit for as long as the block goes on."""
        with subprocess.Popen(["sleep", "600"]) as keeper:
            process = self.site.machine.process(keeper.pid)
            assert process is not None
            answer = self.site.gpus.allocate(ask("alice", name=name), process)
            assert isinstance(answer, Grant)
            yield answer.allocation
            keeper.kill()


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def test_a_reservation_lapses_a_minute_after_its_process_and_nobody_has_to_ask(clock: Clock) -> None:
    with clock.reserved("pull"):
        clock.pass_by(3600)
        assert set(clock.held) == {"pull"}
    clock.pass_by(60)
    assert set(clock.held) == {"pull"}, "seen to be gone five seconds ago at the earliest"
    clock.pass_by(5)
    assert clock.held == {}
    assert clock.site.events() == [("gpu.allocated", "alice", "pull"), ("gpu.expired", "alice", "pull")]


def test_as_long_as_nothing_ends_nothing_is_written_and_docker_is_not_asked(clock: Clock) -> None:
    clock.lapses.tick()
    assert not clock.site.paths.gpu_state.exists()
    with clock.reserved("pull"):
        before, asked = clock.site.paths.gpu_state.stat().st_ino, clock.site.asked
        clock.pass_by(600)
        assert (clock.site.paths.gpu_state.stat().st_ino, clock.site.asked) == (before, asked)


def test_a_container_that_came_keeps_its_unit(clock: Clock) -> None:
    with clock.reserved("train") as there:
        now = clock.site.machine.now()
        clock.site.docker = (
            Present("train", "f" * 64, "alice", there.id, there.slots, there.uuids, True, now, now),  # noqa: FBT003 - fields of a value
        )
    clock.pass_by(600)
    assert (clock.held["train"].reservation, clock.held["train"].container_id) == (None, "f" * 64)


def test_without_docker_nothing_is_freed_and_it_is_said_once_and_asked_seldom(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with clock.reserved("pull"):
        pass
    clock.site.docker = None
    asked = clock.site.asked
    clock.pass_by(65 + 600)
    assert set(clock.held) == {"pull"}
    assert [each.getMessage() for each in caplog.records] == [
        "reserved GPUs are not looked after: there is no Docker engine"
    ]
    assert 10 <= clock.site.asked - asked <= 11
    clock.site.docker = ()
    clock.pass_by(60)
    assert clock.held == {}


def test_a_record_that_cannot_be_believed_ends_nothing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    clock.site.paths.gpu_state.write_text("{")
    clock.pass_by(60)
    assert len(caplog.records) == 1
    assert clock.site.paths.gpu_state.read_text() == "{"


def test_it_goes_on_until_it_is_ended(clock: Clock) -> None:
    thread = threading.Thread(target=clock.lapses.run, args=(0.01,))
    with clock.reserved("pull"):
        thread.start()
    until(lambda: (kept := clock.held["pull"].reservation) is not None and kept.gone_at is not None)
    clock.lapses.end()
    thread.join(60)
    assert not thread.is_alive()
