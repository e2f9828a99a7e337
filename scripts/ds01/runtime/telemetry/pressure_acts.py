"""Does what was decided about a slice: events, words to its owner, and memory_high lifted and put back.

Decides nothing itself; a limit that cannot be written is told of, and tried again with the next look.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ds01.core.limits import ResolvedLimits
from ds01.core.names import SliceName
from ds01.core.typed import Final, assert_never
from ds01.core.value import dataclass
from ds01.runtime.cgroup.tree import CannotTell, Cause
from ds01.runtime.telemetry.memory_high import write_high
from ds01.runtime.telemetry.oom import Kills
from ds01.runtime.telemetry.pressure import (
    Change,
    Figures,
    High,
    Over,
    PressureRules,
    Release,
    Restore,
    Stalled,
    Watch,
    What,
    Why,
    released,
    restored,
)
from ds01.runtime.telemetry.pressure_words import (
    memory_details,
    oom_details,
    oom_text,
    stall_details,
    stall_text,
    wait_details,
)
from ds01.runtime.telemetry.tell import Teller
from ds01.runtime.telemetry.victims import Containers

# The kernel keeps memory limits in whole pages; those of some machines are this large.
_PAGE_BYTES: Final = 64 * 1024
# When a deploy let the service write control groups, and systemd has not read its unit since.
_RELOAD: Final = "systemctl daemon-reload once no GPU container runs, then systemctl restart ds01-sampler"


@dataclass(frozen=True, slots=True)
class Subject:
    """A slice that something is done about.

    Attributes:
        account: None when nobody knows whose it is.
        limits: of the account, when the slice is its present one.
    """

    name: SliceName
    account: str | None
    limits: ResolvedLimits | None
    figures: Figures
    now: datetime

    @property
    def key(self) -> str:
        """What notices of its pressure are about."""
        return f"pressure.{self.name}"

    def high_bytes(self, was_bytes: int) -> int | None:
        """Return the memory_high that it should have: the policy's, else the one it had before; None is none."""
        return was_bytes if self.limits is None else self.limits.whole("aggregate.memory_high")

    def left_lifted(self) -> int | None:
        """Return the memory_high that is missing, where the kernel has the account's memory_max without it."""
        if self.limits is None or self.figures.high_bytes is not None:
            return None
        wanted, most = self.limits.whole("aggregate.memory_max"), self.figures.max_bytes
        is_ours = isinstance(most, int) and wanted is not None and abs(wanted - most) < _PAGE_BYTES
        return self.limits.whole("aggregate.memory_high") if is_ours else None


@dataclass(frozen=True, slots=True)
class _Log:
    """Events about one slice."""

    teller: Teller
    subject: Subject

    def note(self, event_type: str, details: dict[str, object]) -> None:
        self.teller.note(event_type, self.subject.account, self.subject.now, {"slice": self.subject.name, **details})


@dataclass(frozen=True, slots=True)
class Acts:
    """Who does it."""

    cgroup_root: Path
    teller: Teller
    containers: Containers

    def tell_kills(self, subject: Subject, kills: Kills, since: datetime) -> None:
        """Tell of processes that were ended for want of memory.

        Args:
            since: of the last look.
        """
        victims = self.containers.victims(kills, subject.name, since)
        names, figures, whose = self.containers.names, subject.figures, kills.rest_whose
        self._log(subject).note("pressure.oom", oom_details(kills.count, victims, whose, names, figures))
        for each in victims or (None,):
            key = f"oom.{subject.name if each is None else each.id}"
            self.teller.notice(subject.account, key, oom_text(each, whose, names, figures, subject.now))

    def apply(self, subject: Subject, watch: Watch, changes: Sequence[Change], rules: PressureRules) -> Watch:
        """Do what follows from a look; returns what is to be remembered."""
        lifts = any(isinstance(each, Release) for each in changes)
        for change in changes:
            match change:
                case High():
                    self._log(subject).note("pressure.high", wait_details(change, subject.figures))
                case Over():
                    self._over(subject, change)
                case Stalled():
                    self._log(subject).note("pressure.stalled", stall_details(change, rules, subject.figures))
                    if not lifts:
                        self._tell_stalled(subject, lifted=False)
                case Release():
                    tells = any(isinstance(each, Stalled) for each in changes)
                    watch = self._release(subject, watch, change.was_bytes, tells=tells)
                case Restore():
                    watch = self.restore(subject, watch, change.was_bytes, change.why)
                case _:
                    assert_never(change)
        return watch

    def restore(self, subject: Subject, watch: Watch, was_bytes: int, why: Why) -> Watch:
        """Put memory_high back, or say that somebody else did."""
        high = subject.high_bytes(was_bytes)
        if why not in {Why.ELSEWHERE, Why.GONE} and not self._write(subject, high):
            return watch
        details = {"reason": why.value, "to_bytes": high, **memory_details(subject.figures)}
        self._log(subject).note("pressure.restored", details)
        self.teller.clear(subject.account, subject.key)
        return restored(watch)

    def _release(self, subject: Subject, watch: Watch, was_bytes: int, *, tells: bool) -> Watch:
        """Lift memory_high, and tell the account what comes of it.

        Args:
            tells: whether it is told even where that is not possible; else it was told before.
        """
        done = self._write(subject, None)
        if done or tells:
            self._tell_stalled(subject, lifted=done)
        if not done:
            return watch
        self._log(subject).note("pressure.released", {"from_bytes": was_bytes, **memory_details(subject.figures)})
        return released(watch, was_bytes)

    def _over(self, subject: Subject, over: Over) -> None:
        details = {"what": over.what.value, **wait_details(over, subject.figures)}
        self._log(subject).note("pressure.over", details)
        if over.what is What.STALLED:
            self.teller.clear(subject.account, subject.key)

    def _tell_stalled(self, subject: Subject, *, lifted: bool) -> None:
        self.teller.notice(subject.account, subject.key, stall_text(subject.figures, lifted=lifted))

    def _log(self, subject: Subject) -> _Log:
        return _Log(self.teller, subject)

    def _write(self, subject: Subject, high_bytes: int | None) -> bool:
        try:
            write_high(self.cgroup_root, subject.name, high_bytes)
        except OSError as error:
            fix = f"; {_RELOAD}" if error.errno == errno.EROFS else ""
            self.teller.trouble.tell(f"memory.high of {subject.name}", f"{error.filename}: {error.strerror}{fix}")
            return False
        self.teller.trouble.tell(f"memory.high of {subject.name}", None)
        return True


def unknown_figures(path: Path) -> Figures:
    """Return the figures of a slice that is gone."""
    gone = CannotTell(Cause.NO_FILE, path, "there is no such group any more")
    return Figures(gone, gone, gone, gone, gone)
