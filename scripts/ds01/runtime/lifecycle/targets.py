"""Looks at the containers that run, for an emergency stop: as much as can be told, whatever of DS01 is broken.

Needs nothing but Docker's list. What else there is (Docker's word on each, the policy, claims, the record of
containers) is used where it can be read, and missed in words where not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ds01.core import labels as known
from ds01.core.errors import BadInputError, Ds01Error
from ds01.core.jsonstate import StateError
from ds01.core.names import BadNameError, slice_parts, user_part
from ds01.core.paths import HostPaths
from ds01.core.pattern import pattern
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.accounts import is_admin, limits_of, uid_of
from ds01.runtime.containers.claims import Claim, read_claims
from ds01.runtime.containers.container import LIVE, Container, ContainerSummary
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.containers.look import read_record
from ds01.runtime.containers.record import Row
from ds01.runtime.containers.scan import site_names
from ds01.runtime.containers.vouched import vouched_owner
from ds01.runtime.lifecycle.emergency import CLAIM, LABEL, RECORD, SLICE, Sign, Target

# Docker answers for one container within milliseconds; for one that hangs, never.
_ANSWER_SECONDS: Final = 5.0
# The whole list, on a machine in trouble.
_LIST_SECONDS: Final = 30.0
_AT_ONCE: Final = 8
_ACCOUNT_SLICE: Final = pattern(r"ds01-[A-Za-z0-9_]+-([A-Za-z0-9_]+)\.slice", re.ASCII)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known beside Docker.

    Attributes:
        policy: None when it cannot be read.
        record: rows of the record of containers, by id.
        by_part: listed accounts, by what stands for them in the names of slices.
        site: names of the site's own containers.
        missing: what could not be read, in words.
    """

    paths: HostPaths
    policy: Policy | None
    claims: Mapping[str, Claim]
    record: Mapping[str, Row]
    by_part: Mapping[str, str]
    site: frozenset[str]
    missing: tuple[str, ...]


def gather(paths: HostPaths, policy: Policy | None) -> Knowledge:
    """Read what there is beside Docker."""
    missing: list[str] = []
    claims: Mapping[str, Claim] = {}
    record: Mapping[str, Row] = {}
    try:
        claims = read_claims(paths)
    except StateError as error:
        missing.append(f"{error.brief}: claims are not known")
    try:
        record = read_record(paths).rows
    except StateError as error:
        missing.append(f"{error.brief}: only labels and slices say whose a container is")
    users = () if policy is None else policy.users
    return Knowledge(
        paths=paths,
        policy=policy,
        claims=claims,
        record=record,
        by_part={user_part(user): user for user in users},
        site=frozenset() if policy is None else site_names(policy),
        missing=tuple(missing),
    )


def parts_of(policy: Policy | None, user: str) -> frozenset[str]:
    """Return what stands for an account in the names of slices; nothing for a name that no slice can have."""
    uid = uid_of(user)
    try:
        if policy is None:
            return frozenset({user_part(user), user_part(user, uid=uid)})
        return frozenset(slice_parts(limits_of(policy, user).slice_name, user, uid))
    except (BadNameError, BadInputError):
        return frozenset()


def look(knowledge: Knowledge) -> tuple[Target, ...]:
    """Return every container that runs, is paused or comes back by itself.

    Raises:
        EngineError: Docker does not even give its list.
    """
    socket = engine_socket(knowledge.paths)
    listed = Engine(socket, timeout_seconds=_LIST_SECONDS).containers(all_states=False)
    live = [each for each in listed if each.state in LIVE]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return tuple(pool.map(lambda each: _target(knowledge, socket, each), live))


def _target(knowledge: Knowledge, socket: Path, summary: ContainerSummary) -> Target:
    try:
        container = Engine(socket, timeout_seconds=_ANSWER_SECONDS).inspect(summary.id)
    except Ds01Error:
        container = None
    part = None if container is None else _slice_part(container)
    signs = tuple(_signs(knowledge, summary, part))
    return Target(
        id=summary.id,
        name=summary.name or summary.id[:12],
        state=summary.state,
        signs=signs,
        slice_part=part,
        has_gpu=_has_gpu(summary, container),
        of_site=_of_site(knowledge, summary, signs),
        protected=_is_protected(knowledge, container, signs),
        restart_policy=None if container is None else container.restart_policy,
    )


def _slice_part(container: Container) -> str | None:
    match = _ACCOUNT_SLICE.fullmatch(container.cgroup_parent.rpartition("/")[2])
    return None if match is None else match[1]


def _signs(knowledge: Knowledge, summary: ContainerSummary, part: str | None) -> Iterator[Sign]:
    claim = knowledge.claims.get(summary.id)
    if claim is not None:
        yield Sign(claim.user, CLAIM)
    row = knowledge.record.get(summary.id)
    if row is not None and row.owner is not None:
        yield Sign(visible(row.owner.user), RECORD)
    owner = known.owner(summary.labels)
    if owner is not None:
        yield Sign(owner.name, LABEL)
    if part is not None:
        yield Sign(knowledge.by_part.get(part, part), SLICE)


def _has_gpu(summary: ContainerSummary, container: Container | None) -> bool | None:
    if container is not None:
        return container.has_gpu
    return True if known.ALLOCATION in summary.labels or known.GPU_UUIDS in summary.labels else None


def _of_site(knowledge: Knowledge, summary: ContainerSummary, signs: tuple[Sign, ...]) -> bool | None:
    """Whether it is one of the site's own: the policy lists its name, and nothing says that a user has taken that."""
    policy = knowledge.policy
    if policy is not None:
        return summary.name in knowledge.site and all(_may_run_site(policy, sign.user) for sign in signs)
    row = knowledge.record.get(summary.id)
    if row is not None:
        return row.of_site
    return False if signs else None


def _may_run_site(policy: Policy, user: str) -> bool:
    access = policy.document.get("access_control")
    services = access.get("service_users") if isinstance(access, dict) else None
    return is_admin(policy, user) or (isinstance(services, list) and user in services)


def _is_protected(knowledge: Knowledge, container: Container | None, signs: tuple[Sign, ...]) -> bool:
    """Whether an administrator protected it: DS01 lets nobody else's label say so."""
    if container is None or not container.is_protected:
        return False
    policy = knowledge.policy
    if policy is None:
        # Nobody can tell, and whoever spares what is protected would rather spare too much.
        return True
    if vouched_owner(knowledge.paths, policy, container) is not None:
        return True
    return bool(signs) and signs[0].by == CLAIM and is_admin(policy, signs[0].user)
