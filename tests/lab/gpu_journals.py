"""What the journals of gpu_load.py say, over many boots: a record of who has which GPU that owes nothing to DS01."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# The request is over, and nothing is held.
_ENDS: Final = frozenset({"refused", "released"})


@dataclass(slots=True)
class Story:
    """What became of one request that is not over.

    Attributes:
        uuids: what was given; empty as long as nobody was told.
        step: the last one that is on the disk.
    """

    container: str
    uuids: tuple[str, ...] = ()
    step: str = "asking"

    @property
    def is_certain(self) -> bool:
        """Whether it has what it was given; while somebody asks or gives back, the power may go before or after."""
        return self.step not in {"asking", "releasing"}


@dataclass(slots=True)
class Journals:
    """All of them, boot by boot.

    Attributes:
        stories: by the allocation's id.
        granted: ids of all that ever was.
        steps: how many of each kind there were.
    """

    stories: dict[str, Story] = field(default_factory=dict)
    granted: set[str] = field(default_factory=set)
    steps: Counter[str] = field(default_factory=Counter)
    _ids: dict[str, str] = field(default_factory=dict)

    def read(self, text: str) -> int:
        """Take in what was written in one boot; returns how many steps that is.

        At no moment may a unit have been in two hands: from when somebody was told that they have it until they were
        about to give it back.
        """
        steps = sorted(_lines(text), key=lambda step: float(step["at"]))
        for step in steps:
            assert step["step"] != "wrong", step["words"]
            self.steps[step["step"]] += 1
            self._take(step)
        return len(steps)

    def only(self, allocations: Container[str]) -> None:
        """Forget whatever has been freed because no container came of it."""
        self.stories = {each: story for each, story in self.stories.items() if each in allocations}

    def _take(self, step: Mapping[str, Any]) -> None:
        name, container = step["step"], step["container"]
        if name == "asking":
            self._ids[container] = step["allocation"]
            self.stories[step["allocation"]] = Story(container)
            return
        story = self.stories[self._ids[container]]
        story.step = name
        if name == "granted":
            story.uuids = tuple(step["uuids"])
            self.granted.add(self._ids[container])
            others = (each for each in self.stories.values() if each is not story and each.is_certain)
            twice = [each for each in others if set(each.uuids) & set(story.uuids)]
            assert not twice, f"given twice: {step}, {twice}"
        elif name == "cleared":
            assert tuple(step["uuids"] or ()) == story.uuids, f"had {story.uuids}, was given again {step['uuids']}"
        elif name in _ENDS:
            del self.stories[self._ids[container]]


def _lines(text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the steps; one that the power cut was not yet taken."""
    for line in text.splitlines():
        try:
            step = json.loads(line)
        except ValueError:
            continue
        yield step
