"""The tasks of `./inv`, joined from the generator and the deployer. Prints results; decides nothing itself."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.process import run
from ds01.core.tree import Tree
from ds01.deployer import journal, report
from ds01.deployer.deploy import Options, World, deploy
from ds01.deployer.history import Generation, numbers, read_generation
from ds01.deployer.owned import read_owned
from ds01.deployer.plan import Scope
from ds01.deployer.survey import survey_host
from ds01.deployer.verify import Check, Status, verify_applied, verify_host
from ds01.generator.build import InventoryError, build, check, host_names
from ds01.generator.generated import left_over, stale_reason, write_generated
from ds01.generator.problems import Problem

CHECKOUT: Final = Path(__file__).resolve().parents[2]
_SLICES: Final = "/etc/systemd/system/ds01*"


def validate(inventory: Path, host: str | None, *, as_json: bool) -> int:
    """Check the inventory and say everything that is wrong with it."""
    try:
        problems = check(CHECKOUT, inventory, host).notices
    except InventoryError as error:
        problems = error.problems
    wrong = [problem for problem in problems if not problem.notice]
    if as_json:
        listed = [problem.to_json() for problem in problems]
        report.print_json({"version": report.JSON_VERSION, "valid": not wrong, "problems": listed}, sys.stdout)
    else:
        _say_all(problems)
        notices = len(problems) - len(wrong)
        print(f"{report.count(len(wrong), 'problem')}, {report.count(notices, 'notice')} in {inventory}")
    return ExitCode.BAD_INPUT if wrong else ExitCode.DONE


def render(inventory: Path, host: str | None, *, only_check: bool) -> int:
    """Write generated/<host> of one host or all, or only tell whether it is fresh."""
    hosts = host_names(inventory) if host is None else (host,)
    # Without a host file, build() says what is missing.
    stale = [_render_one(inventory, each, only_check=only_check) for each in hosts or (None,)]
    for name in left_over(CHECKOUT, host_names(inventory)):
        report.say(f"notice: generated/{name} is for no host of {inventory}; remove it when that host is gone")
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
        print(f"generated/{tree.host}: {report.count(changed, 'file')} written or removed")
    return stale is not None


@dataclass(frozen=True, slots=True)
class Target:
    """Which inventory goes to which host, below which root."""

    inventory: Path
    host: str | None = None
    root: Path = Path("/")


def plan(target: Target, account: str | None, *, as_json: bool, only_check: bool) -> int:
    """Show what a deploy would change; changes nothing."""
    scope = None if account is None else Scope(account=account)
    survey = _survey(target, scope)
    report.show_survey(survey, as_json=as_json, out=sys.stdout, colour=report.wants_colour(sys.stdout, os.environ))
    pending = bool(survey.plan.changes or survey.plan.blocked or survey.plan.pending or survey.live.deviations)
    return ExitCode.CHANGES_PENDING if only_check and pending else ExitCode.DONE


def slices(target: Target, account: str | None, *, dry_run: bool, verbose: bool, force: bool) -> int:
    """Plan or deploy the slices alone; policy.json and the rest stay as they are."""
    scope = Scope(account=account, pattern=_SLICES)
    if not dry_run:
        # Called by scripts as it always was: it never asks.
        return apply(target, Options(yes=True, force=force, scope=scope))
    survey = _survey(target, scope)
    if verbose:
        colour = report.wants_colour(sys.stdout, os.environ)
        report.show_survey(survey, as_json=False, out=sys.stdout, colour=colour)
        return ExitCode.DONE
    for action in survey.plan.changes:
        print(f"{action.verb.value} {action.path}: {action.reason}")
    print(survey.plan.summary)
    return ExitCode.DONE


def _survey(target: Target, scope: Scope | None) -> report.Survey:
    tree, notices = build(CHECKOUT, target.inventory, target.host)
    paths = _paths(target.root)
    words = (*_interrupted(paths), *_lines(notices), *_stale(target, tree))
    survey = survey_host(tree, paths, read_owned(paths), run, words)
    if scope is None:
        return survey
    _known_account(tree, scope.account, paths)
    return replace(survey, plan=survey.plan.within(scope))


def apply(target: Target, options: Options) -> int:
    """Show the plan, ask, and bring the host to it."""
    tree, notices = build(CHECKOUT, target.inventory, target.host)
    if options.scope is not None:
        _known_account(tree, options.scope.account, _paths(target.root))
    words = (*_lines(notices), *_stale(target, tree))
    deploy(tree, _paths(target.root), replace(options, notices=words), World())
    return ExitCode.DONE


def rollback(root: Path, to: int | None, options: Options) -> int:
    """Deploy what an earlier generation wanted."""
    paths = _paths(root)
    # Earlier ones only: a deploy that was interrupted may have left a later one, which is about to be undone.
    kept = [number for number in numbers(paths) if number < read_owned(paths).generation]
    if to is None and not kept:
        raise BadInputError("there is no earlier generation to go back to", None, "see ./inv history")
    generation = read_generation(paths, kept[-1] if to is None else to)
    what = f"rollback to generation {generation.number} ({generation.when}, {generation.who})"
    if deploy(generation.tree, paths, replace(options, what=what), World()):
        report.say(
            "The inventory still says otherwise: revert the change there too, or the next deploy brings it back."
        )
    return ExitCode.DONE


def history(root: Path, *, as_json: bool) -> int:
    """List the kept generations, newest first."""
    paths = _paths(root)
    found: list[Generation] = []
    for number in reversed(numbers(paths)):
        try:
            found.append(read_generation(paths, number))
        except StateError as error:
            # One that is damaged must not hide the others.
            report.say(f"notice: generation {number} cannot be shown: {error.brief}")
    if as_json:
        entries = [generation.to_json(files=False) for generation in found]
        report.print_json({"version": report.JSON_VERSION, "generations": entries}, sys.stdout)
    elif not found:
        print("Nothing was deployed here yet.")
    else:
        rows = [(str(g.number), g.when, g.who, g.policy_hash[:12], g.what) for g in found]
        print(report.table([("GENERATION", "WHEN", "WHO", "POLICY", "WHAT"), *rows]))
    return ExitCode.DONE


def verify(root: Path, *, as_json: bool) -> int:
    """Prove that the host is as it was deployed."""
    paths = _paths(root)
    cut_off = tuple(
        Check("applied", "deploy", Status.FAILED, words, "sudo ./inv deploy") for words in _interrupted(paths)
    )
    checks = (*cut_off, *verify_applied(paths, read_owned(paths), run), *verify_host(paths, run))
    return report_checks(checks, as_json=as_json)


def report_checks(checks: tuple[Check, ...], *, as_json: bool) -> int:
    """Print checks and return the exit code they mean."""
    failed = sum(each.status is Status.FAILED for each in checks)
    if as_json:
        listed = [each.to_json() for each in checks]
        report.print_json({"version": report.JSON_VERSION, "ok": not failed, "checks": listed}, sys.stdout)
    else:
        for each in checks:
            print(f"{each.part:8} {each}")
        warned = sum(each.status is Status.WARNING for each in checks)
        print(f"{report.count(len(checks), 'check')}: {failed} failed, {report.count(warned, 'warning')}")
    return ExitCode.FAILED if failed else ExitCode.DONE


def _paths(root: Path) -> HostPaths:
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


def _stale(target: Target, tree: Tree) -> tuple[str, ...]:
    """Return a notice when generated/ is not what was reviewed; another inventory says nothing about it."""
    own = target.inventory.resolve() == CHECKOUT / "inventory"
    reason = stale_reason(CHECKOUT, tree) if own else None
    return () if reason is None else (reason,)


def _interrupted(paths: HostPaths) -> tuple[str, ...]:
    try:
        state = journal.pending(paths)
    except Ds01Error as error:
        return (f"whether an earlier deploy was interrupted cannot be seen: {error.brief} {error.details or ''}",)
    match state:
        case None:
            return ()
        case journal.State.APPLIED | journal.State.FINISHING:
            return ("an earlier deploy was interrupted with all its files in place; the next deploy finishes it first",)
        case journal.State.STAGING | journal.State.APPLYING | journal.State.UNDOING:
            return ("an earlier deploy was interrupted half way; the next deploy undoes it first",)


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
        report.say(str(problem))
