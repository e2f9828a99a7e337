"""Look at a host: its files, what systemd and Docker hold, what lies in the way. Only reads; works without root."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import PurePosixPath
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.process import Run
from ds01.core.tree import Form, Tree
from ds01.deployer.docker import RunningContainer, ask_engine, running_containers
from ds01.deployer.files import observe_files
from ds01.deployer.handlers import DOCKER_RELOAD, DOCKER_RESTART, in_order
from ds01.deployer.owned import Owned
from ds01.deployer.plan import Plan, make_plan
from ds01.deployer.release import Release
from ds01.deployer.releases import plan_runtime
from ds01.deployer.report import Survey
from ds01.deployer.systemd import LiveUnits, compare_live, is_running

_SWARM: Final = "this engine is in swarm mode, in which it does not start with live-restore: docker swarm leave first"


class UnknownOwnerError(Ds01Error):
    """An account or group that should own a file does not exist here."""


def survey_host(
    wanted: Tree,
    paths: HostPaths,
    owned: Owned,
    run: Run,
    notices: tuple[str, ...] = (),
    offered: Release | None = None,
) -> Survey:
    """Plan a deploy and gather what an admin should see with it.

    Args:
        notices: shown with those found here.
        offered: the release of the runtime that can be built; None when only installed ones can be used.
    """
    plan = plan_host(wanted, paths, owned, offered)
    live = LiveUnits()
    containers: tuple[RunningContainer, ...] | None = None
    live_restore = False
    if is_running(paths):
        unchanged = {action.path for action in plan.actions if not action.changes}
        files = [(file.path, file.content) for file in wanted if file.path in unchanged and file.form is Form.FILE]
        live = compare_live(files, run)
    disturbing = bool(live.deviations) or any(handler.disturbs for handler in in_order(plan.handlers))
    if paths.is_live and disturbing:
        engine = ask_engine(run)
        containers = running_containers(run)
        if containers is None and not engine.missing:
            notices = (*notices, f"running containers cannot be named, since Docker gave no answer: {engine.error}")
        if DOCKER_RESTART in plan.handlers and engine.in_swarm:
            notices = (
                *notices,
                _SWARM,
            )
        # The reload switches live-restore on before the restart, and the driver containers run under stays.
        switched_on = DOCKER_RELOAD in plan.handlers and engine.info.get("CgroupDriver") == "systemd"
        live_restore = engine.live_restore or switched_on
    return Survey(
        plan=plan,
        root=os.fspath(paths.root),
        notices=(*notices, *foreign_files(paths, wanted, owned)),
        live=live,
        containers=containers,
        live_restore=live_restore,
        can_run_handlers=paths.is_live,
    )


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


def foreign_files(paths: HostPaths, wanted: Tree, owned: Owned) -> tuple[str, ...]:
    """Return notices about unit files in DS01's name space that are not DS01's, yet change what its units mean."""
    ours = {*wanted.files, *owned.files}
    try:
        found = sorted(paths.units.glob("ds01*.slice*"))
    except OSError:
        return ()
    notices = []
    for entry in found:
        inside = sorted(entry.glob("*.conf")) if entry.is_dir() and not entry.is_symlink() else [entry]
        for file in inside:
            target = PurePosixPath("/etc/systemd/system") / file.relative_to(paths.units)
            if target not in ours:
                notices.append(
                    f"{target} is not DS01's and changes what the slice means; remove it when it is not meant"
                )
    return tuple(notices)
