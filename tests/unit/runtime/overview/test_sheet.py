"""The sheet of check-limits: everything, with origins and reasons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.runtime.overview.hosts import (
    FIRST,
    RESERVED,
    SECOND,
    THIRD,
    make_host,
    overview_of,
    put_gpus,
    put_rates,
)

from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.overview.figures import Unknown
from ds01.runtime.overview.sheet import sheet
from ds01.runtime.overview.words import Style

STYLE = Style()
SHEET = """\
alice: group student
counted with what still runs in ds01-research_lab-alice.slice

Over all containers
  Memory      [######--------------] 32G of 96G        group:student
  Tasks       [#-------------------] 74 of 12288       group:student
  CPU         [#-------------------] 4.1 of 96 CPUs    group:student
  GPUs        [######--------------] 1 of 3            default
  Containers  [####################] 3 of 3            default
  besides 13G of page cache, which counts against nothing
  waited for memory in 12 % of the last minute, all at once in 8 %
  Memory High                86G           group:student

One container
  Memory                     32G           default
  Max CPUs                   32            default
  Max Processes              4096          default
  Shared Memory              16G           default
  IPC Mode                   private       built-in
  Max MIG Per Container      1             default
  GPU Unit                   mig           default
  Allow Full GPU             no            default
  Idle Timeout               30m           default
  Max Runtime                24h           default
  GPU Hold After Stop        15m           default
  Container Hold After Stop  30m           default

Running containers
  ID            NAME        MEMORY          CPUS  TASKS
  eeeeeeeeeeee  unknown     3G of 64G       1     2
  aaaaaaaaaaaa  train       20G of 32G      3     60
  bbbbbbbbbbbb  \\x1b[31mhm  6G of no limit  0.1   9

GPUs
  GPU 1:0: reserved for a container that is not there yet
"""


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    paths = make_host(tmp_path)
    put_rates(paths)
    put_gpus(paths, RESERVED)
    return paths


def test_everything_stands_on_the_sheet(host: HostPaths) -> None:
    shown = sheet(overview_of(host), {FIRST: "train", SECOND: "\x1b[31mhm"}, STYLE)
    assert [line.split() for line in shown.split("\n")] == [line.split() for line in SHEET.rstrip("\n").split("\n")]


def test_what_is_unknown_is_named_once_with_its_reason(host: HostPaths) -> None:
    host.rates.unlink()
    lines = sheet(overview_of(host), Unknown("there is no Docker engine"), STYLE).split("\n")
    assert lines[-2:] == [
        f"unknown: there is no {host.rates}; systemctl status ds01-sampler says why nobody writes it",
        "unknown: names of containers: there is no Docker engine",
    ]
    assert [line.split()[1] for line in lines if line.startswith(("  aaa", "  bbb", "  eee"))] == ["unknown"] * 3


def test_where_nothing_can_be_told_the_limits_still_are(host: HostPaths) -> None:
    gone = Unknown("gone \x1b[2J")
    shown = sheet(replace(overview_of(host), shares=gone, holdings=gone, notices=gone), {}, STYLE)
    assert "Running containers" not in shown
    assert shown.endswith("\n\nunknown: gone \\x1b[2J")
    assert "  Max CPUs                   32            default\n" in shown


def test_who_is_not_listed_is_told_which_limits_hold(host: HostPaths) -> None:
    shown = sheet(overview_of(host, "stranger"), {}, STYLE)
    assert shown.startswith("stranger: group student, not listed: the group's limits hold\n")
    assert THIRD[:12] not in shown


def test_an_admin_has_no_limits_over_all(host: HostPaths) -> None:
    document = json.loads(host.policy.read_text())
    document["users"]["alice"]["group"] = "admin"
    host.policy.write_text(json.dumps(document))
    overview = overview_of(host)
    assert overview.limits.group == "admin"
    assert "  Memory      " + " " * 22 + " 32G, no limit" in sheet(overview, {}, STYLE)


def test_who_runs_nothing_waits_for_nothing(host: HostPaths) -> None:
    assert "waited for memory" not in sheet(overview_of(host, "carol"), {}, STYLE)


def test_how_long_they_waited_is_unknown_with_its_reason(host: HostPaths) -> None:
    overview = replace(overview_of(host), waited_some=Unknown("no psi"), waited_full=Unknown("no psi"))
    shown = sheet(overview, {}, STYLE)
    assert "waited for memory" not in shown
    assert "unknown: no psi" in shown.split("\n")
