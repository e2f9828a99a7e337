"""What `ds01 gpu` shows: status, queue, validate. Works without root, and says what it could not read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from ds01.core.clock import format_instant
from ds01.core.command import host_paths
from ds01.core.errors import Ds01Error, ExitCode
from ds01.core.paths import HostPaths
from ds01.core.policy import read_policy
from ds01.core.terminal import print_json, say
from ds01.core.typed import Final, TypeVar
from ds01.core.units import GIB
from ds01.core.value import dataclass, field
from ds01.core.words import printable, table
from ds01.runtime.commands.gpu_words import JSON_VERSION, allocation_json, since
from ds01.runtime.commands.watching import shown
from ds01.runtime.gpu.answer import Reason
from ds01.runtime.gpu.devices import read_devices, read_usage
from ds01.runtime.gpu.hardware import Devices, Gpu, GpuUuid, Unit, Usage
from ds01.runtime.gpu.host import account_reader
from ds01.runtime.gpu.ledger import Allocation, Ledger
from ds01.runtime.gpu.reconcile import AccountOf, hold_ends
from ds01.runtime.gpu.request import AccountLimits, Limits, format_wanted
from ds01.runtime.gpu.state import NoGpuStateError, read_ledger
from ds01.runtime.gpu.view import View, describe
from ds01.runtime.machine import Machine

_Found = TypeVar("_Found")
_HIDDEN: Final = (
    "whether those in the line still wait is not known: this account may not see their processes (hidepid); run the"
    " command as root (sudo)"
)
_HEAD: Final = ("GPU", "SLOT", "PROFILE", "USER", "CONTAINER", "SINCE", "STATE", "UTIL", "MEMORY")


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that could be read.

    Attributes:
        devices: None when it cannot be told what there is, which is not the same as nothing.
        ledger: None when it cannot be told who holds what; then nothing is free for all one knows.
        lacking: what could not be read, in words.
        notices: what is to be said besides.
        account_of: for how long holds last; the least where there is no policy.
    """

    devices: Devices | None
    ledger: Ledger | None
    usage: Mapping[GpuUuid, Usage]
    account_of: AccountOf
    lacking: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """Everything that is known to be held."""
        return () if self.ledger is None else tuple(self.ledger.allocations.values())


@dataclass(slots=True)
class _Reader:
    """Reads one thing after the other, and keeps what went wrong for the end."""

    lacking: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def read(self, ask: Callable[[], _Found], otherwise: _Found) -> _Found:
        """Return what is asked for, or the other thing when it cannot be had."""
        try:
            return ask()
        except Ds01Error as error:
            self.lacking.append(error.render())
        return otherwise

    def ledger(self, paths: HostPaths) -> Ledger | None:
        """Return who holds what; None when that cannot be told, nobody where nothing was ever written down."""
        try:
            return _ledger(paths)
        except NoGpuStateError as error:
            self.notices.append(error.render())
            return Ledger()
        except Ds01Error as error:
            self.lacking.append(error.render())
            return None


# --- Acts -------------------------------------------------------------------------------------------------------------


def status(options: argparse.Namespace) -> int:
    """Show all units, once or again and again."""
    paths = host_paths(options.root)

    def show(clear: str) -> int:
        scene = look(paths)
        if options.json:
            print_json(_status_json(scene, options.user), sys.stdout)
        else:
            print(f"{clear}{status_table(scene, options.user)}", flush=True)
            for line in (*scene.lacking, *scene.notices):
                say(f"notice: {line}")
        return ExitCode.FAILED if scene.lacking else ExitCode.DONE

    return shown(options.watch, show)


def queue(options: argparse.Namespace) -> int:
    """Show who waits."""
    ledger = _ledger_or_none_yet(host_paths(options.root))
    line, notices = ledger.in_line(), _doubts(ledger)
    if options.json:
        rows = [
            {
                "place": place,
                "user": each.user,
                "container": each.container,
                "wanted": format_wanted(each.wanted),
                "priority": each.priority,
                "since": format_instant(each.since),
            }
            for place, each in enumerate(line, start=1)
        ]
        print_json({"version": JSON_VERSION, "queue": rows, "notices": notices}, sys.stdout)
    elif not line:
        print("nobody waits for a GPU")
    else:
        rows_ = [
            (
                str(place),
                each.user,
                each.container or "-",
                format_wanted(each.wanted),
                str(each.priority),
                since(each.since),
            )
            for place, each in enumerate(line, start=1)
        ]
        print(printable_table([("PLACE", "USER", "CONTAINER", "WANTS", "PRIORITY", "SINCE"), *rows_]))
        for notice in notices:
            say(f"notice: {notice}")
    return ExitCode.DONE


