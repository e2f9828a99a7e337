"""A command that has given its answer hears no signal until its process ends; these tests go on in the same process."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from ds01.runtime.signals import ENDS


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in ENDS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)
