"""Looks at every container: what Docker says, what the kernel shows, what DS01 itself wrote down; scan.py decides.

Changes nothing in Docker. containers.json is written by the events daemon alone, through remember().
"""

from __future__ import annotations

import pwd
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from ds01.core.jsonstate import StateError, read_json, write_bytes
from ds01.core.labels import CREATED_AT
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.core.value import dataclass, field, replace
from ds01.runtime.accounts import uid_of
from ds01.runtime.containers.claims import Claim, read_claims
from ds01.runtime.containers.container import Container, Undescribed
from ds01.runtime.containers.describe import inspect_all
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.containers.page import admitted_on
from ds01.runtime.containers.record import Record, RecordError, Row, format_record, from_document
from ds01.runtime.containers.scan import (
    Findings,
    Promised,
    account_of_part,
    is_admitted,
    person_of,
    see,
    site_names,
    slice_part,
    token_of,
)
from ds01.runtime.containers.seen import Seen
from ds01.runtime.containers.traces import Traces, read_traces
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.state import GpuStateError, read_ledger
from ds01.runtime.machine import Machine

# For all containers together; some hundred take about a second.
_LOOK_SECONDS: Final = 60.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Unseen:
    """A container that is there and that Docker cannot describe: nothing is to be done about it.

    Attributes:
        there: what Docker's list says of it.
        row: what was remembered of it; None when nothing was.
    """

    there: Undescribed
    row: Row | None

    @property
    def user(self) -> str | None:
        """The account that it counted for when it was seen last."""
        return None if self.row is None else self.row.charged


@dataclass(frozen=True, slots=True)
class Looked:
    """Every container in every state.

    Attributes:
        seen: the oldest first.
        unseen: those that nothing may be concluded about.
    """

    seen: tuple[Seen, ...]
    unseen: tuple[Unseen, ...] = ()


def look(paths: HostPaths, policy: Policy, engine: Engine | None = None) -> Looked:
    """Return every container in every state.

    Raises:
        EngineError: Docker cannot be asked; nothing may be concluded then.
        StateError: what was remembered, or the claims, cannot be read; whose a container is cannot be told then.
    """
    looker = Looker(paths, policy, read_record(paths), read_claims(paths))
    return looker.look_at(inspect_all(engine or open_engine(paths)))


def open_engine(paths: HostPaths) -> Engine:
    """Return the host's engine, with time enough to be asked about all containers."""
    return Engine(engine_socket(paths), timeout_seconds=_LOOK_SECONDS)


def read_record(paths: HostPaths) -> Record:
    """Return what is remembered; nothing when nothing was ever written.

    Raises:
        StateError: it may not be read, or is not as DS01 wrote it.
    """
    document = read_json(paths.containers, of_root=True)
    if document is None:
        return Record()
    try:
        return from_document(document)
    except RecordError as error:
        raise StateError(
            f"{paths.containers} is not as DS01 wrote it",
            str(error),
            "sudo systemctl restart ds01-eventsd keeps it aside and looks anew",
        ) from error


def remember(paths: HostPaths, record: Record, now: datetime) -> None:
    """Write containers.json.

    Raises:
        OSError: it cannot be written; it is as it was.
    """
    paths.containers.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_bytes(paths.containers, format_record(record, now))


@dataclass(slots=True)
class Looker:
    """One look at containers, few or all: accounts, pages and the ledger are read once for all of them.

    Attributes:
        record: what was known before.
        claims: by the container's id.
    """

    paths: HostPaths
    policy: Policy
    record: Record
    claims: Mapping[str, Claim]
    now: datetime = field(default_factory=lambda: Machine().now())
    _machine: Machine = field(default_factory=Machine)
    _site: frozenset[str] | None = None
    _ledger: Ledger | None = None
    _pages: dict[str, Collection[str]] = field(default_factory=dict)
    _names: dict[int, str | None] = field(default_factory=dict)
    _spent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.paths.proc.is_dir():
            self._machine = replace(self._machine, proc=self.paths.proc)

    def look_at(self, containers: Iterable[Container | Undescribed]) -> Looked:
        """Return what is seen of containers, the oldest first: of two with one token the older one had it."""
        seen: list[Seen] = []
        unseen: list[Unseen] = []
        for each in sorted(containers, key=_age):
            if isinstance(each, Container):
                seen.append(self.see(each))
            else:
                unseen.append(Unseen(each, self.record.rows.get(each.id)))
                if token := each.summary.labels.get(CREATED_AT):
                    # It may have come to be by that one; no younger container did.
                    self._spent.setdefault(token, each.id)
        return Looked(tuple(seen), tuple(unseen))

    def see(self, container: Container) -> Seen:
        """Return what is seen of one container."""
        known = self.record.rows.get(container.id)
        admitted = (known is not None and known.admitted) or self._is_admitted(container)
        traces = self._traces(container)
        uids = frozenset[int]() if traces is None else traces.uids
        claim = self.claims.get(container.id)
        findings = Findings(
            slice_account=None if traces is None else self._account_of(traces, container.id),
            process_account=person_of(uids, self.policy, self._name_of),
            claim=None if claim is None else claim.user,
            admitted=admitted,
            listed=container.name in self._sites_own(),
        )
        if known is None:
            return see(container, findings, self.now)
        return see(container, findings, known.first_seen, known.start)

    def _is_admitted(self, container: Container) -> bool:
        token = token_of(container) or ""
        had_by = self.record.spent.get(token) or self._spent.get(token)
        found = is_admitted(container, Promised(self._tokens(container), had_by, self._allocation(container)))
        if found:
            self._spent.setdefault(token, container.id)
        return found

    def _tokens(self, container: Container) -> Collection[str]:
        owner = container.owner
        if owner is None or owner.is_older:
            return ()
        if owner.name not in self._pages:
            uid = uid_of(owner.name)
            self._pages[owner.name] = () if uid is None else frozenset(admitted_on(self.paths.pages, uid))
        return self._pages[owner.name]

    def _allocation(self, container: Container) -> Allocation | None:
        if container.allocation_id is None:
            return None
        if self._ledger is None:
            try:
                self._ledger = read_ledger(self.paths, self._machine)
            except GpuStateError:
                self._ledger = Ledger()
        return self._ledger.by_id(container.allocation_id)

    def _traces(self, container: Container) -> Traces | None:
        if container.pid is None:
            return None
        return read_traces(self._machine, self.paths.cgroup, container.pid, container.id)

    def _account_of(self, traces: Traces, container_id: str) -> str | None:
        part = slice_part(traces.groups, container_id)
        return None if part is None else account_of_part(part, self.policy, uid_of, self._name_of)

    def _name_of(self, uid: int) -> str | None:
        if uid not in self._names:
            try:
                self._names[uid] = pwd.getpwuid(uid).pw_name
            except (KeyError, OverflowError):
                self._names[uid] = None
        return self._names[uid]

    def _sites_own(self) -> frozenset[str]:
        if self._site is None:
            self._site = site_names(self.policy)
        return self._site


def _age(container: Container | Undescribed) -> tuple[datetime, str]:
    made = container.created_at if isinstance(container, Container) else container.summary.created_at
    return made or _EPOCH, container.id
