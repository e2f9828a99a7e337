"""How an account stands at this moment: what runs, what it may come to use, what was promised. Only reads.

What the kernel counts in the account's slices comes first, since nobody can write himself into another's or out of his
own there. What runs elsewhere counts when DS01 itself wrote its label. Where the kernel cannot be read, what Docker
says of the account's labelled containers still holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ds01.core import labels
from ds01.core.errors import Ds01Error
from ds01.core.value import dataclass
from ds01.runtime.cgroup.tree import CannotTell
from ds01.runtime.cgroup.usage import AccountUsage, ContainerUsage, read_usage, slices_of
from ds01.runtime.containers.container import LIVE, Container, ContainerSummary, State
from ds01.runtime.containers.engine import Engine
from ds01.runtime.containers.pending import Pending, lapse, review
from ds01.runtime.containers.request import Usage, Verb
from ds01.runtime.machine import Machine


@dataclass(frozen=True, slots=True)
class Account:
    """Whom it is about.

    Attributes:
        parts: what stands for the account in names of slices.
    """

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look."""

    cgroup: Path
    engine: Engine
    machine: Machine


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands.

    Attributes:
        promises: those that still count.
    """

    usage: Usage
    promises: tuple[Pending, ...]


@dataclass(frozen=True, slots=True)
class _Live:
    """Containers that run, are paused or come back by themselves.

    Attributes:
        committed_bytes: what each of them may use, by id; of one without a limit what it does use.
        names: by id, as far as Docker tells.
    """

    committed_bytes: dict[str, int]
    names: Mapping[str, str]


def read_standing(
    place: Place,
    account: Account,
    promises: Sequence[Pending],
    without: frozenset[str],
    *,
    admitted: Collection[str],
) -> Standing:
    """Look at everything that counts for an account.

    The order matters. Whether a promise's process lives comes first: whatever one that is gone has made is in the list.
    Docker is asked before the kernel, also for what became of promises: what starts in between is then seen twice at
    worst, and never not at all.

    Args:
        promises: what was promised before.
        without: ids of containers that are asked for and do not count beside themselves.
        admitted: what the account's page says of the containers that DS01 let come to be.
    """
    unknown: list[str] = []
    living = frozenset(each.process for each in promises if place.machine.is_alive(each.process))
    listed = _listed(place.engine, account, unknown)
    shown = None if listed is None else {each.id: each for each in listed}
    kept = _reviewed(place, [(each, each.process in living) for each in promises], shown, unknown)
    used = _used(place.cgroup, account, unknown, shown)
    others = tuple(each for each in kept if each.id not in without)
    live = _live(place.engine, used, shown, unknown)
    if live is None:
        return Standing(Usage(None, (), None, *_counts(used), tuple(unknown)), kept)
    if _has_groups(used):
        _add_missing(place.engine, live, _ours(shown or {}, admitted), unknown, {each.id for each in kept})
    counted = _uncounted(others, live, shown or {})
    ids = [each for each in live.committed_bytes if each not in without]
    raised = {each.id: each.memory_bytes for each in others if each.verb is Verb.UPDATE}
    usage = Usage(
        containers=len(ids) + len(counted),
        names=tuple(live.names[each] for each in ids if each in live.names),
        committed_bytes=sum(max(live.committed_bytes[each], raised.get(each, 0)) for each in ids)
        + sum(each.memory_bytes for each in counted),
        working_set_bytes=_counts(used)[0],
        pids=_counts(used)[1],
        unknown=tuple(unknown),
    )
    return Standing(usage, kept)


def _listed(engine: Engine, account: Account, unknown: list[str]) -> tuple[ContainerSummary, ...] | None:
    try:
        return engine.containers(label=f"{labels.USER}={account.name}")
    except Ds01Error as error:
        unknown.append(f"{error.brief}: {error.details}" if error.details else error.brief)
        return None


def _used(
    root: Path, account: Account, unknown: list[str], shown: Mapping[str, ContainerSummary] | None
) -> AccountUsage | None:
    slices = slices_of(root, account.parts)
    found = slices if isinstance(slices, CannotTell) else read_usage(root, slices)
    if isinstance(found, CannotTell):
        # Before the first container there is no slice; only of one that runs must there be something to see.
        if shown is None or any(each.state in LIVE for each in shown.values()):
            unknown.append(found.words)
        return None
    readings = (found.working_set_bytes, found.pids_current, found.containers)
    unknown.extend(each.words for each in readings if isinstance(each, CannotTell))
    return found


def _counts(used: AccountUsage | None) -> tuple[int | None, int | None]:
    """Return the working set and the number of processes."""
    if used is None:
        return None, None
    memory, pids = used.working_set_bytes, used.pids_current
    return None if isinstance(memory, CannotTell) else memory, None if isinstance(pids, CannotTell) else pids


def _reviewed(
    place: Place,
    promises: Iterable[tuple[Pending, bool]],
    shown: Mapping[str, ContainerSummary] | None,
    unknown: list[str],
) -> tuple[Pending, ...]:
    """Return the promises that still stand, of those that are given with whether their process lives."""
    now = place.machine.boot_seconds()
    kept: list[Pending | None] = []
    for each, alive in promises:
        if shown is None:
            kept.append(lapse(each, alive=alive, boot_seconds=now))
            continue
        try:
            found = _find(place.engine, each, shown)
        except Ds01Error as error:
            unknown.append(error.brief)
            kept.append(lapse(each, alive=alive, boot_seconds=now))
        else:
            there = _shown(each, shown)
            began = found is not None and found.is_live and there is not None and there.state not in LIVE
            # One that began after the list was made is not in what is counted as running: its promise counts.
            kept.append(each if began else review(each, found, alive=alive))
    return tuple(each for each in kept if each is not None)


def _find(engine: Engine, pending: Pending, shown: Mapping[str, ContainerSummary]) -> Container | None:
    """Return the container that a promise is about, as it is now; None when there is none."""
    there = _shown(pending, shown)
    return None if there is None else engine.inspect(there.id)


def _shown(pending: Pending, shown: Mapping[str, ContainerSummary]) -> ContainerSummary | None:
    if not pending.verb.is_new:
        return shown.get(pending.id)
    return next((each for each in shown.values() if each.labels.get(labels.CREATED_AT) == pending.id), None)


def _live(
    engine: Engine,
    used: AccountUsage | None,
    shown: Mapping[str, ContainerSummary] | None,
    unknown: list[str],
) -> _Live | None:
    """Return what runs; None when neither the kernel nor Docker can tell."""
    names = {each.id: each.name for each in (shown or {}).values()}
    groups = None if used is None else used.containers
    if groups is not None and not isinstance(groups, CannotTell):
        return _Live({each.id: _most(each) for each in groups}, names)
    if shown is None:
        return None
    try:
        # All of them, as they are now: what was listed as created may run since, and its promise be over.
        inspected = [engine.inspect(each) for each in shown]
    except Ds01Error as error:
        unknown.append(error.brief)
        return None
    return _Live({each.id: each.memory_bytes or 0 for each in inspected if each is not None and each.is_live}, names)


def _has_groups(used: AccountUsage | None) -> bool:
    return used is not None and not isinstance(used.containers, CannotTell)


def _ours(shown: Mapping[str, ContainerSummary], admitted: Collection[str]) -> tuple[ContainerSummary, ...]:
    """Return the containers that DS01 let come to be, one for each label of its own.

    A label can be copied from a container that is there: the older one, listed last, is what it was made for.
    """
    found = {each.labels.get(labels.CREATED_AT): each for each in shown.values()}
    return tuple(each for token, each in found.items() if token in admitted)


def _add_missing(
    engine: Engine,
    live: _Live,
    ours: Iterable[ContainerSummary],
    unknown: list[str],
    promised: Collection[str],
) -> None:
    """Add what Docker shows as live and the kernel has in none of the account's slices.

    One that waits to be started again has no group. One that runs has its group elsewhere, and that is told: what it
    uses is in no sum. While it is restarted it has none for a moment, as its promise says.
    """
    elsewhere: list[str] = []
    try:
        for each in _missing(engine, live, ours):
            live.committed_bytes[each.id] = each.memory_bytes or 0
            if each.state is not State.RESTARTING and each.id not in promised:
                elsewhere.append(each.name)
    except Ds01Error as error:
        unknown.append(error.brief)
    if elsewhere:
        unknown.append(f"no control group of the account has what Docker says runs: {', '.join(elsewhere)}")


def _missing(engine: Engine, live: _Live, ours: Iterable[ContainerSummary]) -> Iterator[Container]:
    for each in ours:
        if each.state in LIVE and each.id not in live.committed_bytes:
            # The list was made before the kernel was read: it may have ended meanwhile.
            found = engine.inspect(each.id)
            if found is not None and found.is_live:
                yield found


def _most(container: ContainerUsage) -> int:
    """Return what a container may use; of one without a limit what it does use, since no sum can hold more."""
    limit = container.memory_max_bytes
    if isinstance(limit, int):
        return limit
    in_use = container.counted.working_set_bytes
    return in_use if isinstance(in_use, int) else 0


def _uncounted(promises: Iterable[Pending], live: _Live, shown: Mapping[str, ContainerSummary]) -> tuple[Pending, ...]:
    """Return the promises whose container does not run yet: one that has just begun is counted as what it is."""

    def runs(pending: Pending) -> bool:
        there = _shown(pending, shown) if pending.verb.is_new else None
        return (pending.id if there is None else there.id) in live.committed_bytes

    return tuple(each for each in promises if each.verb is not Verb.UPDATE and not runs(each))
