"""`ds01 gpu`: who has which GPU, who waits, and handing them out. Reading needs no root, changing does."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ds01.core.command import add_root, run_command
from ds01.core.errors import BadInputError
from ds01.runtime.commands import gpu_change, gpu_show
from ds01.runtime.commands.watching import add_watch
from ds01.runtime.gpu.request import Named, parse_devices, parse_wanted

_LONGEST_WAIT: Final = 7 * 86400
_MOST_DIGITS: Final = 9
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_Act = Callable[[argparse.Namespace], int]
if TYPE_CHECKING:
    # It has no public name, and takes a type in brackets for the type checker alone.
    _Actions = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    made = argparse.ArgumentParser(
        prog="ds01 gpu",
        description="Who has which GPU and who waits for one; hand GPUs out and take them back.",
        epilog="ds01 gpu ACTION --help says more.",
    )
    actions = made.add_subparsers(metavar="ACTION", required=True)
    _showing(actions)
    _asking(actions)
    _changing(actions)
    return run_command(made, argv, lambda options: options.act(options))


def _add(actions: _Actions, name: str, words: str, act: _Act) -> argparse.ArgumentParser:
    made = actions.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
    add_root(made)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.set_defaults(act=act)
    return made


def _showing(actions: _Actions) -> None:
    status = _add(actions, "status", "show every GPU with who has it, since when, and how busy it is", gpu_show.status)
    status.add_argument("--user", metavar="NAME", help="only what this account has")
    add_watch(status)
    _add(actions, "queue", "show who waits for a GPU, in the order in which they are served", gpu_show.queue)
    validate = _add(
        actions, "validate", "say whether a container holds a GPU that is there and well", gpu_show.validate
    )
    validate.add_argument("--container", type=_name, required=True, metavar="NAME", help="its name, or its id")
    validate.add_argument("--gpu", required=True, type=_devices, metavar="SLOT", help="slots or UUIDs, with commas")


def _asking(actions: _Actions) -> None:
    now = _add(actions, "allocate", "give a container GPUs, now or not at all", gpu_change.allocate)
    line = _add(
        actions, "wait", "give a container GPUs, waiting in the line as long as the policy says", gpu_change.allocate
    )
    for each, default in ((now, 0), (line, None)):
        each.set_defaults(default_wait=default)
        each.add_argument("--container", required=True, metavar="NAME", help="the container's name")
        each.add_argument(
            "--user", metavar="NAME", help="account that is charged (default: yours; others: admins only)"
        )
        what = each.add_mutually_exclusive_group()
        what.add_argument("--gpus", type=_wanted, metavar="N|all|device=…", help="as docker run --gpus (default: 1)")
        what.add_argument("--gpu", type=_named, metavar="SLOT[,SLOT]", help="exactly these, by slot or UUID")
        each.add_argument(
            "--max-gpus", type=_count, metavar="N", help="a lower quota over all containers than the policy's"
        )
        each.add_argument("--priority", type=_count, metavar="N", help="a lower priority than the policy's")
        each.add_argument(
            "--wait", type=_seconds, metavar="SECONDS", help="stand in the line so long (Ctrl-C leaves it)"
        )
        each.add_argument("--allocation", type=_token, metavar="ID", help="of an earlier try: the same request again")
        each.add_argument(
            "--pid",
            type=_count,
            metavar="PID",
            help="process that keeps the GPUs until the container is there (default: the one that runs this)",
        )
        each.add_argument("--docker-args", action="store_true", help="print options for docker run, one line")


def _changing(actions: _Actions) -> None:
    for name, words, act in (
        ("release", "take back what a container holds", gpu_change.release),
        ("mark-stopped", "note that a container has stopped; it keeps its GPUs for a while", gpu_change.mark_stopped),
        ("clear-stopped", "give a stopped container its GPUs again, before it is started", gpu_change.clear_stopped),
    ):
        made = _add(actions, name, words, act)
        which = made.add_mutually_exclusive_group(required=True)
        which.add_argument("--container", type=_name, metavar="NAME", help="its name, or its id")
        which.add_argument("--allocation", type=_token, metavar="ID", help="the allocation's id")
        made.set_defaults(pid=None)
    _add(actions, "reconcile", "make the records what Docker really has; says each difference", gpu_change.reconcile)


# --- Options ----------------------------------------------------------------------------------------------------------


def _said(read: Callable[[str], object], text: str) -> object:
    """Let argparse say what is wrong with a value, in our words."""
    try:
        return read(text)
    except BadInputError as error:
        raise argparse.ArgumentTypeError(f"{error.brief}; {error.resolution}") from error


def _wanted(text: str) -> object:
    return _said(parse_wanted, text)


def _devices(text: str) -> object:
    return _said(parse_devices, text)


def _named(text: str) -> object:
    return _said(lambda devices: Named(parse_devices(devices)), text)


def _name(text: str) -> str:
    """An empty option is a variable that was not set."""
    if not text:
        raise argparse.ArgumentTypeError("needs a container's name, this one is empty")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of seconds from 0 to {_LONGEST_WAIT}")
    return seconds


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no allocation's id; ds01 gpu status --json shows them")
    return text
