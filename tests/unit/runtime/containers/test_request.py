"""Which verbs make a container, and which rules are looked at."""

from __future__ import annotations

from tests.unit.runtime.containers.samples import account

from ds01.core.rules import Mode, Rule
from ds01.runtime.containers.request import Verb


def test_run_and_create_make_a_container_and_the_others_find_one() -> None:
    assert {verb.value: verb.is_new for verb in Verb} == {
        "run": True,
        "create": True,
        "start": False,
        "restart": False,
        "unpause": False,
        "update": False,
    }


def test_a_rule_is_looked_at_unless_it_is_off() -> None:
    found = {mode: account({Rule.MEMORY: mode}).applies(Rule.MEMORY) for mode in Mode}
    assert found == {Mode.ENFORCE: True, Mode.WARN: True, Mode.OFF: False}
