"""Asks Docker about all containers: one that it cannot describe holds up none of the others. Never changes anything.

Docker lists a container without touching it, and may fail or wait for ever when it is asked about that one: its storage
is gone, or its start waits for a file server that is away.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing

from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.core.visible import visible
from ds01.runtime.containers.container import Container, ContainerSummary, Undescribed
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.containers.question import Question

# Docker answers for one container within milliseconds; for one that hangs, never.
ANSWER_SECONDS: Final = 5.0
# Of the time for all of them, what one that hangs may take at most.
_SHARE: Final = 1 / 4
# So many hang as long as one.
_AT_ONCE: Final = 16
# So many can have trouble of their own beside few others; somebody who tries again and again makes several.
_FEW: Final = 8
_LOOK: Final = "try again; journalctl -u docker says more"


def inspect_all(engine: Engine) -> Iterator[Container | Undescribed]:
    """Yield every container, in whatever state; one that is removed meanwhile is left out.

    Raises:
        EngineError: as describe(), or there is no list.
    """
    yield from describe(engine, engine.containers())


def describe(engine: Engine, listed: Sequence[ContainerSummary]) -> Iterator[Container | Undescribed]:
    """Yield what the engine says of containers; what it cannot describe as such.

    Raises:
        EngineError: the engine itself is in trouble: it does not take questions, all of them together take longer than
            one question may, it describes nothing, or little of much. Whatever was yielded by then is true.
    """
    looks = _Looks(engine, deque(listed))
    number, failed, trouble = 0, 0, None
    with closing(looks):
        for number, (summary, question) in enumerate(looks, start=1):  # noqa: B007 - how many there were
            try:
                found = question.answer()
            except EngineError as error:
                failed, trouble = failed + 1, error
                yield Undescribed(summary, visible(_words(error)))
            else:
                if found is not None:
                    yield found
    if trouble is None:
        return
    if failed > 1 and (failed == number or (failed > _FEW and failed > number / 2)):
        brief = f"the Docker engine at {engine.path} could not describe {failed} of {number} containers"
        raise EngineError(brief, _words(trouble), _LOOK) from trouble
    # One that goes down answers nothing from some container on, and is not asked about any other.
    Engine(engine.path, timeout_seconds=_limit(engine)).ping()


@dataclass(slots=True)
class _Looks:
    """Questions that were asked, each in its turn; some more wait already.

    Attributes:
        rest: of what was not asked about yet.
    """

    engine: Engine
    rest: deque[ContainerSummary]
    _asked: deque[tuple[ContainerSummary, Question]] = field(default_factory=deque)

    def __iter__(self) -> Iterator[tuple[ContainerSummary, Question]]:
        total, told = len(self.rest), 0
        whole, limit = self.engine.timeout_seconds, _limit(self.engine)
        deadline = time.monotonic() + whole
        while self.rest or self._asked:
            if time.monotonic() > deadline:
                brief = f"the Docker engine at {self.engine.path} is too slow to be asked"
                raise EngineError(brief, f"it told of {told} of {total} containers within {whole:g} s", _LOOK)
            while self.rest and len(self._asked) < _AT_ONCE:
                summary = self.rest.popleft()
                self._asked.append((summary, self.engine.ask_about(summary.id, seconds=limit)))
            yield self._asked[0]
            self._asked.popleft()[1].close()
            told += 1

    def close(self) -> None:
        """End what was not answered."""
        for _, question in self._asked:
            question.close()


def _limit(engine: Engine) -> float:
    return min(ANSWER_SECONDS, engine.timeout_seconds * _SHARE)


def _words(error: EngineError) -> str:
    return f"{error.brief}: {error.details}" if error.details else error.brief
