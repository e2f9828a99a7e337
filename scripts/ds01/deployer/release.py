"""The runtime on the host as a value: which release a checkout gives, which one a plan puts in force. Pure.

A release is a folder below /opt/ds01/releases that never changes once it is there; the link /opt/ds01/current names
the one in force and is deployed like any other file, so that it comes and goes with the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from pathlib import PurePosixPath
from typing import Final

from ds01.core.services import SERVICES
from ds01.core.tree import Form, Part, Tree, TreeFile
from ds01.core.value import replace
from ds01.deployer.plan import Action, Plan, Verb

RELEASES: Final = PurePosixPath("/opt/ds01/releases")
CURRENT: Final = PurePosixPath("/opt/ds01/current")
# A release's own commands and the modules they start; links in /usr/local lead to them (templates/manifest.yaml).
LAUNCHERS: Final[Mapping[str, str]] = {
    "ds01": "ds01.cli",
    "ds01-generate-limits": "ds01.deployer.commands.generate_limits",
    "check-limits": "ds01.runtime.commands.check_limits",
    "ds01-resource-query": "ds01.runtime.commands.resource_query",
    "ds01-greeting": "ds01.runtime.commands.greeting",
    "ds01-sampler": "ds01.runtime.commands.sampler",
    "ds01-eventsd": "ds01.runtime.commands.eventsd",
    "ds01-gpuwatch": "ds01.runtime.commands.gpuwatch",
    "ds01-docker-helper": "ds01.runtime.commands.docker_helper",
}
KEPT: Final = 2
_MOST_NAMES: Final = 100


class State(Enum):
    """What is found in the place of a release."""

    ABSENT = "absent"
    WHOLE = "whole"
    EDITED = "edited"  # it is not what was installed
    BROKEN = "broken"  # it is what was installed, but its Python is gone
    UNKNOWN = "unknown"  # it may not be read


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    Attributes:
        name: its folder's name: version, a hash of all it is made from, the Python it needs.
        packages: with their versions, ds01 and python among them.
    """

    name: str
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What people should know of it, in one line."""
        return ", ".join(f"{name} {version}" for name, version in self.packages.items())


@dataclass(frozen=True, slots=True)
class Found:
    """A release as it is on the host.

    Attributes:
        why: what is wrong with it, in words; None when it is whole or absent.
    """

    state: State
    release: Release
    why: str | None = None


def current_link(name: str) -> TreeFile:
    """Return the link that puts a release in force."""
    return TreeFile(
        path=CURRENT,
        content=f"{RELEASES.name}/{name}",
        source="scripts/ds01 and requirements/host.txt",
        handlers=tuple(each.handler for each in SERVICES),
        form=Form.LINK,
        part=Part.RUNTIME,
    )


def with_runtime(tree: Tree, name: str) -> Tree:
    """Return a tree that also puts a release in force."""
    return Tree.of(tree.host, tree.policy_hash, [*tree, current_link(name)])


def release_of(goal: str | None) -> str | None:
    """Return which release a link at /opt/ds01/current names; None when it names none."""
    folder, _, name = (goal or "").partition("/")
    return name if folder == RELEASES.name and name and "/" not in name and not name.startswith(".") else None


def candidates(name: str) -> Iterator[str]:
    """Yield the names under which a release may lie: its own, and others when what lies there is spoilt."""
    yield name
    yield from (f"{name}.{number}" for number in range(2, _MOST_NAMES))


def judge(plan: Plan, wanted: Found, before: Found | None) -> Plan:
    """Return the plan with what is to be said of the runtime.

    Args:
        wanted: the release that the plan's link names; ABSENT when it is still to be built.
        before: the one in force, None when there is none.
    """
    return replace(plan, actions=tuple(_judged(action, wanted, before) for action in plan.actions))


def _judged(action: Action, wanted: Found, before: Found | None) -> Action:
    if action.path != CURRENT or action.file is None or action.verb in {Verb.BLOCKED, Verb.UNKNOWN}:
        return action
    folder = RELEASES / wanted.release.name
    if wanted.state is State.UNKNOWN:
        return replace(action, verb=Verb.UNKNOWN, reason=f"{folder}: {wanted.why}")
    if wanted.state in {State.EDITED, State.BROKEN}:
        reason = f"{folder}: {wanted.why}; --no-runtime leaves the runtime as it is"
        return replace(action, verb=Verb.BLOCKED, reason=reason)
    if action.verb is Verb.UNCHANGED and wanted.state is State.ABSENT:
        reason = f"{folder} was removed by hand; it is built anew"
        return replace(action, verb=Verb.CHANGE, reason=reason, drift=True)
    stays = before is not None and before.state is State.WHOLE and before.release.name == wanted.release.name
    if action.verb is Verb.UNCHANGED or action.drift or stays:
        return action
    if before is not None and before.state is State.EDITED:
        folder = RELEASES / before.release.name
        reason = f"{folder} was edited by hand: {before.why}; a fresh one takes its place, this one stays"
        return replace(action, reason=reason, drift=True)
    return replace(action, reason=_reason(wanted.release, before))


def _reason(wanted: Release, before: Found | None) -> str:
    if before is not None and before.state is State.BROKEN:
        return f"{RELEASES / before.release.name}: {before.why}; {wanted.name} takes its place"
    if before is None or before.state is State.ABSENT:
        return f"runtime {wanted.name} ({wanted.words})"
    if before.state is State.UNKNOWN:
        return f"runtime {before.release.name} → {wanted.name} ({wanted.words})"
    old, new = before.release.packages, wanted.packages
    differing = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    changed = [f"{name} {old.get(name, '(none)')} → {new.get(name, '(none)')}" for name in differing]
    return f"runtime {before.release.name} → {wanted.name} ({', '.join(changed) or 'the same versions'})"


def releases_to_keep(current: str | None, used: Iterable[str | None]) -> frozenset[str]:
    """Return the releases that stay: the one in force and the one in force before it.

    Args:
        used: what the generations put in force, newest first.
    """
    kept: set[str] = set()
    for name in chain([current], used):
        if name is not None:
            kept.add(name)
        if len(kept) == KEPT:
            break
    return frozenset(kept)


def gone(name: str) -> Found:
    """Return what is to be said of a release of an earlier deploy that is there no more."""
    return Found(State.BROKEN, Release(name), f"this release is gone, since only {KEPT} stay")
