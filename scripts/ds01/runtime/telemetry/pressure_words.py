"""What is found of memory pressure and quotas, as events and as sentences for the account. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from ds01.core.rules import Mode
from ds01.core.typed import Final
from ds01.core.visible import short_name
from ds01.runtime.cgroup.pressure import Pressure, Resource
from ds01.runtime.cgroup.tree import CannotTell
from ds01.runtime.overview.words import count_words, memory_words
from ds01.runtime.telemetry.oom import Victim, Whose
from ds01.runtime.telemetry.pressure import Figures, High, Over, PressureRules, Stalled
from ds01.runtime.telemetry.quota import Near, Quota

_SHORT_ID: Final = 12
_NOUNS: Final = {
    Quota.MEMORY: "memory",
    Quota.TASKS: "processes and threads",
    Quota.GPUS: "GPUs",
    Quota.CONTAINERS: "containers",
}


def name_of(id_: str, names: Mapping[str, str]) -> str:
    """Return a container's name, or what it can be found by."""
    return names.get(id_) or id_[:_SHORT_ID]


# --- Out of memory ----------------------------------------------------------------------------------------------------


def oom_details(
    kills: int, victims: Sequence[Victim], whose: Whose, names: Mapping[str, str], figures: Figures
) -> dict[str, object]:
    """Return what the event says.

    Args:
        whose: at whose limit memory ended, where no victim tells.
    """
    return {
        "kills": kills,
        "limit": whose.value if not victims else victims[0].whose.value,
        "containers": [
            {
                "name": name_of(each.id, names),
                "id": each.id[:_SHORT_ID],
                "ended": each.ended,
                "limit": each.whose.value,
                "limit_bytes": each.limit_bytes,
            }
            for each in victims
        ],
        **memory_details(figures),
    }


def oom_text(victim: Victim | None, whose: Whose, names: Mapping[str, str], figures: Figures, now: datetime) -> str:
    """Return what the account is told of a container, or of one that nobody can name.

    Args:
        whose: as in oom_details().
    """
    if victim is None:
        return (
            f"a process in a container of yours was ended at {now.astimezone():%H:%M}: {_cause(whose, None, figures)}"
        )
    name, at = short_name(name_of(victim.id, names)), (victim.at or now).astimezone()
    what = f"container {name}" if victim.ended else f"a process in container {name}"
    return f"{what} was ended at {at:%H:%M}: {_cause(victim.whose, victim.limit_bytes, figures)}"


def _cause(whose: Whose, own_bytes: int | None, figures: Figures) -> str:
    match whose:
        case Whose.CONTAINER:
            limit = "its own limit" if own_bytes is None else f"its own limit of {memory_words(own_bytes)}"
            return f"out of memory ({limit})"
        case Whose.ACCOUNT:
            most = figures.max_bytes
            reached = memory_words(most) if isinstance(most, int) else "their limit"
            return f"out of memory (all your containers together reached {reached})"
        case Whose.ABOVE:
            return "out of memory (not by your limits: the machine had none left)"
        case Whose.UNKNOWN:
            return "out of memory"


# --- Pressure ---------------------------------------------------------------------------------------------------------


def memory_details(figures: Figures) -> dict[str, object]:
    """Return the memory figures of an event; null is unlimited for a limit, else not known."""
    return {
        "memory_current_bytes": _known(figures.current_bytes),
        "memory_used_bytes": _known(figures.working_set_bytes),
        "memory_high_bytes": _known(figures.high_bytes),
        "memory_max_bytes": _known(figures.max_bytes),
    }


def pressure_details(figures: Figures, resource: Resource = Resource.MEMORY) -> dict[str, object]:
    """Return one kind of pressure and the memory figures of an event."""
    found = figures.memory if resource is Resource.MEMORY else figures.others.get(resource)
    shares = {}
    if isinstance(found, Pressure):
        shares = {"some_avg60": found.some.avg60}
        if not isinstance(found.full, CannotTell):
            shares |= {"full_avg60": found.full.avg60, "full_avg10": found.full.avg10}
    return {**shares, **memory_details(figures)}


def wait_details(change: High | Over, figures: Figures) -> dict[str, object]:
    """Return what the event says of pressure that is high, or over."""
    return {
        "resource": change.resource.value,
        "seconds": round(change.seconds),
        **pressure_details(figures, change.resource),
    }


def stall_details(stalled: Stalled, rules: PressureRules, figures: Figures) -> dict[str, object]:
    """Return what the event says of an account that stands still, and of what is done about it."""
    does = "release" if rules.releases else "notify"
    return {
        "seconds": round(stalled.seconds),
        "stall": does if rules.mode is Mode.ENFORCE else "notify",
        **({"would": does} if rules.mode is not Mode.ENFORCE and rules.releases else {}),
        **pressure_details(figures),
    }


def stall_text(figures: Figures, *, lifted: bool) -> str:
    """Return what the account is told.

    Args:
        lifted: whether memory_high is lifted, so that the kernel will end something.
    """
    high, most = _amount(figures.high_bytes), _amount(figures.max_bytes)
    begin = f"your containers hardly move: together they need more memory than the {high} at which they are slowed down"
    if not lifted:
        return f"{begin}. Stop one or let it use less; check-limits shows what each one takes."
    return f"{begin}. They are let go on now, and at {most} the kernel ends the largest process."


def _amount(limit: int | CannotTell | None) -> str:
    return memory_words(limit) if isinstance(limit, int) else "memory there is"


def _known(reading: int | CannotTell | None) -> int | None:
    return None if isinstance(reading, CannotTell) else reading


# --- Quotas -----------------------------------------------------------------------------------------------------------


def near_details(near: Near) -> dict[str, object]:
    """Return what the event says."""
    return {
        "limit": near.quota.value,
        "percent": near.percent,
        "level": near.level,
        "used": near.used,
        "allowed": near.limit,
    }


def near_text(near: Near) -> str:
    """Return what the account is told."""
    words: Callable[[float], str] = memory_words if near.quota is Quota.MEMORY else count_words
    begin = f"you use {words(near.used)} of {words(near.limit)}"
    if near.quota is Quota.MEMORY:
        return f"{begin} of memory ({near.percent} %): at the limit a process is ended. check-limits shows more."
    if near.used >= near.limit:
        return f"{begin} {_NOUNS[near.quota]}: there are no more for you. check-limits shows more."
    return f"{begin} {_NOUNS[near.quota]} ({near.percent} %). check-limits shows more."
