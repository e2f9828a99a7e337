"""Stop and remove containers: the only module that changes something in the Docker engine, and that loads docker-py.

Removes no volume, ever, and waits for no answer without an end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from pathlib import Path

from ds01.core.errors import BadInputError, Ds01Error
from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.runtime.containers.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from docker import APIClient

# For one answer, on top of what the engine itself waits: killing can take it 10 s and more under load.
ANSWER_SECONDS: Final = 60
_ID: Final = pattern(r"[0-9a-f]{64}")
_SHOWN: Final = 12
_LOOK: Final = "journalctl -u docker says more"


class ControlError(Ds01Error):
    """The engine did not do what it was told to do with a container, or did not say so."""


class Control:
    """What can be done to containers. One that is not there, or is so already, counts as done.

    Every call has a connection of its own, so calls of several threads may run at once.

    Args:
        socket_path: the engine's own, never the gateway's.
        answer_seconds: how long an answer may take.
    """

    def __init__(self, socket_path: Path, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._path = socket_path
        self._answer_seconds = answer_seconds

    def stop(self, container_id: str, *, grace_seconds: float) -> None:
        """Stop a container for good: its restart policy does not bring it back before the engine itself is restarted.

        A paused one gets the signal first and goes on then, to end by it; the engine does so by itself.

        Args:
            container_id: whole.
            grace_seconds: between its stop signal and SIGKILL; parts of a second count as a whole one.

        Raises:
            ControlError: it may run still.
            EngineError: the engine cannot be asked.

        Source: Docker Engine API 1.41, ContainerStop; moby, pull 34027 (a stop of a paused container).
        """
        seconds = max(0, math.ceil(grace_seconds))
        self._told("stop", container_id, lambda client: client.stop(container_id, timeout=seconds))

    def kill(self, container_id: str) -> None:
        """Send SIGKILL to a container's first process; a restart policy may bring it back.

        Args:
            container_id: whole.

        Raises:
            ControlError: it may run still.
            EngineError: the engine cannot be asked.

        Source: Docker Engine API 1.41, ContainerKill: 409 for one that does not run.
        """
        self._told("kill", container_id, lambda client: client.kill(container_id), done="is not running")

    def remove(self, container_id: str, *, force: bool = False) -> None:
        """Remove a container and its own layer. Volumes stay, also those without a name.

        Args:
            container_id: whole.
            force: whether one that runs is killed first. Else the engine refuses, in the same step in which it looks:
                what was started meanwhile is never removed.

        Raises:
            ControlError: it is there still.
            EngineError: the engine cannot be asked.

        Source: Docker Engine API 1.41, ContainerDelete: 409 for one that runs, and for one that is being removed.
        """
        self._told(
            "remove",
            container_id,
            lambda client: client.remove_container(container_id, v=False, link=False, force=force),
            done="is already in progress",
        )

    def _told(
        self, verb: str, container_id: str, act: Callable[[APIClient], object], *, done: str | None = None
    ) -> None:
        """Tell the engine something.

        Args:
            done: words of a conflict that says that nothing is left to be done.
        """
        if not _ID.fullmatch(container_id):
            raise BadInputError(
                f"{visible(container_id)!r} is no container's id",
                "names change hands; only a whole id means one container",
                "docker ps --no-trunc shows whole ids",
            )
        # By our own reader, which says what is wrong when there is no engine.
        api = Engine(self._path).version().api
        import docker.errors  # noqa: PLC0415 - takes longer to load than most programs run

        try:
            with closing(docker.APIClient(f"unix://{self._path}", version=api, timeout=self._answer_seconds)) as client:
                act(client)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            said = str(error.explanation or error)
            if error.status_code == HTTPStatus.CONFLICT and done is not None and done in said:
                return
            raise ControlError(
                f"the Docker engine did not {verb} container {container_id[:_SHOWN]}", visible(said), _LOOK
            ) from error
        except (docker.errors.DockerException, OSError) as error:
            # The errors of requests are OSErrors: no answer in time, or a connection that broke off.
            raise ControlError(
                f"the Docker engine did not say whether it could {verb} container {container_id[:_SHOWN]}",
                visible(str(error)),
                f"docker ps -a shows what became of it; {_LOOK}",
            ) from error