def validate(options: argparse.Namespace) -> int:
    """Say whether a container holds GPUs that are there and well."""
    paths = host_paths(options.root)
    there = _ledger_or_none_yet(paths).find(options.container)
    devices = read_devices(paths)
    view = View.of(devices, Ledger(), Limits({}))
    wrong = [words for name in options.gpu if (words := _wrong_with(name, there, view, options.container))]
    if options.json:
        print_json({"version": JSON_VERSION, "valid": not wrong, "problems": wrong}, sys.stdout)
    else:
        said = wrong or [f"{options.container} holds GPU {', '.join(options.gpu)}, there and well"]
        print("\n".join(map(printable, said)))
    return ExitCode.FAILED if wrong else ExitCode.DONE


def _wrong_with(name: str, there: Allocation | None, view: View, container: str) -> str | None:
    unit = view.find(name)
    if unit is None:
        missing = view.missing(name)
        again = f"; re-create {container} to get another one" if missing.reason is Reason.NO_SUCH_GPU else ""
        return f"{missing.text}{again}"
    if unit.problem is not None:
        return f"GPU {name}: {unit.problem}"
    if there is None or unit.uuid not in there.uuids:
        return f"{container} does not hold GPU {name}"
    return None


# --- Reading ----------------------------------------------------------------------------------------------------------


def _ledger(paths: HostPaths) -> Ledger:
    return read_ledger(paths, Machine())


def _ledger_or_none_yet(paths: HostPaths) -> Ledger:
    try:
        return _ledger(paths)
    except NoGpuStateError:
        return Ledger()


def _doubts(ledger: Ledger) -> list[str]:
    """Return why the line may be shorter than the ledger says."""
    return [_HIDDEN] if ledger.queue and not Machine().shows_others() else []


def _guessed(devices: Devices) -> Iterator[Gpu]:
    return (gpu for gpu in devices.gpus if gpu.mig and not gpu.slices_known)


def _unsized(gpu: Gpu) -> str:
    return (
        f"how many compute slices GPU {gpu.index} ({gpu.name}) has is not known: in quotas by size"
        f" (max_gpu_equivalents) its instances count as parts of {gpu.slices}"
    )


def look(paths: HostPaths) -> Scene:
    """Read all that can be read of hardware, holders and holds."""
    reader = _Reader()
    unknown: Devices | None = None
    devices = reader.read(lambda: read_devices(paths), unknown)
    nothing: Mapping[GpuUuid, Usage] = {}
    usage = reader.read(lambda: read_usage(paths), nothing) if devices else nothing
    if devices is not None and devices.unknown is not None:
        reader.lacking.append(f"not all that runs on the GPUs is known: {devices.unknown}")
    reader.notices += [] if devices is None else map(_unsized, _guessed(devices))
    ledger = reader.ledger(paths)
    reader.notices += [] if ledger is None else _doubts(ledger)
    no_policy: AccountOf = _no_policy
    account_of = reader.read(lambda: account_reader(read_policy(paths.policy)), no_policy)
    return Scene(devices, ledger, usage, account_of, tuple(reader.lacking), tuple(reader.notices))


def _no_policy(_: str) -> AccountLimits:
    return AccountLimits()


# --- The table --------------------------------------------------------------------------------------------------------


def status_table(scene: Scene, user: str | None = None) -> str:
    """Return all units with who has them; with a user, only that one's."""
    view = _view(scene)
    rows = [_row(scene, view, unit) for unit in view.units if user is None or _user(view, unit) == user]
    lost = "no such GPU now" if scene.devices else "GPU not seen"
    for each, slots in vanished(scene, view):
        if user in {None, each.user}:
            state = f"{_state_of(each, scene.account_of)}; {lost}"
            who = (each.user or "?", each.container, since(each.allocated_at))
            rows.append(("-", ",".join(slots), "-", *who, state, "-", "-"))
    if rows:
        return printable_table([_HEAD, *rows])
    if user is not None:
        name = printable(user)
        return f"{name} has no GPU" if scene.ledger is not None else f"whether {name} has a GPU cannot be told"
    return "this machine has no GPU" if scene.devices is not None else "which GPUs there are cannot be told"


