"""Which verbs make a container, and which rules are looked at."""

from __future__ import annotations

import pytest
from tests.unit.runtime.containers.test_admission import holds

from ds01.core.rules import Mode, Rule
from ds01.runtime.containers.request import Verb


def test_run_and_create_make_a_container():
    assert {verb for verb in Verb if verb.is_new} == {Verb.RUN, Verb.CREATE}


@pytest.mark.parametrize(("mode", "applies"), [(Mode.ENFORCE, True), (Mode.WARN, True), (Mode.OFF, False)])
def test_a_rule_that_is_off_is_not_looked_at(mode: Mode, *, applies: bool):
    assert holds({Rule.MEMORY: mode}).applies(Rule.MEMORY) is applies
