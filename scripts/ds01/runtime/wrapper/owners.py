"""Whether a command may touch the containers that it names: all of them, or none is touched."""

from __future__ import annotations

from collections.abc import Iterable

from ds01.core.errors import BadInputError, RefusedError
from ds01.core.rules import Mode, Rule
from ds01.core.terminal import say
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.engine import Engine
from ds01.runtime.wrapper.desk import DeniedError, Desk, shown
from ds01.runtime.wrapper.pages import count_denial, page_of


def check_owner(desk: Desk, names: Iterable[str], verb: str) -> dict[str, Container]:
    """Return the containers that are meant, by the name that was given; one that does not exist is left to the client.

    Raises:
        DeniedError: one belongs to somebody else, or to nobody where the policy does not let those be touched.
        EngineError: Docker cannot be asked.
    """
    found: dict[str, Container] = {}
    for name in dict.fromkeys(names):
        container = _find(desk.place.engine, name)
        if container is not None:
            found[name] = container
    strangers = [(name, owner) for name, each in found.items() if (owner := _stranger(desk, each)) is not None]
    if not strangers or desk.caller.is_admin or desk.rules.rules.mode(Rule.OWNERSHIP) is Mode.OFF:
        return found
    details = [{"container": found[name].name, "owner": owner} for name, owner in strangers]
    if not desk.enforces(Rule.OWNERSHIP):
        for name, owner in strangers:
            say(f"ds01: warning: {shown(name)} is a container of {shown(owner)}; allowed for now")
        desk.log("admission.overruled", {"rule": Rule.OWNERSHIP.value, "verb": verb, "containers": details})
        return found
    for name, owner in strangers:
        say(f"Permission denied: container owned by {shown(owner)} ({shown(name)})")
    with page_of(desk) as page:
        telling = count_denial(page, desk)
    desk.log_refused(telling, {"rule": Rule.OWNERSHIP.value, "verb": verb, "containers": details})
    raise DeniedError("a container of somebody else's")


def check_without_policy(engine: Engine, names: Iterable[str], account: str, *, starts: bool) -> None:
    """Stop what no policy is needed to see: somebody else's container, and a start of one that had a GPU.

    Raises:
        RefusedError: it is.
        EngineError: Docker cannot be asked.
    """
    fix = "an administrator can do it as root (sudo), and has to look after the policy (sudo ./inv deploy)"
    for name in dict.fromkeys(names):
        container = _find(engine, name)
        if container is None:
            continue
        if container.owner is not None and container.owner.name != account:
            raise RefusedError(
                f"Permission denied: container owned by {shown(container.owner.name)} ({shown(name)})", None, fix
            )
        if starts and container.allocation_id is not None:
            raise RefusedError(f"{shown(name)} had a GPU, and none can be given without the policy", None, fix)


def _find(engine: Engine, name: str) -> Container | None:
    try:
        return engine.inspect(bare(name), by_beginning=True)
    except BadInputError:
        # No container can have such a name: the client will say so.
        return None


def bare(name: str) -> str:
    """Return a name without what clients and the engine take off it.

    Source: docker/cli, container/rm.go (slashes); moby, client/utils.go, trimID (blanks, from 28 on), and
    daemon/container.go, GetByName (a slash).
    """
    before = None
    while name != before:
        before, name = name, name.strip().strip("/")
    return name


def _stranger(desk: Desk, container: Container) -> str | None:
    """Return whose a container is when it is not the caller's; None when they may touch it."""
    owner = container.owner
    if owner is not None:
        return None if owner.name == desk.caller.name else owner.name
    access = desk.policy.document.get("access_control")
    allowed = access.get("unowned_containers") if isinstance(access, dict) else None
    if allowed == "allow":
        desk.log("ownership.unowned", {"container": container.name, "text": "it has no owner; allowed by policy"})
        return None
    return "nobody that is known"
