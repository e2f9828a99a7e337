"""The docker command's helper, run as root through sudo: decides about one command line, and prints what becomes of it.

Takes no arguments. The request comes on stdin from a user; who that is comes from the kernel, or from sudo. The answer
goes to stdout as protocol.py has it, words for the user to stderr.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ds01.core.errors import Ds01Error, RefusedError
from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.policy import PolicyError
from ds01.core.terminal import say
from ds01.core.typed import Final
from ds01.core.value import replace
from ds01.runtime.client.arguments import Parsed, parse
from ds01.runtime.client.named import containers_named
from ds01.runtime.signals import STOPS, ended_by_signals
from ds01.runtime.wrapper.client import installed_table
from ds01.runtime.wrapper.desk import DeniedError, Desk, code_of, open_desk
from ds01.runtime.wrapper.protocol import MOST_BYTES, Asked, read_request, refuse, run_line

_NEW: Final = frozenset({"run", "create"})
_OLD: Final = frozenset({"start", "restart", "unpause"})
_UPDATE: Final = "update"
_LIST: Final = "ps"
_INTERRUPTED: Final = 130
_OPEN_FILES: Final = 1024
_HELP: Final = """usage: ds01-docker-helper

Decides for the docker command whether a line may run, and how. Takes no arguments: /usr/local/bin/docker calls it
through sudo and writes the line to its standard input. To see what it has decided: sudo ds01 events"""


def main(root: Path = Path("/")) -> int:
    """Serve one request; returns the exit code, which says only whether there is an answer."""
    if sys.argv[1:] == ["--help"]:
        print(_HELP)
        return 0
    if len(sys.argv) > 1:
        say("this program takes no arguments; the docker command calls it")
        return 2
    _unbind()
    try:
        asked = read_request(sys.stdin.buffer.read(MOST_BYTES))
    except Ds01Error as error:
        say(f"docker: {error.render()}")
        return 2
    undo: list[Callable[[], None]] = []
    try:
        with ended_by_signals() as be_deaf:
            sys.stdout.buffer.write(_serve(HostPaths(root), asked, undo, be_deaf))
            sys.stdout.buffer.flush()
            # All is said and nothing is open: what Python still does at its end, the docker command would wait for.
            os._exit(0)
    except (OSError, KeyboardInterrupt, SystemExit):
        # The one who asked is gone, or a signal came while a refusal was said: nobody will use what was granted.
        _take_back(undo)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _take_back(undo: Iterable[Callable[[], None]]) -> None:
    for each in undo:
        each()


def _unbind() -> None:
    """Let nothing that a caller hands down through sudo come between us and what we write.

    Limits would keep an event out of the log or a change off the disk, and a umask would make the log unreadable.
    Ctrl-Z, which the terminal sends to root too, would stop us with a lock in our hand that others wait for.
    """
    if os.geteuid() != 0:
        return
    os.umask(0o022)
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_CPU):
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _OPEN_FILES:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, max(hard, _OPEN_FILES)))


def _serve(paths: HostPaths, asked: Asked, undo: list[Callable[[], None]], be_deaf: Callable[[], None]) -> bytes:
    """Return the answer. Before one that lets a command run, nothing ends us any more; of a refused one nothing stays.

    Args:
        undo: gets what takes back what was given.
    """
    verb = "run" if "run" in asked.words[:3] else ""
    try:
        parsed = parse(asked.words, installed_table(paths))
        verb = parsed.topic or ""
        words = _words(paths, asked, parsed, undo)
        be_deaf()
        return run_line(words)
    except DeniedError:
        code = code_of(verb)
    except Ds01Error as error:
        say(f"docker: {error.render()}")
        code = code_of(verb)
    except KeyboardInterrupt:
        say("interrupted")
        code = _INTERRUPTED
    except SystemExit as ended:
        say("ended by a signal")
        code = int(str(ended.code))
    _take_back(undo)
    return refuse(code)


def _words(paths: HostPaths, asked: Asked, parsed: Parsed, undo: list[Callable[[], None]]) -> tuple[str, ...]:
    if parsed.asks_help or (parsed.topic is None and not containers_named(parsed)):
        return asked.words
    try:
        desk = replace(open_desk(paths, asked), undo=undo)
    except (PolicyError, StateError) as error:
        return _without_policy(paths, asked, parsed, error)
    try:
        return _decide(desk, parsed)
    except RefusedError as error:
        from ds01.runtime.wrapper.pages import tell_refused  # noqa: PLC0415 - most commands are refused nothing

        tell_refused(desk, error, parsed.topic or "")
        raise DeniedError(error.brief) from error


def _decide(desk: Desk, parsed: Parsed) -> tuple[str, ...]:
    if parsed.topic == _LIST:
        from ds01.runtime.wrapper.lists import list_line  # noqa: PLC0415

        return list_line(desk, parsed)
    from ds01.runtime.wrapper.admit import admit_new, admit_old, admit_update  # noqa: PLC0415 - only once there is a policy
    from ds01.runtime.wrapper.owners import check_owner  # noqa: PLC0415

    if parsed.topic in _NEW:
        return admit_new(desk, parsed)[0]
    if parsed.topic in _OLD:
        admit_old(desk, parsed)
    elif parsed.topic == _UPDATE:
        return admit_update(desk, parsed)
    else:
        check_owner(desk, containers_named(parsed), parsed.topic or "build")
    return desk.asked.words


def _without_policy(paths: HostPaths, asked: Asked, parsed: Parsed, error: Ds01Error) -> tuple[str, ...]:
    """Let a command through that no policy can be asked about; never to a GPU, or to somebody else's container.

    Nobody can tell who is an administrator, but root.
    """
    from ds01.core.events import Event, EventLog  # noqa: PLC0415 - a broken installation alone
    from ds01.runtime.accounts import who_asks  # noqa: PLC0415
    from ds01.runtime.machine import Machine  # noqa: PLC0415
    from ds01.runtime.wrapper.desk import SOURCE  # noqa: PLC0415
    from ds01.runtime.wrapper.options import read_request as read_wish  # noqa: PLC0415
    from ds01.runtime.wrapper.owners import check_without_policy  # noqa: PLC0415

    uid, account = who_asks(uid=os.getuid(), environment=os.environ)
    if parsed.topic == _LIST:
        from ds01.runtime.wrapper.lists import by_label  # noqa: PLC0415

        return by_label(parsed, account) if uid != 0 else asked.words
    if parsed.topic in _NEW and read_wish(parsed, asked.visible_devices).gpu is not None:
        raise RefusedError("no GPU can be given: the policy cannot be read", error.brief, error.resolution)
    starts = parsed.topic in _OLD
    if uid != 0:
        check_without_policy(paths, containers_named(parsed), account, starts=starts)
    details = {"check": parsed.topic or "build", "text": f"FAIL-OPEN: {error.brief}"}
    EventLog(paths.events).append(Event("admission.fail_open", account, SOURCE, Machine().now(), details))
    return asked.words
