"""An account's GPUs out of the state file's text."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.runtime.overview.hosts import NOW, POLICY, allocation

from ds01.core.limits import resolve
from ds01.core.policy import read_policy
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.record import format_ledger
from ds01.runtime.overview.figures import GpuState, Unknown
from ds01.runtime.overview.holdings import holdings_of

SITE = read_policy(POLICY)
PATH = Path("/var/lib/ds01/gpu-state.json")


def test_only_the_accounts_own_are_returned() -> None:
    held = (allocation("a", "0"), allocation("b", "1", user="alice2"), allocation("c", "2", user=None))
    content = format_ledger(Ledger({each.container: each for each in held}), NOW)
    found = holdings_of(PATH, content, SITE, resolve(SITE, "alice"))
    assert isinstance(found, tuple)
    assert [(each.container, each.slots, each.state) for each in found] == [("a", ("0",), GpuState.RUNNING)]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 1, "allocations": {}'])
def test_a_file_that_cannot_be_believed_is_a_reason(content: bytes) -> None:
    found = holdings_of(PATH, content, SITE, resolve(SITE, "alice"))
    assert isinstance(found, Unknown)
    assert found.reason.startswith(f"{PATH} cannot be believed: ")
