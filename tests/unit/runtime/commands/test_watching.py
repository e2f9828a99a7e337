"""Showing something once, and again and again."""

from __future__ import annotations

import argparse

import pytest

from ds01.runtime.commands.watching import add_watch, shown


def parsed(*argv: str) -> float | None:
    made = argparse.ArgumentParser()
    add_watch(made)
    found: float | None = made.parse_args(argv).watch
    return found


def test_the_option_takes_a_pause_and_has_a_usual_one() -> None:
    assert [parsed(), parsed("--watch"), parsed("--watch", "0"), parsed("--watch", "7.5")] == [None, 2.0, 0.0, 7.5]


@pytest.mark.parametrize("pause", ["-1", "nan", "inf", "soon", "86401"])
def test_a_pause_that_makes_no_sense_is_bad_input(pause: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(f"--watch={pause}")
    assert ended.value.code == 2
    assert "is no number of seconds from 0 to 86400" in capsys.readouterr().err


def test_once_is_once_and_its_code_is_the_answer() -> None:
    cleared: list[str] = []

    def show(clear: str) -> int:
        cleared.append(clear)
        return 1

    assert shown(None, show) == 1
    assert cleared == [""]


def test_again_and_again_lasts_until_somebody_ends_it_and_clears_no_file() -> None:
    cleared: list[str] = []

    def show(clear: str) -> int:
        cleared.append(clear)
        if len(cleared) == 3:
            raise KeyboardInterrupt
        return 0

    with pytest.raises(KeyboardInterrupt):
        shown(0, show)
    assert cleared == ["", "", ""]
