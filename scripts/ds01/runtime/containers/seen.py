"""A container as DS01 sees it: what Docker says, and whose it is by what evidence. Pure values; scan.py decides."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from ds01.core.value import dataclass
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.start import Start


class Kind(Enum):
    """By which way a container came to be, and whether DS01 had a say in it."""

    MANAGED = "managed"
    DEVCONTAINER = "unmanaged-devcontainer"
    COMPOSE = "unmanaged-compose"
    DOCKER = "unmanaged-docker"
    UNKNOWN = "unknown"


class Evidence(Enum):
    """How it is known whose a container is."""

    CLAIM = "claim"  # an administrator said so
    LABEL = "label"
    SLICE = "slice"  # the kernel has it in the account's slice, which its maker may have chosen
    PROCESS = "process"  # its processes have the account's uid, which its maker may have chosen


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose a container is.

    Attributes:
        asserted: only whoever made the container said so, and DS01 saw no proof: it is shown and charges nobody.
    """

    user: str
    evidence: Evidence
    asserted: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One container, whatever its state.

    Attributes:
        owner: None when nothing tells.
        admitted: whether DS01 itself let it come to be: its promise was found, or its GPU is in the ledger.
        of_site: whether the policy lists it as one of the site's own (monitoring, system).
        first_seen: when DS01 first saw it.
        start: how it came to run; None when it never did.
    """

    container: Container
    kind: Kind
    owner: Attribution | None
    admitted: bool
    of_site: bool
    first_seen: datetime
    start: Start | None = None

    @property
    def charged(self) -> str | None:
        """The account that it counts for; None when nobody can be charged."""
        return None if self.owner is None or self.owner.asserted else self.owner.user

    @property
    def is_managed(self) -> bool:
        """Whether DS01 had a say in it."""
        return self.kind is Kind.MANAGED
