"""What hands out a host's GPUs is put together from its policy, its engine and its state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.gpu.hosts import LAB

from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.runtime.containers.engine import EngineError
from ds01.runtime.gpu.answer import Grant, Refusal
from ds01.runtime.gpu.host import account_reader, open_engine, open_gpus
from ds01.runtime.gpu.operations import new_id
from ds01.runtime.gpu.request import Count, Request

SHIPPED = Path(__file__).resolve().parents[4] / "generated/ds01/root/etc/ds01/policy.json"


@pytest.fixture
def policy() -> Policy:
    return Policy.from_document(json.loads(SHIPPED.read_text()))


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    (tmp_path / "run").mkdir()
    (tmp_path / "var/log/ds01").mkdir(parents=True)
    return HostPaths(tmp_path)


def test_the_engine_is_the_hosts_and_not_asked_before_it_must(paths: HostPaths) -> None:
    with pytest.raises(EngineError):
        open_engine(paths).ping()


def test_accounts_have_what_the_policy_says_and_root_has_no_quota(policy: Policy) -> None:
    account_of = account_reader(policy)
    assert (account_of("student01").max_units, account_of("student01").exempt) == (3, False)
    assert account_of("root").exempt
    assert account_of("student01") is account_of("student01")


def test_holds_end_only_where_the_rule_is_enforced(policy: Policy) -> None:
    enforcement = policy.document["enforcement"]
    assert isinstance(enforcement, dict)
    seconds = {}
    for mode in ("enforce", "warn", "off"):
        rules = {**enforcement["rules"], "gpu_hold": mode}
        changed = {**policy.document, "enforcement": {**enforcement, "rules": rules}}
        seconds[mode] = account_reader(Policy.from_document(changed))("student01").hold_seconds
    assert seconds == {"enforce": 900, "warn": None, "off": None}


def test_a_request_goes_all_the_way_from_policy_to_state(paths: HostPaths, policy: Policy) -> None:
    strays = [inspected(f"stray{number}", devices=[unit.uuid]) for number, unit in enumerate(LAB.units[2:-1])]
    with engine_with(paths.engine, *strays):
        gpus = open_gpus(paths, policy, look=lambda: LAB)
        me = gpus.state.machine.process(1)
        assert me is not None
        first, second = (
            gpus.allocate(Request(new_id(), "student01", Count(1), 10, name), me) for name in ("one", "two")
        )
    assert isinstance(first, Grant)
    assert first.allocation.slots == ("3:2",)
    assert isinstance(second, Refusal)
    assert {each.container for each in second.holdings} == {"one", *(f"stray{number}" for number in range(5))}
    kinds = [json.loads(line)["event_type"] for line in paths.events.read_text().splitlines()]
    assert kinds == ["gpu.adopted"] * 5 + ["gpu.allocated"]
