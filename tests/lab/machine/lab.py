"""What a test session has of the lab: machines of either suite, built when the first one is asked for."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from tests.lab.machine import processes
from tests.lab.machine.build import ensure_built
from tests.lab.machine.machine import Machine
from tests.lab.machine.settings import Bootable, Cache, Folder, Hardware, Suite

from ds01.core.errors import Ds01Error

_PREFIX: Final = "t"
_STALE_SECONDS: Final = 3600


class Lab:
    """Machines for one test process, which go with it.

    Attributes:
        failure: why nothing can be built; then it is not tried again.
    """

    def __init__(self, cache: Cache, aloud: Callable[[], AbstractContextManager[object]]) -> None:
        """Args: aloud: what makes stderr reach the terminal while something is built."""
        self.failure: Ds01Error | None = None
        self._cache = cache
        self._aloud = aloud
        self._built: dict[Suite, Bootable] = {}
        self._sweep()

    def machine(self, label: str, suite: Suite = Suite.BOOKWORM, hardware: Hardware = Hardware()) -> Machine:  # noqa: B008 - frozen
        """Return a machine, not yet up; its label is for this process alone, so that others can test beside it.

        Raises:
            Ds01Error: it cannot be built.
        """
        return Machine(f"{_PREFIX}{os.getpid()}-{label}", self.bootable(suite), hardware, cache=self._cache)

    def bootable(self, suite: Suite) -> Bootable:
        """Return what a machine of that suite starts from.

        Raises:
            Ds01Error: it cannot be built.
        """
        if self.failure is not None:
            raise self.failure
        if suite not in self._built:
            try:
                with self._aloud():
                    self._built[suite] = ensure_built(suite, self._cache)
            except Ds01Error as error:
                self.failure = error
                raise
        return self._built[suite]

    def _sweep(self) -> None:
        """Remove the folders of test machines whose process was killed; the machines went with it."""
        for folder in map(Folder, self._cache.machines.glob(f"{_PREFIX}[0-9]*-*")):
            old = time.time() - folder.path.stat().st_mtime > _STALE_SECONDS
            if old and not processes.is_alive(folder):
                shutil.rmtree(folder.path, ignore_errors=True)
