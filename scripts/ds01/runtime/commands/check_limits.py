"""`check-limits`: what an account uses, against every limit it has. Changes nothing; works without Docker and root."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import BadInputError, Ds01Error, ExitCode, RefusedError
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.terminal import print_json, wants_colour
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.runtime.accounts import caller, is_known
from ds01.runtime.machine import Machine
from ds01.runtime.overview.figures import Overview, Unknown, to_json
from ds01.runtime.overview.reader import read_overview
from ds01.runtime.overview.sheet import sheet
from ds01.runtime.overview.words import style_for

# Names are a comfort; nobody should wait for them.
_ENGINE_SECONDS: Final = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was asked for; returns the exit code."""
    made = parser("check-limits", "Show what an account uses, and what it may use.")
    made.add_argument("account", nargs="?", metavar="USER", help="another account than your own; for administrators")
    made.add_argument("--json", action="store_true", help="everything as one JSON object")
    return run_command(made, argv, _show)


def _show(options: argparse.Namespace) -> int:
    paths = host_paths(options.root)
    overview, names = look(paths, options.account)
    if options.json:
        print_json(to_json(overview, {} if isinstance(names, Unknown) else names), sys.stdout)
    else:
        colour = wants_colour(sys.stdout, os.environ)
        print(sheet(overview, names, style_for(os.environ, colour=colour, columns=80)))
    return ExitCode.DONE


def look(paths: HostPaths, account: str | None) -> tuple[Overview, Mapping[str, str] | Unknown]:
    """Return how an account stands, and the names of its containers.

    Args:
        account: None for the one who asks.

    Raises:
        RefusedError: it is another's, and the one who asks is no administrator.
        BadInputError: there is no such account.
        Ds01Error: there is no policy.
    """
    policy = read_policy(paths.policy)
    overview = read_overview(paths, policy, allowed(policy, account), Machine().now())
    return overview, _names(paths, overview)


def allowed(policy: Policy, account: str | None) -> str:
    """Return whose data is shown.

    Raises:
        RefusedError: another's, and the one who asks is no administrator; or nobody knows who asks.
        BadInputError: neither this machine nor the policy knows it. Only an administrator is told.
    """
    asks = caller(policy, uid=os.getuid(), environment=os.environ)
    if account is None or account == asks.name:
        return asks.name
    if not asks.is_admin:
        raise RefusedError(
            f"what {visible(account)} uses is not shown to {visible(asks.name)}",
            "only administrators see what other accounts use",
            "leave the name out to see your own",
        )
    if account and not is_known(policy, account):
        # Else a slip in a name would show the limits of an account that uses nothing.
        raise BadInputError(
            f"there is no account {visible(account)!r}", None, "write it as in the inventory, or as id -un does"
        )
    return account


def _names(paths: HostPaths, overview: Overview) -> Mapping[str, str] | Unknown:
    """Ask the engine as the caller may, through the socket that every client uses."""
    if isinstance(overview.shares, Unknown) or not overview.shares:
        return {}
    from ds01.runtime.containers.engine import Engine  # noqa: PLC0415 - most who ask have no container

    try:
        listed = Engine(paths.engine, timeout_seconds=_ENGINE_SECONDS).containers(all_states=False)
    except Ds01Error as error:
        return Unknown(error.brief)
    return {each.id: each.name for each in listed if each.name}
