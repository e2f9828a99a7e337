"""`ds01 who`: who uses which GPU, in containers and outside, since when and how busy. Works for any account."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import Ds01Error, ExitCode
from ds01.core.jsonstate import read_json
from ds01.core.paths import HostPaths
from ds01.core.terminal import print_json, say
from ds01.core.value import dataclass
from ds01.core.words import printable
from ds01.runtime.commands import gpu_show
from ds01.runtime.commands.watching import add_watch, shown
from ds01.runtime.commands.who_words import JSON_VERSION, Facts, Row, rows_json, rows_of, who_table, with_recorded
from ds01.runtime.gpu import activity, hostrecord
from ds01.runtime.gpu.activity import UnitActivity
from ds01.runtime.gpu.hardware import Devices, GpuUuid
from ds01.runtime.gpu.hostrecord import HostRecord
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.reconcile import hold_ends
from ds01.runtime.gpu.request import Limits
from ds01.runtime.gpu.view import View
from ds01.runtime.machine import Machine


@dataclass(frozen=True, slots=True)
class _Answer:
    """What can be said.

    Attributes:
        rows: None when it cannot be told which GPUs there are.
        lost: holders of units that are not seen, with the slots these had.
        lacking: what could not be read.
        notices: what is to be said besides.
    """

    rows: tuple[Row, ...] | None
    lost: tuple[tuple[Allocation, tuple[str, ...]], ...]
    lacking: tuple[str, ...]
    notices: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Show it, once or again and again; returns the exit code."""
    made = parser("ds01 who", "Show who uses which GPU, in containers and outside, since when, and how busy it is.")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    add_watch(made)
    return run_command(made, argv, _show)


def _show(options: argparse.Namespace) -> int:
    paths = host_paths(options.root)

    def show(clear: str) -> int:
        answer = _look(paths)
        if options.json:
            print_json(_json(answer), sys.stdout)
        else:
            print(f"{clear}{_text(answer)}", flush=True)
            for line in (*answer.lacking, *answer.notices):
                say(f"notice: {line}")
        return ExitCode.FAILED if answer.lacking else ExitCode.DONE

    return shown(options.watch, show)


# --- Reading ----------------------------------------------------------------------------------------------------------


def _look(paths: HostPaths) -> _Answer:
    scene = gpu_show.look(paths)
    lacking, notices = list(scene.lacking), list(scene.notices)
    devices = scene.devices
    if devices is not None and devices.unknown is not None:
        record = _record(paths)
        if isinstance(record, HostRecord):
            devices = with_recorded(devices, record)
            notices.append("processes that may not be seen are shown as ds01-gpuwatch saw them")
    watched = _watched(paths)
    if isinstance(watched, str):
        notices.append(f"how busy MIG instances are is not known: {watched}")
    view = View.of(devices or Devices(()), scene.ledger or Ledger(), Limits({}))
    lost = tuple(gpu_show.vanished(scene, view))
    if devices is None:
        return _Answer(None, lost, tuple(lacking), tuple(notices))
    facts = Facts(
        devices=devices,
        ledger=scene.ledger,
        usage=scene.usage,
        activity=None if isinstance(watched, str) else watched,
        hold_ends=lambda allocation: hold_ends(allocation, scene.account_of),
    )
    rows = rows_of(facts)
    reasons = dict.fromkeys(row.busy_unknown for row in rows if row.busy_unknown is not None and row.uses)
    if not isinstance(watched, str):
        notices += [f"how busy a unit is may not be known: {reason}" for reason in reasons]
    return _Answer(rows, lost, tuple(lacking), tuple(notices))


def _watched(paths: HostPaths) -> Mapping[GpuUuid, UnitActivity] | str:
    try:
        document = read_json(paths.gpu_activity)
    except Ds01Error as error:
        return error.brief
    if document is None:
        return "nobody watches them (systemctl status ds01-gpuwatch)"
    return activity.from_document(document, Machine().now(), Machine().boot_id())


def _record(paths: HostPaths) -> HostRecord | str:
    try:
        document = read_json(paths.host_processes)
    except Ds01Error as error:
        return error.brief
    if document is None:
        return "nobody watches them (systemctl status ds01-gpuwatch)"
    return hostrecord.current(hostrecord.from_document(document), Machine().now())


# --- Showing ----------------------------------------------------------------------------------------------------------


def _text(answer: _Answer) -> str:
    lines = ["which GPUs there are cannot be told" if answer.rows is None else who_table(answer.rows)]
    for each, slots in answer.lost:
        there = "is not seen" if answer.rows is None else "is no more"
        lines.append(f"{each.user or '?'}'s {each.container} holds GPU {', '.join(slots)}, which {there}")
    return "\n".join([lines[0], *map(printable, lines[1:])])


def _json(answer: _Answer) -> Mapping[str, object]:
    return {
        "version": JSON_VERSION,
        "known": answer.rows is not None,
        "units": rows_json(answer.rows or ()),
        "not_seen": [
            {"user": each.user, "container": each.container, "slots": list(slots)} for each, slots in answer.lost
        ],
        "lacking": list(answer.lacking),
        "notices": list(answer.notices),
    }
