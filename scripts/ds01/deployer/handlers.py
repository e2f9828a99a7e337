"""What runs on the host after files changed: each once, in a fixed order, and what each may disturb."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.process import TIMED_OUT, Run
from ds01.core.services import SERVICES

# Source: systemd.unit(5), "must not exceed 255 characters".
_LONGEST_UNIT: Final = 255
_JOURNAL: Final = "journalctl -xe shows what the service said"


class HandlerError(Ds01Error):
    """A handler failed; the deploy is rolled back."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One thing to do on the host.

    Attributes:
        commands: argument lists, run in order until one fails.
        purpose: what it is for, in words.
        disturbs: what it may do to running containers, None when nothing.
        on_demand: True when it needs a word of its own (--restart-docker).
        only_if: a command that must end with 0, else there is nothing to do.
        follow: what is left to do after the commands.
        proof: a command that prints something once it was done since the time in seconds that is appended to it, for
            commands that end before it is.
        says: a command that prints what the service itself said, for when a command fails.
        fix: what to do when it failed.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    purpose: str
    disturbs: str | None = None
    on_demand: bool = False
    only_if: tuple[str, ...] | None = None
    follow: Callable[[Run], None] | None = None
    proof: tuple[str, ...] | None = None
    says: tuple[str, ...] | None = None
    fix: str = _JOURNAL


def _write_control_groups(run: Run) -> None:
    """Have systemd write what it has read to the control groups of slices that are there already.

    systemd 252 does it at a reload. With 257 a slice's group keeps its old values until a unit starts beside or below
    it, so an empty slice is started, and stopped, beside those of each level. No account's slice has a dot in its name.

    Raises:
        HandlerError: systemctl cannot.

    Source: github.com/systemd/systemd/pull/38190; seen with 257.13, not with 252.39.
    """
    active = ("--type=slice", "--state=active", "--plain", "--no-legend")
    listed = _must(run, ("systemctl", "list-units", *active, "ds01.slice", "ds01-*.slice"))
    above = {line.split(".slice", 1)[0].rpartition("-")[0] for line in listed.splitlines()} - {""}
    beside = sorted(f"{parent}-.reload.slice" for parent in above)
    # Anybody can have a slice made under a name of his own; one too long for a neighbour is none of DS01's.
    beside = [name for name in beside if len(name) <= _LONGEST_UNIT]
    if beside:
        _must(run, ("systemctl", "start", *beside))
        _must(run, ("systemctl", "stop", *beside))


def _must(run: Run, argv: tuple[str, ...]) -> str:
    done = run(argv)
    if not done.ok:
        raise HandlerError(f"{' '.join(argv[:2])} failed with exit code {done.code}", done.words, _JOURNAL)
    return done.stdout


def _settle(unit: str, run: Run) -> None:
    """Have a service run as it is deployed now, or not at all once its unit is gone.

    A unit that systemd has never seen is read when it is started; one that changed keeps its old settings until the
    next reload, which is not worth the GPUs that a reload may take from containers. verify says so.

    Raises:
        HandlerError: it does not start, or does not stop.
    """
    if run(("test", "-e", f"/etc/systemd/system/{unit}")).ok:
        _must(run, ("systemctl", "restart", unit))
    elif run(("systemctl", "is-active", "--quiet", unit)).ok:
        _must(run, ("systemctl", "stop", unit))


