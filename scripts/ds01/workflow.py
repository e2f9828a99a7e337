"""The tasks of `./inv`, joined from the generator and the deployer. Prints results; decides nothing itself."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ds01.core.command import host_paths
from ds01.core.errors import BadInputError, ExitCode
from ds01.core.paths import HostPaths
from ds01.core.process import run
from ds01.core.terminal import print_json, say, wants_colour
from ds01.core.tree import Part, Tree
from ds01.core.value import replace
from ds01.core.words import count
from ds01.deployer import report
from ds01.deployer.commands.front import interrupted
from ds01.deployer.deploy import Options, World, deploy
from ds01.deployer.install import Source
from ds01.deployer.owned import read_owned
from ds01.deployer.plan import Scope
from ds01.deployer.release import Release, with_runtime
from ds01.deployer.releases import usable_name
from ds01.deployer.survey import survey_host
from ds01.deployer.takeover import Choice, ask_about_older, refusal
from ds01.generator.build import InventoryError, build, check, host_names
from ds01.generator.generated import left_over, stale_reason, write_generated
from ds01.generator.problems import Problem
from ds01.runtime.client.fits import check_client

CHECKOUT: Final = Path(__file__).resolve().parents[2]
_SLICES: Final = "/etc/systemd/system/ds01*"
# Where it is, the docker command's lines are read by a helper of ours.
_ASKS_HELPER: Final = PurePosixPath("/etc/sudoers.d/ds01")


def validate(inventory: Path, host: str | None, *, as_json: bool) -> int:
    """Check the inventory and say everything that is wrong with it."""
    try:
        problems = check(CHECKOUT, inventory, host).notices
    except InventoryError as error:
        problems = error.problems
    wrong = [problem for problem in problems if not problem.notice]
    if as_json:
        listed = [problem.to_json() for problem in problems]
        print_json({"version": report.JSON_VERSION, "valid": not wrong, "problems": listed}, sys.stdout)
    else:
        _say_all(problems)
        notices = len(problems) - len(wrong)
        print(f"{count(len(wrong), 'problem')}, {count(notices, 'notice')} in {inventory}")
    return ExitCode.BAD_INPUT if wrong else ExitCode.DONE


def render(inventory: Path, host: str | None, *, only_check: bool) -> int:
    """Write generated/<host> of one host or all, or only tell whether it is fresh."""
    hosts = host_names(inventory) if host is None else (host,)
    # Without a host file, build() says what is missing.
    stale = [_render_one(inventory, each, only_check=only_check) for each in hosts or (None,)]
    for name in left_over(CHECKOUT, host_names(inventory)):
        say(f"notice: generated/{name} is for no host of {inventory}; remove it when that host is gone")
    return ExitCode.CHANGES_PENDING if only_check and any(stale) else ExitCode.DONE


def _render_one(inventory: Path, host: str | None, *, only_check: bool) -> bool:
    """Write or check one host's folder; returns whether it was stale."""
    tree, notices = build(CHECKOUT, inventory, host)
    _say_all(notices)
    stale = stale_reason(CHECKOUT, tree)
    if only_check:
        print(stale or f"generated/{tree.host} is fresh")
    else:
        changed = write_generated(CHECKOUT, tree)
        print(f"generated/{tree.host}: {count(changed, 'file')} written or removed")
    return stale is not None


