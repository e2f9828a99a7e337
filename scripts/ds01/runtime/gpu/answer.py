"""What a request for GPUs is answered: a grant, or a refusal that says why and who holds what. Pure values."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from ds01.core.value import dataclass
from ds01.runtime.gpu.hardware import Unit
from ds01.runtime.gpu.ledger import Allocation


class Reason(Enum):
    """Why a request is refused. For what is worth waiting for see Refusal.waitable."""

    TAKEN = "taken"  # somebody's container holds what was asked for
    IN_LINE = "in_line"  # free, but somebody who waits comes first
    BUSY_OUTSIDE = "busy_outside"  # a process computes on it that was not given it
    BROKEN = "broken"  # the hardware has a problem
    QUOTA = "quota"  # the account has as much as it may
    TOO_MANY = "too_many"  # more than one container may have
    NOT_ALLOWED = "not_allowed"  # the account may not have that kind
    NO_SUCH_GPU = "no_such_gpu"  # this machine does not have it, or not so many
    NAME_TAKEN = "name_taken"  # the container's name is somebody else's
    DIFFERENT = "different"  # the container already holds other units


@dataclass(frozen=True, slots=True)
class Holding:
    """A unit and who has it.

    Attributes:
        container: its name, as `ds01 gpu status` shows it; None for a process outside any container.
        user: None when nobody knows.
        stopped_at: since when it is only held for a stopped container.
        process: what uses it without having been given it, in words.
        command: the program that computes on it in that container, as far as is known.
        command_since: when that was started.
    """

    slot: str
    user: str | None
    container: str | None
    since: datetime | None = None
    stopped_at: datetime | None = None
    process: str | None = None
    command: str | None = None
    command_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """The request is met.

    Attributes:
        allocation: to be written down before anybody is told.
        units: what it consists of, as the hardware is now.
        notes: what its user should know, such as that CUDA uses only one of several MIG instances.
        fresh: False when the container held them already.
    """

    allocation: Allocation
    units: tuple[Unit, ...]
    notes: tuple[str, ...] = ()
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request is not met now.

    Attributes:
        text: what is in the way, one line.
        fix: what the user can do; None where that is another thing for each way to ask, and only the one who asks
            knows the words: to wait (TAKEN, IN_LINE, BUSY_OUTSIDE), to give back what there is (DIFFERENT).
        holdings: who holds what was asked for, or what counts in the quota that is used up.
        waitable: whether time alone may change the answer.
    """

    reason: Reason
    text: str
    fix: str | None
    holdings: tuple[Holding, ...] = ()
    waitable: bool = False
