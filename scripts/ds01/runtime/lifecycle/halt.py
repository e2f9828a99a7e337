"""Stops many containers at once and for good, a few at a time, again for what comes up meanwhile, and looks afterwards.

Works past every rule: a container gets no time to end by itself. What it cannot stop is named, never left unsaid.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, suppress

from ds01.core.errors import Ds01Error
from ds01.core.typed import Final, Protocol
from ds01.core.value import dataclass
from ds01.runtime.lifecycle.emergency import Choice, Target

_AT_ONCE: Final = 8
# Who starts containers in a loop is stopped so often; what comes after that is named.
_ROUNDS: Final = 4


class Stopper(Protocol):
    """What stops one container; control.Control is one."""

    def stop(self, container_id: str, *, grace_seconds: float) -> None:
        """Stop it for good: its restart policy does not bring it back."""

    def kill(self, container_id: str) -> None:
        """Send SIGKILL to it."""


@dataclass(frozen=True, slots=True)
class Halted:
    """What became of one container.

    Attributes:
        trouble: why it runs still, or may; None when it is stopped.
    """

    target: Target
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all of them.

    Attributes:
        halted: each container that was meant at any time, once.
        choice: who is meant at the end; None when Docker did not say what runs then.
        unproven: why nobody can say what runs now; None when it was looked at.
    """

    halted: tuple[Halted, ...]
    choice: Choice | None
    unproven: str | None = None


def halt(
    first: Choice, look: Callable[[], Choice], stopper: Stopper, tell: Callable[[Halted, int, int], None]
) -> Outcome:
    """Stop the containers of a choice, and those that are meant as well and started meanwhile.

    Args:
        look: who is meant now.
        tell: hears of each container as soon as it is dealt with: how many were, and of how many.
    """
    known: dict[str, Halted] = {}
    choice = first
    for _ in range(_ROUNDS):
        if not choice.stop:
            break
        again = frozenset(known)
        with closing(_round(choice.stop, stopper, again)) as done:
            for number, halted in enumerate(done, start=1):
                known[halted.target.id] = halted
                tell(halted, number, len(choice.stop))
        try:
            choice = look()
        except Ds01Error as error:
            return Outcome(tuple(known.values()), None, error.brief)
    return Outcome(tuple(_proven(known, choice)), choice)


def _round(targets: Sequence[Target], stopper: Stopper, again: frozenset[str]) -> Generator[Halted]:
    pool = ThreadPoolExecutor(_AT_ONCE)
    running: dict[Future[None], Target] = {
        pool.submit(_stop, stopper, each.id, kill_first=each.id in again): each for each in targets
    }
    try:
        for done in as_completed(running):
            error = done.exception()
            if error is not None and not isinstance(error, Ds01Error):
                raise error
            yield Halted(running[done], None if error is None else _words(error))
    finally:
        # After Ctrl-C nothing more is begun.
        pool.shutdown(cancel_futures=True)


def _stop(stopper: Stopper, container_id: str, *, kill_first: bool) -> None:
    """Stop a container. One that was told before and runs still is killed first; stopping keeps it down then."""
    if kill_first:
        with suppress(Ds01Error):
            stopper.kill(container_id)
    stopper.stop(container_id, grace_seconds=0)


def _words(error: Ds01Error) -> str:
    return error.brief if error.details is None else f"{error.brief}: {error.details}"


def _proven(known: Mapping[str, Halted], choice: Choice) -> Iterator[Halted]:
    """Yield what became of each, by what runs at the end: that counts, whatever was answered before."""
    live = {each.id: each for each in choice.stop}
    for halted in known.values():
        if halted.target.id in live:
            yield Halted(halted.target, halted.trouble or "it runs again: something starts it anew")
        else:
            yield Halted(halted.target)
    yield from (Halted(each, "it was started meanwhile") for key, each in live.items() if key not in known)
