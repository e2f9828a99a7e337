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
from tests.lab.machine.prepared import PreparedMachine, ensure_prepared
from tests.lab.machine.settings import Bootable, Cache, Folder, Hardware, Suite

from ds01.core.errors import Ds01Error

_PREFIX: Final = "t"
_STALE_SECONDS: Final = 3600

_Maker = Callable[[Suite, Cache], Bootable]


class Lab:
    """Machines for one test process, which go with it."""

    def __init__(self, cache: Cache, aloud: Callable[[], AbstractContextManager[object]]) -> None:
        """Args: aloud: what makes stderr reach the terminal while something is built."""
        self._cache = cache
        self._aloud = aloud
        self._failures: dict[_Maker, Ds01Error] = {}
        self._made: dict[tuple[_Maker, Suite], Bootable] = {}
        self._sweep()

    @property
    def failure(self) -> Ds01Error | None:
        """Why something could not be built; it is not tried again."""
        return next(iter(self._failures.values()), None)

    def machine(self, label: str, suite: Suite = Suite.BOOKWORM, hardware: Hardware = Hardware()) -> Machine:  # noqa: B008 - frozen
        """Return a machine, not yet up; its label is for this process alone, so that others can test beside it.

        Raises:
            Ds01Error: it cannot be built.
        """
        return Machine(_name(label), self.bootable(suite), hardware, cache=self._cache)

    def prepared(self, label: str, suite: Suite = Suite.BOOKWORM, hardware: Hardware = Hardware()) -> Machine:  # noqa: B008 - frozen
        """Return a machine with the checkout ready in /srv/ds01, which `./inv plan` there takes for the host lab.

        Raises:
            Ds01Error: it cannot be made.
        """
        self.bootable(suite)  # without a plain one there is none
        bootable = self._make(ensure_prepared, suite)
        return PreparedMachine(_name(label), suite, bootable, hardware, cache=self._cache)

    def bootable(self, suite: Suite) -> Bootable:
        """Return what a machine of that suite starts from.

        Raises:
            Ds01Error: it cannot be built.
        """
        return self._make(ensure_built, suite)

    def _make(self, maker: _Maker, suite: Suite) -> Bootable:
        if maker in self._failures:
            raise self._failures[maker]
        if (maker, suite) not in self._made:
            try:
                with self._aloud():
                    self._made[maker, suite] = maker(suite, self._cache)
            except Ds01Error as error:
                self._failures[maker] = error
                raise
        return self._made[maker, suite]

    def _sweep(self) -> None:
        """Remove the folders of test machines whose process was killed; the machines went with it."""
        for folder in map(Folder, self._cache.machines.glob(f"{_PREFIX}[0-9]*-*")):
            old = time.time() - folder.path.stat().st_mtime > _STALE_SECONDS
            if old and not processes.is_alive(folder):
                shutil.rmtree(folder.path, ignore_errors=True)


def _name(label: str) -> str:
    return f"{_PREFIX}{os.getpid()}-{label}"
