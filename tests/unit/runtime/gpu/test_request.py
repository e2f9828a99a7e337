"""What is asked for and what the policy lets an account have: read strictly, and written so that it reads back."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from tests.unit.runtime.gpu.ledgers import wanted as any_wanted

from ds01.core.errors import BadInputError
from ds01.core.limits import resolve
from ds01.core.policy import Policy, PolicyError
from ds01.core.rules import Mode
from ds01.runtime.gpu.request import (
    AccountLimits,
    All,
    Count,
    GpuUnit,
    Limits,
    Named,
    Strategy,
    Wanted,
    account_limits,
    format_wanted,
    parse_devices,
    parse_wanted,
    site_limits,
    wait_seconds,
)

SHIPPED = Path(__file__).resolve().parents[4] / "generated/ds01/root/etc/ds01/policy.json"


@pytest.fixture
def policy() -> Policy:
    return Policy.from_document(json.loads(SHIPPED.read_text()))


def changed(policy: Policy, section: str, **values: object) -> Policy:
    document = dict(policy.document)
    document[section] = {**document[section], **values}  # type: ignore[dict-item] # a section of the shipped policy
    return Policy.from_document(document)


GOOD: dict[str, Wanted] = {
    "1": Count(1),
    " 16 ": Count(16),
    "all": All(),
    '"all"': All(),
    "device=0": Named(("0",)),
    "device=2:1": Named(("2:1",)),
    '"device=1,2"': Named(("1", "2")),
    "device=GPU-4b2c11aa-0001": Named(("GPU-4b2c11aa-0001",)),
    "device=MIG-4b2c, 0:1": Named(("MIG-4b2c", "0:1")),
    "device=MIG-GPU-4b2c/3/0": Named(("MIG-GPU-4b2c/3/0",)),
}


@pytest.mark.parametrize(("text", "wanted"), GOOD.items(), ids=GOOD)
def test_what_docker_users_write_is_understood(text: str, wanted: Wanted) -> None:
    assert parse_wanted(text) == wanted


WRONG = [
    "0",
    "-1",
    "1025",
    "9999999",
    "two",
    "ALL",
    "1.5",
    "device=",
    "device=,",
    "device=0,0",
    "device=x",
    "device=0:",
    "device=0:1:2",
    "device=GPU-",
    "device=../x",
    "devices=0",
    "٣",
    "all,capabilities=x",
]


@pytest.mark.parametrize("text", ["", "device=GPU-a b", *WRONG])
def test_what_is_no_request_is_bad_input_with_a_way_out(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_wanted(text)
    assert caught.value.resolution


def test_a_long_text_is_not_repeated_whole() -> None:
    for read, text in ((parse_wanted, "x" * 10_000), (parse_devices, "y" * 10_000)):
        with pytest.raises(BadInputError) as caught:
            read(text)
        assert len(caught.value.render()) < 400


@given(any_wanted)
def test_what_is_written_reads_back(wanted: Wanted) -> None:
    assert parse_wanted(format_wanted(wanted)) == wanted


def test_the_shipped_groups_have_their_quotas(policy: Policy) -> None:
    found = {group: account_limits(resolve(policy, name), admin=False) for name, group in one_of_each(policy).items()}
    assert found["student"] == AccountLimits(GpuUnit.MIG, 3, 1, allow_full=False, priority=10, hold_seconds=900)
    assert found["researcher"] == AccountLimits(GpuUnit.ANY, 6, 2, allow_full=True, priority=50, hold_seconds=1800)
    assert found["faculty"] == AccountLimits(GpuUnit.ANY, 8, 4, allow_full=True, priority=60, hold_seconds=3600)
    assert found["admin"] == AccountLimits(GpuUnit.ANY, None, None, allow_full=True, priority=100, hold_seconds=3600)


def one_of_each(policy: Policy) -> dict[str, str]:
    names = {group: name for name, group in policy.users.items() if name not in policy.overrides}
    return {name: group for group, name in names.items()}


def test_a_quota_by_size_is_exact(policy: Policy) -> None:
    document = {**policy.document, "user_overrides": {"student01": {"max_gpu_equivalents": 0.57}}}
    resolved = resolve(Policy.from_document(document), "student01")
    assert account_limits(resolved, admin=True).max_equivalents == Fraction(57, 100)
    assert account_limits(resolved, admin=True).exempt


def test_how_gpus_are_handed_out_comes_from_the_policy(policy: Policy) -> None:
    assert site_limits(policy, {}) == Limits({}, Strategy.LEAST_ALLOCATED, profile="2g.20gb")
    other = changed(
        policy, "gpu_allocation", strategy="pack", bare_metal_busy="ignore", enable_mig=False, mig_profile=None
    )
    assert site_limits(other, {}) == Limits({}, Strategy.PACK, avoid_busy=False, enable_mig=False)
    silent = changed(policy, "gpu_allocation", bare_metal_busy=None, enable_mig=None, mig_profile=None)
    assert site_limits(silent, {}) == Limits({}, avoid_busy=True, enable_mig=True)
    rules = {**policy.document["enforcement"]["rules"], "gpu": "warn"}  # type: ignore[index] # the shipped policy has it
    assert site_limits(changed(policy, "enforcement", rules=rules), {}).mode is Mode.WARN
    assert not site_limits(changed(policy, "bare_metal_access", count_in_quota=False), {}).count_outside
    assert wait_seconds(policy) == 180


def test_a_policy_that_says_what_nobody_knows_is_refused(policy: Policy) -> None:
    for wrong in (
        changed(policy, "gpu_allocation", strategy="random"),
        changed(policy, "enforcement", rules={}),
    ):
        with pytest.raises(PolicyError, match="the compiled policy says"):
            site_limits(wrong, {})
    for value in (None, True, "180"):
        with pytest.raises(PolicyError):
            wait_seconds(changed(policy, "gpu_allocation", wait_seconds=value))


def test_an_account_that_nobody_resolved_may_have_nothing() -> None:
    assert Limits({}).of("ghost") == AccountLimits(GpuUnit.MIG, 0, 0, allow_full=False, exempt=False)
