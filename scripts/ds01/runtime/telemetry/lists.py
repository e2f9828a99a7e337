"""Keeps /run/ds01/lists: whose `docker ps` the label alone tells. Gone, or too old, whenever that is not known."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime

from ds01.core.jsonstate import StateError, write_bytes
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers.claims import read_claims
from ds01.runtime.containers.container import Container, Undescribed
from ds01.runtime.containers.scan import site_names
from ds01.runtime.containers.touch import Labelled, beyond_labels, labelled, lists_text, unowned_are_free
from ds01.runtime.telemetry.inforce import which_file

logger = logging.getLogger(__name__)
# The docker command believes none that is good for longer: the clock was set back since.
GOOD_SECONDS: Final = 90
_RENEW_SECONDS: Final = 30.0


@dataclass(slots=True)
class Lists:
    """What labels say of every container there is, and the file that says whom that is not enough for."""

    _known: dict[str, Labelled] = field(default_factory=dict)
    _sure: bool = False
    # Whether something came or went that the file may have to say.
    _new: bool = False
    _sources: tuple[tuple[int, int] | None, bool, frozenset[str]] = (None, False, frozenset())
    _said: frozenset[str] | None = None
    # By a clock that nobody sets; None when the file does not stand.
    _written_at: float | None = None
    _trouble: str | None = None

    def note(self, container: Container) -> None:
        """Have a container; its labels never change."""
        said = labelled(container.labels, container.name)
        if self._known.get(container.id) != said:
            self._known[container.id] = said
            # It may have been claimed before it came to be known here.
            self._new |= not said.is_plain or self._sources[0] is not None

    def renamed(self, container_id: str) -> None:
        """Have a container under another name, known at the next look alone: in a message a label may stand for it."""
        said = self._known.get(container_id)
        if said is not None:
            self._known[container_id] = replace(said, name="")
            self._new |= not said.is_plain

    def forget(self, container_id: str) -> None:
        """Have a container no more."""
        said = self._known.pop(container_id, None)
        self._new |= said is not None and not said.is_plain

    def all_are(self, containers: Iterable[Container | Undescribed]) -> None:
        """Have these containers and no other."""
        there = (each if isinstance(each, Container) else each.summary for each in containers)
        self._known = {each.id: labelled(each.labels, each.name) for each in there}
        self._new = True

    def trust(self) -> None:
        """Take what is known for all there is, from now on."""
        self._sure = True

    def doubt(self, paths: HostPaths) -> None:
        """Take the file away: there may be containers that are not known."""
        self._sure = False
        self._withdraw(paths)

    def keep(self, paths: HostPaths, policy: Policy, now: datetime, seconds: float) -> None:
        """Write the file when it has to say something else, and before it gets old.

        Args:
            now: the wall clock, which the docker command goes by.
            seconds: now, by a clock that nobody sets.
        """
        if not self._sure:
            return
        sources = which_file(paths.claims), unowned_are_free(policy.document), site_names(policy)
        due = self._written_at is None or seconds - self._written_at >= _RENEW_SECONDS
        if not (due or self._new or sources != self._sources):
            return
        self._new, self._sources = False, sources
        claims = _claims(paths)
        beyond = None
        if claims is not None:
            beyond = beyond_labels(self._known, claims, unowned_free=sources[1], sites_own=sources[2])
        if due or beyond != self._said:
            self._write(paths, beyond, int(now.timestamp()) + GOOD_SECONDS)
            self._said = beyond
            self._written_at = seconds if self._trouble is None else None

    def _write(self, paths: HostPaths, beyond: frozenset[str] | None, until: int) -> None:
        trouble = None
        try:
            paths.lists.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            # It means nothing after a power cut.
            write_bytes(paths.lists, lists_text(beyond, until).encode(), mode=0o644, durable=False)
        except OSError as error:
            trouble = f"{error.filename or paths.lists}: {error.strerror or error}"
            self._withdraw(paths)
        if (trouble is None) != (self._trouble is None):
            logger.warning(
                "%s is written again" if trouble is None else "%s cannot be written, so lists ask the helper: %s",
                *(each for each in (paths.lists, trouble) if each is not None),
            )
        self._trouble = trouble

    def _withdraw(self, paths: HostPaths) -> None:
        self._written_at = None
        try:
            paths.lists.unlink(missing_ok=True)
        except OSError as error:
            logger.debug("%s: %s", paths.lists, error)  # it gets old by itself


def _claims(paths: HostPaths) -> Mapping[str, str] | None:
    """Return whose claimed containers are; None when that cannot be read, which the helper tells."""
    try:
        return {each.container_id: each.user for each in read_claims(paths).values()}
    except StateError:
        return None
