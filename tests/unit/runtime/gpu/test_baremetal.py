"""The policy's section on GPU use outside containers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ds01.core.policy import Policy, PolicyError
from ds01.runtime.gpu.baremetal import Access, BareMetal, read_bare_metal

SHIPPED = Path(__file__).parents[3] / "golden/shipped/expected/root/etc/ds01/policy.json"


def policy(**changes: object) -> Policy:
    document: dict[str, Any] = json.loads(SHIPPED.read_text())
    document["bare_metal_access"] |= changes
    return Policy.from_document(document)


def test_the_shipped_policy_warns() -> None:
    assert read_bare_metal(policy()) == BareMetal(Access.WARN, frozenset({"sysop"}), True, 900, 86400)  # noqa: FBT003 - a value's fields


def test_every_setting_is_read() -> None:
    changed = policy(
        policy="terminate", exempt_users=[], count_in_quota=False, grace_seconds=0, default_grant_duration_seconds=60
    )
    assert read_bare_metal(changed) == BareMetal(
        Access.TERMINATE, frozenset(), count_in_quota=False, grace_seconds=0, grant_seconds=60
    )
    assert read_bare_metal(policy(policy="allow")).access is Access.ALLOW


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"policy": "kill"}, "the compiled policy says 'kill' for bare_metal_access.policy"),
        ({"policy": None}, "the compiled policy says None for bare_metal_access.policy"),
        ({"exempt_users": "sysop"}, "the compiled policy says 'sysop' for bare_metal_access.exempt_users"),
        ({"grace_seconds": "15m"}, "the compiled policy says '15m' for bare_metal_access.grace_seconds"),
        ({"grace_seconds": True}, "the compiled policy says True for bare_metal_access.grace_seconds"),
        ({"grace_seconds": -1}, "the compiled policy says -1 for bare_metal_access.grace_seconds"),
        (
            {"default_grant_duration_seconds": None},
            "the compiled policy says None for bare_metal_access.default_grant_duration_seconds",
        ),
    ],
)
def test_what_is_not_understood_is_named_and_never_guessed(changes: dict[str, object], text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_bare_metal(policy(**changes))
    assert caught.value.brief == text


def test_a_policy_without_the_section_is_not_complete() -> None:
    document = json.loads(SHIPPED.read_text())
    del document["bare_metal_access"]
    with pytest.raises(PolicyError):
        read_bare_metal(Policy.from_document(document))