def vanished(scene: Scene, view: View) -> Iterator[tuple[Allocation, tuple[str, ...]]]:
    """Yield what is held and not seen, by the slots it had."""
    here = {uuid for unit in view.units for uuid in (unit.uuid, unit.gpu_uuid)}
    for each in scene.allocations:
        lost = tuple(slot for slot, uuid in zip(each.slots, each.uuids, strict=False) if uuid not in here)
        if lost:
            yield each, lost


def _view(scene: Scene) -> View:
    return View.of(scene.devices or Devices(()), Ledger() if scene.ledger is None else scene.ledger, Limits({}))


def printable_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose cells cannot drive a terminal."""
    return table([[printable(cell) for cell in row] for row in rows])


def _row(scene: Scene, view: View, unit: Unit) -> tuple[str, ...]:
    there = view.holder(unit)
    usage = scene.usage.get(unit.uuid, Usage(None, None))
    util = "-" if usage.utilisation_percent is None else f"{usage.utilisation_percent}%"
    total = f"{unit.memory_bytes / GIB:.0f}G"
    memory = total if usage.memory_used_bytes is None else f"{usage.memory_used_bytes / GIB:.1f}/{total}"
    who = ("-", "-", "-") if there is None else (there.user or "?", there.container, since(there.allocated_at))
    return model_of(view.gpus, unit), unit.slot, unit.profile or "whole", *who, _state(scene, view, unit), util, memory


def model_of(gpus: Sequence[Gpu], unit: Unit) -> str:
    """Return what kind of GPU a unit is or is part of."""
    return next(gpu.name for gpu in gpus if gpu.uuid == unit.gpu_uuid).removeprefix("NVIDIA ")


def _user(view: View, unit: Unit) -> str | None:
    there = view.holder(unit)
    return None if there is None else there.user


def _state(scene: Scene, view: View, unit: Unit) -> str:
    there = view.holder(unit)
    if unit.problem is not None:
        return f"broken: {unit.problem}"
    if there is not None:
        return _state_of(there, scene.account_of)
    if scene.ledger is None:
        # Whose processes run on it is not known either: those of its holder would look like a stranger's.
        return "not known"
    strangers = view.processes(unit)
    return f"used: {describe(strangers[0])}" if strangers else "free"


def _state_of(allocation: Allocation, account_of: AccountOf) -> str:
    if allocation.reservation is not None:
        return "reserved"
    if allocation.stopped_at is None:
        return "running"
    ends = hold_ends(allocation, account_of)
    return "held" if ends is None else f"held until {since(ends)}"


def _status_json(scene: Scene, user: str | None) -> Mapping[str, object]:
    view = _view(scene)
    units = [_unit_json(scene, view, unit) for unit in view.units if user is None or _user(view, unit) == user]
    return {
        "version": JSON_VERSION,
        "known": scene.devices is not None,
        "units": units,
        "holders_known": scene.ledger is not None,
        "allocations": [_allocation_json(scene, view, each) for each in scene.allocations if user in {None, each.user}],
        "waiting": None if scene.ledger is None else len(scene.ledger.queue),
        "lacking": list(scene.lacking),
        "notices": list(scene.notices),
    }


def _allocation_json(scene: Scene, view: View, allocation: Allocation) -> Mapping[str, object]:
    ends = hold_ends(allocation, scene.account_of)
    here = {uuid for unit in view.units for uuid in (unit.uuid, unit.gpu_uuid)}
    return {
        **allocation_json(allocation),
        "held_until": None if ends is None else format_instant(ends),
        "not_seen": [uuid for uuid in allocation.uuids if uuid not in here],
    }


def _unit_json(scene: Scene, view: View, unit: Unit) -> Mapping[str, object]:
    there = view.holder(unit)
    usage = scene.usage.get(unit.uuid, Usage(None, None))
    return {
        "gpu": model_of(view.gpus, unit),
        "slot": unit.slot,
        "uuid": unit.uuid,
        "gpu_uuid": unit.gpu_uuid,
        "profile": unit.profile,
        "gpu_share": float(unit.share),
        "memory_bytes": unit.memory_bytes,
        "memory_used_bytes": usage.memory_used_bytes,
        "utilisation_percent": usage.utilisation_percent,
        "state": _state(scene, view, unit).partition(":")[0].partition(" until")[0],
        "problem": unit.problem,
        "user": _user(view, unit),
        "container": None if there is None else there.container,
        "strangers": [
            {"pid": each.pid, "user": each.user, "command": each.command, "container_id": each.container_id}
            for each in view.processes(unit)
        ],
    }
