"""At run time the names of typed.py mean nothing and cost nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ds01.core import typed

SCRIPTS = Path(__file__).parents[3] / "scripts"


def test_a_new_type_is_the_type_it_is_made_of():
    assert typed.NewType("Name", str)("alice") == "alice"
    assert typed.cast("int", "text") == "text"


def test_what_was_never_expected_is_an_error():
    with pytest.raises(AssertionError, match="'another' was not expected"):
        typed.assert_never("another")


@pytest.mark.parametrize("module", ["ds01.core.limits", "ds01.runtime.gpu.operations"])
def test_typing_is_not_imported(module: str):
    program = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import {module}; print('typing' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
