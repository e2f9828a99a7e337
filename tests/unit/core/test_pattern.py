"""A pattern that is compiled late does what one that is compiled at once does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ds01.core.pattern import pattern

SCRIPTS = Path(__file__).parents[3] / "scripts/ds01"


def test_it_matches_as_a_compiled_one():
    late, early = pattern(r"(\w+)=(\d+)", re.ASCII), re.compile(r"(\w+)=(\d+)", re.ASCII)
    for text in ("a=1", "a=1 b=22", "none"):
        for method in ("match", "fullmatch", "search"):
            found, wanted = getattr(late, method)(text), getattr(early, method)(text)
            assert (found and found.groups()) == (wanted and wanted.groups())
        assert late.findall(text) == early.findall(text)
        assert late.sub("x", text) == early.sub("x", text)
    assert (late.pattern, late.flags) == (early.pattern, early.flags)


def test_it_takes_bytes():
    assert pattern(rb"a(\d)").fullmatch(b"a5").group(1) == b"5"


def test_it_is_compiled_when_it_is_used():
    wrong = pattern("(")
    with pytest.raises(re.error):
        wrong.match("x")


def test_every_pattern_of_the_code_base_can_be_compiled():
    """What is compiled late is tried here all the same."""
    tried = 0
    for path in sorted(SCRIPTS.rglob("*.py")):
        if "pattern(" not in path.read_text():
            continue
        name = ".".join(["ds01", *path.relative_to(SCRIPTS).with_suffix("").parts])
        for value in vars(__import__(name, fromlist=["x"])).values():
            if type(value).__name__ == "_Lazy":
                assert value.fullmatch is not None
                tried += 1
    assert tried > 20
