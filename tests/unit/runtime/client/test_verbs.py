"""Which verbs DS01 understands, and what it asks a client about them."""

from __future__ import annotations

from ds01.runtime.client.verbs import (
    ELSEWHERE,
    ENDS_AT_OPERAND,
    GLOBAL,
    OWN_HELP,
    TOPICS,
    UNEXPLAINED,
    VERBS,
    called_below_group,
    topic_below_group,
    topics_of_help,
)


def test_every_verb_is_there_once() -> None:
    assert len(VERBS) == len(set(VERBS)) == 24
    assert set(VERBS) >= ENDS_AT_OPERAND | OWN_HELP


def test_only_inspect_is_another_below_container() -> None:
    assert {verb: topic_below_group(verb) for verb in VERBS if topic_below_group(verb) != verb} == {
        "inspect": "container inspect"
    }
    assert {verb: called_below_group(verb) for verb in VERBS if called_below_group(verb) != f"container {verb}"} == {
        "ps": "container ls"
    }


def test_help_is_asked_for_each_verb_both_ways_and_fills_every_part_of_a_table() -> None:
    asked = topics_of_help()
    assert set(asked.values()) == set(TOPICS) - UNEXPLAINED
    assert set(asked) == {GLOBAL, *VERBS, *map(called_below_group, VERBS), *ELSEWHERE} - UNEXPLAINED
    assert (asked["run"], asked["container run"], asked["container ls"]) == ("run", "run", "ps")
