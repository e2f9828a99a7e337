"""`ds01-greeting`: what a login shell shows of its account. Prints all of it or nothing, and never asks Docker.

Started by /etc/profile.d/ds01.sh for everybody who logs in, so it imports nothing that it does not need.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ds01.core.errors import Ds01Error, ExitCode
from ds01.core.paths import HostPaths
from ds01.core.policy import read_policy
from ds01.core.terminal import wants_colour
from ds01.runtime.machine import Machine
from ds01.runtime.overview.reader import read_overview
from ds01.runtime.overview.words import Style, greeting, style_for


def main(argv: Sequence[str] | None = None) -> int:
    """Print the greeting of the one who logs in; a login is no place for errors, so those print nothing."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--help"]:
        print("usage: ds01-greeting [--root DIR]")
        return ExitCode.DONE
    if arguments and (len(arguments) != len(("--root", "DIR")) or arguments[0] != "--root"):
        return ExitCode.BAD_INPUT
    uid = os.getuid()
    if uid == 0:
        # Nothing limits root, and who repairs the machine should see as little of it as can be.
        return ExitCode.DONE
    try:
        text = text_for(HostPaths(Path(arguments[1] if arguments else "/")), uid, os.environ)
        if text:
            os.write(sys.stdout.fileno(), f"{text}\n".encode())
    except (Ds01Error, OSError, KeyError):
        return ExitCode.FAILED
    if argv is None:
        # As a program all is said and nothing is open: what Python still does at its end takes a login longer than the
        # reading did.
        os._exit(ExitCode.DONE)
    return ExitCode.DONE


def text_for(paths: HostPaths, uid: int, environment: Mapping[str, str]) -> str:
    """Return an account's greeting; empty when there is nothing to say.

    Raises:
        Ds01Error: there is no policy, or none that can be used.
        KeyError: nobody knows the uid.
    """
    policy = read_policy(paths.policy)
    overview = read_overview(paths, policy, pwd.getpwuid(uid).pw_name, Machine().now())
    return greeting(overview, _style(environment))


def _style(environment: Mapping[str, str]) -> Style:
    colour = wants_colour(sys.stdout, environment)
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        columns = 80
    # A terminal that does not know its width says 0.
    return style_for(environment, colour=colour, columns=columns or 80)
