"""Reading how an account stands: all of it, and each part that cannot be told beside the rest."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.cgroups import pressure_text
from tests.unit.runtime.overview.hosts import (
    FIRST,
    LAB,
    NOW,
    RESERVED,
    SECOND,
    STUDENT,
    THIRD,
    allocation,
    make_host,
    overview_of,
    put_gpus,
    put_notices,
    put_rates,
)

from ds01.core.errors import BadInputError
from ds01.core.names import cgroup_path
from ds01.core.paths import HostPaths
from ds01.core.units import GIB
from ds01.runtime.lifecycle.notices import Notice
from ds01.runtime.overview.figures import (
    ContainerShare,
    GpuHolding,
    GpuState,
    Measure,
    Overview,
    Unknown,
    unknowns,
)

ME = pwd.getpwuid(os.getuid())


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    paths = make_host(tmp_path)
    put_rates(paths)
    put_gpus(
        paths, allocation("train", "0:0"), allocation("old", "0:1", "0:2", stopped=5), allocation("x", "0", user="bob")
    )
    return paths


def test_usage_stands_beside_every_limit_with_its_origin(host: HostPaths) -> None:
    found = overview_of(host)
    assert (found.account, found.limits.group, found.limits.listed) == ("alice", "student", True)
    assert found.slices == (LAB, STUDENT)
    assert [found.memory, found.tasks, found.cpu, found.gpus, found.containers] == [
        Measure(32 * GIB, 96 * GIB, "group:student"),
        Measure(74, 12288, "group:student"),
        Measure(412.5, 9600, "group:student"),
        Measure(3, 3, "default"),
        Measure(3, 3, "default"),
    ]
    assert (found.memory_cache_bytes, found.differing, unknowns(found)) == (13 * GIB, (), {})


def test_of_several_slices_the_one_that_waited_most_is_shown(host: HostPaths) -> None:
    assert (overview_of(host).waited_some, overview_of(host).waited_full) == (12.5, 8.25)
    (host.cgroup / cgroup_path(LAB) / "memory.pressure").write_text(pressure_text(10, 30))
    assert (overview_of(host).waited_some, overview_of(host).waited_full) == (12.5, 30.0)


def test_who_runs_nothing_waits_for_nothing(host: HostPaths) -> None:
    assert (overview_of(host, "carol").waited_some, overview_of(host, "carol").waited_full) == (0.0, 0.0)


def test_a_kernel_that_tells_of_no_pressure_is_named(host: HostPaths) -> None:
    path = host.cgroup / cgroup_path(LAB) / "memory.pressure"
    path.unlink()
    why = "there is no such file; its controller may be off; the kernel tells of pressure when booted with psi=1"
    assert overview_of(host).waited_full == Unknown(f"{path}: {why}")
    path.write_text(pressure_text(10, 30).partition("\n")[0])
    assert overview_of(host).waited_some == Unknown(f"{path}: has no line `full`")


def test_containers_are_shown_with_their_share(host: HostPaths) -> None:
    assert overview_of(host).shares == (
        ContainerShare(THIRD, 3 * GIB, 64 * GIB, 2, 300_000, 99.9),
        ContainerShare(FIRST, 20 * GIB, 32 * GIB, 60, 5_000_000, 300.0),
        ContainerShare(SECOND, 6 * GIB, None, 9, 1_500_000, 12.5),
    )


def test_gpus_are_shown_with_what_becomes_of_them(host: HostPaths) -> None:
    put_gpus(host, allocation("train", "0:0"), allocation("old", "0:1", "0:2", stopped=5), RESERVED)
    two_hours_ago = NOW - timedelta(hours=2)
    assert overview_of(host).holdings == (
        GpuHolding("train", ("0:0",), ("MIG-0:0",), GpuState.RUNNING, two_hours_ago),
        GpuHolding(
            "old",
            ("0:1", "0:2"),
            ("MIG-0:1", "MIG-0:2"),
            GpuState.HELD,
            two_hours_ago,
            NOW + timedelta(minutes=10),  # 15 minutes after it stopped
        ),
        GpuHolding("?soon", ("1:0",), ("MIG-1:0",), GpuState.RESERVED, NOW),
    )


@pytest.mark.parametrize(("rule", "seconds"), [("off", 900), ("enforce", None), ("enforce", 2**62)])
def test_a_hold_that_never_ends_has_no_end(host: HostPaths, rule: str, seconds: int | None) -> None:
    document = json.loads(host.policy.read_text())
    document["enforcement"]["rules"]["gpu_hold"] = rule
    document["defaults"]["gpu_hold_after_stop_seconds"] = seconds
    host.policy.write_text(json.dumps(document))
    holdings = overview_of(host).holdings
    assert isinstance(holdings, tuple)
    assert [(each.state, each.held_until) for each in holdings] == [(GpuState.RUNNING, None), (GpuState.HELD, None)]


def test_who_runs_nothing_uses_nothing(host: HostPaths) -> None:
    found = overview_of(host, "carol")
    assert [each.used for each in (found.memory, found.tasks, found.cpu, found.gpus, found.containers)] == [0] * 5
    assert (found.slices, found.holdings, found.shares, unknowns(found)) == ((), (), (), {})


def test_who_is_not_listed_has_the_default_groups_limits(host: HostPaths) -> None:
    found = overview_of(host, "nobody-knows")
    assert (found.limits.group, found.limits.listed, found.memory.limit) == ("student", False, 96 * GIB)


@pytest.mark.parametrize("name", ["", "a/b", "x\ny"])
def test_a_name_that_ds01_refuses_is_bad_input(host: HostPaths, name: str) -> None:
    with pytest.raises(BadInputError):
        overview_of(host, name)


def no_groups(paths: HostPaths) -> str:
    (paths.cgroup / "cgroup.controllers").unlink()
    return f"{paths.cgroup}: no control groups are mounted here"


def no_root_slice(paths: HostPaths) -> str:
    shutil.rmtree(paths.cgroup / "ds01.slice")
    return f"{paths.cgroup}/ds01.slice: there is no such slice; nothing runs in DS01"


@pytest.mark.parametrize("spoil", [no_groups, no_root_slice])
def test_without_control_groups_the_rest_is_told(host: HostPaths, spoil: Callable[[HostPaths], str]) -> None:
    why = spoil(host)
    found = overview_of(host)
    lost = ("memory.used_bytes", "memory.cache_bytes", "tasks.used", "cpu.used_percent", "containers.used")
    waited = ("pressure.memory_some_percent", "pressure.memory_full_percent")
    assert unknowns(found) == {**dict.fromkeys((*lost, *waited), why), "containers.running": why}
    assert (found.gpus.used, found.memory.limit) == (3, 96 * GIB)


def no_rates(paths: HostPaths) -> str:
    paths.rates.unlink()
    return f"there is no {paths.rates}; systemctl status ds01-sampler says why nobody writes it"


def old_rates(paths: HostPaths) -> str:
    put_rates(paths, at=NOW - timedelta(minutes=4))
    return f"{paths.rates}: it is from 2026-03-01T11:56:00Z; systemctl status ds01-sampler says why nobody writes it"


def torn_rates(paths: HostPaths) -> str:
    paths.rates.write_text('{"version": 1, "upd')
    return f"{paths.rates} cannot be read"


@pytest.mark.parametrize("spoil", [no_rates, old_rates, torn_rates])
def test_without_fresh_rates_cpu_alone_is_unknown(host: HostPaths, spoil: Callable[[HostPaths], str]) -> None:
    why = spoil(host)
    names = ["cpu.used_percent", *(f"containers.running.{each}.cpu_percent" for each in (THIRD, FIRST, SECOND))]
    assert unknowns(overview_of(host)) == dict.fromkeys(names, why)


def test_a_slice_without_a_rate_makes_the_sum_unknown(host: HostPaths) -> None:
    document = json.loads(host.rates.read_text())
    del document["slices"][LAB]
    host.rates.write_text(json.dumps(document))
    assert overview_of(host).cpu.used == Unknown("not measured yet; try again in half a minute")


def test_gpus_of_a_state_that_cannot_be_believed_are_unknown(host: HostPaths) -> None:
    content = host.gpu_state.read_bytes()
    host.gpu_state.write_bytes(content.replace(b'"alice"', b'"carol"', 1))
    why = f"{host.gpu_state} cannot be believed: it was edited by hand, or by another program"
    assert unknowns(overview_of(host)) == {"gpus.used": why, "gpus.holdings": why}
    host.gpu_state.unlink()
    assert (overview_of(host).gpus.used, overview_of(host).holdings) == (0, ())
    host.gpu_state.mkdir()
    assert isinstance(overview_of(host).gpus.used, Unknown)


@pytest.mark.parametrize("name", ["zoë", 'a"b', "j.doe@lab-x.org", "ali"])
def test_whoever_holds_gpus_is_found_however_the_name_is_written(host: HostPaths, name: str) -> None:
    put_gpus(host, allocation("train", "0:0"), allocation("odd", "0:1", user=name))
    found = overview_of(host, name).holdings
    assert isinstance(found, tuple)
    assert [each.container for each in found] == ["odd"]


def test_limits_that_the_kernel_has_otherwise_are_named(host: HostPaths) -> None:
    alice = host.cgroup / "ds01.slice/ds01-student.slice" / STUDENT
    (alice / "memory.max").write_text(f"{64 * GIB}\n")
    (alice / "memory.high").write_text(f"{86 * GIB - 4096}\n")  # a page less is the same
    (alice / "pids.max").unlink()
    (alice / "cpu.max").write_text("max 100000\n")
    assert overview_of(host).differing == (
        "Memory Max: the policy says 96G, the kernel has 64G",
        "Tasks Max: the policy says 12288, the kernel has unlimited",
        "CPU Quota: the policy says 9600%, the kernel has unlimited",
    )


def test_a_limit_of_the_kernels_that_cannot_be_read_is_no_difference(host: HostPaths) -> None:
    (host.cgroup / "ds01.slice/ds01-student.slice" / STUDENT / "memory.max").write_text("rubbish\n")
    assert overview_of(host).differing == ()


def test_notices_are_the_accounts_own(host: HostPaths) -> None:
    put_notices(host, ME.pw_uid, [{"at": "2026-03-01T09:12:00Z", "text": "ended\x1b[2J"}])
    assert overview_of(host, ME.pw_name).notices == (Notice(NOW - timedelta(minutes=168), "ended\x1b[2J"),)
    assert overview_of(host).notices == ()


def test_every_part_that_can_be_unknown_has_a_name(host: HostPaths) -> None:
    """A field that is added to the value is not forgotten where the reasons are collected."""
    found = overview_of(host)
    known = {"limits": found.limits, "account": "alice", "slices": (), "differing": ()}
    nothing = Unknown("gone")
    rest = [name for name in Overview.__match_args__ if name not in known]
    lost = {
        name: Measure(nothing, None, "nobody") if isinstance(getattr(found, name), Measure) else nothing
        for name in rest
    }
    assert list(unknowns(Overview(**known, **lost)).values()) == ["gone"] * len(rest)
