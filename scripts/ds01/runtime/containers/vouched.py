"""Whose a container is by a label that DS01 itself gave it. Only reads; a label alone is anybody's to write."""

from __future__ import annotations

from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.look import Looker, read_record


def vouched_owner(paths: HostPaths, policy: Policy, container: Container) -> str | None:
    """Return whose a container is by a label that DS01 gave it; None when it has none, or one that anybody can write.

    What was recorded and cannot be read now is taken for a yes: whoever wants to go on can still say so.
    """
    owner = container.owner
    if owner is None:
        return None
    try:
        record = read_record(paths)
    except StateError:
        return owner.name
    return owner.name if Looker(paths, policy, record, {}).see(container).admitted else None
