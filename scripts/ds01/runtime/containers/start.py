"""Which start of a container somebody asked for, and how often its restart policy has brought it back since. Pure.

What nobody asked for is no new run: a container that ends and comes back by itself is as old as its first start.
"""

from __future__ import annotations

from datetime import datetime

from ds01.core.value import dataclass
from ds01.runtime.containers.container import Container, State


@dataclass(frozen=True, slots=True)
class Start:
    """How a container came to run as it does. Times are to the millisecond, as they are remembered.

    Attributes:
        asked_at: the start that somebody asked for; None when nobody saw that one.
        restarts: how often its restart policy has brought it back since.
        started_at: by the last of these.
    """

    asked_at: datetime | None
    restarts: int
    started_at: datetime


def restarts_of(container: Container) -> int:
    """Return how often a restart policy had brought a container back when it began to run as it does, or did last.

    Source: moby, daemon/monitor.go, handleContainerExit: RestartCount is the next one's while a container waits for it;
        container/container.go, ResetRestartManager: a start that a client asks for, and one by an engine that starts
        itself, sets it to 0. Tried with 20.10 and 26.1.
    """
    return max(0, container.restart_count - (container.state is State.RESTARTING))


def start_of(container: Container, last: Start | None) -> Start | None:
    """Return how a container came to run; None when it never did.

    Args:
        last: what was known when it was looked at before.
    """
    if container.started_at is None:
        return None
    started, restarts = _whole(container.started_at), restarts_of(container)
    if last is None:
        return Start(None if restarts else started, restarts, started)
    unseen = Start(None, restarts, started)
    # One that was asked for was not before the present start; that it was asked for is what counts.
    return after(last, unseen) if goes_on(last, unseen) else Start(started, restarts, started)


def goes_on(last: Start, now: Start) -> bool:
    """Whether a container is in the run that it was in when it was looked at before.

    A count that has grown says that nobody asked in between, for an asked start sets it back. Where more restarts came
    after that start than there had been before, and nobody looked meanwhile, it is taken for none.
    """
    if last.asked_at is not None and now.asked_at is not None:
        return last.asked_at == now.asked_at
    return now.restarts > last.restarts or (now.restarts == last.restarts and now.started_at == last.started_at)


def after(last: Start, now: Start) -> Start:
    """Return what is known of a run that goes on: when it was asked for, from whichever saw it."""
    return Start(now.asked_at or last.asked_at, now.restarts, now.started_at)


def _whole(instant: datetime) -> datetime:
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
