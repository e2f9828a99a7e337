"""What an account's lists show: every container that its commands may touch, by the same rule, and no other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ds01.core.labels import USER
from ds01.core.rules import Rule
from ds01.core.typed import Final
from ds01.runtime.client.arguments import Given, Parsed, write
from ds01.runtime.client.named import containers_named, filter_of
from ds01.runtime.containers.container import ContainerSummary
from ds01.runtime.containers.engine import EngineError
from ds01.runtime.wrapper.desk import Desk
from ds01.runtime.wrapper.owners import check_owner, touchable

# No id is like this one: ids are hexadecimal.
_NONE: Final = "none"


def list_line(desk: Desk, parsed: Parsed) -> tuple[str, ...]:
    """Return a line of `ps` that lists what the caller may touch.

    When Docker cannot be asked it is what the caller's label names: the client says itself what is wrong with Docker.

    Raises:
        DeniedError: the line asks what is older or newer than somebody else's container. Docker, which goes through the
            list until it comes to that one, would not find it there.
    """
    if not desk.enforces(Rule.OWNERSHIP):
        return desk.asked.words
    try:
        check_owner(desk, containers_named(parsed), "ps")
        containers = desk.place.engine.containers()
    except EngineError:
        return by_label(parsed, desk.caller.name)
    own = touchable(desk, containers)
    if len(own) == len(containers):
        return desk.asked.words
    ids = [each.id for each in own]
    asked = [filter_of(given)[1] for given in parsed.options if _asks_for_id(given)]
    if asked:
        # Docker shows what has any of the ids that stand there, so those of the line would come on top.
        named = _named(asked, containers)
        ids = [each for each in ids if each in named]
    return write(parsed, lambda given: not _asks_for_id(given), [f"--filter=id={each}" for each in ids or [_NONE]])


def by_label(parsed: Parsed, account: str) -> tuple[str, ...]:
    """Return a line of `ps` that lists what has an account's own label."""
    return write(parsed, add=[f"--filter=label={USER}={account}"])


def _asks_for_id(given: Given) -> bool:
    return filter_of(given)[0] == "id"


def _named(beginnings: Iterable[str], containers: Sequence[ContainerSummary]) -> frozenset[str]:
    """Return the ids that begin so; a beginning that several have means none. Source: moby, daemon/list.go."""
    found = ([each.id for each in containers if each.id.startswith(text)] for text in beginnings if text)
    return frozenset(ids[0] for ids in found if len(ids) == 1)
