"""What all commands share: the root they act on, and how their errors and exit codes come out."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.paths import HostPaths
from ds01.core.terminal import say
from ds01.core.typed import Final

# What a full disk says to the one who writes its output there. Source: write(2).
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def parser(name: str, words: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every command has."""
    made = argparse.ArgumentParser(prog=name, description=words)
    add_root(made)
    return made


def add_root(made: argparse.ArgumentParser) -> None:
    """Add the option that every command has."""
    made.add_argument("--root", type=_folder, default=Path("/"), metavar="DIR", help="folder that stands for /")


def _folder(text: str) -> Path:
    """An empty option is a variable that was not set, never the folder one stands in."""
    if not text:
        raise argparse.ArgumentTypeError("needs a folder, this one is empty")
    return Path(text)


def _take_closed_streams() -> None:
    """Put nothing in the place of a stream that the caller closed: the first file opened would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Of the free numbers the lowest is taken, so this is the stream's own. Source: open(2).
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def run_command(
    made: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    act: Callable[[argparse.Namespace], int],
) -> int:
    """Read the command line, act, and return the exit code; a foreseen failure is its message."""
    _take_closed_streams()
    options = made.parse_args(argv)
    try:
        code = act(options)
        sys.stdout.flush()
    except Ds01Error as error:
        say(f"error: {error.render()}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return ExitCode.FAILED
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _drop_output()
        say(f"error: the result cannot be written: {error.strerror}\nTo fix: make room where the output goes")
        return ExitCode.FAILED
    return code


def _drop_output() -> None:
    """What is still to be written goes nowhere, or Python would try once more at its end and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def host_paths(root: Path) -> HostPaths:
    """Return the paths below a folder.

    Raises:
        BadInputError: there is no such folder, or it may not be entered.
    """
    try:
        if root.is_dir():
            return HostPaths(root.resolve())
    except OSError as error:
        raise BadInputError(
            f"{root} cannot be entered", error.strerror, "name another with --root, or use sudo"
        ) from error
    if root.exists():
        raise BadInputError(f"{root} is not a folder", None, "name a folder with --root")
    raise BadInputError(f"there is no folder {root}", None, f"mkdir -p {root}, or name another with --root")
