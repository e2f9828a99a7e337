"""Ask Docker of the few containers in a request's way whether they are as the ledger has them. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ds01.core.errors import Ds01Error
from ds01.core.typed import Final
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.engine import Engine
from ds01.runtime.gpu.ledger import Allocation

# Others wait for the ledger meanwhile.
SECONDS: Final = 2.0


def are_outdated(engine: Engine, blockers: Sequence[Allocation], *, seconds: float = SECONDS) -> bool:
    """Whether Docker says otherwise of one of them: it is gone, has stopped, runs again or has another name.

    What Docker does not tell is no difference. Nothing is asked of what is only reserved: a container of those units
    is still to come, whatever became of the one before.

    Args:
        seconds: for all of them together; the engine's own limit for one answer is to be no longer.
    """
    deadline = time.monotonic() + seconds
    for each in blockers:
        if each.container_id is None or each.reservation is not None:
            continue
        if time.monotonic() > deadline:
            break
        try:
            found = engine.inspect(each.container_id)
        except Ds01Error:
            continue
        if found is None or _differs(found, each):
            return True
    return False


def _differs(found: Container, there: Allocation) -> bool:
    is_held = there.stopped_at is not None
    return found.is_live is is_held or found.name not in {there.container, ""}  # one that is being removed has no name
