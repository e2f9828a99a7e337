"""`ds01 events`: what happened on this host, as a table or as JSON lines. Reads the event log and nothing else."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from ds01.core.command import add_root, run_command
from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.events import LARGEST_LINE_BYTES, Event, Torn, parse_line, read_events, to_line
from ds01.core.paths import HostPaths
from ds01.core.terminal import say
from ds01.core.typed import Final
from ds01.core.units import parse_duration
from ds01.core.value import dataclass
from ds01.core.visible import visible

_PAUSE_SECONDS: Final = 0.5
_TYPE_WIDTH: Final = 20
_USER_WIDTH: Final = 16
_SOURCE_WIDTH: Final = 12
_LONGEST_VALUE: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked for.

    Attributes:
        pattern: of the type, with * and ? as in a shell; None for every one.
        since: None for all that there are.
    """

    pattern: str | None = None
    user: str | None = None
    since: datetime | None = None

    def __contains__(self, event: Event) -> bool:
        """Whether it is one of them."""
        return (
            (self.pattern is None or fnmatchcase(event.event_type, self.pattern))
            and (self.user is None or event.user == self.user)
            and (self.since is None or event.timestamp >= self.since)
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was asked for; returns the exit code."""
    return run_command(_parser(), argv, _show)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ds01 events",
        description="Show what happened on this host: /var/log/ds01/events.jsonl, which root alone may read.",
        epilog="Times are UTC. Without --since: the log since it was last rotated; with it, older ones too.",
    )
    parser.add_argument("--type", metavar="PATTERN", help="type of event, with * and ?, such as 'gpu.*'")
    parser.add_argument("--user", metavar="NAME", help="events about one account")
    parser.add_argument("--since", metavar="TIME", help="only the last 30m, 2h, 7d …")
    parser.add_argument(
        "--json", action="store_true", help="the events as they stand in the log, one JSON object a line"
    )
    parser.add_argument("--follow", action="store_true", help="go on with what happens from now on, until Ctrl-C")
    add_root(parser)
    return parser


def _show(options: argparse.Namespace) -> int:
    path = HostPaths(options.root).events
    since = None if options.since is None else _ago(options.since)
    wanted = Wanted(options.type, options.user, since)
    form: Callable[[Event], str] = _json if options.json else row
    unread: list[Path] = []
    try:
        files = rotated(path, since)
        _check(path)
        if not options.json:
            print(row_of("TIME", "TYPE", "USER", "SOURCE", "DETAILS"), flush=True)
        _print(_older(files, unread), wanted, form)
        _print(follow(path, time.sleep) if options.follow else _current(path), wanted, form)
    except BrokenPipeError:
        raise
    except PermissionError as error:
        raise Ds01Error(f"{path} may not be read", "root alone reads the log", "sudo ds01 events …") from error
    except FileNotFoundError as error:
        raise Ds01Error(
            f"there is no log of events at {path}", None, "it comes with a deploy: sudo ./inv deploy"
        ) from error
    except OSError as error:
        raise Ds01Error(
            f"{path} cannot be read to its end", str(error), f"ls -l {path}* shows what is there"
        ) from error
    return ExitCode.FAILED if unread else ExitCode.DONE


def _ago(text: str) -> datetime:
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except OverflowError as error:
        raise BadInputError(f"{text} ago is before all time", None, "leave --since out") from error


def _print(found: Iterable[Event | Torn], wanted: Wanted, form: Callable[[Event], str]) -> None:
    for each in found:
        if isinstance(each, Torn):
            say(f"warning: a line is no event: {each.why}: {each.text}")
        elif each in wanted:
            print(form(each), flush=True)


def _json(event: Event) -> str:
    return to_line(event).decode().rstrip("\n")


def row(event: Event) -> str:
    """Return an event as one line for people."""
    details = " ".join(f"{visible(key)}={_value(value)}" for key, value in event.details.items())
    when = event.timestamp.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return row_of(when, event.event_type, "-" if event.user is None else event.user, event.source, details)


def row_of(when: str, event_type: str, user: str, source: str, details: str) -> str:
    """Return the columns as one line; what is too wide pushes the rest aside, nothing is cut."""
    names = f"{visible(event_type):{_TYPE_WIDTH}}  {visible(user):{_USER_WIDTH}}  {visible(source):{_SOURCE_WIDTH}}"
    return f"{when:20}  {names}  {details}".rstrip()


def _value(value: object) -> str:
    """Return text as it is when it is one word, and everything else as JSON."""
    if isinstance(value, str) and value and not set(value) & {" ", '"', "="}:
        return visible(value, _LONGEST_VALUE)
    return visible(json.dumps(value, ensure_ascii=False, separators=(",", ":")), _LONGEST_VALUE)


def rotated(path: Path, since: datetime | None) -> tuple[Path, ...]:
    """Return the rotated logs that were written to after a time, oldest first; none without a time."""
    if since is None:
        return ()
    found = sorted((file.stat().st_mtime, file) for file in path.parent.glob(f"{path.name}-*"))
    return tuple(file for changed, file in found if changed >= since.timestamp())


def _was_rotated(path: Path) -> bool:
    """Whether there is no log only because nothing happened since it was rotated."""
    return any(path.parent.glob(f"{path.name}-*"))


def _check(path: Path) -> None:
    """Find out that there is nothing to show before the head of a table is printed."""
    try:
        path.open("rb").close()
    except FileNotFoundError:
        if not _was_rotated(path):
            raise


def _older(files: Iterable[Path], unread: list[Path]) -> Iterator[Event | Torn]:
    """Return what rotated logs hold. One that cannot be read is told and added to `unread`, and hides no other."""
    for file in files:
        try:
            yield from read_events(file)
        except PermissionError:
            raise
        except OSError as error:
            unread.append(file)
            say(f"warning: {file} cannot be read to its end: {error.strerror or error}")


def _current(path: Path) -> Iterator[Event | Torn]:
    with suppress(FileNotFoundError):
        yield from read_events(path)


def follow(path: Path, sleep: Callable[[float], object]) -> Iterator[Event | Torn]:
    """Return what the log holds and then, for ever, what is added to it; a rotated one is read to its end first."""
    while True:
        try:
            source = path.open("rb")
        except FileNotFoundError:
            if not _was_rotated(path):
                raise
            sleep(_PAUSE_SECONDS)
            continue
        with source:
            is_same = partial(_is_same, path, os.fstat(source.fileno()).st_ino)
            yield from _lines(source.readline, is_same, sleep)


def _lines(
    readline: Callable[[int], bytes], is_same: Callable[[], bool], sleep: Callable[[float], object]
) -> Iterator[Event | Torn]:
    begun = b""
    while True:
        # Asked before the end is seen, or what came between the two would stay unread in the rotated log.
        same = is_same()
        while piece := readline(LARGEST_LINE_BYTES):
            begun += piece
            if begun.endswith(b"\n") or len(begun) > LARGEST_LINE_BYTES:
                if begun.strip():
                    yield parse_line(begun)
                begun = b""
        if not same:
            if begun:
                yield parse_line(begun)
            return
        sleep(_PAUSE_SECONDS)


def _is_same(path: Path, number: int) -> bool:
    """Whether the log is still the one that is open; between rename and the next event there may be none."""
    try:
        return path.stat().st_ino == number
    except FileNotFoundError:
        return True
