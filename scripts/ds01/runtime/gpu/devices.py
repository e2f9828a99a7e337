"""Look at the GPUs of this machine: through NVML, else through nvidia-smi. Changes nothing but a cache.

"There are none" and "it cannot be told" are different answers: the second is a DevicesError that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ds01.core.paths import HostPaths
from ds01.core.process import Run, run
from ds01.core.typed import TypeVar
from ds01.runtime.gpu import nvml, smi
from ds01.runtime.gpu.driver import fingerprint, list_gpus
from ds01.runtime.gpu.hardware import Devices, DevicesError, GpuUuid, NoToolError, Usage
from ds01.runtime.gpu.naming import all_gpus
from ds01.runtime.gpu.owners import Owners
from ds01.runtime.gpu.processes import identify
from ds01.runtime.gpu.session import Session
from ds01.runtime.gpu.topology import recall, recall_any, remember
from ds01.runtime.machine import Machine

_Answer = TypeVar("_Answer")


def read_devices(
    paths: HostPaths, run: Run = run, *, live: bool = False, who: bool = True, session: Session | None = None
) -> Devices:
    """Return the GPUs and what computes on them.

    Args:
        live: look anew even where nothing seems to have changed since the last look.
        who: also say what computes on them, which always asks the driver; without, a fresh cache answers at once.
        session: how whoever looks again and again reaches NVML.

    Raises:
        NoToolError: nothing is installed that could tell.
        DevicesError: it cannot be told; says why and what to do.
    """
    machine, sign = Machine(paths.proc), fingerprint(paths.proc)
    known = None if live else recall(paths, sign, machine.boot_seconds())
    if known is not None and not who:
        return Devices(known)
    # NVML, once started, tells all of it faster than the cache is worth; nvidia-smi starts anew for each question.
    through = session or Session()
    seen = _first(lambda: through.look(sign, who=who), lambda: smi.look(run, who=who, known=known))
    gpus = all_gpus(seen, list_gpus(paths.proc), recall_any(paths))
    if gpus != known and fingerprint(paths.proc) == sign:
        remember(paths, gpus, sign, machine.boot_seconds())
    found = identify(seen.running, machine, Owners(paths.subuids))
    unknown = "; ".join(filter(None, (seen.unknown, found.unknown)))
    return Devices(gpus, found.processes, unknown or None, found.gone)


def read_usage(paths: HostPaths, run: Run = run) -> Mapping[GpuUuid, Usage]:
    """Return how busy each unit is now; one that does not say has no entry.

    Raises:
        DevicesError: as read_devices().
    """
    del paths  # like its sister: what a machine is asked below one root, it is asked below that root alone
    return _first(nvml.read_usage, lambda: smi.read_usage(run))


def _first(ask_nvml: Callable[[], _Answer], ask_tool: Callable[[], _Answer]) -> _Answer:
    """Return NVML's answer, else the tool's; without either, both causes in one error."""
    try:
        return ask_nvml()
    except DevicesError as error:
        first = error
    try:
        return ask_tool()
    except DevicesError as second:
        kind = NoToolError if isinstance(first, NoToolError) and isinstance(second, NoToolError) else DevicesError
        causes = (". ".join(filter(None, (each.brief, each.details))) for each in (first, second))
        fixes = dict.fromkeys(filter(None, (first.resolution, second.resolution)))
        raise kind("what GPUs this machine has cannot be told", "\n".join(causes), "; or: ".join(fixes)) from first
