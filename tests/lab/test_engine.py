"""What needs a Docker engine and no more, on the engine of either suite: the tests marked docker, run in the guest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.lab.machine.prepared import PLACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

_PATIENCE_SECONDS = 780
# Hundreds of containers, ten minutes of the lab's: test_wrapper.py shows the wrapper on a deployed machine, and
# test_events_power_cut.py and test_services.py the events daemon and what administrators do.
_LEFT_OUT = tuple(f"--ignore-glob=*/test_{name}.py" for name in ("wrapper_*", "eventsd", "admin_tools"))


def test_every_test_that_needs_an_engine_passes_on_it(prepared: Machine, evidence: Callable[[str], None]) -> None:
    words = f"{PLACE}/.venv/bin/python -m pytest -q -m docker -p no:cacheprovider tests/integration tests/unit"
    done = prepared.run(["env", "-C", PLACE, *words.split(), *_LEFT_OUT], timeout_seconds=_PATIENCE_SECONDS)
    evidence(f"Docker {prepared.script('docker version --format {{.Server.Version}}')}{done.stdout}")
    assert done.code == 0, done.stdout + done.stderr
    assert re.search(r"^[1-9]\d* passed[ ,]", done.stdout, re.MULTILINE)
    assert "skipped" not in done.stdout
