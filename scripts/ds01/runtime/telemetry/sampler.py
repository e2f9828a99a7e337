"""Reads the CPU counters of all accounts again and again, and keeps their rates in /run/ds01/rates.json.

Goes on whatever happens to a slice, a clock or the disk: a file that is not written grows old, and its readers see it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from ds01.core.jsonstate import write_json
from ds01.core.names import cgroup_path
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.cgroup.tree import CannotTell, Cause, Reading, is_folder, read_entry
from ds01.runtime.cgroup.usage import container_groups, user_slices
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.rates import Rates, Sample, rates, recent, to_document

logger = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 15.0


@dataclass(slots=True)
class Sampler:
    """The samples of the last minute, and the trouble that was said already.

    Attributes:
        now: the wall clock, for those who read the file.
        seconds: a clock that nobody can set, for the rates.
    """

    paths: HostPaths
    now: Callable[[], datetime] = field(default_factory=lambda: Machine().now)
    seconds: Callable[[], float] = time.monotonic
    samples: tuple[Sample, ...] = ()
    trouble: str | None = None

    def look(self) -> None:
        """Take one sample and write the rates; what is in the way is logged once."""
        taken = take(self.paths.cgroup, self.seconds())
        if isinstance(taken, CannotTell):
            self._tell(taken.words)
            return
        self.samples = recent(self.samples, taken)
        found = rates(self.samples)
        split = Rates(
            slices={name: rate for name, rate in found.items() if name.endswith(".slice")},
            containers={name: rate for name, rate in found.items() if not name.endswith(".slice")},
        )
        try:
            write_json(self.paths.rates, to_document(split, self.now()), mode=0o644)
        except OSError as error:
            self._tell(f"{self.paths.rates}: {error.strerror or error}")
        else:
            self._tell(None)

    def run(
        self,
        interval_seconds: float,
        sleep: Callable[[float], object] = time.sleep,
        besides: Callable[[], None] = lambda: None,
    ) -> None:
        """Look again and again, with pauses.

        Args:
            sleep: returns true when it is time to end.
            besides: done after each look.
        """
        while True:
            self.look()
            besides()
            if sleep(interval_seconds):
                return

    def _tell(self, trouble: str | None) -> None:
        if trouble == self.trouble:
            return
        if trouble is not None:
            logger.warning("no CPU rates: %s; trying again", trouble)
        else:
            logger.warning("CPU rates are written again")
        self.trouble = trouble


def take(cgroup_root: Path, seconds: float) -> Sample | CannotTell:
    """Read the counters of every account's slices and their containers; without `ds01.slice` there are none."""
    slices = user_slices(cgroup_root)
    if isinstance(slices, CannotTell) and slices.cause is Cause.NO_ROOT_SLICE:
        return Sample(seconds, {})
    if isinstance(slices, CannotTell):
        return slices
    usec: dict[str, int | None] = {}
    for name in slices:
        path = cgroup_root / cgroup_path(name)
        for key, folder in ((name, path), *_containers(path)):
            reading = read_entry(folder / "cpu.stat", "usage_usec")
            # One that vanished while it was read is no group any more.
            if not isinstance(reading, CannotTell) or is_folder(folder):
                usec[key] = _known(reading)
    return Sample(seconds, usec)


def _containers(path: Path) -> Iterator[tuple[str, Path]]:
    return (each for each in container_groups(path) if not isinstance(each, CannotTell))


def _known(reading: Reading) -> int | None:
    return None if isinstance(reading, CannotTell) else reading
