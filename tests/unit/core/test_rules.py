"""Every rule has a mode, stated in the compiled policy; one that is missing or unknown stops everything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ds01.core.policy import Policy, PolicyError
from ds01.core.rules import Mode, Rule, mode_of, read_rules

SHIPPED = Path(__file__).resolve().parents[3] / "generated/ds01/root/etc/ds01/policy.json"
MODES = {
    "containers": "enforce",
    "limits": "warn",
    "memory": "off",
    "pids": "warn",
    "gpu": "enforce",
    "ownership": "off",
    "privileged": "enforce",
}


def policy(enforcement: object) -> Policy:
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    read = Policy.from_document(document)
    document["enforcement"] = enforcement
    return read


def test_each_rule_has_its_own_mode() -> None:
    assert read_rules(policy({"aggregate_limits": True, "rules": MODES})).modes == {
        Rule.CONTAINERS: Mode.ENFORCE,
        Rule.LIMITS: Mode.WARN,
        Rule.MEMORY: Mode.OFF,
        Rule.PIDS: Mode.WARN,
        Rule.GPU: Mode.ENFORCE,
        Rule.OWNERSHIP: Mode.OFF,
    }


def test_the_shipped_policy_enforces_every_rule() -> None:
    shipped = read_rules(Policy.from_document(json.loads(SHIPPED.read_text(encoding="utf-8"))))
    assert {rule: shipped.mode(rule) for rule in Rule} == dict.fromkeys(Rule, Mode.ENFORCE)


@pytest.mark.parametrize("rule", Rule)
def test_a_rule_that_is_missing_is_named(rule: Rule) -> None:
    rules = {name: mode for name, mode in MODES.items() if name != rule.value}
    with pytest.raises(PolicyError) as caught:
        read_rules(policy({"rules": rules}))
    assert caught.value.render() == (
        f"the compiled policy says None for enforcement.rules.{rule.value}\nTo fix: deploy again"
    )


@pytest.mark.parametrize("enforcement", [None, [], "enforce", {}, {"rules": None}, {"rules": ["memory"]}], ids=repr)
def test_without_a_list_of_rules_there_is_no_policy(enforcement: object) -> None:
    with pytest.raises(PolicyError, match=r"says None for enforcement\.rules\.containers"):
        read_rules(policy(enforcement))


@pytest.mark.parametrize("value", ["ENFORCE", " off", "on", "", True, False, None, 0, [], {}, ["off"]], ids=repr)
def test_what_is_no_mode_is_no_mode(value: object) -> None:
    with pytest.raises(PolicyError) as caught:
        mode_of(value, "enforcement.rules.memory")
    assert caught.value.brief == f"the compiled policy says {value!r} for enforcement.rules.memory"
