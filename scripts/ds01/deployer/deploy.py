"""The deployer's front door: wanted tree, observe, plan, show, apply, handlers, verify; all of it or none.

Holds one lock from the first look to the last check. What an earlier deploy left half done is finished or undone
before anything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ds01.core.errors import RefusedError
from ds01.core.jsonstate import exclusive
from ds01.core.paths import HostPaths
from ds01.core.process import Run, run
from ds01.core.terminal import say, wants_colour
from ds01.core.tree import Tree
from ds01.core.value import replace
from ds01.core.words import count
from ds01.deployer import report
from ds01.deployer.apply import stage
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
from ds01.deployer.conclude import conclude, finish_interrupted
from ds01.deployer.files import explain, make_folder
from ds01.deployer.handlers import DOCKER_RELOAD, DOCKER_RESTART, in_order
from ds01.deployer.history import Generation, numbers, stamp, who_runs
from ds01.deployer.install import Source, install
from ds01.deployer.owned import Owned, OwnedFile, read_owned
from ds01.deployer.plan import Action, Plan, Scope
from ds01.deployer.release import CURRENT, Release, State, release_of
from ds01.deployer.releases import look_at
from ds01.deployer.report import ProgressBar
from ds01.deployer.staged import check_staged
from ds01.deployer.survey import plan_all, survey_host
from ds01.deployer.takeover import Choice, Question, ask_about_older, emptied, is_settling, refusal


@dataclass(frozen=True, slots=True)
class Options:
    """How a deploy is run.

    Attributes:
        force: lose hand edits (a copy is kept).
        scope: only a part of the plan, or None for all of it.
        what: what history says; None for the plan's summary.
        runtime: the release that can be built, and from what; None when only installed ones can be used.
        older: what becomes of an older DS01's files; None when nothing was said.
    """

    yes: bool = False
    force: bool = False
    restart_docker: bool = False
    scope: Scope | None = None
    what: str | None = None
    notices: tuple[str, ...] = ()
    runtime: tuple[Release, Source] | None = None
    older: Choice | None = None

    def saying(self, what: str) -> Options:
        """Return the options with what history will say."""
        return replace(self, what=what)

    @property
    def offered(self) -> Release | None:
        """The release that can be built."""
        return None if self.runtime is None else self.runtime[0]

    def question(self, owned: Owned) -> Question | None:
        """What the plan is asked about an older DS01's files: nothing where it is about some files, or goes back."""
        return None if self.what is not None else ask_about_older(self.scope, self.older, owned)


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
    refuse_unprivileged(paths, "sudo ./inv deploy, or try it on a folder: --root DIR")
    with alone(paths):
        finish_interrupted(paths, world.run)
        owned = read_owned(paths)
        question = options.question(owned)
        survey = survey_host(wanted, paths, owned, world.run, options.notices, options.offered, question)
        if options.scope is not None:
            survey = replace(survey, plan=survey.plan.within(options.scope))
        plan = survey.plan
        if options.what is not None:
            survey = replace(survey, title=options.what[0].upper() + options.what[1:])
        colour = wants_colour(sys.stdout, world.environment)
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
        _refuse_moved(wanted, plan, paths, owned, options, world)
        _install(plan, paths, options, world)
        for notice in check_staged(plan.changes, plan.actions, world.run, paths.root):
            say(f"notice: {notice}")
        _apply(wanted, plan, paths, owned, options, world, handlers)
        return True


@contextmanager
def alone(paths: HostPaths) -> Iterator[None]:
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


def _install(plan: Plan, paths: HostPaths, options: Options, world: World) -> None:
    """Build the release that the plan puts in force, unless it is there; nothing uses it until then.

    Raises:
        InstallError: it cannot be built; nothing was changed.
    """
    goal = next((action.after for action in plan.changes if action.path == CURRENT), None)
    name = release_of(goal)
    if name is None or look_at(paths, name).state is State.WHOLE or options.runtime is None:
        return
    release, source = options.runtime
    install(source, release, paths, world.run, world.environment, say)


def refuse_unprivileged(paths: HostPaths, fix: str) -> None:
    """Refuse to change the running machine without being root.

    Raises:
        RefusedError: we are not root, or there is no such root folder.
    """
    if paths.is_live and os.geteuid() != 0:
        raise RefusedError("deploy writes to /etc and must be root", None, fix)
    if not paths.root.is_dir():
        raise RefusedError(f"there is no folder {paths.root}", None, f"mkdir -p {paths.root}")


def _refuse(plan: Plan, options: Options) -> None:
    if plan.blocked:
        raise RefusedError(
            f"{count(len(plan.blocked), 'file')} cannot be deployed; nothing was changed",
            _listed(plan.blocked),
            "see to what each line names, then deploy again",
        )
    undecided = refusal(plan)
    if undecided is not None:
        raise RefusedError(*undecided)
    if plan.drifted and not options.force:
        raise RefusedError(
            f"{count(len(plan.drifted), 'file')} changed by hand since the last deploy; nothing was deployed",
            _listed(plan.drifted),
            "bring the edit into the inventory, or deploy --force (a copy is kept under /var/lib/ds01/deploy/kept)",
        )


def _refuse_moved(wanted: Tree, plan: Plan, paths: HostPaths, owned: Owned, options: Options, world: World) -> None:
    """Look once more: somebody may have edited a file while the plan was being read."""
    now, _ = plan_all(wanted, paths, owned, world.run, options.offered, options.question(owned))
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
    due = {handler.name for handler in in_order(handlers) if not handler.on_demand or options.restart_docker}
    # The engine that runs reads the file first: one that it refuses, by a hand's edit too, would keep it down.
    if DOCKER_RESTART in due:
        due.add(DOCKER_RELOAD)
    return tuple(handler.name for handler in in_order(due))


def _must_learn(plan: Plan, owned: Owned, *, whole: bool) -> bool:
    """Whether all files are as wanted, but the manifest does not say so yet, or names some that are not wanted."""
    wanted = [action for action in plan.actions if action.file is not None]
    if is_settling(plan) and not owned.settled:
        return True
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
        prune=(*unused, *emptied(plan)),
        context={
            "generation": number,
            "handlers": list(handlers),
            "scope": None if options.scope is None else options.scope.to_json(),
        },
        progress=ProgressBar("Writing", sys.stderr),
    )
    transaction.commit()
    conclude(transaction, handlers, paths, world.run)
    say(f"Deployed generation {number}: {what}.")
    if any(change.path.is_relative_to(STATE / "kept") for change in changes):
        say(f"What others had written there is kept below {kept_folder(number)}.")
    _say_pending(manifest)


def _what(plan: Plan, handlers: tuple[str, ...]) -> str:
    if plan.changes:
        return plan.summary
    return f"ran {', '.join(handlers)}" if handlers else "took files as they are"
