"""Run a job to its end: never twice at once, never for ever, and what became of it stands in a stamp and in the log.

A job that was killed leaves its last stamp: it then looks like one that has not run since.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType

from ds01.core.clock import format_instant, parse_instant
from ds01.core.errors import BusyError, Ds01Error, ExitCode
from ds01.core.events import Event, EventLog
from ds01.core.jsonstate import StateError, exclusive, read_json, write_json
from ds01.core.paths import HostPaths
from ds01.core.pattern import pattern
from ds01.core.terminal import say
from ds01.core.typed import Final
from ds01.core.units import format_duration
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.machine import Machine

VERSION: Final = 1
SOURCE: Final = "lifecycle"
_NAME: Final = pattern(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
# How a job ended is nobody's secret, and `ds01 health` is for everybody.
_MODE: Final = 0o644


class JobError(Ds01Error):
    """A job could not do all that it found to be done."""


class OutOfTimeError(BaseException):
    """A job was told to end. No Exception: whoever goes on after a failure must not go on after this."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """How a job ended last.

    Attributes:
        summary: in one line; of one that failed why.
        last_success_at: when it last ended well; None when it never did.
    """

    job: str
    started_at: datetime
    ended_at: datetime
    ok: bool
    summary: str
    last_success_at: datetime | None


def run_job(
    paths: HostPaths,
    name: str,
    act: Callable[[], str],
    *,
    limit_seconds: float,
    now: Callable[[], datetime] | None = None,
) -> int:
    """Run a job and keep how it ended; returns the exit code. While it runs already, there is nothing to do.

    Args:
        act: does it and says in one line what it did; raises a Ds01Error when it could not do all of it.
        limit_seconds: after which it is broken off. Only in a program's main thread.

    Raises:
        StateError: the folder for it cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a job")
    with ExitStack() as held:
        try:
            paths.jobs.mkdir(mode=0o755, parents=True, exist_ok=True)
            held.enter_context(exclusive(paths.jobs / f"{name}.lock", work=f"run of {name}"))
        except BusyError as error:
            say(f"{name}: {error.brief}; nothing is to be done")
            return ExitCode.DONE
        except OSError as error:
            fix = "run the command as root (sudo); look at the disk (df -h)"
            raise StateError(f"{paths.jobs} cannot be written", error.strerror, fix) from error
        return _run(paths, name, act, limit_seconds, now or Machine().now)


def read_stamps(paths: HostPaths) -> Mapping[str, Stamp]:
    """Return how each job ended last, by its name; what cannot be read is left out, as if it had never run."""
    try:
        files = sorted(path for path in paths.jobs.iterdir() if path.suffix == ".json" and _NAME.fullmatch(path.stem))
    except OSError:
        return {}
    return {path.stem: stamp for path in files if (stamp := _read(path)) is not None}


def _run(paths: HostPaths, name: str, act: Callable[[], str], limit_seconds: float, now: Callable[[], datetime]) -> int:
    started = now()
    try:
        with _limited(limit_seconds):
            summary = act()
    except Ds01Error as error:
        say(f"error: {error.render()}")
        _end(paths, name, started, now(), failure=f"{error.brief}: {error.details}" if error.details else error.brief)
        return error.exit_code
    except OutOfTimeError as told:
        say(f"error: {name} was broken off: {told}")
        _end(paths, name, started, now(), failure=f"broken off: {told}")
        return ExitCode.FAILED
    except BaseException as error:
        # Not foreseen: whoever looks at the stamps sees it, and Python says the rest.
        _end(paths, name, started, now(), failure=f"{type(error).__name__}: {error}")
        raise
    _end(paths, name, started, now(), summary=summary)
    return ExitCode.DONE


def _end(
    paths: HostPaths, name: str, started: datetime, ended: datetime, *, summary: str = "", failure: str | None = None
) -> None:
    ok = failure is None
    words = visible(summary if failure is None else failure, 500)
    path = paths.jobs / f"{name}.json"
    before = _read(path)
    last = ended if ok else None if before is None else before.last_success_at
    stamp = Stamp(name, started, ended, ok, words, last)
    try:
        write_json(path, _document(stamp), mode=_MODE)
    except OSError as error:
        say(f"warning: {path} cannot be written: {error.strerror}")
    details = {"job": name, "seconds": round((ended - started).total_seconds(), 1), "summary": words}
    logged = EventLog(paths.events).append(Event("job.done" if ok else "job.failed", None, SOURCE, ended, details))
    if not logged:
        say(f"warning: how {name} ended is not in the event log: {logged.reason}")


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Break the block off after so many seconds, or when somebody wants the program to end.

    Source: setitimer(2); Python runs the handler between two of its own steps.
    """

    def too_long(_: int, __: FrameType | None) -> None:
        raise OutOfTimeError(f"it took longer than {format_duration(int(seconds))}")

    def told(_: int, __: FrameType | None) -> None:
        raise OutOfTimeError("somebody told it to end (SIGTERM)")

    before = {
        number: signal.signal(number, how) for number, how in ((signal.SIGALRM, too_long), (signal.SIGTERM, told))
    }
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


# --- The file ---------------------------------------------------------------------------------------------------------


def _document(stamp: Stamp) -> dict[str, object]:
    return {
        "version": VERSION,
        "job": stamp.job,
        "started_at": format_instant(stamp.started_at, milliseconds=True),
        "ended_at": format_instant(stamp.ended_at, milliseconds=True),
        "ok": stamp.ok,
        "summary": stamp.summary,
        "last_success_at": None if stamp.last_success_at is None else format_instant(stamp.last_success_at),
    }


def _read(path: Path) -> Stamp | None:
    try:
        said = read_json(path, of_root=True)
        if said is None or said["version"] != VERSION:
            return None
        last = said["last_success_at"]
        return Stamp(
            job=str(said["job"]),
            started_at=parse_instant(str(said["started_at"])),
            ended_at=parse_instant(str(said["ended_at"])),
            ok=said["ok"] is True,
            summary=visible(str(said["summary"]), 500),
            last_success_at=None if last is None else parse_instant(str(last)),
        )
    except (Ds01Error, KeyError):
        return None
