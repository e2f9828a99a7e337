"""An overview as the whole sheet that check-limits prints: usage, both layers of limits, containers, GPUs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ds01.core.limits import AGGREGATES, BY_NAME, format_value
from ds01.core.typed import Final
from ds01.core.words import table
from ds01.runtime.lifecycle.notices import by_weight
from ds01.runtime.overview.figures import ContainerShare, Overview, Unknown, unknowns
from ds01.runtime.overview.words import (
    Style,
    bar,
    count_words,
    cpu_words,
    holding_words,
    memory_words,
    notice_lines,
    rows,
    used_words,
    waiting_words,
)

# What holds for each container, in the order people ask for it.
_EACH: Final = (
    "memory",
    "max_cpus",
    "pids_limit",
    "shm_size",
    "ipc_mode",
    "max_mig_per_container",
    "gpu_unit",
    "allow_full_gpu",
    "idle_timeout",
    "max_runtime",
    "gpu_hold_after_stop",
    "container_hold_after_stop",
)
# What is shown with a bar needs no line of its own.
_WITH_BAR: Final = frozenset({"aggregate.memory_max", "aggregate.tasks_max", "aggregate.cpu_quota"})
_SHORT_ID: Final = 12


def sheet(overview: Overview, names: Mapping[str, str] | Unknown, style: Style) -> str:
    """Return everything there is to say.

    Args:
        names: of containers, by id.
    """
    parts = (
        _head(overview, style),
        _over_all(overview, style),
        _for_each(overview, style),
        _containers(overview, names, style),
        _gpus(overview, style),
        _notices(overview, style),
        _remarks(overview, names, style),
    )
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))


def _head(overview: Overview, style: Style) -> Iterator[str]:
    listed = "" if overview.limits.listed else ", not listed: the group's limits hold"
    yield style.fit(f"{overview.account}: group {overview.limits.group}{listed}")
    others = [name for name in overview.slices if name != overview.limits.slice_name]
    if others:
        yield style.fit(f"counted with what still runs in {', '.join(others)}")


def _over_all(overview: Overview, style: Style) -> Iterator[str]:
    yield "Over all containers"
    found = tuple(rows(overview))
    width = max(len(words) for _, _, words in found)
    for label, measure, words in found:
        yield f"  {label:12}{bar(measure, style)} {words:{width}}  {style.whole(measure.origin)}"
    if not isinstance(overview.memory_cache_bytes, Unknown) and overview.memory_cache_bytes:
        yield f"  besides {memory_words(overview.memory_cache_bytes)} of page cache, which counts against nothing"
    waiting = waiting_words(overview)
    if waiting is not None and overview.slices:
        yield f"  {waiting}"
    more = [limit for limit in AGGREGATES if limit.name not in _WITH_BAR]
    shown = [limit for limit in more if overview.limits[limit.name].value is not None]
    if overview.limits["max_gpu_equivalents"].value is not None:
        shown.append(BY_NAME["max_gpu_equivalents"])
    yield from _limit_lines(overview, tuple(limit.name for limit in shown), style)


def _for_each(overview: Overview, style: Style) -> Iterator[str]:
    yield "One container"
    yield from _limit_lines(overview, _EACH, style)


def _limit_lines(overview: Overview, names: tuple[str, ...], style: Style) -> Iterator[str]:
    for name in names:
        limit, found = BY_NAME[name], overview.limits[name]
        yield f"  {limit.label:27}{format_value(limit, found.value):12}  {style.whole(found.origin)}"


def _containers(overview: Overview, names: Mapping[str, str] | Unknown, style: Style) -> Iterator[str]:
    if isinstance(overview.shares, Unknown) or not overview.shares:
        return
    called = {} if isinstance(names, Unknown) else names
    yield "Running containers"
    lines = [_share(each, called, style) for each in overview.shares]
    yield from (f"  {line}" for line in table([("ID", "NAME", "MEMORY", "CPUS", "TASKS"), *lines]).split("\n"))


def _share(share: ContainerShare, names: Mapping[str, str], style: Style) -> tuple[str, ...]:
    limit = share.memory_limit_bytes
    most = "no limit" if limit is None else used_words(limit, memory_words)
    memory = f"{used_words(share.memory_used_bytes, memory_words)} of {most}"
    cpu, tasks = used_words(share.cpu_percent, cpu_words), used_words(share.tasks, count_words)
    return share.id[:_SHORT_ID], style.fit(names.get(share.id, "unknown")), memory, cpu, tasks


def _gpus(overview: Overview, style: Style) -> Iterator[str]:
    if not isinstance(overview.holdings, Unknown) and overview.holdings:
        yield "GPUs"
        yield from (f"  {style.fit(holding_words(each))}" for each in overview.holdings)


def _notices(overview: Overview, style: Style) -> Iterator[str]:
    if not isinstance(overview.notices, Unknown) and overview.notices:
        yield "Notices"
        yield from (f"  {line}" for each in by_weight(overview.notices) for line in notice_lines(each, style))


def _remarks(overview: Overview, names: Mapping[str, str] | Unknown, style: Style) -> Iterator[str]:
    """Yield what is not as it should be; each reason once, however many numbers it hides."""
    for each in overview.differing:
        yield f"notice: {each}"
    reasons = dict.fromkeys(unknowns(overview).values())
    if isinstance(names, Unknown):
        reasons[f"names of containers: {names.reason}"] = None
    for reason in reasons:
        yield f"unknown: {style.whole(reason)}"
