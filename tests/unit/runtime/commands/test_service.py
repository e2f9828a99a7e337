"""Options in seconds are taken within their bounds and refused in words outside of them."""

from __future__ import annotations

import argparse
import logging

import pytest

from ds01.runtime.commands.service import Seconds, speak_to_journal


@pytest.mark.parametrize(("text", "seconds"), [("0.1", 0.1), ("7", 7.0), ("60", 60.0), ("1e1", 10.0)])
def test_what_is_within_the_bounds_is_taken(text: str, seconds: float):
    assert Seconds(0.1, 60.0).read(text) == seconds


@pytest.mark.parametrize("text", ["0", "60.1", "-1", "nan", "inf", "", "often", "1s"])
def test_anything_else_is_refused_with_the_bounds(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no pause; write 0\.1 to 60 seconds"):
        Seconds(0.1, 60.0).read(text)


def test_the_journal_gets_no_time(capfd: pytest.CaptureFixture[str]):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        root.handlers.clear()
        speak_to_journal()
        logging.getLogger("ds01").info("it works")
        assert capfd.readouterr().err == "INFO: it works\n"
    finally:
        root.handlers[:] = before
        root.setLevel(level)
