"""Errors carry their message and their exit code, and print nothing by themselves."""

from __future__ import annotations

import pytest

from ds01.core.errors import BadInputError, BusyError, Ds01Error, ExitCode, RefusedError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Ds01Error("it broke"), "it broke"),
        (Ds01Error("it broke", "the disk is full"), "it broke\nthe disk is full"),
        (Ds01Error("it broke", None, "try again"), "it broke\nTo fix: try again"),
        (Ds01Error("it broke", "the disk is full", "free some"), "it broke\nthe disk is full\nTo fix: free some"),
    ],
)
def test_rendered_error_says_what_why_and_what_to_do(error: Ds01Error, text: str) -> None:
    assert error.render() == text


@pytest.mark.parametrize(("kind", "code"), [(Ds01Error, 1), (BadInputError, 2), (RefusedError, 4), (BusyError, 5)])
def test_each_kind_of_error_has_its_exit_code(kind: type[Ds01Error], code: int) -> None:
    assert kind("x").exit_code == code


def test_exit_codes_are_those_of_the_documentation() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "BAD_INPUT": 2,
        "CHANGES_PENDING": 3,
        "REFUSED": 4,
        "BUSY": 5,
        "INTERRUPTED": 130,
    }


def test_the_brief_is_what_python_shows() -> None:
    assert str(Ds01Error("it broke", "the disk is full", "free some")) == "it broke"
