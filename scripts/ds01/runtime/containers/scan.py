"""Decides by which way a container came to be and whose it is, from all that is known of it. Pure; look.py looks.

Whoever makes a container writes its labels, and chooses its slice and its uids too. Labels are believed where DS01 is
known to have written them; all else is what somebody said: it is shown, and nobody is charged by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from ds01.core import labels as known
from ds01.core.labels import ContainerType
from ds01.core.names import ROOT_SLICE, safe, unlisted_part, user_part
from ds01.core.pattern import pattern
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.containers.start import Start, start_of
from ds01.runtime.gpu.ledger import Allocation

_OURS: Final = (
    known.USER,
    known.MANAGED,
    known.CONTAINER_TYPE,
    known.CREATED_AT,
    known.SLICE,
    known.ALLOCATION,
    known.GPU_UUIDS,
    known.GPU_SLOTS,
    known.PROTECTED,
)
# Other tools' labels, by which a container is known as theirs.
# Source: devcontainers/cli, "devcontainer.config_file"; Compose specification, com.docker.compose.project.
_DEVCONTAINER: Final = (known.FOLDER, "devcontainer.config_file")
_COMPOSE: Final = "com.docker.compose.project"
_KINDS: Final = {
    Kind.DEVCONTAINER: ContainerType.DEVCONTAINER,
    Kind.COMPOSE: ContainerType.COMPOSE,
    Kind.DOCKER: ContainerType.DOCKER,
}
_SLICE: Final = pattern(r"ds01-([A-Za-z0-9_]+)\.slice", re.ASCII)
_UID_TAIL: Final = pattern(r"_u(\d{1,10})\Z", re.ASCII)
# Below it uids are the system's: images run as some of them, and mean nobody of this machine.
_FIRST_PERSON: Final = 1000
_NOBODY: Final = 65534


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of a container besides what Docker says of it.

    Attributes:
        slice_account: in whose slice the kernel has it; None when in nobody's, or when it does not run.
        process_account: whose its processes are; None when nobody's, or of several accounts.
        claim: whose an administrator says it is.
        admitted: DS01 let it come to be.
        listed: the policy names it as one of the site's own.
    """

    slice_account: str | None = None
    process_account: str | None = None
    claim: str | None = None
    admitted: bool = False
    listed: bool = False


def see(container: Container, findings: Findings, first_seen: datetime, last: Start | None = None) -> Seen:
    """Return a container with what is decided about it.

    Args:
        last: how it came to run when it was looked at before.
    """
    return Seen(
        container=container,
        kind=classify(container, admitted=findings.admitted),
        owner=attribute(container, findings),
        admitted=findings.admitted,
        of_site=is_of_site(container, findings),
        first_seen=first_seen,
        start=start_of(container, last),
    )


def classify(container: Container, *, admitted: bool) -> Kind:
    """Decide by which way a container came to be; labels of ours that nothing bears out make it UNKNOWN."""
    if admitted:
        return Kind.MANAGED
    labels = container.labels
    if any(labels.get(label) for label in _OURS):
        return Kind.UNKNOWN
    if any(labels.get(label) for label in _DEVCONTAINER):
        return Kind.DEVCONTAINER
    return Kind.COMPOSE if labels.get(_COMPOSE) else Kind.DOCKER


def type_of(kind: Kind, labels: Mapping[str, str]) -> ContainerType:
    """Return a container's type: DS01's own label only where DS01 wrote it, else what its kind says."""
    return known.container_type(labels) if kind is Kind.MANAGED else _KINDS.get(kind, ContainerType.UNKNOWN)


def attribute(container: Container, findings: Findings) -> Attribution | None:
    """Decide whose a container is; None when nothing tells.

    A claim comes first, then a label that DS01 wrote. All else is asserted by whoever made the container, and the more
    the kernel makes of it, the rather it is shown: the slice, then other labels, then the uid.

    Source: Docker Engine API 1.41, ContainerCreate: HostConfig.CgroupParent, Config.User and an image's own user are
        taken from any client. With userns-remap all containers share one range of uids, so that those tell no more.
    """
    if findings.claim is not None:
        return Attribution(findings.claim, Evidence.CLAIM)
    label = container.owner
    if label is not None and findings.admitted and not label.is_older:
        return Attribution(label.name, Evidence.LABEL)
    if findings.slice_account is not None:
        return Attribution(findings.slice_account, Evidence.SLICE, asserted=True)
    if label is not None:
        return Attribution(label.name, Evidence.LABEL, asserted=True)
    process = findings.process_account
    return None if process is None else Attribution(process, Evidence.PROCESS, asserted=True)


