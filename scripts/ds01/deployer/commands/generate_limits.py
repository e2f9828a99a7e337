"""`ds01-generate-limits`: compare the slices on the host with the deployed generation. Writes nothing.

The name is that of an older script, which wrote the drop-ins. They come from the inventory now (`./inv deploy`);
here is what stands in the generation that was deployed last.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import BadInputError, ExitCode
from ds01.core.process import run
from ds01.core.terminal import say, wants_colour
from ds01.core.tree import Part, Tree
from ds01.core.value import replace
from ds01.deployer import report
from ds01.deployer.directives import unit_of
from ds01.deployer.history import read_generation
from ds01.deployer.owned import read_owned
from ds01.deployer.plan import Scope
from ds01.deployer.survey import survey_host

SLICES = "/etc/systemd/system/ds01*"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 3 when something differs."""
    made = parser(
        "ds01-generate-limits",
        "Compare the slices on this host with what was deployed last; changes nothing. Limits are changed in the"
        " inventory and brought here by ./inv deploy.",
    )
    made.add_argument("--user", metavar="NAME", help="only this account's slice")
    made.add_argument("--verbose", action="store_true", help="show the differences line by line")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--dry-run", action="store_true", help="taken for the older script's sake: nothing is written")
    return run_command(made, argv, _compare)


def _compare(options: argparse.Namespace) -> int:
    paths = host_paths(options.root)
    owned = read_owned(paths)
    if owned.generation == 0:
        raise BadInputError("nothing was deployed here yet", None, "sudo ./inv deploy, in the checkout")
    tree = read_generation(paths, owned.generation).tree
    scope = Scope(account=options.user, pattern=SLICES, without=Part.RUNTIME)
    _known(tree, options.user)
    survey = survey_host(tree, paths, owned, run)
    survey = survey.within(scope, title=f"Slices of generation {owned.generation}")
    units = {unit_of(action.path) or "" for action in survey.plan.actions}
    survey = replace(survey, live=survey.live.only(units))
    changes = survey.plan.changes
    if options.json or options.verbose:
        colour = wants_colour(sys.stdout, os.environ)
        report.show_survey(survey, as_json=options.json, out=sys.stdout, colour=colour)
    else:
        for action in changes:
            print(f"{action.path}: {action.reason}")
        for deviation in survey.live.deviations:
            print(deviation)
        print(f"generation {owned.generation}: {survey.plan.summary}")
    differs = bool(changes or survey.plan.blocked or survey.live.deviations)
    if differs:
        say("To put them back: sudo ./inv deploy --force in the checkout (a copy of hand edits is kept)")
    return ExitCode.CHANGES_PENDING if differs else ExitCode.DONE


def _known(tree: Tree, account: str | None) -> None:
    if account is not None and not any(file.account == account for file in tree):
        raise BadInputError(
            f"account {account!r} has no slice of its own",
            "it is not listed, or its group has no limits over all containers",
            f"ds01 limits {account} shows what holds for it",
        )
