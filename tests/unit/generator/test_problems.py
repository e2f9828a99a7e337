"""Problems as values: how they are printed, ordered and what they suggest."""

from __future__ import annotations

import pytest

from ds01.generator.problems import Place, Problem, did_you_mean


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem(Place("a.yaml", 3, 7), "x is 5", "write text"), "a.yaml:3:7: x is 5; write text"),
        (
            Problem(Place("a\x1b[2J\n\u202e.yaml"), "x\udcff is ü", "write\ty"),
            "a\\x1b[2J\\n\\u202e.yaml:1:1: x\\udcff is ü; write\\ty",
        ),
        (Problem(Place("a.yaml"), "x is old", "write y", notice=True), "a.yaml:1:1: notice: x is old; write y"),
    ],
)
def test_problem_is_one_line_that_editors_understand(problem: Problem, line: str) -> None:
    assert str(problem) == line


def test_problem_as_json_has_its_parts() -> None:
    assert Problem(Place("a.yaml", 3, 7), "x is 5", "write text", notice=True).to_json() == {
        "file": "a.yaml",
        "line": 3,
        "column": 7,
        "problem": "x is 5",
        "fix": "write text",
        "notice": True,
    }


def test_problems_stand_in_the_order_of_their_places() -> None:
    places = [Place("b", 1, 1), Place("a", 10, 1), Place("a", 9, 2), Place("a", 9, 1)]
    assert sorted(Problem(place, "x", "y") for place in places) == [
        Problem(place, "x", "y") for place in reversed(places)
    ]


@pytest.mark.parametrize(
    ("word", "fix"),
    [
        ("of", "did you mean 'off'?"),
        ("enforced", "did you mean 'enforce'?"),
        ("zzz", "write one"),
        ("", "write one"),
        ("OFF", "write one"),
    ],
)
def test_only_a_close_word_is_suggested(word: str, fix: str) -> None:
    assert did_you_mean(word, ("off", "learn", "enforce"), "write one") == fix
