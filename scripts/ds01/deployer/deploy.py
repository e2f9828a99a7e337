"""The deployer's front door: wanted tree, observe, plan, show, apply, handlers, verify; all of it or none.

Holds one lock from the first look to the last check. What an earlier deploy left half done is finished or undone
before anything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ds01.core.errors import Ds01Error, RefusedError
from ds01.core.jsonstate import exclusive
from ds01.core.paths import HostPaths
from ds01.core.process import Run, run
from ds01.core.tree import Tree
from ds01.deployer import report
from ds01.deployer.apply import Outcome, Transaction, recover, stage
from ds01.deployer.changes import (
    STATE,
    deployed_tree,
    digest,
    file_changes,
    kept_copies,
    kept_folder,
    next_owned,
    state_changes,
    unused_folders,
)
from ds01.deployer.files import explain, make_folder
from ds01.deployer.handlers import HandlerError, in_order, run_handler
from ds01.deployer.history import Generation, numbers, stamp, who_runs
from ds01.deployer.owned import Owned, OwnedFile, read_owned
from ds01.deployer.plan import Action, Plan, Scope
from ds01.deployer.report import ProgressBar, count, say
from ds01.deployer.staged import check_staged
from ds01.deployer.survey import plan_host, survey_host
from ds01.deployer.verify import Status, verify_applied


class DeployError(Ds01Error):
    """A deploy failed and was rolled back; says what became of the host."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a deploy is run.

    Attributes:
        force: lose hand edits (a copy is kept).
        scope: only a part of the plan, or None for all of it.
        what: what history says; None for the plan's summary.
    """

    yes: bool = False
    force: bool = False
    restart_docker: bool = False
    scope: Scope | None = None
    what: str | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """What a deploy touches besides files; given in, so that tests say what they mean."""

    run: Run = run
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    ask: Callable[[str], bool] = report.ask
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def deploy(wanted: Tree, paths: HostPaths, options: Options, world: World) -> bool:
    """Bring a host to the wanted tree.

    Returns:
        Whether anything was changed.

    Raises:
        RefusedError: hand edits would be lost, the admin said no, or something is in the way.
        BusyError: another deploy is at work.
        DeployError: it failed; the host is as it was before.
    """
    _refuse_unprivileged(paths)
    with _alone(paths):
        finish_interrupted(paths, world)
        owned = read_owned(paths)
        survey = survey_host(wanted, paths, owned, world.run, options.notices)
        if options.scope is not None:
            survey = replace(survey, plan=survey.plan.within(options.scope))
        plan = survey.plan
        if options.what is not None:
            survey = replace(survey, title=options.what[0].upper() + options.what[1:])
        colour = report.wants_colour(sys.stdout, world.environment)
        report.show_survey(survey, as_json=False, out=sys.stdout, colour=colour)
        _refuse(plan, options)
        handlers = _due(survey.handlers, paths, options)
        if not plan.changes and not handlers and not _must_learn(plan, owned, whole=options.scope is None):
            say("Nothing to do: the host is as the policy says.")
            _say_pending(owned)
            return False
        if (
            not options.yes
            and (plan.changes or handlers)
            and not world.ask("Deploy this?" if options.what is None else "Roll back?")
        ):
            raise RefusedError("not deployed: the answer was not yes", None, "answer y, or deploy --yes")
        _refuse_moved(wanted, plan, paths, owned, options)
        for notice in check_staged(plan.changes, plan.actions, world.run):
            say(f"notice: {notice}")
        _apply(wanted, plan, paths, owned, options, world, handlers)
        return True


@contextmanager
def _alone(paths: HostPaths) -> Iterator[None]:
    """Hold the deploy lock; its folder is made where it is missing.

    Raises:
        BusyError: another deploy holds it.
        FilesError: the folder or the lock cannot be written.
    """
    make_folder(paths, STATE)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(paths.deploy / ".lock"))
        except OSError as error:
            raise explain(error, STATE / ".lock") from error
        yield


def finish_interrupted(paths: HostPaths, world: World) -> None:
    """Finish or undo a deploy that was cut off; says which.

    Raises:
        DeployError: its files were in place, but handlers or checks failed now; it was rolled back.
    """
    recovered = recover(paths)
    if recovered is None:
        return
    number = recovered.context.get("generation")
    if recovered.transaction is None:
        undone = recovered.outcome is Outcome.UNDONE
        state = "was undone: the host is as before it" if undone else "had succeeded and is tidied up"
        say(f"An interrupted deploy (generation {number}) {state}.")
        for path in recovered.kept:
            say(f"notice: {path} was edited meanwhile and is left as it is; the old version is beside it")
        return
    say(f"An interrupted deploy (generation {number}) had all its files in place; finishing it.")
    handlers = recovered.context.get("handlers")
    named = handlers if isinstance(handlers, list) and paths.is_live else []
    _conclude(recovered.transaction, named, paths, world)


def _refuse_unprivileged(paths: HostPaths) -> None:
    if paths.is_live and os.geteuid() != 0:
        raise RefusedError(
            "deploy writes to /etc and must be root",
            None,
            "sudo ./inv deploy, or try it on a folder: --root DIR",
        )
    if not paths.root.is_dir():
        raise RefusedError(f"there is no folder {paths.root}", None, f"mkdir -p {paths.root}")


def _refuse(plan: Plan, options: Options) -> None:
    if plan.blocked:
        raise RefusedError(
            f"{count(len(plan.blocked), 'file')} cannot be deployed; nothing was changed",
            _listed(plan.blocked),
            "see to what each line names, then deploy again",
        )
    if plan.drifted and not options.force:
        raise RefusedError(
            f"{count(len(plan.drifted), 'file')} changed by hand since the last deploy; nothing was deployed",
            _listed(plan.drifted),
            "bring the edit into the inventory, or deploy --force (a copy is kept under /var/lib/ds01/deploy/kept)",
        )


def _refuse_moved(wanted: Tree, plan: Plan, paths: HostPaths, owned: Owned, options: Options) -> None:
    """Look once more: somebody may have edited a file while the plan was being read."""
    now = plan_host(wanted, paths, owned)
    if (now if options.scope is None else now.within(options.scope)).actions != plan.actions:
        raise RefusedError(
            "the host changed while the plan was being read; nothing was deployed",
            None,
            "deploy again and read the new plan",
        )


def _listed(actions: Iterable[Action]) -> str:
    return "\n".join(f"  {line}" for action in actions for line in action.words.splitlines())


def _due(handlers: Iterable[str], paths: HostPaths, options: Options) -> tuple[str, ...]:
    """Return the handlers to run now; a restart of Docker waits for its flag."""
    if not paths.is_live:
        return ()
    return tuple(handler.name for handler in in_order(handlers) if not handler.on_demand or options.restart_docker)


def _must_learn(plan: Plan, owned: Owned, *, whole: bool) -> bool:
    """Whether all files are as wanted, but the manifest does not say so yet, or names some that are not wanted."""
    wanted = [action for action in plan.actions if action.file is not None]
    if whole and not owned.files.keys() <= {action.path for action in wanted}:
        return True
    return any(_is_news(action, owned.files.get(action.path)) for action in wanted)


def _is_news(action: Action, known: OwnedFile | None) -> bool:
    if known is None:
        return True
    # What others write into a merged file is not ours to remember.
    merged = action.record is not None
    wanted = action.file
    if wanted is not None and (known.form, known.part) != (wanted.form, wanted.part):
        return True
    return not merged and action.after is not None and known.sha256 != digest(action.after)


def _say_pending(owned: Owned) -> None:
    if owned.pending:
        say("Docker still has to be restarted to read daemon.json: sudo ./inv deploy --restart-docker")


def _apply(  # noqa: PLR0913, PLR0917 - the parts of one deploy, all of them needed
    wanted: Tree,
    plan: Plan,
    paths: HostPaths,
    owned: Owned,
    options: Options,
    world: World,
    handlers: tuple[str, ...],
) -> None:
    number = max((owned.generation, *numbers(paths))) + 1
    what = options.what or _what(plan, handlers)
    who = who_runs(world.environment)
    tree = wanted if options.scope is None else deployed_tree(wanted, plan, paths, owned)
    generation = Generation(number, tree.host, tree.policy_hash, who, stamp(world.now()), what, tree)
    manifest = next_owned(plan, paths, owned, number, handlers, whole=options.scope is None)
    changes = [
        *file_changes(plan, paths),
        *kept_copies(plan, number),
        *state_changes(generation, manifest, paths),
    ]
    unused = unused_folders(owned, manifest)
    transaction = stage(
        paths,
        changes,
        prune=unused,
        context={"generation": number, "handlers": list(handlers)},
        progress=ProgressBar("Writing", sys.stderr),
    )
    transaction.commit()
    _conclude(transaction, handlers, paths, world)
    say(f"Deployed generation {number}: {what}.")
    if any(change.path.is_relative_to(STATE / "kept") for change in changes):
        say(f"What others had written there is kept below {kept_folder(number)}.")
    _say_pending(manifest)


def _what(plan: Plan, handlers: tuple[str, ...]) -> str:
    if plan.changes:
        return plan.summary
    return f"ran {', '.join(handlers)}" if handlers else "took files as they are"


def _conclude(transaction: Transaction, handlers: Iterable[str], paths: HostPaths, world: World) -> None:
    """Run handlers and checks on files that are in place, then keep them, or put everything back."""
    try:
        for handler in in_order(handlers):
            say(f"{handler.name}: {handler.purpose}")
            run_handler(handler, world.run)
        failed = [
            check for check in verify_applied(paths, read_owned(paths), world.run) if check.status is Status.FAILED
        ]
        if failed:
            raise DeployError("the host does not do what was deployed", "\n".join(f"  {check}" for check in failed))
    except Ds01Error as error:
        _put_back(transaction, handlers, world, error)
    except KeyboardInterrupt:
        say(
            "interrupted: the files are in place, but handlers and checks are not through; ./inv deploy goes on with it"
        )
        raise
    transaction.finish()


def _put_back(transaction: Transaction, handlers: Iterable[str], world: World, cause: Ds01Error) -> None:
    """Undo the files, and let what read the new ones read the old ones again.

    Raises:
        DeployError: always; names the cause and what became of the host.
    """
    say(f"failed: {cause.brief}; putting the files back")
    left = [f"{path} was edited meanwhile and is left as it is" for path in transaction.undo()]
    for handler in in_order(handlers):
        try:
            run_handler(handler, world.run)
        except HandlerError as error:
            left.append(f"{handler.name} failed again with the old files: {error.brief}")
    read_again = " and services have read them again" if handlers else ""
    state = "the files are as before the deploy" + (f"; but {'; '.join(left)}" if left else read_again)
    raise DeployError(
        f"not deployed: {cause.brief}",
        "\n".join(part for part in (cause.details, f"Rolled back: {state}.") if part),
        cause.resolution,
    ) from cause
