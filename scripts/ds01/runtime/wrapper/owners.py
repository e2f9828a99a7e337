"""Whether a command may touch the containers that it names: all of them, or none is touched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ds01.core.errors import BadInputError, RefusedError
from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.rules import Mode, Rule
from ds01.core.terminal import say
from ds01.runtime.containers.container import Container, ContainerSummary
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.containers.touch import may_touch, owner_to, unowned_are_free
from ds01.runtime.wrapper.desk import DeniedError, Desk, shown
from ds01.runtime.wrapper.pages import count_denial, page_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ds01.runtime.containers.claims import Claim


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
    said = _Said(desk.paths)
    strangers = [(name, owner) for name, each in found.items() if (owner := _stranger(desk, said, each)) is not None]
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


def touchable(desk: Desk, containers: Iterable[ContainerSummary]) -> tuple[ContainerSummary, ...]:
    """Return those of the containers that check_owner() lets the caller touch where ownership is enforced.

    Says so when nobody can tell whose those are that no label gives to anybody; they are left out.
    """
    said, found, unknown = _Said(desk.paths), [], None
    for each in containers:
        try:
            owner = said.owner(each, desk.caller.name)
        except StateError as error:
            unknown = error
            continue
        if may_touch(desk.caller.name, owner, unowned_free=owner is None and _is_free(desk, each.name)):
            found.append(each)
    if unknown is not None:
        say(f"ds01: notice: containers without a label are not shown: {unknown.brief}")
    return tuple(found)


def check_without_policy(paths: HostPaths, names: Iterable[str], account: str, *, starts: bool) -> None:
    """Stop what no policy is needed to see: somebody else's container, and a start of one that had a GPU.

    Raises:
        RefusedError: it is.
        EngineError: Docker cannot be asked.
        StateError: nobody can tell whose a container is that no label gives to anybody.
    """
    engine, said = Engine(engine_socket(paths)), _Said(paths)
    fix = "an administrator can do it as root (sudo), and has to look after the policy (sudo ./inv deploy)"
    for name in dict.fromkeys(names):
        container = _find(engine, name)
        if container is None:
            continue
        owner = said.owner(container, account)
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


def _stranger(desk: Desk, said: _Said, container: Container) -> str | None:
    """Return whose a container is when it is not the caller's; None when they may touch it."""
    try:
        owner = said.owner(container, desk.caller.name)
    except StateError as error:
        if desk.enforces(Rule.OWNERSHIP):
            raise
        desk.log_open((error.brief,), "ownership")
        owner = None
    if not may_touch(desk.caller.name, owner, unowned_free=owner is None and _is_free(desk, container.name)):
        return "nobody that is known" if owner is None else owner
    if owner is None:
        desk.log("ownership.unowned", {"container": container.name, "text": "it has no owner; allowed by policy"})
    return None


def _is_free(desk: Desk, name: str) -> bool:
    """Whether everybody may touch a container that is nobody's: not if it is the site's own."""
    from ds01.runtime.containers.scan import site_names  # noqa: PLC0415 - most containers are somebody's

    return unowned_are_free(desk.policy.document) and name not in site_names(desk.policy)


class _Said:
    """What administrators said of containers; read once, and only when somebody needs it."""

    def __init__(self, paths: HostPaths) -> None:
        self._paths = paths
        self._claims: Mapping[str, Claim] | StateError | None = None

    def owner(self, container: Container | ContainerSummary, account: str) -> str | None:
        """Return whose a container is to an account, by the rule of owner_to(); None when nothing tells.

        Raises:
            StateError: no label tells, and what administrators said cannot be read.
        """
        label = None if container.owner is None else container.owner.name

        def claimed() -> str | None:
            claims = self._read()
            if not isinstance(claims, StateError):
                return claims[container.id].user if container.id in claims else None
            if label is None:
                raise claims
            return None

        return owner_to(account, label, claimed)

    def _read(self) -> Mapping[str, Claim] | StateError:
        if self._claims is None:
            # Most hosts have no claims: nobody waits for more than a look.
            self._claims = _claims(self._paths) if os.path.lexists(self._paths.claims) else {}
        return self._claims


def _claims(paths: HostPaths) -> Mapping[str, Claim] | StateError:
    from ds01.runtime.containers.claims import read_claims  # noqa: PLC0415 - where there are some

    try:
        return read_claims(paths)
    except StateError as error:
        return error
