"""What is said of processes on GPUs outside containers: to their accounts, and in the event log. Pure."""

from __future__ import annotations

from datetime import datetime

from ds01.core.clock import format_instant
from ds01.runtime.gpu.hostprocesses import HostProcess

_INSTEAD = "run it in a container (docker run --gpus 1 …)"


def warned_words(process: HostProcess, contact: str) -> str:
    """Return what an account is told of its process.

    Args:
        contact: whom to ask; empty for nobody.
    """
    what = f"{_whose(process)} computes on {_gpus(process)} outside a container, which this host does not allow."
    ends = "" if process.ends_at is None else f" It is ended at {_local(process.ends_at)}."
    return f"{what}{ends} {_way_out(contact)}"


def ended_words(process: HostProcess, contact: str) -> str:
    """Return what an account is told when its process was ended."""
    what = f"{_whose(process)} was ended: it computed on {_gpus(process)} outside a container."
    return f"{what} {_way_out(contact)}"


def notice_key(process: HostProcess) -> str:
    """Return under what an account's notice of a process is kept; the end takes the place of the warning."""
    return f"baremetal.{process.pid}.{process.started}"


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
    return f"Your {process.command} (pid {process.pid})"


def _gpus(process: HostProcess) -> str:
    return f"GPU {', '.join(process.slots)}"


def _way_out(contact: str) -> str:
    ask = f", or ask {contact} for a time in which you may" if contact else ""
    return f"Better: {_INSTEAD}{ask}."


def _local(instant: datetime) -> str:
    """As people of this machine read the time."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M}"
