"""Whether a command may touch the containers that it names: all of them, or none is touched."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ds01.core.errors import BadInputError, RefusedError
from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.rules import Mode, Rule
from ds01.core.terminal import say
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.wrapper.desk import DeniedError, Desk, shown
from ds01.runtime.wrapper.pages import count_denial, page_of


def check_owner(desk: Desk, names: Iterable[str], verb: str) -> dict[str, Container]:
    """Return the containers that are meant, by the name that was given; one that does not exist is left to the client.

    Raises:
        DeniedError: one belongs to somebody else, or to nobody where the policy does not let those be touched.
        EngineError: Docker cannot be asked.
        StateError: nobody can tell whose a container is that no label gives to anybody.
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


def check_without_policy(paths: HostPaths, names: Iterable[str], account: str, *, starts: bool) -> None:
    """Stop what no policy is needed to see: somebody else's container, and a start of one that had a GPU.

    Raises:
        RefusedError: it is.
        EngineError: Docker cannot be asked.
        StateError: nobody can tell whose a container is that no label gives to anybody.
    """
    engine = Engine(engine_socket(paths))
    fix = "an administrator can do it as root (sudo), and has to look after the policy (sudo ./inv deploy)"
    for name in dict.fromkeys(names):
        container = _find(engine, name)
        if container is None:
            continue
        owner = _owner(paths, container, account)
        if owner is not None and owner != account:
            raise RefusedError(f"Permission denied: container owned by {shown(owner)} ({shown(name)})", None, fix)
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
    try:
        owner = _owner(desk.paths, container, desk.caller.name)
    except StateError as error:
        if desk.enforces(Rule.OWNERSHIP):
            raise
        desk.log_open((error.brief,), "ownership")
        owner = None
    if owner is not None:
        return None if owner == desk.caller.name else owner
    access = desk.policy.document.get("access_control")
    allowed = access.get("unowned_containers") if isinstance(access, dict) else None
    if allowed == "allow":
        desk.log("ownership.unowned", {"container": container.name, "text": "it has no owner; allowed by policy"})
        return None
    return "nobody that is known"


def _owner(paths: HostPaths, container: Container, account: str) -> str | None:
    """Return whose a container is; None when nothing tells.

    The account that its label names may touch it; for anybody else an administrator's word stands above the label.

    Raises:
        StateError: no label tells, and what administrators said cannot be read.
    """
    owner = container.owner
    # Most name their own containers, and most hosts have no claims: neither waits for more than a look.
    if (owner is not None and owner.name == account) or not os.path.lexists(paths.claims):
        return None if owner is None else owner.name
    from ds01.runtime.containers.claims import read_claims  # noqa: PLC0415

    try:
        claim = read_claims(paths).get(container.id)
    except StateError:
        if owner is None:
            raise
        claim = None
    if claim is not None:
        return claim.user
    return None if owner is None else owner.name
