"""A Docker daemon that only listens: it answers what a client needs to go on, and keeps every request."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, NamedTuple

from ds01.core.override import override

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID = "0123456789abcdef" * 4
# Newer than that of every client with a table, so that each speaks its own newest.
_API = "1.51"
_VERSION = re.compile(r"^/v[0-9.]+")
_CONTAINER = {"Id": ID, "Name": "/some", "State": {"Status": "running", "Running": True}, "Config": {"Tty": False}}
_SYSTEM = {"Version": "28.0.0", "ApiVersion": _API, "MinAPIVersion": "1.24", "Os": "linux", "OSType": "linux"}


class Request(NamedTuple):
    """One request: path and query without the API's version, and the body, read when it is JSON."""

    method: str
    target: str
    body: object


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    @override
    def log_message(self, *args: object) -> None:
        pass

    @override
    def address_string(self) -> str:
        return "client"

    def _serve(self) -> None:
        content = self._read_body()
        target = _VERSION.sub("", self.path)
        if target != "/_ping" and not (self.server.clients_only and target == self.path):
            self.server.keep(Request(self.command, target, _as_json(content)))
        status, answer = self.server.answer(self.command, target.partition("?")[0])
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Api-Version", _API)
        self.send_header("Docker-Experimental", "true")
        self.send_header("Ostype", self.server.os_type)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()


def _as_json(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return content


class Recorder(socketserver.ThreadingUnixStreamServer):
    """Keeps the requests of its clients; `take` gives out those since the last call.

    Args:
        os_type: what the daemon says it runs on; clients refuse Windows' options elsewhere.
        clients_only: whether requests without an API version are answered and not kept: no client makes them.
        container: what it says of each container that somebody asks for.
    """

    daemon_threads = True

    def __init__(
        self, socket: Path, os_type: str = "linux", *, clients_only: bool = False, container: object = None
    ) -> None:
        self.os_type = os_type
        self.clients_only = clients_only
        self._container = _CONTAINER if container is None else container
        self.socket_path = socket
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        super().__init__(str(socket), _Handler)

    def keep(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def take(self) -> list[Request]:
        with self._lock:
            taken, self._requests = self._requests, []
            return taken

    def answer(self, method: str, path: str) -> tuple[int, object]:
        """Return status and body; an error where a client would wait for a container that is none."""
        match method, path:
            case _, "/_ping":
                return 200, None
            case "GET", "/version" | "/info":
                return 200, _SYSTEM
            case "POST", "/containers/create":
                return 201, {"Id": ID, "Warnings": []}
            case "POST", "/images/create":
                return 200, {"status": "there already"}
            case "GET", _ if path.startswith("/containers/") and path.endswith("/json"):
                return 200, [] if path == "/containers/json" else self._container
            case "POST", _ if path.rpartition("/")[2] in _DONE:
                return 204, None
            case "DELETE", _:
                return 204, None
        return 500, {"message": f"only listening: {method} {path}"}

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle is none of ours."""


_DONE = frozenset({"start", "stop", "restart", "kill", "pause", "unpause", "rename", "resize"})


@contextmanager
def recording(
    socket: Path, os_type: str = "linux", *, clients_only: bool = False, container: object = None
) -> Iterator[Recorder]:
    """Run a recorder on a socket, in a thread."""
    with Recorder(socket, os_type, clients_only=clients_only, container=container) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
