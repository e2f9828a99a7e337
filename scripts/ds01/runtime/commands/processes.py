"""`ds01 processes`: what computes on GPUs outside containers, and what becomes of it. Reads one file, nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from ds01.core.clock import format_instant
from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import Ds01Error, ExitCode
from ds01.core.jsonstate import read_json
from ds01.core.paths import HostPaths
from ds01.core.terminal import print_json, say
from ds01.core.typed import Final
from ds01.core.units import GIB
from ds01.core.visible import visible
from ds01.core.words import table
from ds01.runtime.commands.watching import add_watch, shown
from ds01.runtime.gpu import hostrecord
from ds01.runtime.gpu.hostprocesses import HostProcess, Verdict
from ds01.runtime.gpu.hostrecord import HostRecord, process_json
from ds01.runtime.machine import Machine

JSON_VERSION: Final = 1
_HEAD: Final = ("PID", "USER", "COMMAND", "GPU", "MEMORY", "SINCE", "VERDICT", "ENDS AT")


def main(argv: Sequence[str] | None = None) -> int:
    """Show it, once or again and again; returns the exit code."""
    made = parser("ds01 processes", "Show what computes on GPUs outside containers, and what becomes of it.")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    add_watch(made)
    return run_command(made, argv, _show)


def _show(options: argparse.Namespace) -> int:
    paths = host_paths(options.root)

    def show(clear: str) -> int:
        record, lacking = _read(paths)
        if options.json:
            print_json(_json(record, lacking), sys.stdout)
        else:
            print(f"{clear}{_text(record)}", flush=True)
            if lacking is not None:
                say(f"notice: {lacking}")
        return ExitCode.DONE if lacking is None else ExitCode.FAILED

    return shown(options.watch, show)


def _read(paths: HostPaths) -> tuple[HostRecord | None, str | None]:
    """Return what was written last, however old, and why that is not all there is now."""
    try:
        document = read_json(paths.host_processes)
    except Ds01Error as error:
        return None, error.render()
    if document is None:
        return None, f"there is no {paths.host_processes}: nobody watches (systemctl status ds01-gpuwatch)"
    found = hostrecord.from_document(document)
    if isinstance(found, str):
        return None, f"{paths.host_processes} cannot be read: {found}"
    now = hostrecord.current(found, Machine().now())
    return found, f"what is shown may be over: {now}" if isinstance(now, str) else found.unknown


def _text(record: HostRecord | None) -> str:
    if record is None:
        return "what computes on GPUs outside containers cannot be told"
    if not record.processes:
        return "nothing computes on a GPU outside containers"
    return table([_HEAD, *(_row(each) for each in record.processes)])


def _row(process: HostProcess) -> tuple[str, ...]:
    """A row; what accounts can write has no say over a terminal."""
    memory = "-" if process.memory_bytes is None else f"{process.memory_bytes / GIB:.1f}G"
    verdict = process.verdict.value
    if process.note is not None:
        verdict = f"{verdict}, never ended: {process.note}"
    return (
        str(process.pid),
        visible(process.user),
        visible(process.command),
        visible(",".join(process.slots)),
        memory,
        _when(process.since),
        visible(verdict),
        _ends(process),
    )


def _ends(process: HostProcess) -> str:
    if process.verdict is Verdict.GRANTED:
        return f"- (granted until {_when(process.granted_until)})"
    return _when(process.ends_at)


def _when(instant: datetime | None) -> str:
    """As people of this machine read times."""
    return "-" if instant is None else f"{instant.astimezone():%Y-%m-%d %H:%M}"


def _json(record: HostRecord | None, lacking: str | None) -> Mapping[str, object]:
    return {
        "version": JSON_VERSION,
        "known": record is not None,
        "updated_at": None if record is None else format_instant(record.updated_at),
        "processes": [process_json(each) for each in (() if record is None else record.processes)],
        "lacking": [] if lacking is None else [lacking],
    }
