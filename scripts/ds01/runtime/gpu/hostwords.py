"""What is said of processes on GPUs outside containers: to their accounts, and in the event log. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ds01.core.clock import format_instant
from ds01.core.typed import Final
from ds01.core.visible import short_name
from ds01.runtime.gpu.hostprocesses import HostProcess

# An account has one notice of all its processes, and one of the last that was ended.
WARNED_KEY: Final = "baremetal"
ENDED_KEY: Final = "baremetal.ended"
_INSTEAD: Final = "run it in a container (docker run --gpus 1 …)"


def warned_words(processes: Sequence[HostProcess], contact: str, now: datetime) -> str:
    """Return what an account is told of its processes; the end stands before all that may be long.

    Args:
        processes: one at least.
        contact: whom to ask; empty for nobody.
    """
    more = len(processes) - 1
    whose = f"{_whose(processes[0])}{f' and {more} more' if more else ''}"
    slots = dict.fromkeys(slot for each in processes for slot in each.slots)
    where = f"on GPU {', '.join(slots)} outside a container, which this host does not allow"
    ends = min((each.ends_at for each in processes if each.ends_at is not None), default=None)
    if ends is None:
        return f"{whose} {'compute' if more else 'computes'} {where}. {_way_out(contact)}"
    at = f"at {_local(ends)}" if ends > now else "now"
    they = "they compute" if more else "it computes"
    what = f"{whose} {'are' if more else 'is'} ended {at}, and so is what you start later: {they} {where}."
    return f"{what} {_way_out(contact)}"


def ended_words(process: HostProcess, contact: str) -> str:
    """Return what an account is told when its process was ended."""
    what = f"{_whose(process)} was ended: it computed on GPU {', '.join(process.slots)} outside a container."
    return f"{what} So is what you start there within an hour. {_way_out(contact)}"


def event_details(process: HostProcess) -> dict[str, object]:
    """Return what the event log says of a process."""
    return {
        "pid": process.pid,
        "uid": process.uid,
        "command": process.command,
        "gpu_id": ",".join(process.slots),
        "gpu_uuids": list(process.gpu_uuids),
        "since": format_instant(process.since),
        "ends_at": None if process.ends_at is None else format_instant(process.ends_at),
        "note": process.note,
    }


def _whose(process: HostProcess) -> str:
    return f"Your {short_name(process.command)} (pid {process.pid})"


def _way_out(contact: str) -> str:
    ask = f", or ask {contact} for a time in which you may" if contact else ""
    return f"Better: {_INSTEAD}{ask}."


def _local(instant: datetime) -> str:
    """As people of this machine read the time."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M}"