def is_of_site(container: Container, findings: Findings) -> bool:
    """Whether a container is one of the site's own: the policy names it, and it is nobody else's.

    Anybody can give a container that name while the real one is not there.
    """
    others = (findings.claim, findings.slice_account, container.owner)
    return findings.listed and all(each is None for each in others)


# --- Whether DS01 let it come to be -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Promised:
    """What stands against a container's labels.

    Attributes:
        tokens: what the page of the account says that its label names was admitted.
        had_by: the container that came to be by the token of its label, maybe one that is gone; None when none did.
        allocation: of the GPU ledger, with the id that its label names.
    """

    tokens: Collection[str] = ()
    had_by: str | None = None
    allocation: Allocation | None = None


def token_of(container: Container) -> str | None:
    """Return what the label `ds01.created_at` says; None without one."""
    return container.labels.get(known.CREATED_AT) or None


def is_admitted(container: Container, promised: Promised) -> bool:
    """Whether DS01 let a container come to be, by what only root can have written.

    Each token lets one container come to be: an image that was made of it carries the label too.
    """
    owner = container.owner
    if owner is None or owner.is_older:
        return False
    token = token_of(container)
    if token is not None and token in promised.tokens:
        return promised.had_by in {None, container.id}
    there = promised.allocation
    # Who holds which GPU is public: only the container that the ledger has there is the one that is meant.
    return (
        there is not None
        and there.id == container.allocation_id
        and there.container_id == container.id
        and there.user == owner.name
    )


def site_names(policy: Policy) -> frozenset[str]:
    """Return the names of the site's own containers: those that run outside the slices, and those that monitor."""
    return _names(policy, "access_control", "system_containers") | infrastructure(policy)


def infrastructure(policy: Policy) -> frozenset[str]:
    """Return the names of the site's own containers, which see GPUs and hold none."""
    return _names(policy, "monitoring", "infrastructure_containers")


def _names(policy: Policy, section: str, key: str) -> frozenset[str]:
    there = policy.document.get(section)
    names = there.get(key) if isinstance(there, Mapping) else None
    return frozenset(str(name) for name in names) if isinstance(names, list) else frozenset()


# --- Accounts from what the kernel shows ------------------------------------------------------------------------------


def slice_part(groups: str, container_id: str) -> str | None:
    """Return what stands for the account in a container's slice; None when it is in no account's.

    The group is the parent folder's own name; a slice's name is never taken apart, since groups and accounts may both
    have `_` in them.

    Args:
        groups: /proc/PID/cgroup of its first process. Source: cgroups(7): `0::path` for version 2.
    """
    path = next((line[3:] for line in groups.split("\n") if line.startswith("0::/")), "")
    parts = path.split("/")[1:]
    if parts[:1] != [ROOT_SLICE] or f"docker-{container_id}.scope" not in parts:
        # Not the container's own process: its number is another's by now.
        return None
    group = None if len(parts) < 2 else _SLICE.fullmatch(parts[1])  # noqa: PLR2004 - ds01.slice and the group's
    if group is None:
        return None
    own = re.fullmatch(rf"ds01-{group[1]}-([A-Za-z0-9_]+)\.slice", parts[2], re.ASCII)
    return None if own is None else own[1]


def account_of_part(
    part: str, policy: Policy, uid_of: Callable[[str], int | None], name_of: Callable[[int], str | None]
) -> str | None:
    """Return the account that has such a part in its slice's name; None when nobody of this machine has.

    Args:
        uid_of, name_of: the machine's accounts. They are asked about single ones: a directory of thousands cannot be
            listed.
    """
    listed = {safe(name): name for name in policy.users}
    if part in listed:
        return listed[part]
    tail = _UID_TAIL.search(part)
    if tail is not None:
        # An account that is not listed, or was not when the container was made.
        uid = int(tail[1])
        name = name_of(uid)
        return name if name is not None and part == unlisted_part(name, uid) else None
    uid_of_plain = uid_of(part)
    taken = {each.lower() for each in listed}
    return part if uid_of_plain is not None and user_part(part, uid=uid_of_plain, listed=taken) == part else None


def person_of(uids: Iterable[int], policy: Policy, name_of: Callable[[int], str | None]) -> str | None:
    """Return the one account whose processes these are; None when there is none, or more than one.

    Root's do not count, for a container's own root is root; nor do accounts of the system, which images run as too.
    """
    names = {name for uid in uids if uid != 0 and (name := name_of(uid)) is not None and _is_person(uid, name, policy)}
    return names.pop() if len(names) == 1 else None


def _is_person(uid: int, name: str, policy: Policy) -> bool:
    return name in policy.users or (uid >= _FIRST_PERSON and uid != _NOBODY)
