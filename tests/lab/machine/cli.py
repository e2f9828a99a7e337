"""The lab's command line: build, clean, up, run, push, pull, down, cut."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from tests.lab.machine import processes
from tests.lab.machine.build import check_machine, ensure_built
from tests.lab.machine.clean import remove_outdated
from tests.lab.machine.errors import MachineStoppedError
from tests.lab.machine.jobs import Command
from tests.lab.machine.machine import Machine
from tests.lab.machine.prepared import PreparedMachine, ensure_prepared
from tests.lab.machine.settings import DEFAULT_CACHE, Bootable, Cache, Folder, Hardware, Share, Suite
from tests.lab.machine.steps import say

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.override import override

NOT_UP: Final = 125


def cache_from_environment() -> Cache:
    """Return the cache folder: DS01_LAB_CACHE, or the usual one."""
    return Cache(Path(os.environ.get("DS01_LAB_CACHE", DEFAULT_CACHE)).absolute())


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the words say; a command's own exit status is ours."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.umask(0o022)
    try:
        options = _parser().parse_args(argv)
        act: Callable[[argparse.Namespace], int] = options.act
        check_machine()
        return act(options)
    except MachineStoppedError as error:
        say(error.render())
        folders = map(Folder, cache_from_environment().machines.glob("*/"))
        running = sorted(folder.path.name for folder in folders if processes.is_alive(folder))
        say(f"machines that are up: {', '.join(running) or 'none'}")
        return NOT_UP
    except Ds01Error as error:
        say(error.render())
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _interrupt(_signal: int, _frame: object) -> None:
    """End what was started; once, for timeout(1) says it twice, and the second would come into the midst of that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    """Raises for a wrong command line, as everything else here does."""

    @override
    def error(self, message: str) -> NoReturn:
        raise BadInputError(message, None, "--help shows what there is")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lab", description="A real machine to test against.")
    verbs = parser.add_subparsers(required=True, metavar="VERB", parser_class=_Parser)

    def verb(name: str, act: Callable[[argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=words, description=words)
        one.set_defaults(act=act)
        if name not in {"build", "clean"}:
            one.add_argument(
                "--suite", type=_suite, metavar="SUITE", default=Suite.BOOKWORM, help="(default: bookworm)"
            )
            one.add_argument("--name", help="which machine (default: lab for bookworm, lab-SUITE for another suite)")
        return one

    build = verb("build", _build, "Build what is missing.")
    build.add_argument("--suite", type=_suite, metavar="SUITE", action="append", help="(default: all)")
    up = verb("up", _up, "Boot a machine, building what is missing.")
    up.add_argument("--prepared", action="store_true", help="with the checkout ready in /srv/ds01, and people")
    up.add_argument("--memory", default="2G")
    up.add_argument("--cpus", type=int, default=1)
    up.add_argument("--share", action="append", default=[], metavar="FOLDER:GUESTFOLDER[:rw]")
    run = verb("run", _run, "Run a command inside; its output and exit status are ours.")
    run.add_argument("--user", help="in this account's login shell (default: root, without one)")
    run.add_argument("--folder", help="where (default: the home folder)")
    run.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    run.add_argument("--stdin", action="store_true", help="hand over standard input, all of it first")
    run.add_argument("--timeout", type=float, metavar="SECONDS", help="then end it, with status 124")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    for name, act, words in (
        ("push", _push, "Copy a file or a folder's contents into the machine."),
        ("pull", _pull, "Copy a file or a folder's contents out of the machine."),
    ):
        copy = verb(name, act, words)
        copy.add_argument("source")
        copy.add_argument("target")
    verb("clean", _clean, "Remove what older recipes built and no machine needs.")
    verb("cut", _cut, "Cut the power; `up` boots from the same disk.")
    down = verb("down", _down, "Switch off and throw the disk away.")
    down.add_argument("--keep-disk", action="store_true", help="the next `up` of that name boots from it")
    return parser


def _suite(text: str) -> Suite:
    try:
        return Suite(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(Suite)}") from error


def _name(options: argparse.Namespace) -> str:
    suite: Suite = options.suite
    return options.name or ("lab" if suite is Suite.BOOKWORM else f"lab-{suite}")


def _machine(options: argparse.Namespace, hardware: Hardware = Hardware()) -> Machine:  # noqa: B008 - frozen
    nothing = Bootable(Path(os.devnull), Path(os.devnull))  # only `up` needs to know
    return Machine(_name(options), nothing, hardware, cache=cache_from_environment())


def _build(options: argparse.Namespace) -> int:
    for suite in options.suite or Suite:
        ensure_prepared(suite, cache_from_environment())
        say(f"{suite} is built")
    return ExitCode.DONE


def _clean(_: argparse.Namespace) -> int:
    for path in remove_outdated(cache_from_environment()):
        say(f"removed {path}")
    return ExitCode.DONE


def _up(options: argparse.Namespace) -> int:
    name, suite, cache = _name(options), options.suite, cache_from_environment()
    shares = tuple(map(Share.parse, options.share))
    hardware = Hardware(memory=options.memory, cpus=options.cpus, shares=shares, tied=False)
    if options.prepared:
        machine: Machine = PreparedMachine(name, suite, ensure_prepared(suite, cache), hardware, cache=cache)
    else:
        machine = Machine(name, ensure_built(suite, cache), hardware, cache=cache)
    if machine.folder.disk.exists() and not machine.is_alive():
        say(f"{name} has a disk and boots from it")
    machine.up()
    say(f"{name} is up")
    return ExitCode.DONE


def _run(options: argparse.Namespace) -> int:
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise BadInputError("no command to run")
    environment = dict(_setting(text) for text in options.env)
    stdin = sys.stdin.buffer.read() if options.stdin else None
    command = Command(argv, options.user, options.folder, environment, stdin, options.timeout)
    return _machine(options).stream(command, _writer(1), _writer(2))


def _setting(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise BadInputError(f"{text!r} is not NAME=VALUE")
    return name, value


def _writer(descriptor: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        while data:
            data = data[os.write(descriptor, data) :]

    return write


def _push(options: argparse.Namespace) -> int:
    _machine(options).push(Path(options.source), options.target)
    return ExitCode.DONE


def _pull(options: argparse.Namespace) -> int:
    _machine(options).pull(options.source, Path(options.target))
    return ExitCode.DONE


def _cut(options: argparse.Namespace) -> int:
    _machine(options).cut()
    say(f"{_name(options)} has no power")
    return ExitCode.DONE


def _down(options: argparse.Namespace) -> int:
    _machine(options, Hardware(keeps_disk=options.keep_disk)).down()
    say(f"{_name(options)} is down")
    return ExitCode.DONE
