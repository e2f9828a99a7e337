"""Keeps one container from filling the event log with what costs its user nothing, such as signals. Pure."""

from __future__ import annotations

from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.telemetry.happening import Action, Happening

# An engine takes thousands of them a second, from everybody who may speak to it.
_FREE: Final = frozenset({Action.KILL, Action.UPDATE, Action.RENAME, Action.PAUSE, Action.UNPAUSE, Action.OOM})
MOST_A_MINUTE: Final = 60
_MINUTE_NANO: Final = 60 * 10**9


@dataclass(slots=True)
class Flood:
    """What was told of each container in this minute, and what was not."""

    most: int = MOST_A_MINUTE
    _told: dict[str, tuple[int, int]] = field(default_factory=dict)
    _unsaid: dict[str, int] = field(default_factory=dict)

    def lets(self, happening: Happening) -> bool:
        """Whether to tell of it; else it is counted, for the next that is told of the container."""
        if happening.action not in _FREE:
            return True
        minute = happening.time_nano // _MINUTE_NANO
        since, number = self._told.get(happening.id, (minute, 0))
        if since != minute:
            number = 0
        if number >= self.most:
            self._unsaid[happening.id] = self._unsaid.get(happening.id, 0) + 1
            return False
        self._told[happening.id] = (minute, number + 1)
        return True

    def unsaid(self, container_id: str) -> dict[str, object]:
        """Return what the next event of a container says of those before it that were not told, and forget them."""
        number = self._unsaid.pop(container_id, 0)
        return {"unsaid": number} if number else {}

    def forget(self, container_id: str) -> None:
        """Forget a container that is gone."""
        self._told.pop(container_id, None)
        self._unsaid.pop(container_id, None)
