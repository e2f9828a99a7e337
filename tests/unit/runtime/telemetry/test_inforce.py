"""The policy of a program that runs for long: the deployed one, and the last good one when that cannot be read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.samples import SHIPPED

from ds01.core.policy import PolicyError
from ds01.runtime.telemetry.inforce import PolicyInForce


def deploy(path: Path, **changes: Any) -> None:
    document = json.loads(SHIPPED.read_text(encoding="utf-8")) | changes
    new = path.with_name("new")
    new.write_text(json.dumps(document))
    new.replace(path)


def test_a_deploy_puts_another_one_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "policy.json"
    deploy(path)
    policy = PolicyInForce(path)
    first = policy()
    assert policy() is first
    with caplog.at_level(logging.INFO):
        deploy(path, users={"alice": {"group": "student"}})
        assert set(policy().users) == {"alice"}
        assert policy() is policy()
    assert [each.getMessage() for each in caplog.records] == ["another policy is in force"]


def test_without_one_nothing_begins(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="there is no compiled policy"):
        PolicyInForce(tmp_path / "policy.json")()


def test_one_that_cannot_be_read_leaves_the_last_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "policy.json"
    deploy(path)
    policy = PolicyInForce(path)
    first = policy()
    path.write_text("{")
    assert [policy(), policy()] == [first, first]
    path.unlink()
    assert policy() is first
    deploy(path, users={})
    assert policy().users == {}
    said = [each.getMessage() for each in caplog.records]
    assert [each.partition(":")[0] for each in said] == ["the policy from before stays in force"] * 2
