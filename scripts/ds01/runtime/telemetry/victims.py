"""Asks Docker which containers lost processes for want of memory, and what they are called.

Without an answer containers are named by their ids, and none is blamed that nothing points at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

from ds01.core.errors import Ds01Error
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.runtime.containers.container import Container, Undescribed
from ds01.runtime.containers.describe import inspect_all
from ds01.runtime.containers.engine import Engine
from ds01.runtime.telemetry.oom import Ended, Kills, Victim, name_rest

# Docker has its own answer ready; nobody waits for it longer between two looks.
ENGINE_SECONDS: Final = 5.0


@dataclass(slots=True)
class Containers:
    """What Docker says of containers, and the names of those that it may not know any more.

    Attributes:
        engine: opens Docker's socket, which moves when a gateway comes.
    """

    engine: Callable[[], Engine]
    names: dict[str, str] = field(default_factory=dict)

    def learn(self, ids: Iterable[str]) -> None:
        """Remember what containers are called; asks only when there is one with no name."""
        there = set(ids)
        self.names = {id_: name for id_, name in self.names.items() if id_ in there}
        if there - self.names.keys():
            self._ask()

    def victims(self, kills: Kills, slice_name: str, since: datetime) -> tuple[Victim, ...]:
        """Return which containers lost processes.

        Args:
            since: of the last look, by the wall clock.
        """
        self._ask()
        if kills.rest == 0:
            return kills.victims
        found = {id_: self._inspect(id_) for id_ in kills.gone}
        ended = [each for each in map(_ended, found.values()) if each is not None]
        if not any(each.was_killed for each in ended):
            ended.extend(self._came_and_went(slice_name, since))
        removed = [id_ for id_, container in found.items() if container is None]
        return (*kills.victims, *name_rest(kills, ended, removed))

    def _ask(self) -> None:
        with suppress(Ds01Error):
            self.names |= {each.id: each.name for each in self.engine().containers() if each.name}

    def _inspect(self, id_: str) -> Container | None:
        """Return what Docker knows of a container; None also when Docker does not answer."""
        try:
            return self.engine().inspect(id_)
        except Ds01Error:
            return None

    def _came_and_went(self, slice_name: str, since: datetime) -> tuple[Ended, ...]:
        """Return containers that ended since the last look, and may have begun after it."""
        found: list[Ended] = []
        # What was told before Docker fell silent is true all the same.
        with suppress(Ds01Error):
            for each in inspect_all(self.engine()):
                if isinstance(each, Undescribed):
                    continue
                ended = _ended(each) if each.cgroup_parent == slice_name else None
                if ended is not None and ended.at is not None and ended.at >= since:
                    self.names[each.id] = each.name
                    found.append(ended)
        return tuple(found)


def _ended(container: Container | None) -> Ended | None:
    if container is None or container.is_live:
        return None
    return Ended(container.id, container.exit_code, container.oom_killed, container.finished_at, container.memory_bytes)
