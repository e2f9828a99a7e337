"""The sampler on a tree that changes: it goes on, and says once what is in its way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from tests.cgroups import DATA, make_group, make_mount, make_slice

from ds01.core.paths import HostPaths
from ds01.runtime.telemetry.rates import Sample
from ds01.runtime.telemetry.sampler import Sampler, take

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ALICE, BOB = "ds01-student-alice.slice", "ds01-student-bob.slice"
CONTAINER = "a" * 64


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path)
    make_mount(paths.cgroup)
    paths.rates.parent.mkdir(parents=True)
    return paths


def sampler(host: HostPaths, clock: Iterator[float] | None = None) -> Sampler:
    ticks = count(1000.0, 10.0) if clock is None else clock
    return Sampler(host, lambda: NOW, lambda: next(ticks))


def written(host: HostPaths) -> dict[str, object]:
    document = json.loads(host.rates.read_text())
    assert (document.pop("version"), document.pop("updated_at")) == (1, "2026-03-01T12:00:00Z")
    return document


def test_every_accounts_slice_and_container_is_sampled() -> None:
    assert take(DATA / "full", 5.0) == Sample(
        5.0,
        {
            "ds01-research_lab-alice.slice": 500_000,
            "e" * 64: 300_000,
            "ds01-research_lab-lab_alice.slice": 100_000,
            ALICE: 7_000_000,
            "a" * 64: 5_000_000,
            "b" * 64: 1_500_000,
            BOB: 400_000,
        },
    )
    assert take(DATA / "missing", 5.0) == Sample(5.0, {})


def test_the_rates_are_written_for_everybody_to_read(host: HostPaths) -> None:
    watch = sampler(host)
    for usec in (0, 5_000_000):
        folder = make_slice(host.cgroup, ALICE, usec=usec)
        make_group(folder / f"docker-{CONTAINER}.scope", usec=usec // 2)
        make_slice(host.cgroup, BOB, usec=7)
        watch.look()
    assert written(host) == {
        "slices": {ALICE: {"cpu_percent": 50.0}, BOB: {"cpu_percent": 0.0}},
        "containers": {CONTAINER: {"cpu_percent": 25.0}},
    }
    assert host.rates.stat().st_mode & 0o777 == 0o644


def test_a_slice_that_vanishes_or_cannot_be_read_leaves_the_others(host: HostPaths) -> None:
    watch = sampler(host)
    for name in (ALICE, BOB):
        make_slice(host.cgroup, name)
    watch.look()
    shutil.rmtree(host.cgroup / "ds01.slice/ds01-student.slice" / ALICE)
    make_slice(host.cgroup, BOB, usec=1_000_000)
    watch.look()
    assert written(host)["slices"] == {BOB: {"cpu_percent": 10.0}}
    (host.cgroup / "ds01.slice/ds01-student.slice" / BOB / "cpu.stat").write_text("nonsense\n")
    make_slice(host.cgroup, ALICE, usec=3_000_000)
    watch.look()
    # Bob's earlier rate stands for the time that is known.
    assert written(host)["slices"] == {ALICE: {"cpu_percent": 15.0}, BOB: {"cpu_percent": 10.0}}


def test_trouble_is_said_once_and_so_is_its_end(host: HostPaths, caplog: pytest.LogCaptureFixture) -> None:
    watch = sampler(host)
    make_slice(host.cgroup, ALICE)
    host.rates.mkdir()
    for _ in range(3):
        watch.look()
    host.rates.rmdir()
    watch.look()
    watch.look()
    assert [each.getMessage() for each in caplog.records] == [
        f"no CPU rates: {host.rates}: Is a directory; trying again",
        "CPU rates are written again",
    ]
    assert written(host)["slices"] == {ALICE: {"cpu_percent": 0.0}}


def test_without_control_groups_the_old_file_stays(host: HostPaths, caplog: pytest.LogCaptureFixture) -> None:
    watch = sampler(host)
    watch.look()
    before = host.rates.read_text()
    (host.cgroup / "cgroup.controllers").unlink()
    watch.look()
    assert host.rates.read_text() == before
    assert [each.getMessage() for each in caplog.records] == [
        f"no CPU rates: {host.cgroup}: no control groups are mounted here; trying again"
    ]


def test_it_looks_again_after_each_pause(host: HostPaths) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    watch = sampler(host)
    with pytest.raises(KeyboardInterrupt):
        watch.run(15.0, sleep)
    assert (pauses, len(watch.samples)) == ([15.0] * 3, 3)
