"""A process is never taken for another one that was given its number."""

from __future__ import annotations

import pytest

from ds01.runtime.identity import ProcessRef

SHELL = ProcessRef(4711, 123_456, "boot-1")


def test_the_same_process_is_the_same_value() -> None:
    assert {SHELL, ProcessRef(4711, 123_456, "boot-1")} == {SHELL}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(ProcessRef(4712, 123_456, "boot-1"), id="another number"),
        pytest.param(ProcessRef(4711, 123_457, "boot-1"), id="the number given again"),
        pytest.param(ProcessRef(4711, 123_456, "boot-2"), id="the same number and tick after another boot"),
    ],
)
def test_whatever_differs_makes_another_process(other: ProcessRef) -> None:
    assert other != SHELL


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="pid"):
        SHELL.pid = 1  # type: ignore[misc]  # what is tried here
