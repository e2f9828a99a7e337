"""NVML kept started between looks, for whoever looks again and again: on some machines it takes seconds to start.

Never kept longer than it is needed, since the driver can be neither exchanged nor reset meanwhile. What a look finds
wrong, or finds mended, is only believed of NVML that was started anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ds01.core.value import dataclass
from ds01.runtime.gpu import nvml
from ds01.runtime.gpu.hardware import DevicesError
from ds01.runtime.gpu.sighting import Sighting


@dataclass(slots=True)
class Session:
    """Looks through NVML; inside keep() it stays started from the first look on.

    Attributes:
        _nvml: started, as long as it is kept.
        _began: what driver.fingerprint() said then, and what was wrong.
    """

    _keeps: bool = False
    _nvml: ModuleType | None = None
    _began: tuple[str | None, object] = (None, None)

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Keep it started; it is ended however the block ends."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            self._end()

    def look(self, sign: str | None, *, who: bool) -> Sighting:
        """As nvml.look().

        Args:
            sign: what driver.fingerprint() says now; with another one than at the start NVML is started anew.

        Raises:
            DevicesError: as nvml.look().
        """
        if not self._keeps:
            return nvml.look(who=who)
        return self._again(sign, who=who) or self._anew(sign, who=who)

    def _again(self, sign: str | None, *, who: bool) -> Sighting | None:
        """Return what is seen through what is started already, None when that is not to be relied on."""
        if self._nvml is None:
            return None
        try:
            seen = nvml.look_through(self._nvml, who=who)
        except DevicesError:
            return None
        return seen if (sign, _trouble(seen)) == self._began else None

    def _anew(self, sign: str | None, *, who: bool) -> Sighting:
        self._end()
        started = nvml.start()
        try:
            seen = nvml.look_through(started, who=who)
        except BaseException:
            nvml.end(started)
            raise
        self._nvml, self._began = started, (sign, _trouble(seen))
        return seen

    def _end(self) -> None:
        if self._nvml is not None:
            nvml.end(self._nvml)
            self._nvml = None


def _trouble(seen: Sighting) -> object:
    return seen.lost, {gpu.uuid: gpu.problem for gpu in seen.gpus if gpu.problem is not None}
