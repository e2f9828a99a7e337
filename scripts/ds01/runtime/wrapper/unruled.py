"""One docker command on a host whose policy cannot be read: what can be told without it is still told.

A new container starts, and one that has no GPU; whose a container is its labels say, so nobody gets another's.
"""

from __future__ import annotations

import os

from ds01.core.errors import Ds01Error, RefusedError
from ds01.core.events import Event, EventLog
from ds01.core.paths import HostPaths
from ds01.runtime.accounts import caller_alone
from ds01.runtime.client.arguments import Parsed
from ds01.runtime.client.named import containers_named
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.containers.request import Verb
from ds01.runtime.machine import Machine
from ds01.runtime.wrapper.desk import SOURCE
from ds01.runtime.wrapper.options import read_request
from ds01.runtime.wrapper.owners import find

_NEW = frozenset({Verb.RUN.value, Verb.CREATE.value})
_OLD = frozenset({Verb.START.value, Verb.RESTART.value, Verb.UNPAUSE.value})


def let_through(paths: HostPaths, parsed: Parsed, visible_devices: str, cause: Ds01Error) -> None:
    """Return when a command may go on without a policy, and log that it did.

    Raises:
        RefusedError: it wants a GPU, or touches a container that is not known to be the caller's.
        UnknownCallerError: nobody knows who asks.
        EngineError: Docker cannot be asked whose a container is.
    """
    who = caller_alone(uid=os.getuid(), environment=os.environ)
    engine = Engine(engine_socket(paths))
    named = parsed.operands if parsed.topic in _OLD else containers_named(parsed)
    found = [each for name in dict.fromkeys(named) if (each := find(engine, name)) is not None]
    if who.uid != 0:
        _refuse_strangers(found, who.name, cause)
    wants = parsed.topic in _NEW and read_request(parsed, visible_devices).gpu is not None
    had = parsed.topic in _OLD and any(each.allocation_id is not None for each in found)
    if wants or had:
        raise RefusedError("no GPU can be given: the policy cannot be read", cause.brief, cause.resolution)
    details = {"check": parsed.topic, "text": f"FAIL-OPEN: {cause.brief}"}
    EventLog(paths.events).append(Event("admission.fail_open", who.name, SOURCE, Machine().now(), details))


def _refuse_strangers(found: list[Container], account: str, cause: Ds01Error) -> None:
    for each in found:
        if each.owner is None or each.owner.name != account:
            whose = "nobody that is known" if each.owner is None else each.owner.name
            raise RefusedError(
                f"Permission denied: container owned by {whose} ({each.name}), and the policy cannot be read",
                cause.brief,
                cause.resolution,
            )
