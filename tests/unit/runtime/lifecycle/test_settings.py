"""What the policy says of lifecycle: read whole, and the stricter of account and type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.lifecycle.subjects import HOUR, MINUTE, RULES

from ds01.core.labels import ContainerType
from ds01.core.limits import resolve
from ds01.core.policy import Policy, PolicyError
from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.lifecycle.decision import LifecycleRule, Times
from ds01.runtime.lifecycle.settings import Account, LifecycleRules, TypeTimes, account_times, read_rules

SHIPPED = Path(__file__).parents[4] / "generated/ds01/root/etc/ds01/policy.json"


def document() -> dict[str, Any]:
    read = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert isinstance(read, dict)
    return read


def rules(change: dict[str, Any]) -> LifecycleRules:
    return read_rules(Policy.from_document(document() | change))


def test_every_key_of_the_shipped_policy_is_read():
    found = rules({})
    times = {
        ContainerType.DEVCONTAINER: TypeTimes(30 * MINUTE, 168 * HOUR),
        ContainerType.COMPOSE: TypeTimes(30 * MINUTE, 72 * HOUR),
        ContainerType.DOCKER: TypeTimes(30 * MINUTE, 48 * HOUR),
        ContainerType.API: TypeTimes(15 * MINUTE, 24 * HOUR),
        ContainerType.UNKNOWN: TypeTimes(15 * MINUTE, 24 * HOUR),
    }
    contact = document()["host"]["contact"]
    assert found == replace(RULES, types=times, unmanaged_whitelist=frozenset(), contact=contact)


def test_other_values_are_taken_as_they_are():
    policies = document()["policies"] | {
        "high_demand_threshold": 1,
        "high_demand_idle_reduction": 0,
        "idle_cpu_percent": 12.5,
        "idle_window": 1,
        "runtime_warnings": [0.9, 0.5],
        "unmanaged_whitelist": ["db"],
        "never_started_hold_seconds": 60,
    }
    enforcement = document()["enforcement"]
    enforcement["rules"] |= {"idle": "warn", "unmanaged": "off"}
    types = {"api": {"idle_timeout_seconds": None, "sigterm_grace_seconds": 5, "exempt_idle": True}}
    found = rules({"policies": policies, "enforcement": enforcement, "container_types": types})
    assert (found.high_demand_threshold, found.high_demand_factor, found.idle_cpu_percent) == (1, 0, 12.5)
    assert (found.idle_window, found.runtime_warnings, found.never_started_hold_seconds) == (1, (0.5, 0.9), 60)
    assert found.unmanaged_whitelist == frozenset({"db"})
    assert found.types == {ContainerType.API: TypeTimes(sigterm_grace=5, exempt_idle=True)}
    assert [found.mode(rule) for rule in LifecycleRule] == [
        Mode.WARN, Mode.ENFORCE, Mode.ENFORCE, Mode.ENFORCE, Mode.OFF
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "key", "value", "names"),
    [
        ("policies", "idle_window", None, "None for idle_window"),
        ("policies", "idle_cpu_percent", "5", "'5' for idle_cpu_percent"),
        ("policies", "keep_alive_max_seconds", True, "True for keep_alive_max_seconds"),
        ("policies", "runtime_warnings", [1.5], "[1.5] for runtime_warnings"),
        ("policies", "runtime_warnings", 0.5, "0.5 for runtime_warnings"),
        ("policies", "unmanaged_whitelist", "db", "'db' for unmanaged_whitelist"),
        ("container_types", "api", [], "[] for api"),
        ("host", "contact", None, "None for contact"),
        ("enforcement", "rules", {}, "None for enforcement.rules.idle"),
    ],
)
def test_what_is_missing_or_of_another_kind_is_named(section: str, key: str, value: object, names: str):
    broken = document()
    broken[section][key] = value
    with pytest.raises(PolicyError) as refused:
        rules(broken)
    assert refused.value.brief == f"the compiled policy says {names}"


def test_a_section_that_is_missing_is_named():
    broken = document()
    del broken["policies"]
    with pytest.raises(PolicyError, match="None for policies"):
        read_rules(Policy.from_document(broken))


def test_an_accounts_times_are_its_resolved_limits():
    policy = Policy.from_document(document())
    student = next(name for name, group in policy.users.items() if group == "student" and name not in policy.overrides)
    admin = next(name for name, group in policy.users.items() if group == "admin")
    assert account_times(resolve(policy, student)) == Times(30 * MINUTE, 24 * HOUR, 15 * MINUTE, 30 * MINUTE, 60)
    assert account_times(resolve(policy, admin)) == Times(None, None, HOUR, None, 60)


TYPED = replace(
    RULES,
    types={
        ContainerType.API: TypeTimes(idle_timeout=15 * MINUTE, max_runtime=48 * HOUR, sigterm_grace=10),
        ContainerType.COMPOSE: TypeTimes(exempt_idle=True, sigterm_grace=300),
    },
)
OWN = Times(30 * MINUTE, 24 * HOUR, 15 * MINUTE, 30 * MINUTE, 60)


@pytest.mark.parametrize(
    ("account", "kind", "expected"),
    [
        (Account(OWN), ContainerType.DOCKER, OWN),
        (Account(OWN), ContainerType.API, replace(OWN, idle_timeout=15 * MINUTE, sigterm_grace=10)),
        (Account(OWN), ContainerType.COMPOSE, replace(OWN, idle_timeout=None)),
        (Account(Times()), ContainerType.API, Times(15 * MINUTE, 48 * HOUR, None, None, 10)),
        (Account(Times(), is_admin=True), ContainerType.API, Times(sigterm_grace=10)),
        (Account(OWN, is_admin=True), ContainerType.API, replace(OWN, idle_timeout=15 * MINUTE, sigterm_grace=10)),
    ],
)
def test_the_stricter_of_account_and_type_holds(account: Account, kind: ContainerType, expected: Times):
    assert TYPED.times(account, kind) == expected


SECONDS = st.none() | st.floats(0, 10**7)


@given(own=SECONDS, typed=SECONDS, admin=st.booleans())
def test_no_type_gives_anybody_more_than_the_account_has(own: float | None, typed: float | None, admin: bool):  # noqa: FBT001
    types = {ContainerType.API: TypeTimes(idle_timeout=typed, max_runtime=typed)}
    found = replace(RULES, types=types).times(Account(Times(own, own), is_admin=admin), ContainerType.API)
    assert found.idle_timeout == found.max_runtime
    stated = {each for each in (own, typed) if each is not None}
    expected = None if own is None and admin else min(stated, default=None)
    assert found.idle_timeout == expected
