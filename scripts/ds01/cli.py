"""The `ds01` command: picks the sub-command, hands it the rest of the line. No logic of its own."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final

from ds01 import __version__
from ds01.core.errors import ExitCode

# Sub-command to its module and what it is for; imported only when it is asked for.
COMMANDS: Final = {
    "limits": ("ds01.runtime.commands.limits", "limits of an account, and where each comes from"),
    "check-limits": ("ds01.runtime.commands.check_limits", "what an account uses, against every limit it has"),
    "gpu": ("ds01.runtime.commands.gpu", "who has which GPU, who waits; allocate and release"),
    "who": ("ds01.runtime.commands.who", "who uses which GPU, in containers and outside, and how busy it is"),
    "processes": (
        "ds01.runtime.commands.processes",
        "what computes on GPUs outside containers, and what becomes of it",
    ),
    "bare-metal": ("ds01.runtime.commands.bare_metal", "let an account use GPUs outside containers for a time"),
    "containers": ("ds01.runtime.commands.containers", "every container, whose it is, and how that is known"),
    "claim": ("ds01.runtime.commands.claim", "say whose a container is that no label gives to anybody"),
    "emergency-stop": ("ds01.runtime.commands.emergency_stop", "end containers at once, past every rule"),
    "events": ("ds01.runtime.commands.events", "what happened on this host: the event log"),
    "health": ("ds01.runtime.commands.health", "whether DS01 is well: services, jobs, files, disks, Docker"),
    "lifecycle": ("ds01.runtime.commands.lifecycle", "run a lifecycle job now, or say what it would do"),
    "verify": ("ds01.verify", "prove that this host is as it was deployed"),
    "history": ("ds01.deployer.commands.history", "the last deploys: who, when, what"),
    "rollback": ("ds01.deployer.commands.rollback", "deploy what an earlier generation wanted"),
    "recover": ("ds01.deployer.commands.recover", "finish or undo a deploy that was interrupted"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        module = importlib.import_module(COMMANDS[arguments[0]][0])
        code: int = module.main(arguments[1:])
        return code
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="ds01",
        usage="ds01 COMMAND [OPTION…]",
        description="What DS01 does on a host.",
        epilog=f"commands:\n{listed}\n\nds01 COMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ds01 {__version__}")
    parser.add_argument("command", nargs="?", choices=tuple(COMMANDS), metavar="COMMAND")
    parser.parse_args(arguments)
    parser.print_help(sys.stderr)
    return ExitCode.BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