DAEMON_RELOAD: Final = "daemon-reload"
DOCKER_RELOAD: Final = "docker-reload"
DOCKER_RESTART: Final = "docker-restart"
# Systemd starts those services only when recovery is through: to restart one at boot would be to wait for ourselves.
SERVICE_RESTARTS: Final = frozenset(each.handler for each in SERVICES)
_DAEMON_SAYS: Final = ("journalctl", "--unit=docker.service", "--lines=40", "--output=cat", "--no-pager", "--quiet")
# In the order they run: folders before services read them, units before Docker makes scopes below them.
HANDLERS: Final = (
    Handler(
        "tmpfiles",
        (("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/ds01.conf"),),
        "make DS01's folders",
        # A rolled back first deploy has taken its file away again.
        only_if=("test", "-e", "/etc/tmpfiles.d/ds01.conf"),
    ),
    Handler(
        DAEMON_RELOAD,
        (("systemctl", "daemon-reload"),),
        "let systemd read the changed slices",
        "may detach GPUs from running containers where the legacy nvidia hook gives them (README: Reloads and GPUs)",
        follow=_write_control_groups,
    ),
    *(
        Handler(each.handler, (), f"start the service anew that {each.does}", follow=partial(_settle, each.unit))
        for each in SERVICES
    ),
    # live-restore can be switched on without a restart; the restart then stops no container.
    Handler(
        DOCKER_RELOAD,
        (("systemctl", "reload", "docker.service"),),
        "let Docker read what it can take without a restart, live-restore above all",
        only_if=("systemctl", "is-active", "--quiet", "docker.service"),
        # systemctl only sends a signal; a restart that overtakes it stops every container. The engine tells of the
        # reload once it is through, and never when it refuses the file. Source: moby daemon/reload.go, Reload.
        proof=("docker", "events", "--filter=type=daemon", "--filter=event=reload", "--until=0s", "--since"),
        says=_DAEMON_SAYS,
        fix="mend /etc/docker/daemon.json; Docker runs on with what it read before, but would not start with this file",
    ),
    Handler(
        DOCKER_RESTART,
        (("systemctl", "reset-failed", "docker.service"), ("systemctl", "restart", "docker.service")),
        "let Docker read the changed daemon.json",
        "stops every container unless live-restore is on",
        on_demand=True,
        says=_DAEMON_SAYS,
        fix='mend /etc/docker/daemon.json and keep "live-restore": true in it, or its start stops every container that'
        " still runs; then systemctl restart docker.service",
    ),
)
_RESTART_SECONDS: Final = 150.0
_LOOKS: Final = 50
_NAP_SECONDS: Final = 0.2
_ANSWER_SECONDS: Final = 10.0
# How dockerd begins the line that says why it does not start, or does not take its file.
_REASONS: Final = (
    "level=fatal",
    "failed to start daemon",
    "unable to configure the Docker daemon",
    "file configuration validation failed",
    "Error reconfiguring the daemon",
    "failed to load listeners",
)


def in_order(names: Iterable[str]) -> tuple[Handler, ...]:
    """Return the handlers in the order they run.

    Raises:
        HandlerError: a name that no handler has: a fault of templates/manifest.yaml.
    """
    wanted = set(names)
    unknown = sorted(wanted - {handler.name for handler in HANDLERS})
    if unknown:
        raise HandlerError(f"there is no handler {unknown[0]!r}", None, "mend templates/manifest.yaml")
    return tuple(handler for handler in HANDLERS if handler.name in wanted)


def run_handler(handler: Handler, run: Run, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Run one handler, and wait for what it set going.

    Raises:
        HandlerError: a command failed, or what it set going did not come to pass; names it and what the service said.
    """
    if handler.only_if is not None and not run(handler.only_if).ok:
        return
    begin = f"{time.time():.6f}"
    for argv in handler.commands:
        done = run(argv, timeout_seconds=_RESTART_SECONDS)
        # A unit that was never started has nothing to reset.
        if not done.ok and argv[1] != "reset-failed":
            brief = f"{' '.join(argv)} failed with exit code {done.code}"
            raise HandlerError(brief, _reason(handler, begin, run) or done.words, handler.fix)
    if handler.follow is not None:
        handler.follow(run)
    if handler.proof is not None:
        _await_proof(handler, begin, run, sleep)


def _await_proof(handler: Handler, begin: str, run: Run, sleep: Callable[[float], None]) -> None:
    """Look again and again whether a handler's proof is there.

    Raises:
        HandlerError: the service refused, does not answer, or leaves no proof for ten seconds.
    """
    proof, what = (*(handler.proof or ()), begin), " ".join(handler.commands[-1])
    for _ in range(_LOOKS):
        done = run(proof, timeout_seconds=_ANSWER_SECONDS)
        # Without its client the engine cannot be asked.
        if done.missing or (done.ok and done.stdout.strip()):
            return
        reason = _reason(handler, begin, run)
        if reason:
            raise HandlerError(f"{what} was refused", reason, handler.fix)
        if done.code == TIMED_OUT:
            raise HandlerError(f"{what} was not answered", done.words, handler.fix)
        sleep(_NAP_SECONDS)
    raise HandlerError(f"{what} had no effect", None, handler.fix)


def _reason(handler: Handler, begin: str, run: Run) -> str:
    """Return why a service did not start or did not reload, in its own words; empty when it left none."""
    if handler.says is None:
        return ""
    lines = run([*handler.says, f"--since=@{begin}"]).stdout.splitlines()
    return next((line for line in reversed(lines) if any(words in line for words in _REASONS)), "")
