"""NVML's errors: each has a cause and a fix, also one that nobody listed."""

from __future__ import annotations

import pynvml
import pytest

from ds01.runtime.gpu.causes import CAUSES, UNLISTED, explain, in_words

NAMES = [name for name in vars(pynvml) if name.startswith("NVML_ERROR_")]


def test_only_errors_that_nvml_has_are_listed() -> None:
    assert sorted(set(CAUSES) - set(NAMES)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_error_has_a_cause_and_a_fix_in_one_line(name: str) -> None:
    cause = explain(name)
    assert in_words(name) == f"{name}: {cause.cause}; {cause.fix}"
    assert in_words(name).isprintable()


def test_the_errors_that_admins_meet_have_causes_of_their_own() -> None:
    met = ("DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH", "GPU_IS_LOST", "NO_PERMISSION", "LIBRARY_NOT_FOUND")
    found = {explain(f"NVML_ERROR_{name}") for name in (*met, "RESET_REQUIRED", "IN_USE", "TIMEOUT", "UNKNOWN")}
    assert len(found) == len(met) + 4
    assert UNLISTED not in found
    assert explain("NVML error 4711") == UNLISTED
