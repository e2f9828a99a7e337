"""Old spellings: each is moved to its name of today or left out, and told; nothing changes its meaning silently."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from ds01.core.limits import BY_NAME, format_value, resolve
from ds01.core.policy import Policy
from ds01.generator.aliases import ALIASES, modernise
from ds01.generator.build import check
from ds01.generator.yamltext import read_yaml

CHECKOUT = Path(__file__).resolve().parents[3]
OLDER = CHECKOUT / "tests" / "data" / "inventories" / "older"
LAYERS = ("defaults", "groups.*", "user_overrides.*")


@pytest.fixture(scope="module")
def older() -> Policy:
    return Policy.from_document(check(CHECKOUT, OLDER, None).document)


def modern(text: str) -> tuple[Any, list[str]]:
    document, problems = modernise(read_yaml(text, "f")[0])
    return document.data, list(map(str, problems))


def test_older_inventory_loads_with_one_notice_for_each_old_key() -> None:
    notices = check(CHECKOUT, OLDER, None).notices
    assert "".join(f"{notice}\n" for notice in notices) == (OLDER / "notices.txt").read_text()


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.old)
def test_older_inventory_has_every_old_key(alias: Any) -> None:
    data = read_yaml((OLDER / "resource-limits.yaml").read_text(), "f")[0].data
    patterns = [alias.old.replace("{layer}", layer) for layer in LAYERS] if "{layer}" in alias.old else [alias.old]
    assert any(found(data, pattern.split(".")) for pattern in patterns)


def found(node: Any, steps: list[str]) -> bool:
    if not steps:
        return True
    if not isinstance(node, dict):
        return False
    return any(found(node[key], steps[1:]) for key in node if steps[0] in ("*", key))


@pytest.mark.parametrize(
    ("account", "group", "shown"),
    [
        (
            "alice",
            "students",
            {
                "max_mig_instances": "1",
                "max_mig_per_container": "1",
                "max_cpus": "16",
                "memory": "32G",
                "max_containers": "2",
                "idle_timeout": "30m",
                "max_runtime": "24h",
                "gpu_hold_after_stop": "15m",
                "container_hold_after_stop": "12h",
                "aggregate.cpu_quota": "3200%",
                "aggregate.memory_max": "64G",
                "aggregate.memory_high": "57G",
                "aggregate.tasks_max": "8192",
                "aggregate.io_weight": "100",
                "aggregate.io_read_bw_max": "500M",
                "aggregate.io_write_bw_max": "200M",
                "aggregate.io_read_iops_max": "20000",
                "aggregate.io_write_iops_max": "10000",
            },
        ),
        (
            "bob",
            "students",
            {"max_mig_instances": "2", "aggregate.tasks_max": "9000", "idle_timeout": "4h", "max_runtime": "24h"},
        ),
        (
            "j.doe@lab-x.org",
            "researchers",
            {"max_mig_instances": "4", "aggregate.memory_max": "128G", "aggregate.tasks_max": "16384"},
        ),
        (
            "sysop",
            "admins",
            {
                "max_mig_instances": "unlimited",
                "max_containers": "unlimited",
                "idle_timeout": "unlimited",
                "aggregate.memory_max": "unlimited",
                "aggregate.tasks_max": "unlimited",
            },
        ),
    ],
)
def test_older_inventory_means_what_it_meant(older: Policy, account: str, group: str, shown: dict[str, str]) -> None:
    limits = resolve(older, account)
    assert (limits.group, {name: format_value(BY_NAME[name], limits[name].value) for name in shown}) == (group, shown)


def test_shorthands_of_the_older_inventory_are_written_out(older: Policy) -> None:
    gpu, access = older.document["gpu_allocation"], older.document["access_control"]
    assert (gpu, access["publish_ports"]) == (  # type: ignore[index]
        {
            "strategy": "least_allocated",
            "wait_seconds": 180,
            "bare_metal_busy": "avoid",
            "enable_mig": True,
            "mig_profile": "2g.20gb",
        },
        {"range": "20000-29999", "address": "127.0.0.1"},
    )


@pytest.mark.parametrize(
    ("text", "data", "notices"),
    [
        (
            "defaults: {max_gpus: 2}",
            {"defaults": {"max_mig_instances": 2}},
            [
                (
                    "f:1:12: notice: defaults.max_gpus is an old name: GPU units an account may hold over all its "
                    "containers; write max_mig_instances"
                )
            ],
        ),
        (
            "groups: {a: {idle_timeout_h: 0.5, max_runtime_h: null, gpu_hold_after_stop_h: 90m}}",
            {"groups": {"a": {"idle_timeout": "0.5h", "max_runtime": None, "gpu_hold_after_stop": "90m"}}},
            [
                (
                    "f:1:14: notice: groups.a.idle_timeout_h is an old name: the same as a number of hours; "
                    "write idle_timeout"
                ),
                (
                    "f:1:35: notice: groups.a.max_runtime_h is an old name: the same as a number of hours; "
                    "write max_runtime"
                ),
                (
                    "f:1:56: notice: groups.a.gpu_hold_after_stop_h is an old name: the same as a number of hours; "
                    "write gpu_hold_after_stop"
                ),
            ],
        ),
        (
            "user_overrides: {a: {cpu_quota: 100%, aggregate: {cpu_quota: 200%}}}",
            {"user_overrides": {"a": {"aggregate": {"cpu_quota": "200%"}}}},
            [
                (
                    "f:1:22: notice: user_overrides.a.cpu_quota is an old name of aggregate.cpu_quota, which is there "
                    "too and counts; remove it"
                )
            ],
        ),
        (
            "defaults: {aggregate: null, memory_max: 1g}",
            {"defaults": {"aggregate": None}},
            [
                (
                    "f:1:29: notice: defaults.memory_max is an old name of aggregate.memory_max, which is there "
                    "too and counts; remove it"
                )
            ],
        ),
        (
            "wizard: {a: {b: c}}\nadvanced: 5",
            {},
            [
                "f:2:1: notice: advanced is no longer used: was never enforced; remove it",
                "f:1:1: notice: wizard is no longer used: belongs to the commands, not to the policy; remove it",
            ],
        ),
        (
            "gpu_allocation: {strategy: round_robin}",
            {"gpu_allocation": {"strategy": "least_allocated"}},
            ["f:1:18: notice: strategy round_robin is an old name; write least_allocated"],
        ),
        (
            "access_control: {publish_ports: 1000-2000}",
            {"access_control": {"publish_ports": {"range": "1000-2000"}}},
            [],
        ),
        ("defaults: {memory: 1g}\ngroups: {a: {max_cpus: 2}}", None, []),
        ("max_gpus: 2", None, []),
        ("defaults: 5\ngroups: [a]\nuser_overrides: null\npolicies: x\ngpu_allocation: []", None, []),
        ("groups: {a: null, b: 5}", None, []),
        ("- a", None, []),
    ],
)
def test_old_key_is_moved_or_left_out_and_told(text: str, data: Any, notices: list[str]) -> None:
    unchanged = read_yaml(text, "f")[0].data
    assert modern(text) == (unchanged if data is None else data, notices)


def test_document_that_is_given_is_not_changed() -> None:
    document, _ = read_yaml("defaults: {max_gpus: 2, cpu_quota: 100%}\nwizard: {}", "f")
    before = copy.deepcopy(document)
    modernise(document)
    assert document == before


def test_mistake_in_an_old_key_is_told_where_it_stands() -> None:
    document, _ = modernise(read_yaml("defaults:\n  priority: 1\n  cpu_quota: 96\n", "f")[0])
    place = document.value_place(("defaults", "aggregate", "cpu_quota"))
    assert str(place) == "f:3:14"