@dataclass(frozen=True, slots=True)
class Target:
    """Which inventory goes to which host, below which root.

    Attributes:
        runtime: whether the runtime goes there too, or what there is of it stays as it is.
        older: what becomes of an older DS01's files; None when nothing was said.
    """

    inventory: Path
    host: str | None = None
    root: Path = Path("/")
    runtime: bool = True
    older: Choice | None = None

    def scope(self, account: str | None = None, pattern: str | None = None) -> Scope | None:
        """Return the part of the plan that is meant; None for all of it."""
        if self.runtime and account is None and pattern is None:
            return None
        return Scope(account, pattern, None if self.runtime else Part.RUNTIME)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What should be on the host, and what is to be said of the checkout it comes from."""

    tree: Tree
    words: tuple[str, ...]
    runtime: tuple[Release, Source] | None


def plan(target: Target, account: str | None, *, as_json: bool, only_check: bool) -> int:
    """Show what a deploy would change; changes nothing."""
    survey = _survey(target, target.scope(account))
    report.show_survey(survey, as_json=as_json, out=sys.stdout, colour=wants_colour(sys.stdout, os.environ))
    plan = survey.plan
    pending = bool(plan.changes or plan.blocked or plan.pending or refusal(plan) or survey.live.deviations)
    return ExitCode.CHANGES_PENDING if only_check and pending else ExitCode.DONE


def slices(target: Target, account: str | None, *, dry_run: bool, verbose: bool, force: bool) -> int:
    """Plan or deploy the slices alone; policy.json and the rest stay as they are."""
    target = replace(target, runtime=False)
    scope = target.scope(account, _SLICES)
    if not dry_run:
        # Called by scripts as it always was: it never asks.
        return apply(target, Options(yes=True, force=force, scope=scope))
    survey = _survey(target, scope)
    if verbose:
        colour = wants_colour(sys.stdout, os.environ)
        report.show_survey(survey, as_json=False, out=sys.stdout, colour=colour)
        return ExitCode.DONE
    for action in survey.plan.changes:
        print(f"{action.verb.value} {action.path}: {action.reason}")
    print(survey.plan.summary)
    return ExitCode.DONE


def _survey(target: Target, scope: Scope | None) -> report.Survey:
    paths = host_paths(target.root)
    wanted = _wanted(target, paths)
    offered = None if wanted.runtime is None else wanted.runtime[0]
    words = (*interrupted(paths), *wanted.words)
    owned = read_owned(paths)
    question = ask_about_older(scope, target.older, owned)
    survey = survey_host(wanted.tree, paths, owned, run, words, offered, question)
    if scope is None:
        return survey
    _known_account(wanted.tree, scope.account, paths)
    return survey.within(scope, title=survey.title)


def apply(target: Target, options: Options) -> int:
    """Show the plan, ask, and bring the host to it."""
    paths = host_paths(target.root)
    wanted = _wanted(target, paths)
    if options.scope is None:
        options = replace(options, scope=target.scope())
    else:
        _known_account(wanted.tree, options.scope.account, paths)
    _check_client(wanted.tree, paths, options.scope)
    deploy(
        wanted.tree, paths, replace(options, notices=wanted.words, runtime=wanted.runtime, older=target.older), World()
    )
    return ExitCode.DONE


def _check_client(tree: Tree, paths: HostPaths, scope: Scope | None) -> None:
    """Refuse to stand before a docker client whose options DS01 does not know.

    On a host with a gateway nothing is read, and where no client is installed yet there is nothing to know.

    Raises:
        Ds01Error: there is no table for it, or it is not true; says the difference.
    """
    if scope is None and _ASKS_HELPER in tree.files and paths.docker_client.exists():
        check_client(paths.docker_client, run)


def _wanted(target: Target, paths: HostPaths) -> _Wanted:
    tree, notices = build(CHECKOUT, target.inventory, target.host)
    words = (*_lines(notices), *_stale(target, tree))
    if not target.runtime:
        return _Wanted(tree, words, None)
    source = Source.of_checkout(CHECKOUT)
    release = source.release()
    release = replace(release, name=usable_name(paths, release.name))
    return _Wanted(with_runtime(tree, release.name), words, (release, source))


def _stale(target: Target, tree: Tree) -> tuple[str, ...]:
    """Return a notice when generated/ is not what was reviewed; another inventory says nothing about it."""
    own = target.inventory.resolve() == CHECKOUT / "inventory"
    reason = stale_reason(CHECKOUT, tree) if own else None
    return () if reason is None else (reason,)


def _known_account(tree: Tree, account: str | None, paths: HostPaths) -> None:
    """Refuse an account that has no file, wanted or left behind."""
    owned = read_owned(paths).files.values()
    if account is not None and not any(file.account == account for file in (*tree, *owned)):
        raise BadInputError(
            f"account {account!r} has no file of its own",
            "it is not listed, or its group has no limits over all containers",
            "see scripts/get_resource_limits.py NAME, or list it in inventory/groups/<group>.members",
        )


def _lines(notices: tuple[Problem, ...]) -> tuple[str, ...]:
    return tuple(f"{each.place}: {each.text}; {each.fix}" for each in notices)


def _say_all(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        say(str(problem))
