"""`ds01 rollback`, and the task of that name: deploy what an earlier generation wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import BadInputError, ExitCode
from ds01.core.terminal import say
from ds01.core.tree import Part
from ds01.deployer.deploy import Options, World, deploy
from ds01.deployer.history import numbers, read_generation
from ds01.deployer.owned import read_owned
from ds01.deployer.plan import Scope

WITHOUT_RUNTIME = Scope(without=Part.RUNTIME)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    made = parser("ds01 rollback", "Deploy what an earlier generation wanted: the one before, or any that is kept.")
    made.add_argument("--to", type=int, metavar="N", help="generation to go back to, as in ds01 history")
    made.add_argument("--yes", action="store_true", help="do not ask")
    made.add_argument("--force", action="store_true", help="overwrite hand edits; a copy is kept")
    made.add_argument("--restart-docker", action="store_true", help="restart Docker when daemon.json changed")
    made.add_argument("--no-runtime", action="store_true", help="leave the runtime that is in force")

    def act(given: object) -> int:
        words = vars(given)
        scope = WITHOUT_RUNTIME if words["no_runtime"] else None
        options = Options(yes=words["yes"], force=words["force"], restart_docker=words["restart_docker"], scope=scope)
        return rollback(words["root"], words["to"], options)

    return run_command(made, argv, act)


def rollback(root: Path, to: int | None, options: Options) -> int:
    """Deploy what an earlier generation wanted.

    Args:
        to: its number; None for the one before.
        options: what it says of `what` is filled in here.

    Raises:
        BadInputError: there is no such generation.
    """
    paths = host_paths(root)
    # Earlier ones only: a deploy that was interrupted may have left a later one, which is about to be undone.
    kept = [number for number in numbers(paths) if number < read_owned(paths).generation]
    if to is None and not kept:
        raise BadInputError("there is no earlier generation to go back to", None, "see ./inv history")
    generation = read_generation(paths, kept[-1] if to is None else to)
    what = f"rollback to generation {generation.number} ({generation.when}, {generation.who})"
    if deploy(generation.tree, paths, options.saying(what), World()):
        say("The inventory still says otherwise: revert the change there too, or the next deploy brings it back.")
    return ExitCode.DONE
