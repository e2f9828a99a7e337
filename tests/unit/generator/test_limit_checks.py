"""Limits against each other and against the host, one check at a time, on compiled policies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ds01.core.policy import Group, Policy
from ds01.core.units import GIB
from ds01.generator.build import InventoryError, check
from ds01.generator.inventory import Documents
from ds01.generator.limit_checks import CHECKS
from ds01.generator.subject import Subject
from ds01.generator.yamltext import Document

HOST: dict[str, Any] = {
    "cpus": 8,
    "memory_bytes": 64 * GIB,
    "reserve_cpus": 2,
    "reserve_memory_bytes": GIB,
    "gpus": [{"mig": ["2g.20gb", "2g.20gb"]}, {"mig": []}],
    "disks": [{"device": "/dev/sda", "scheduler": "bfq"}],
}


def said(
    defaults: dict[str, Any] | None = None,
    group: dict[str, Any] | None = None,
    alice: dict[str, Any] | None = None,
    **host: Any,
) -> list[str]:
    whole = {**HOST, **host}
    policy = Policy(
        default_group="g",
        defaults=defaults or {},
        groups={"g": Group("g", "", None, group or {})},
        users={"alice": "g"},
        overrides={"alice": alice} if alice is not None else {},
        host_cpus=whole["cpus"],
        aggregate_limits=True,
        document={"host": whole},
    )
    documents = Documents(Document("p", {}), {}, {"box": Document("h", {"gpus": whole["gpus"]})}, ())
    return [
        f"{'notice: ' if problem.notice else ''}{problem.text}"
        for check in CHECKS
        for problem in check(Subject(documents, policy, "box"), policy)
    ]


@pytest.mark.parametrize(
    ("layers", "texts"),
    [
        ({}, []),
        ({"group": {"memory_bytes": 6 * 1024**2}}, []),
        ({"group": {"memory_bytes": 0}}, ["g: memory 0 is less than the 6M that Docker asks for"]),
        ({"alice": {"memory_bytes": 1024}}, ["alice: memory 1K is less than the 6M that Docker asks for"]),
        ({"defaults": {"shm_size_bytes": 0}}, ["defaults: shm_size 0 would not hold: a limit cannot be 0"]),
        (
            {"group": {"aggregate": {"io_read_bw_max_bytes_per_second": 0}}},
            ["g: io_read_bw_max 0 would not hold: a limit cannot be 0"],
        ),
        ({"group": {"aggregate": None}}, []),
    ],
)
def test_limit_of_nothing_is_refused(layers: dict[str, Any], texts: list[str]) -> None:
    assert said(**layers) == texts


@pytest.mark.parametrize(
    ("group", "alice", "texts"),
    [
        ({"memory_high_bytes": GIB, "memory_max_bytes": GIB}, None, []),
        (
            {"memory_high_bytes": 2 * GIB, "memory_max_bytes": GIB},
            {"priority": 3},
            ["g: memory_high 2G is above memory_max 1G"],
        ),
        (
            {"memory_max_bytes": GIB},
            {"aggregate": {"memory_high_bytes": 2 * GIB}},
            ["alice: memory_high 2G is above memory_max 1G"],
        ),
        ({"memory_high_bytes": 2 * GIB, "memory_max_bytes": 3 * GIB}, {"aggregate": {"memory_max_bytes": GIB}}, []),
        ({"memory_high_bytes": 2 * GIB}, None, []),
    ],
)
def test_memory_high_is_told_once_where_it_was_decided(
    group: dict[str, Any], alice: dict[str, Any] | None, texts: list[str]
) -> None:
    assert said(group={"aggregate": group}, alice=alice) == texts


@pytest.mark.parametrize(
    ("group", "alice", "texts"),
    [
        (
            {"memory_bytes": 2 * GIB, "aggregate": {"memory_max_bytes": GIB}},
            {"idle_timeout_seconds": 1},
            ["g: memory_max 1G over all containers is below one container's memory 2G"],
        ),
        (
            {"max_cpus": 2.5, "aggregate": {"cpu_quota_percent": 249}},
            None,
            ["g: cpu_quota 249% over all containers is below one container's max_cpus 2.5"],
        ),
        ({"max_cpus": 2.5, "aggregate": {"cpu_quota_percent": 250}}, None, []),
        (
            {"max_cpus": 99, "aggregate": {"cpu_quota_percent": 800}},
            None,
            ["notice: g: max_cpus is above the host's 8 cores, so 8 is applied"],
        ),
        (
            {"pids_limit": 10, "aggregate": {"tasks_max": 9}},
            None,
            ["g: tasks_max 9 over all containers is below one container's pids_limit 10"],
        ),
        (
            {"aggregate": {"memory_max_bytes": GIB}},
            {"memory_bytes": 2 * GIB},
            ["alice: memory_max 1G over all containers is below one container's memory 2G"],
        ),
    ],
)  # fmt: skip
def test_total_is_at_least_one_container(group: dict[str, Any], alice: dict[str, Any] | None, texts: list[str]) -> None:
    assert said(group=group, alice=alice) == texts


@pytest.mark.parametrize(
    ("layers", "texts"),
    [
        ({"group": {"max_containers": 0, "pids_limit": 5}}, []),
        ({"group": {"max_containers": 2, "pids_limit": 5, "aggregate": {"tasks_max": 10}}}, []),
        (
            {"group": {"max_containers": 2, "pids_limit": 5, "aggregate": {"tasks_max": 11}}, "alice": {}},
            ["notice: g: tasks_max 11 is not pids_limit × max_containers = 5 × 2 = 10"],
        ),
        (
            {"group": {"aggregate": {"cpu_quota_percent": 801, "memory_max_bytes": 65 * GIB}}, "alice": {}},
            [
                "notice: g: cpu_quota is vacuous: 801% on 8 cores",
                "notice: g: memory_max is vacuous: 65G on 64G of memory",
            ],
        ),
        ({"group": {"aggregate": {"cpu_quota_percent": 800, "memory_max_bytes": 64 * GIB}}}, []),
        ({"defaults": {"max_cpus": 9}}, ["notice: defaults: max_cpus is above the host's 8 cores, so 8 is applied"]),
        ({"group": {"aggregate": {"io_weight": 5}}}, []),
        (
            {"group": {"aggregate": {"io_weight": 5}}, "disks": [{"device": "/dev/a", "scheduler": "none"}]},
            ["notice: g: io_weight has no effect on /dev/a: only the bfq scheduler heeds it"],
        ),
        ({"group": {"aggregate": {"io_weight": 5}}, "disks": []}, []),
        (
            {"group": {"aggregate": {"io_read_iops_max": 5}}, "disks": []},
            ["notice: g: io_read_iops_max cannot hold: the host file names no disks"],
        ),
    ],
)
def test_doubtful_limit_is_a_notice(layers: dict[str, Any], texts: list[str]) -> None:
    assert said(**layers) == texts


@pytest.mark.parametrize(
    ("layers", "texts"),
    [
        ({"defaults": {"max_mig_instances": 3, "max_mig_per_container": 3, "max_gpu_equivalents": 2}}, []),
        ({"defaults": {"max_mig_instances": None}}, []),
        ({"defaults": {"max_mig_instances": 4}}, ["defaults: max_mig_instances 4 is above the 3 that host box has"]),
        ({"group": {"max_mig_per_container": 4}}, ["g: max_mig_per_container 4 is above the 3 that host box has"]),
        ({"alice": {"max_gpu_equivalents": 2.5}}, ["alice: max_gpu_equivalents 2.5 is above the 2 that host box has"]),
        ({"group": {"max_mig_instances": 0}, "gpus": []}, []),
    ],
)
def test_gpu_quota_is_within_the_gpus_there_are(layers: dict[str, Any], texts: list[str]) -> None:
    assert said(**layers) == texts


SPLIT, WHOLE = {"mig": ["2g.20gb"]}, {"mig": []}
NONE_BUT_WHOLE = "can hold no GPU: host box has no MIG instances and allow_full_gpu is false"


@pytest.mark.parametrize(
    ("gpus", "group", "fault"),
    [
        ([WHOLE], {}, NONE_BUT_WHOLE),
        ([WHOLE], {"gpu_unit": "any"}, NONE_BUT_WHOLE),
        ([WHOLE], {"gpu_unit": "any", "max_mig_instances": None}, NONE_BUT_WHOLE),
        ([WHOLE], {"gpu_unit": "full"}, "can hold no GPU: gpu_unit is full and allow_full_gpu is false"),
        ([SPLIT, WHOLE], {"gpu_unit": "full"}, "can hold no GPU: gpu_unit is full and allow_full_gpu is false"),
        (
            [SPLIT],
            {"gpu_unit": "full", "allow_full_gpu": True},
            "can hold no GPU: gpu_unit is full and all GPUs of host box are split",
        ),
        ([WHOLE], {"gpu_unit": "any", "allow_full_gpu": True}, None),
        ([WHOLE], {"gpu_unit": "mig", "allow_full_gpu": True}, None),
        ([WHOLE], {"gpu_unit": "full", "allow_full_gpu": True}, None),
        ([SPLIT], {}, None),
        ([SPLIT], {"gpu_unit": "any"}, None),
        ([WHOLE], {"max_mig_instances": 0}, None),
        ([WHOLE], {"max_mig_per_container": 0}, None),
        ([WHOLE], {"max_gpu_equivalents": 0}, None),
        ([], {}, None),
        ([], {"gpu_unit": "full"}, None),
    ],
)
def test_quota_of_gpus_that_nobody_of_the_group_can_hold_is_a_notice(
    gpus: list[dict[str, Any]], group: dict[str, Any], fault: str | None
) -> None:
    expected = [] if fault is None else [f"notice: g: {fault}"]
    assert said(group=group, alice={"priority": 1}, gpus=gpus) == expected


def test_account_that_alone_can_hold_no_gpu_is_a_notice() -> None:
    text = "notice: alice: can hold no GPU: gpu_unit is full and allow_full_gpu is false"
    assert said(alice={"gpu_unit": "full"}) == [text]


def test_origin_of_a_vacuous_aggregate_is_told_when_it_was_computed() -> None:
    group = {"max_cpus": 4, "memory_bytes": 40 * GIB, "max_containers": 3}
    assert said(group=group, alice={"max_containers": 5, "memory_bytes": GIB}) == [
        "notice: g: cpu_quota is vacuous: 1200% on 8 cores (4 max_cpus × 3 containers)",
        "notice: g: memory_max is vacuous: 120G on 64G of memory (40G memory × 3 containers)",
        "notice: alice: cpu_quota is vacuous: 2000% on 8 cores (4 max_cpus × 5 containers)",
    ]


@pytest.mark.parametrize(
    ("host", "texts"),
    [
        ({"reserve_cpus": 7.98}, []),
        ({"reserve_cpus": 8}, ["reserve_cpus leaves nothing of 8 CPUs for users"]),
        ({"reserve_cpus": 7.999}, ["reserve_cpus leaves nothing of 8 CPUs for users"]),
        ({"reserve_memory_bytes": 64 * GIB}, ["reserve_memory leaves nothing of 64G for users"]),
    ],
)
def test_reserves_leave_something(host: dict[str, Any], texts: list[str]) -> None:
    assert said(**host) == texts


def test_disk_whose_device_is_wrong_is_one_problem_and_no_crash(tmp_path: Path) -> None:
    checkout = Path(__file__).resolve().parents[3]
    inventory = tmp_path / "inventory"
    shutil.copytree(checkout / "tests/golden/shipped/inventory", inventory)
    host = inventory / "hosts/ds01.yaml"
    host.write_text(host.read_text().replace("device: /dev/nvme2n1", "device: nvme2n1"))
    with pytest.raises(InventoryError) as caught:
        check(checkout, inventory, None)
    wrong = [problem.text for problem in caught.value.problems if not problem.notice]
    assert wrong == ["disks[2].device is 'nvme2n1', which has the wrong form"]


def test_lost_list_of_members_is_told(tmp_path: Path) -> None:
    checkout = Path(__file__).resolve().parents[3]
    inventory = tmp_path / "inventory"
    shutil.copytree(checkout / "tests/golden/shipped/inventory", inventory)
    (inventory / "groups/faculty.members").unlink()
    notices = [problem.text for problem in check(checkout, inventory, None).notices]
    assert "group 'faculty' has no accounts: who belonged to it gets what group 'student' has" in notices
