"""Answers are values: the same facts are the same answer, and every reason has a name that scripts can rely on."""

from __future__ import annotations

from ds01.runtime.gpu.answer import Reason, Refusal


def test_the_names_of_reasons_are_what_scripts_see() -> None:
    assert {each.value for each in Reason} == {
        "taken",
        "in_line",
        "busy_outside",
        "broken",
        "quota",
        "too_many",
        "not_allowed",
        "no_such_gpu",
        "name_taken",
        "different",
    }


def test_a_refusal_is_for_good_unless_it_says_otherwise() -> None:
    refusal = Refusal(Reason.QUOTA, "enough", "free some")
    assert (refusal.waitable, refusal.holdings) == (False, ())
    assert refusal == Refusal(Reason.QUOTA, "enough", "free some")
