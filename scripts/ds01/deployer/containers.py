"""What does not yet hold for containers that run: the slice, the owner, the record of a GPU. Pure; nothing is stopped.

A container keeps the slice and the labels it was created with, so only one that is created anew gets what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath
from typing import Final

from ds01.core import labels
from ds01.core.limits import resolve_listed
from ds01.core.names import OTHER_SLICE, ROOT_SLICE, cgroup_path, group_slice
from ds01.core.override import override
from ds01.core.policy import Policy

ADVICE: Final = "nothing stops them; create them anew, when their owners can, for all of it to hold"
_EACH: Final = 8
_NAMED: Final = 5


class Lack(Enum):
    """What does not hold; the value says it of several containers."""

    OUTSIDE = "outside DS01's slices, so no limit over all containers of an account holds for them"
    SHARED = "in a slice that many share, so no limit of their account's own holds for them"
    ELSEWHERE = "in another slice than their account's, whose limits hold for them instead"
    OWNER = "without an owner label"
    OLDER_OWNER = "with an owner label of an older system only"
    GPU = "with a GPU that is in no record"


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """One running container.

    Attributes:
        has_gpu: whether it was given devices of a GPU, by a request or by the nvidia runtime.
        cgroup: the control group its processes are in, from the kernel's root on; empty when that is not known.
    """

    name: str
    has_gpu: bool
    cgroup: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Homes:
    """Where containers belong.

    Attributes:
        accounts: listed account to its slice.
        shared: slices that hold many accounts' containers when nobody asked for another.
        system: names of containers that an admin lists to run in system.slice.
    """

    accounts: Mapping[str, str]
    shared: frozenset[str]
    system: frozenset[str]

    @classmethod
    def of(cls, policy: Policy) -> Homes:
        """Read them from the compiled policy."""
        access = policy.document.get("access_control")
        listed = access.get("system_containers") if isinstance(access, dict) else None
        return cls(
            {each.account: each.slice_name for each in resolve_listed(policy) if each.account is not None},
            frozenset({ROOT_SLICE, OTHER_SLICE, *map(group_slice, policy.groups)}),
            frozenset(map(str, listed if isinstance(listed, list) else ())),
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One container and what does not hold for it, each with its words."""

    name: str
    lacks: Mapping[Lack, str]

    @override
    def __str__(self) -> str:
        words = list(self.lacks.values())
        return f"{self.name}: {'; '.join(words)}. It goes on; create it anew for all of it to hold"


def look_at_containers(running: Iterable[RunningContainer], homes: Homes) -> tuple[Finding, ...]:
    """Return the containers for which something does not hold."""
    found = (Finding(each.name, dict(_lacks(each, homes))) for each in running if each.name not in homes.system)
    return tuple(finding for finding in found if finding.lacks)


def describe(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return one line a container, or, when they are many, one line a thing that does not hold."""
    if len(findings) <= _EACH:
        return tuple(map(str, findings))
    return (*summarise(findings), f"all {len(findings)} go on: {ADVICE}")


def summarise(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return one line a thing that does not hold, with the first names."""
    lines = []
    for lack in Lack:
        names = [each.name for each in findings if lack in each.lacks]
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            number = f"{len(names)} container{'s' * (len(names) > 1)}"
            lines.append(f"{number} {lack.value}: {', '.join(names[:_NAMED])}{more}")
    return tuple(lines)


def _lacks(container: RunningContainer, homes: Homes) -> Iterator[tuple[Lack, str]]:
    owner = labels.owner(container.labels)
    if container.cgroup:
        yield from _of_slice(PurePosixPath(container.cgroup), owner.name if owner else "", homes)
    if owner is None:
        yield Lack.OWNER, "it carries no owner label"
    elif owner.is_older:
        yield Lack.OLDER_OWNER, f"only the older label {owner.label} says that it is {owner.name}'s"
    if container.has_gpu and labels.allocation_id(container.labels) is None:
        yield Lack.GPU, "its GPU is in no record"


def _of_slice(cgroup: PurePosixPath, owner: str, homes: Homes) -> Iterator[tuple[Lack, str]]:
    slices = [part for part in cgroup.parts if part.endswith(".slice")]
    own = homes.accounts.get(owner)
    # systemd nests a slice below those its name begins with; in a folder made by others no limit of it holds.
    made_by_systemd = bool(slices) and cgroup.is_relative_to("/" / cgroup_path(slices[-1]))
    if not made_by_systemd or slices[0] != ROOT_SLICE:
        where = slices[-1] if made_by_systemd else f"{cgroup.parent}, which is no slice of systemd's"
        why = "no limit over all containers of its account holds for it"
        yield Lack.OUTSIDE, f"runs outside DS01's slices ({where}), so {why}"
    elif slices[-1] in homes.shared:
        yield Lack.SHARED, f"runs in {slices[-1]}, which many share, so no limit of its account's own holds for it"
    elif own is not None and slices[-1] != own:
        yield Lack.ELSEWHERE, f"runs in {slices[-1]} and not in {own}, its account's"
