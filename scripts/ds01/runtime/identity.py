"""Processes as values that cannot be taken for one another. Pure; machine.py looks at the machine."""

from __future__ import annotations

from ds01.core.value import dataclass


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """A process as nobody else can be it, also when its number is given again; the same before and after exec.

    Attributes:
        started: clock ticks since boot. Source: proc_pid_stat(5), field 22.
        boot: which boot that was. Source: random(4), boot_id.
    """

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the kernel says, or sudo where it ran the program."""

    uid: int
    name: str
    is_admin: bool
