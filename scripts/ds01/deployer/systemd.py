"""Ask the running systemd what it holds. Only reads; reloading is a handler's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ds01.core.override import override
from ds01.core.paths import HostPaths
from ds01.core.process import Run
from ds01.core.value import replace
from ds01.deployer.directives import SHOWN, differences, expected_properties, is_prefix, is_slice, unit_of

# Arguments of one call; far below the kernel's limit of 128 KiB an argument list is sure to have.
_BATCH: Final = 400
_AT_WORK: Final = frozenset({"active", "activating", "deactivating", "reloading", "refreshing"})


@dataclass(frozen=True, slots=True)
class Deviation:
    """A unit for which systemd holds another value than its file says."""

    unit: str
    property: str
    wanted: str
    actual: str

    @override
    def __str__(self) -> str:
        return f"{self.unit}: {self.property} is {self.actual}, the policy says {self.wanted}"


@dataclass(frozen=True, slots=True)
class LiveUnits:
    """What systemd said.

    Attributes:
        asked: how many units were looked at.
        stale: units whose files changed since systemd read them.
        error: why nothing could be asked, or None.
    """

    asked: int = 0
    deviations: tuple[Deviation, ...] = ()
    stale: tuple[str, ...] = ()
    error: str | None = None

    @property
    def harmless(self) -> tuple[str, ...]:
        """The stale units for which systemd holds the values of the changed files all the same."""
        deviating = {each.unit for each in self.deviations}
        return tuple(unit for unit in self.stale if unit not in deviating)

    def only(self, units: Collection[str]) -> LiveUnits:
        """Return what was said of some units alone."""
        deviations = tuple(each for each in self.deviations if each.unit in units)
        stale = tuple(unit for unit in self.stale if unit in units)
        return replace(self, asked=min(self.asked, len(units)), deviations=deviations, stale=stale)


def is_running(paths: HostPaths) -> bool:
    """Whether this is the running machine and systemd is its init.

    Source: sd_booted(3).
    """
    return paths.is_live and paths.at("/run/systemd/system").is_dir()


def active_units(units: Sequence[str], run: Run) -> frozenset[str] | None:
    """Return which of these units run, or None when systemd gives no answer.

    Source: systemctl(1), is-active: one state a line, in the order asked; the exit code says nothing about each.
    """
    if not units:
        return frozenset()
    states = run(["systemctl", "is-active", "--", *units]).stdout.split()
    if len(states) != len(units):
        return None
    return frozenset(unit for unit, state in zip(units, states, strict=True) if state in _AT_WORK)


def compare_live(files: Iterable[tuple[PurePosixPath, str]], run: Run) -> LiveUnits:
    """Hold unit files against the values systemd has in effect.

    Args:
        files: path and text; those that are no slices, and drop-ins for many units at once, are passed over.
    """
    expected: dict[str, dict[str, int | None]] = {}
    for path, text in files:
        unit = unit_of(path)
        if unit is not None and is_slice(path) and not is_prefix(path):
            expected.setdefault(unit, {}).update(expected_properties(text))
    units = sorted(expected)
    deviations: list[Deviation] = []
    stale: list[str] = []
    for start in range(0, len(units), _BATCH):
        batch = units[start : start + _BATCH]
        done = run(["systemctl", "show", f"--property=Id,NeedDaemonReload,{','.join(SHOWN)}", "--", *batch])
        if not done.ok:
            return LiveUnits(len(units), error=done.words)
        for shown in _blocks(done.stdout):
            unit = shown.get("Id", "")
            found = differences(expected.get(unit, {}), shown)
            deviations += [Deviation(unit, name, wanted, actual) for name, wanted, actual in found]
            if shown.get("NeedDaemonReload") == "yes":
                stale.append(unit)
    return LiveUnits(len(units), tuple(deviations), tuple(stale))


def _blocks(output: str) -> list[Mapping[str, str]]:
    """`systemctl show` prints NAME=VALUE lines, a blank line between units."""
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in output.split("\n\n")
        if block.strip()
    ]
