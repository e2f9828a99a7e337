"""An engine on a real socket that has just these containers, such as a real one has on machines with GPUs alone."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from ds01.runtime.containers.engine import Engine

# Source: moby, layer store; docker/for-linux#397.
NO_LAYER = "RWLayer of container is unexpectedly nil"


def inspected(
    name: str,
    *,
    id: str = "",  # noqa: A002 - Docker's own word
    devices: Sequence[str] = (),
    everything: bool = False,
    labels: dict[str, str] | None = None,
    status: str = "running",
) -> dict[str, object]:
    """What `/containers/{id}/json` says of a container, as far as anybody here reads it."""
    request = {"Driver": "nvidia", "Count": -1 if everything else 0, "DeviceIDs": list(devices) or None,
               "Capabilities": [["gpu"]], "Options": {}}  # fmt: skip
    running = status == "running"
    return {
        "Id": id or f"{name.encode().hex():0<64}"[:64],
        "Name": f"/{name}",
        "Created": "2026-03-01T09:00:00.123456789Z",
        "State": {
            "Status": status,
            "Pid": 4711 if running else 0,
            "ExitCode": 0,
            "StartedAt": "2026-03-01T10:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z" if running else "2026-03-01T11:00:00Z",
        },
        "Config": {"Image": "pytorch", "Env": [], "Labels": labels or {}},
        "HostConfig": {
            "Memory": 0,
            "CgroupParent": "",
            "RestartPolicy": {"Name": "no"},
            "Runtime": "runc",
            "Devices": [],
            "DeviceRequests": [request] if devices or everything else None,
        },
    }


def _summary(container: dict[str, object]) -> dict[str, object]:
    state, config = container["State"], container["Config"]
    assert isinstance(state, dict)
    assert isinstance(config, dict)
    return {
        "Id": container["Id"],
        "Names": [container["Name"]],
        "State": state["Status"],
        "Created": 1772355600,
        "Image": config["Image"],
        "Labels": config["Labels"],
        "Ports": container.get("Ports", []),
    }


@contextmanager
def engine_with(
    socket: Path, *containers: dict[str, object], broken: Collection[str] = (), hung: Collection[str] = ()
) -> Iterator[Engine]:
    """Serve so many containers on a Unix socket until the block ends."""
    with engine_of(socket, lambda: containers, broken=broken, hung=hung) as engine:
        yield engine


@contextmanager
def engine_of(
    socket: Path,
    read: Callable[[], Sequence[dict[str, object]]],
    *,
    broken: Collection[str] = (),
    hung: Collection[str] = (),
) -> Iterator[Engine]:
    """Serve the containers that there are at each question.

    Args:
        broken: names of those that it lists and cannot describe, as moby says it of one whose storage is gone.
        hung: names of those that it lists and never answers for, as when a start waits for a file server.
    """
    over = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path = self.rfile.readline().decode().split()[1].partition("?")[0]
            while self.rfile.readline().strip():
                pass
            status, body = answer(path)
            head = f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(head.encode() + body)

    def answer(path: str) -> tuple[str, bytes]:
        if path == "/_ping":
            return "200 OK", b"OK"
        if path.endswith("/containers/json"):
            return "200 OK", json.dumps([_summary(each) for each in read()]).encode()
        name = unquote(path.removesuffix("/json").rpartition("/")[2])
        for each in read():
            called = str(each["Name"])[1:]
            if name not in {each["Id"], called}:
                continue
            if called in hung:
                over.wait(60)
            if called in broken:
                return "500 Internal Server Error", json.dumps({"message": NO_LAYER}).encode()
            return "200 OK", json.dumps(each).encode()
        return "404 Not Found", json.dumps({"message": f"No such container: {name}"}).encode()

    with socketserver.ThreadingUnixStreamServer(str(socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield Engine(socket)
        finally:
            over.set()
            server.shutdown()
            thread.join()
            socket.unlink(missing_ok=True)
