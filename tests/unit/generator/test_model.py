"""What the templates are given: units, directives and Docker's keys, computed from a compiled policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ds01.generator.build import check
from ds01.generator.model import JOBS, Directive, Model, SliceUnit, Wrapper, daemon_keys, make_model

CHECKOUT = Path(__file__).resolve().parents[3]
NO_LIMITS = (
    Directive("CPUQuota", ""),
    Directive("CPUWeight", "10"),
    Directive("MemoryMax", "infinity"),
    Directive("MemoryHigh", "infinity"),
    Directive("MemorySwapMax", "0"),
    Directive("TasksMax", "infinity"),
)


def compiled(name: str) -> dict[str, Any]:
    return check(CHECKOUT, CHECKOUT / name, None).document


@pytest.fixture(scope="module")
def shipped() -> Model:
    return make_model(compiled("tests/golden/shipped/inventory"))


@pytest.fixture(scope="module")
def lab() -> Model:
    return make_model(compiled("tests/golden/lab/inventory"))


def lines(unit: SliceUnit) -> list[str]:
    return [f"{directive.name}={directive.value}" for directive in unit.directives]


def test_shipped_model_has_79_limited_accounts_in_three_limited_groups(shipped: Model) -> None:
    assert (
        len(shipped.limited_users),
        [unit.slice_name for unit in shipped.limited_groups],
        [unit.slice_name for unit in shipped.groups],
    ) == (
        79,
        ["ds01-faculty-.slice", "ds01-researcher-.slice", "ds01-student-.slice"],
        ["ds01-admin.slice", "ds01-faculty.slice", "ds01-researcher.slice", "ds01-student.slice"],
    )


def test_users_together_leave_the_hosts_reserves(shipped: Model) -> None:
    assert (lines(shipped.root), shipped.root.note) == (
        ["CPUQuota=12400%", "MemoryMax=992G", "MemorySwapMax=0", "TasksMax=90%"],
        "The whole machine less the 4 CPUs and 32G kept for ssh, Docker and monitoring.",
    )


def test_listed_account_has_its_limits_and_says_whose_they_are(shipped: Model) -> None:
    unit = next(unit for unit in shipped.limited_users if unit.account == "j.doe@lab-x.org")
    assert unit == SliceUnit(
        slice_name="ds01-researcher-j_doe_lab_x_org.slice",
        description="",
        group="researcher",
        user="j_doe_lab_x_org",
        account="j.doe@lab-x.org",
        note="Account j.doe@lab-x.org, group researcher.",
        directives=(
            Directive("CPUQuota", "24000%"),
            Directive("CPUWeight", "50"),
            Directive("MemoryMax", "320G"),
            Directive("MemoryHigh", "288G"),
            Directive("MemorySwapMax", "0"),
            Directive("TasksMax", "327680"),
        ),
    )


def test_containers_without_a_parent_have_one_accounts_share(shipped: Model) -> None:
    student = next(unit for unit in shipped.limited_groups if unit.group == "student")
    assert (shipped.other.directives, shipped.build.directives) == (student.directives, student.directives)


def test_account_without_limits_in_a_limited_group_says_so_in_a_file_of_its_own(lab: Model) -> None:
    unit = next(unit for unit in lab.limited_users if unit.account == "dave")
    assert lines(unit) == [
        "CPUQuota=",
        "CPUWeight=50",
        "MemoryMax=infinity",
        "MemoryHigh=infinity",
        "MemorySwapMax=0",
        "TasksMax=infinity",
    ]


def test_accounts_of_a_group_without_limits_have_no_file_unless_they_have_limits(lab: Model) -> None:
    assert [unit.account for unit in lab.limited_users if unit.group in ("staff", "admin")] == ["erin"]


def test_io_limits_stand_once_for_each_disk(lab: Model) -> None:
    unit = next(unit for unit in lab.limited_users if unit.account == "bob")
    assert [line for line in lines(unit) if line.startswith("IO")] == [
        f"{name}={device} {value}"
        for name, value in (
            ("IOReadBandwidthMax", "100M"),
            ("IOWriteBandwidthMax", "1500M"),
            ("IOReadIOPSMax", "20000"),
            ("IOWriteIOPSMax", "10000"),
        )
        for device in ("/dev/nvme0n1", "/dev/disk/by-id/data-1")
    ]


def test_default_group_without_limits_limits_nothing() -> None:
    model = make_model(compiled("tests/golden/minimal/inventory"))
    assert (model.limited_groups, model.limited_users, model.other.directives) == ((), (), NO_LIMITS)


def test_no_account_has_a_file_when_aggregates_are_switched_off() -> None:
    document = compiled("tests/golden/shipped/inventory")
    document["enforcement"]["aggregate_limits"] = False
    model = make_model(document)
    assert (model.limited_groups, model.limited_users, model.switches) == ((), (), frozenset({"no_gateway"}))


def test_every_job_of_the_schedule_is_started_at_its_times() -> None:
    document = compiled("tests/golden/minimal/inventory")
    document["policies"]["schedule"]["stale_gpu"] = "5 4 * * mon"
    assert {job.name: job.times for job in make_model(document).jobs} == {
        "idle": "*/30 * * * *",
        "max-runtime": "45 * * * *",
        "stale-gpu": "5 4 * * mon",
        "stale-containers": "0 * * * *",
        "unmanaged": "30 * * * *",
    }
    assert {name.replace("-", "_") for name in JOBS} == set(document["policies"]["schedule"])


@pytest.mark.parametrize(
    ("stall", "mode", "lifts"),
    [("release", "enforce", True), ("release", "warn", False), ("release", "off", False), ("notify", "enforce", False)],
)
def test_the_sampler_may_write_control_groups_only_where_it_is_to(stall: str, mode: str, *, lifts: bool) -> None:
    document = compiled("tests/golden/minimal/inventory")
    document["pressure"]["stall"] = stall
    document["enforcement"]["rules"]["pressure"] = mode
    assert make_model(document).lifts_memory_high is lifts


def test_without_a_gateway_the_command_has_its_helper_and_knows_who_sees_all():
    document = compiled("tests/golden/shipped/inventory")
    assert make_model(document).wrapper == Wrapper(
        gateway=False,
        only_own=True,
        admins=("n.adeyemi", "sysop"),
        admin_group="ds01-admin",
        contact="ds01-help@lab-x.org",
    )
    document["enforcement"]["gateway"] = "learn"
    document["enforcement"]["rules"]["ownership"] = "warn"
    model = make_model(document)
    assert (model.wrapper.gateway, model.wrapper.only_own) == (True, False)
    assert "no_gateway" not in model.switches


@pytest.mark.parametrize(
    ("version", "entitlements"),
    [
        ("18.9", None),
        ("19.2", None),
        ("19.03", {"network-host": False, "security-insecure": False}),
        ("20.10", {"network-host": False, "security-insecure": False}),
        ("27.5.1", {"network-host": False, "security-insecure": False}),
        ("28.0", {"network-host": False, "security-insecure": False, "device": False}),
        ("100.0", {"network-host": False, "security-insecure": False, "device": False}),
    ],
)
def test_daemon_gets_only_keys_that_its_version_knows(version: str, entitlements: dict[str, bool] | None) -> None:
    builder = {} if entitlements is None else {"builder": {"entitlements": entitlements}}
    assert daemon_keys(version) == {
        "cgroup-parent": "ds01-other.slice",
        "exec-opts": ["native.cgroupdriver=systemd"],
        "live-restore": True,
        **builder,
    }
