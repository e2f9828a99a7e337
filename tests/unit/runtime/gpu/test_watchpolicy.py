"""What is watched for, out of the compiled policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ds01.core.policy import Policy, PolicyError
from ds01.runtime.gpu.baremetal import read_bare_metal
from ds01.runtime.gpu.watchpolicy import WatchPolicy, read_watch_policy

SHIPPED = Path(__file__).parents[3] / "golden/shipped/expected/root/etc/ds01/policy.json"


def document() -> dict[str, Any]:
    found = json.loads(SHIPPED.read_text())
    assert isinstance(found, dict)
    return found


def test_the_shipped_policy() -> None:
    policy = Policy.from_document(document())
    assert read_watch_policy(policy) == WatchPolicy(policy, 5.0, 9400, "ds01-help@lab-x.org", read_bare_metal(policy))


def test_a_host_without_a_contact_names_nobody() -> None:
    found = document()
    del found["host"]["contact"]
    assert read_watch_policy(Policy.from_document(found)).contact == ""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("policies", "idle_gpu_percent"), None),
        (("policies", "idle_gpu_percent"), "5"),
        (("policies", "idle_gpu_percent"), True),
        (("policies",), None),
        (("host", "ports", "dcgm"), "9400"),
        (("host", "ports", "dcgm"), True),
        (("host", "ports"), []),
        (("bare_metal_access", "policy"), "kill"),
    ],
)
def test_what_is_missing_or_wrong_is_an_error_that_says_what(path: tuple[str, ...], value: object) -> None:
    found = document()
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(PolicyError) as caught:
        read_watch_policy(Policy.from_document(found))
    assert path[-1] in caught.value.brief
