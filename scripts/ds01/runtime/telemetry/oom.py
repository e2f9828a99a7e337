"""Which containers lost processes for want of memory, and at whose limit. Pure: counters of two looks in, kills out.

Names a container only where the kernel or Docker points at it; what cannot be told stays open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum

from ds01.core.typed import Final
from ds01.core.value import dataclass

# What Docker says of a container whose first process was killed: 128 and SIGKILL.
_KILLED: Final = 137


class Whose(Enum):
    """The limit at which memory ended."""

    CONTAINER = "container"
    ACCOUNT = "account"
    ABOVE = "above"  # of all accounts together, or the machine's memory
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel has counted for one group; None is what it does not tell.

    Attributes:
        group: tells the group from an earlier one of the same name.
        oom_kill: processes in it and below that were ended.
        oom: how often memory ended at its limit, or at one below.
        own_oom: the same at its own limit alone.
    """

    group: int | None
    oom_kill: int | None
    oom: int | None
    own_oom: int | None

    def since(self, before: Counters | None) -> Counters:
        """Return by how much each grew; those of a group that was made since then began at 0."""
        if before is None or before.group != self.group:
            return self
        return Counters(
            self.group,
            _growth(before.oom_kill, self.oom_kill),
            _growth(before.oom, self.oom),
            _growth(before.own_oom, self.own_oom),
        )


@dataclass(frozen=True, slots=True)
class ContainerCounters:
    """A container's, with its own limit; None is none, or not known."""

    counters: Counters
    memory_max_bytes: int | None


@dataclass(frozen=True, slots=True)
class SliceCounters:
    """An account's slice, and the containers in it by their ids; None when they cannot be listed."""

    counters: Counters
    containers: Mapping[str, ContainerCounters] | None


@dataclass(frozen=True, slots=True)
class Victim:
    """A container that lost processes.

    Attributes:
        ended: whether it ended with that.
        limit_bytes: of a container's own limit; None when another was hit, or it is not known.
        at: when it ended, as far as Docker tells.
    """

    id: str
    ended: bool
    whose: Whose
    limit_bytes: int | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A container that has ended since the last look, as Docker has it.

    Attributes:
        oom_killed: whether Docker noticed why; it misses some.
    """

    id: str
    exit_code: int
    oom_killed: bool
    at: datetime | None
    memory_max_bytes: int | None

    @property
    def was_killed(self) -> bool:
        """Whether a process of it was, as far as Docker tells."""
        return self.oom_killed or self.exit_code == _KILLED


@dataclass(frozen=True, slots=True)
class Kills:
    """What the kernel did in a slice since the last look.

    Attributes:
        count: processes.
        victims: containers that go on without them.
        rest: processes that were in none of those.
        gone: containers that were there at the last look, with their limits.
        rest_whose: at whose limit memory ended for the rest.
    """

    count: int
    victims: tuple[Victim, ...]
    rest: int
    gone: Mapping[str, int | None]
    rest_whose: Whose


def find_kills(before: SliceCounters | None, after: SliceCounters) -> Kills | None:
    """Return what was killed between two looks; None when nothing was, or nobody can tell.

    Args:
        before: None for a slice that was not there.
    """
    grown = after.counters.since(None if before is None else before.counters)
    inside = _inside(before, after)
    here = {id_: each for id_, each in inside.items() if each.oom_kill}
    known = sum(each.oom_kill or 0 for each in here.values())
    count = max(known, grown.oom_kill or 0)
    if count == 0:
        return None
    limits = {id_: each.memory_max_bytes for id_, each in (after.containers or {}).items()}
    earlier = {} if before is None else before.containers or {}
    gone = (
        {}
        if after.containers is None
        else {id_: each.memory_max_bytes for id_, each in earlier.items() if id_ not in after.containers}
    )
    return Kills(
        count,
        tuple(_victim(id_, each, grown, limits[id_]) for id_, each in here.items()),
        count - known,
        gone,
        _whose_of_rest(grown, tuple(each.oom for each in inside.values())),
    )


def _inside(before: SliceCounters | None, after: SliceCounters) -> Mapping[str, Counters]:
    """Return by how much the counters of each container grew that is there."""
    if after.containers is None or (before is not None and before.containers is None):
        # Nobody knows where those of the containers stood.
        return {}
    earlier = {} if before is None else before.containers or {}
    return {
        id_: each.counters.since(earlier[id_].counters if id_ in earlier else None)
        for id_, each in after.containers.items()
    }


def name_rest(kills: Kills, ended: Sequence[Ended], removed: Sequence[str]) -> tuple[Victim, ...]:
    """Return the containers that ended with the rest; none when nothing points at one.

    Those come first of which Docker knows it, then those whose first process was killed. Without any, the one that
    Docker does not have any more, or else the one that failed, but never one of several.

    Args:
        ended: those of this slice that have ended since the last look.
        removed: of those gone, those of which Docker tells nothing.
    """
    if kills.rest == 0:
        return ()
    killed = [each for each in ended if each.oom_killed] or [each for each in ended if each.was_killed]
    failed = [each for each in ended if each.exit_code != 0]
    if not killed and len(removed) == 1:
        return (_gone(removed[0], kills, kills.gone.get(removed[0]), None),)
    chosen = killed or (failed if len(failed) == 1 else [])
    return tuple(_gone(each.id, kills, each.memory_max_bytes, each.at) for each in chosen)


def _gone(id_: str, kills: Kills, limit_bytes: int | None, at: datetime | None) -> Victim:
    own = kills.rest_whose is Whose.CONTAINER
    return Victim(id_, ended=True, whose=kills.rest_whose, limit_bytes=limit_bytes if own else None, at=at)


def _victim(id_: str, grown: Counters, of_slice: Counters, limit_bytes: int | None) -> Victim:
    if grown.oom is None:
        return Victim(id_, ended=False, whose=Whose.UNKNOWN)
    if grown.oom > 0:
        return Victim(id_, ended=False, whose=Whose.CONTAINER, limit_bytes=limit_bytes)
    return Victim(id_, ended=False, whose=_account_or_above(of_slice))


def _whose_of_rest(grown: Counters, inside: Sequence[int | None]) -> Whose:
    known = [each for each in inside if each is not None]
    if grown.oom is None or grown.own_oom is None or len(known) < len(inside):
        return Whose.UNKNOWN
    return Whose.CONTAINER if grown.oom - grown.own_oom - sum(known) > 0 else _account_or_above(grown)


def _account_or_above(of_slice: Counters) -> Whose:
    if of_slice.own_oom is None:
        return Whose.UNKNOWN
    return Whose.ACCOUNT if of_slice.own_oom > 0 else Whose.ABOVE


def _growth(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)
