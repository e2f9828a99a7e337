"""An engine that is played on a real socket: containers as a test has them, and messages as moby keeps and sends them.

It remembers 256 messages, sends those from `since` on and then what comes, and forgets all when it is restarted.
What a real engine does is in tests/integration/test_eventsd.py.
"""

from __future__ import annotations

import json
import queue
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.unit.runtime.gpu.engines import NO_LAYER, _summary, inspected

START_NANO = 1_772_366_400_000_000_000  # noon of 2026-03-01
_REMEMBERED = 256


def id_of(name: str) -> str:
    """The id of the container that had this name first."""
    return f"{name.encode().hex():0<64}"[:64]


def message(action: str, name: str, time_nano: int, kind: str = "container", **attributes: str) -> dict[str, Any]:
    """A message as the engine writes it. Source: Docker Engine API 1.41, SystemEvents."""
    identity = attributes.pop("id", id_of(name))
    return {
        "status": action,
        "id": identity,
        "from": "pytorch",
        "Type": kind,
        "Action": action,
        "Actor": {"ID": identity, "Attributes": {"image": "pytorch", "name": name, **attributes}},
        "scope": "local",
        "time": time_nano // 10**9,
        "timeNano": time_nano,
    }


def line(action: str, name: str, time_nano: int = START_NANO, kind: str = "container", **attributes: str) -> bytes:
    """The same as a line."""
    return json.dumps(message(action, name, time_nano, kind, **attributes)).encode()


class PlayedEngine:
    """The engine; a block in which it answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.containers: dict[str, dict[str, Any]] = {}
        self.remembered: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.garbage: bytes | None = None
        self.broken: set[str] = set()  # names of containers that it lists and cannot describe
        self.hold: threading.Event | None = None  # whoever asks about one container waits for it
        self._clock = START_NANO
        self._listeners: list[queue.SimpleQueue[bytes | None]] = []
        self._lock = threading.Lock()
        self._server: socketserver.ThreadingUnixStreamServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PlayedEngine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- its life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        engine = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked = self.rfile.readline().decode().split()[1]
                while self.rfile.readline().strip():
                    pass
                engine.asked.append(asked)
                try:
                    for piece in engine.answer(asked):
                        self.wfile.write(piece)
                except (BrokenPipeError, ConnectionResetError):
                    return

        self._server = socketserver.ThreadingUnixStreamServer(str(self.path), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; it forgets its messages."""
        if self._server is None or self._thread is None:
            return
        with self._lock:
            for listener in self._listeners:
                listener.put(None)
            self._listeners.clear()
            self.remembered.clear()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.path.unlink(missing_ok=True)
        self._server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    # --- what happens ---------------------------------------------------------------------------------------------

    def put(self, name: str, **changes: Any) -> dict[str, Any]:
        """Have a container; changes as those of inspected(), without a word."""
        there = inspected(name, **changes)
        self.containers[str(there["Id"])] = there
        return there

    def tell(self, action: str, name: str, kind: str = "container", **attributes: str) -> dict[str, Any]:
        """Send a message, and remember it."""
        with self._lock:
            self._clock = max(self._clock + 1_000_000, time.time_ns())
            said = message(action, name, self._clock, kind, **attributes)
            self.remembered = [*self.remembered, said][-_REMEMBERED:]
            for listener in self._listeners:
                if kind == "container":
                    listener.put(json.dumps(said).encode() + b"\n")
        return said

    def say(self, text: bytes) -> None:
        """Send something that is no message."""
        with self._lock:
            for listener in self._listeners:
                listener.put(text)

    def run(self, name: str, **labels: str) -> None:
        """Make a container and start it, with all that is told of it."""
        self.put(name, labels=labels, status="created")
        self.tell("create", name, **labels)
        self.put(name, labels=labels)
        self.tell("start", name, **labels)

    def die(self, name: str, code: int = 0) -> None:
        there = self.containers[id_of(name)]
        there["State"] |= {"Status": "exited", "Pid": 0, "ExitCode": code, "FinishedAt": "2026-03-01T11:00:00Z"}
        self.tell("die", name, **{"exitCode": str(code), **there["Config"]["Labels"]})

    def remove(self, name: str) -> None:
        del self.containers[id_of(name)]
        self.tell("destroy", name)

    # --- what it answers ------------------------------------------------------------------------------------------

    def answer(self, asked: str) -> Iterator[bytes]:
        split = urlsplit(asked)
        if split.path == "/_ping":
            yield b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK"
            return
        if split.path == "/events":
            yield b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
            yield from self._messages({key: values[0] for key, values in parse_qs(split.query).items()})
            return
        status, body = self._of_containers(split.path)
        text = json.dumps(body).encode()
        yield f"HTTP/1.0 {status}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text

    def _messages(self, asked: Mapping[str, str]) -> Iterator[bytes]:
        since = _nano(asked["since"]) if "since" in asked else None
        containers = "filters" in asked
        listener: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with self._lock:
            known: list[dict[str, Any]] = []
            for each in reversed(self.remembered):
                if since is None or each["timeNano"] < since:
                    break
                if not containers or each["Type"] == "container":
                    known.insert(0, each)
            if "until" not in asked:
                self._listeners.append(listener)
        yield b"".join(json.dumps(each).encode() + b"\n" for each in known)
        if "until" in asked:
            return
        if self.garbage is not None:
            yield self.garbage
        while (said := listener.get()) is not None:
            yield said

    def _of_containers(self, path: str) -> tuple[str, object]:
        if path == "/containers/json":
            return "200 OK", [_summary(each) for each in list(self.containers.values())]
        if self.hold is not None:
            self.hold.wait(30)
        name = path.removesuffix("/json").rpartition("/")[2]
        for each in list(self.containers.values()):
            if name in {each["Id"], str(each["Name"])[1:]}:
                broken = str(each["Name"])[1:] in self.broken
                return ("500 Internal Server Error", {"message": NO_LAYER}) if broken else ("200 OK", each)
        return "404 Not Found", {"message": f"No such container: {name}"}


def _nano(text: str) -> int:
    seconds, _, rest = text.partition(".")
    return int(seconds) * 10**9 + int(rest or "0")


def until(true: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for something that happens by itself."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
