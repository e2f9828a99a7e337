"""Whose a container is by a label that DS01 itself gave it. Only reads; a label alone is anybody's to write."""

from __future__ import annotations

from collections.abc import Mapping

from ds01.core.jsonstate import StateError, read_json
from ds01.core.labels import CREATED_AT
from ds01.core.paths import HostPaths
from ds01.runtime.accounts import uid_of
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.page import admitted_on


def vouched_owner(paths: HostPaths, container: Container) -> str | None:
    """Return whose a container is by a label that DS01 gave it; None when it has none, or one that anybody can write.

    DS01 gave it when the account's page has what the label `ds01.created_at` says, or when the record of containers has
    it as admitted. A record that cannot be read is taken for a yes: who wants to go on can still say so.
    """
    owner = container.owner
    if owner is None:
        return None
    uid = uid_of(owner.name)
    if uid is not None and container.labels.get(CREATED_AT) in admitted_on(paths.pages, uid):
        return owner.name
    try:
        recorded = recorded_containers(paths).get(container.id)
    except StateError:
        return owner.name
    return owner.name if isinstance(recorded, dict) and recorded.get("admitted") is True else None


def recorded_containers(paths: HostPaths) -> Mapping[str, object]:
    """Return what the record of containers says of each, by its id; nothing when there is none.

    Raises:
        StateError: it cannot be read.
    """
    document = read_json(paths.containers, of_root=True) or {}
    rows = document.get("containers", {})
    return rows if isinstance(rows, dict) else {}
