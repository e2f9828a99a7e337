"""`ds01 recover`: finish or undo a deploy that was interrupted. ds01-recover.service runs it at boot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode
from ds01.core.process import run
from ds01.core.terminal import say
from ds01.deployer.conclude import finish_interrupted, sweep
from ds01.deployer.deploy import alone, refuse_unprivileged


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = "Finish or undo a deploy that was interrupted; without one there is nothing to do."
    made = parser("ds01 recover", words)
    made.add_argument("--boot", action="store_true", help="at boot: before Docker starts, nothing waits for it")
    return run_command(made, argv, lambda options: recover(options.root, at_boot=options.boot))


def recover(root: Path, *, at_boot: bool) -> int:
    """Clear up after an interrupted deploy.

    Raises:
        Ds01Error: it could not be done; the journal stays, and the next call tries again.
    """
    paths = host_paths(root)
    refuse_unprivileged(paths, "sudo ds01 recover")
    with alone(paths):
        if not finish_interrupted(paths, run, at_boot=at_boot):
            say("Nothing to do: no deploy was interrupted.")
        sweep(paths)
    return ExitCode.DONE
