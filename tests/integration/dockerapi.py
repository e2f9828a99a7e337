"""The engine's API without a client program: for tests that make and remove hundreds of containers."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Self


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """One connection, for one thread."""

    def __init__(self, path: Path) -> None:
        self._connection = _Connection(path)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask, and return the answer; a failure is one of the test."""
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, body=data, headers={"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status < 300, (method, path, answer.status, said)
        return json.loads(said) if said.strip() else None

    def create(self, name: str, image: list[str], **config: Any) -> str:
        """Make a container without a network; returns its id."""
        host = {"NetworkMode": "none", **config.pop("HostConfig", {})}
        body = {"Image": image[0], "Cmd": image[1:], "HostConfig": host, **config}
        return str(self.ask("POST", f"/containers/create?name={name}", body)["Id"])

    def start(self, container: str) -> None:
        self.ask("POST", f"/containers/{container}/start")

    def rename(self, container: str, name: str) -> None:
        self.ask("POST", f"/containers/{container}/rename?name={name}")

    def wait(self, container: str) -> None:
        """Return when it has ended."""
        self.ask("POST", f"/containers/{container}/wait")

    def remove(self, container: str) -> None:
        self.ask("DELETE", f"/containers/{container}?force=1&v=1")

    def all(self) -> dict[str, tuple[str, str]]:
        """Return name and state of every container, by id."""
        found = self.ask("GET", "/containers/json?all=1")
        return {each["Id"]: (each["Names"][0][1:], each["State"]) for each in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
