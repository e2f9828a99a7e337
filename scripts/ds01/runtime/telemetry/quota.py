"""When an account is told that it is about to reach a limit: once for each level, again only after it was well below.

Pure: what is used and what was said before in, what is to be said out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from ds01.core.policy import Policy, PolicyError
from ds01.core.typed import Final
from ds01.core.value import dataclass

# So far below a level usage has to fall before the level can be said again.
_BELOW: Final = 0.05


class Quota(Enum):
    """What is watched."""

    MEMORY = "memory"
    TASKS = "tasks"
    GPUS = "gpus"
    CONTAINERS = "containers"


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one thing an account uses.

    Attributes:
        used: None when nobody can tell.
        limit: None is no limit.
    """

    used: int | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class Near:
    """An account is to be told.

    Attributes:
        level: the share that it has reached, such as 0.8.
    """

    quota: Quota
    used: int
    limit: int
    level: float

    @property
    def percent(self) -> int:
        """How much of the limit is used, rounded down."""
        return self.used * 100 // self.limit


@dataclass(frozen=True, slots=True)
class Clear:
    """It is well below every level again."""

    quota: Quota


# The highest level that an account was told of, for each thing; what is not in it was not told.
Said = Mapping[Quota, float]


def read_levels(policy: Policy) -> tuple[float, ...]:
    """Take the levels out of the compiled policy.

    Raises:
        PolicyError: it has none.
    """
    section = policy.document.get("policies")
    found = section.get("quota_warnings") if isinstance(section, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, int | float) and 0 < each < 1 for each in found):
        raise PolicyError(f"the compiled policy says {found!r} for policies.quota_warnings", None, "deploy again")
    return tuple(found)


def step(said: Said, uses: Mapping[Quota, Use], levels: Sequence[float]) -> tuple[Said, tuple[Near | Clear, ...]]:
    """Decide what one look at an account means.

    Where nobody can tell what is used, all stays as it was.
    """
    after: dict[Quota, float] = {}
    changes: list[Near | Clear] = []
    for quota, use in uses.items():
        before = said.get(quota)
        level = before if use.used is None else _level(use.used, use.limit, before, levels)
        if level is not None:
            after[quota] = level
        if level is not None and use.used is not None and use.limit is not None and level > (before or 0):
            changes.append(Near(quota, use.used, use.limit, level))
        if level is None and before is not None:
            changes.append(Clear(quota))
    return after, tuple(changes)


def _level(used: int, limit: int | None, before: float | None, levels: Sequence[float]) -> float | None:
    """Return the level that holds now: the highest that is reached, or one said before that is not far above."""
    if limit is None or limit <= 0:
        return None
    share = used / limit
    holds = [each for each in levels if share >= each or (each <= (before or 0) and share >= each - _BELOW)]
    return max(holds, default=None)
