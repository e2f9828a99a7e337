"""Look at a host: its files, what systemd and Docker hold, what lies in the way. Only reads; works without root."""

from __future__ import annotations

import grp
import json
import os
import pwd
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.process import Run
from ds01.core.tree import Form, Tree
from ds01.deployer.containers import Finding, Homes, RunningContainer, look_at_containers
from ds01.deployer.docker import ask_engine, running_containers
from ds01.deployer.files import observe_files
from ds01.deployer.handlers import DOCKER_RELOAD, DOCKER_RESTART, in_order
from ds01.deployer.memory import overfull
from ds01.deployer.owned import Owned
from ds01.deployer.plan import Plan, make_plan
from ds01.deployer.release import Release
from ds01.deployer.releases import plan_runtime
from ds01.deployer.remains import find_remains
from ds01.deployer.report import Survey
from ds01.deployer.systemd import LiveUnits, compare_live, is_running
from ds01.deployer.takeover import DAEMON_JSON, Question, decide, foreign_notices, with_older

POLICY: Final = PurePosixPath("/etc/ds01/policy.json")
_SWARM: Final = "this engine is in swarm mode, in which it does not start with live-restore: docker swarm leave first"


class UnknownOwnerError(Ds01Error):
    """An account or group that should own a file does not exist here."""


def survey_host(  # noqa: PLR0913, PLR0917 - a host, what is wanted of it, and three things to be told with it
    wanted: Tree,
    paths: HostPaths,
    owned: Owned,
    run: Run,
    notices: tuple[str, ...] = (),
    offered: Release | None = None,
    question: Question | None = None,
) -> Survey:
    """Plan a deploy and gather what an admin should see with it.

    Args:
        notices: shown with those found here.
        offered: the release of the runtime that can be built; None when only installed ones can be used.
        question: what is to become of an older DS01's files; None leaves them out.
    """
    plan, found = plan_all(wanted, paths, owned, run, offered, question)
    live = LiveUnits()
    if is_running(paths):
        unchanged = {action.path for action in plan.actions if not action.changes}
        files = [(file.path, file.content) for file in wanted if file.path in unchanged and file.form is Form.FILE]
        live = compare_live(files, run)
    disturbing = bool(live.deviations) or any(handler.disturbs for handler in in_order(plan.handlers))
    engine = _Asked()
    if paths.is_live and (disturbing or owned.generation == 0):
        engine = _ask(plan, paths, run)
    lacking = _lacking(wanted, engine.containers) if owned.generation == 0 else ()
    return Survey(
        plan=plan,
        root=os.fspath(paths.root),
        notices=(*notices, *engine.notices, *found),
        live=live,
        containers=engine.containers,
        lacking=lacking,
        overfull=overfull(plan, paths) if paths.is_live else (),
        live_restore=engine.live_restore,
        can_run_handlers=paths.is_live,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the engine said; nothing when it was not asked."""

    containers: tuple[RunningContainer, ...] | None = None
    live_restore: bool = False
    notices: tuple[str, ...] = ()


def _ask(plan: Plan, paths: HostPaths, run: Run) -> _Asked:
    engine = ask_engine(run)
    containers = running_containers(run, paths.proc)
    notices = []
    if containers is None and not engine.missing:
        why = engine.error or "not for every one of them (docker ps, docker inspect)"
        notices.append(f"running containers cannot be named, since Docker gave no answer: {why}")
    if DOCKER_RESTART in plan.handlers and engine.in_swarm:
        notices.append(_SWARM)
    # The reload switches live-restore on before the restart, and the driver containers run under stays.
    switched_on = DOCKER_RELOAD in plan.handlers and engine.info.get("CgroupDriver") == "systemd"
    return _Asked(containers, engine.live_restore or switched_on, tuple(notices))


def _lacking(wanted: Tree, containers: tuple[RunningContainer, ...] | None) -> tuple[Finding, ...]:
    """Return for which containers something will not hold that the policy promises."""
    policy = wanted.files.get(POLICY)
    if policy is None or not containers:
        return ()
    return look_at_containers(containers, Homes.of(Policy.from_document(json.loads(policy.content))))


def plan_all(
    wanted: Tree,
    paths: HostPaths,
    owned: Owned,
    run: Run,
    offered: Release | None = None,
    question: Question | None = None,
) -> tuple[Plan, tuple[str, ...]]:
    """Plan DS01's own files and what becomes of an older DS01's; return notices about what others put beside them.

    Raises:
        UnknownOwnerError: a wanted owner or group is not known on this machine.
        BadInputError: a file is to be kept that is not there.
    """
    plan = plan_host(wanted, paths, owned, offered)
    left_out = None if question is None else question.without
    ours = {*owned.files, *(file.path for file in wanted if left_out is None or file.part is not left_out)}
    remains = find_remains(paths, ours, run)
    notices = foreign_notices(remains)
    if question is None:
        return plan, notices
    daemon = observe_files(paths, [DAEMON_JSON])[DAEMON_JSON].content
    decision = decide(remains, question, wanted, None if daemon is None else daemon.decode(errors="replace"))
    return with_older(plan, decision), (*decision.notices, *notices)


def plan_host(wanted: Tree, paths: HostPaths, owned: Owned, offered: Release | None = None) -> Plan:
    """Observe every file of both sides and plan.

    Raises:
        UnknownOwnerError: a wanted owner or group is not known on this machine.
    """
    observed = observe_files(paths, {*wanted.files, *owned.files})
    # Elsewhere than on the live machine an ordinary account makes the files, and cannot give them away.
    identities = None
    if paths.is_live or os.geteuid() == 0:
        known: dict[tuple[str, str], tuple[int, int]] = {}
        identities = {file.path: _identity(file.owner, file.group, known) for file in wanted}
    return plan_runtime(make_plan(wanted, observed, owned, identities), paths, offered)


def _identity(owner: str, group: str, known: dict[tuple[str, str], tuple[int, int]]) -> tuple[int, int]:
    if (owner, group) not in known:
        known[owner, group] = identity(owner, group)
    return known[owner, group]


def identity(owner: str, group: str) -> tuple[int, int]:
    """Return uid and gid of an owner and a group; root needs no look-up.

    Raises:
        UnknownOwnerError: one of them does not exist on this machine.
    """
    try:
        uid = 0 if owner == "root" else pwd.getpwnam(owner).pw_uid
        gid = 0 if group == "root" else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise UnknownOwnerError(
            f"{owner}:{group} does not exist here", str(error), "make it, then try again"
        ) from error
    return uid, gid
