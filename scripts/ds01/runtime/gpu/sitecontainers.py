"""Which containers are believed to tell of GPUs: the site's own that the policy names. Asks Docker, changes nothing.

What Docker does not tell is taken from what the events daemon wrote; a container that neither knows is not believed.
"""

from __future__ import annotations

from collections.abc import Collection

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.containers.claims import read_claims
from ds01.runtime.containers.engine import Engine, EngineError, engine_socket
from ds01.runtime.containers.look import Looker, read_record
from ds01.runtime.containers.scan import infrastructure

_SECONDS: Final = 3.0
_SHOWN_ID: Final = 12


@dataclass(frozen=True, slots=True)
class SiteContainers:
    """The containers of this host, as the policy has them."""

    paths: HostPaths
    policy: Policy

    def publishing(self, port: int, addresses: Collection[str]) -> tuple[str, ...] | None:
        """Return the ids of those that publish a port at any of some addresses; None when Docker does not say."""
        try:
            there = self._engine().containers(all_states=False)
        except EngineError:
            return None
        return tuple(
            each.id for each in there if any(at.port == port and at.address in addresses for at in each.published)
        )

    def doubt(self, container_id: str) -> str | None:
        """Return what to call a container that is not believed; None for one that is.

        Its name is not enough: anybody can give a container that name while the real one is not there.
        """
        try:
            name, of_site = self._seen(container_id)
        except Ds01Error:
            return container_id[:_SHOWN_ID]
        is_believed = of_site and name in infrastructure(self.policy)
        return None if is_believed else visible(name) or container_id[:_SHOWN_ID]

    def _seen(self, container_id: str) -> tuple[str, bool]:
        """Return a container's name, and whether it is one of the site's own.

        Raises:
            StateError: what is known of containers cannot be read.
        """
        record = read_record(self.paths)
        try:
            there = self._engine().inspect(container_id)
        except EngineError:
            row = record.rows.get(container_id)
            return ("", False) if row is None else (row.name, row.of_site)
        if there is None:
            return "", False
        seen = Looker(self.paths, self.policy, record, read_claims(self.paths)).see(there)
        return there.name, seen.of_site

    def _engine(self) -> Engine:
        return Engine(engine_socket(self.paths), timeout_seconds=_SECONDS)
