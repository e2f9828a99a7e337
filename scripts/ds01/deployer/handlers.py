"""What runs on the host after files changed: each once, in a fixed order, and what each may disturb."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.process import Run


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
        says: a command that prints what the service itself said, for when a command fails.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    purpose: str
    disturbs: str | None = None
    on_demand: bool = False
    only_if: tuple[str, ...] | None = None
    says: tuple[str, ...] | None = None


DAEMON_RELOAD: Final = "daemon-reload"
DOCKER_RELOAD: Final = "docker-reload"
DOCKER_RESTART: Final = "docker-restart"
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
    ),
    # live-restore can be switched on without a restart; the restart then stops no container.
    Handler(
        DOCKER_RELOAD,
        (("systemctl", "reload", "docker.service"),),
        "let Docker read what it can take without a restart, live-restore above all",
        only_if=("systemctl", "is-active", "--quiet", "docker.service"),
    ),
    Handler(
        DOCKER_RESTART,
        (("systemctl", "reset-failed", "docker.service"), ("systemctl", "restart", "docker.service")),
        "let Docker read the changed daemon.json",
        "stops every container unless live-restore is on",
        on_demand=True,
        says=("journalctl", "--unit=docker.service", "--lines=40", "--output=cat", "--no-pager", "--quiet"),
    ),
)
_RESTART_SECONDS: Final = 150.0
# How dockerd begins the line that says why it does not start.
_FATAL: Final = (
    "level=fatal",
    "failed to start daemon",
    "unable to configure the Docker daemon",
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


def run_handler(handler: Handler, run: Run) -> None:
    """Run one handler.

    Raises:
        HandlerError: a command failed; names it, its exit code and what it said.
    """
    if handler.only_if is not None and not run(handler.only_if).ok:
        return
    for argv in handler.commands:
        done = run(argv, timeout_seconds=_RESTART_SECONDS)
        # A unit that was never started has nothing to reset.
        if not done.ok and argv[1] != "reset-failed":
            raise HandlerError(
                f"{' '.join(argv)} failed with exit code {done.code}",
                _last_words(handler, run) or done.words,
                "journalctl -xe shows what the service said",
            )


def _last_words(handler: Handler, run: Run) -> str:
    """Return why a service did not start, in its own words; empty when it left none."""
    if handler.says is None:
        return ""
    lines = run(handler.says).stdout.splitlines()
    return next((line for line in reversed(lines) if any(words in line for words in _FATAL)), "")
