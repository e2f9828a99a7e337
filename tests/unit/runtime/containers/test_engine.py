"""The reader of the engine's socket: every failure by name, on a real Unix socket.

What a real engine can be made to show is in tests/integration/test_engine.py; what it cannot, an engine that is slow,
torn, huge or none at all, is played here.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ds01.core.errors import BadInputError
from ds01.core.paths import HostPaths
from ds01.runtime.containers import engine as module
from ds01.runtime.containers.engine import Engine, EngineError, Version, engine_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(__file__).parents[3] / "data" / "docker"
SCRIPTS = Path(module.__file__).parents[3]


def http(body: bytes | str, status: str = "200 OK", *, length: int | None = None, head: str = "") -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    size = len(raw) if length is None else length
    return f"HTTP/1.0 {status}\r\nServer: fake\r\nContent-Length: {size}\r\n{head}\r\n".encode() + raw


class Fake:
    """An engine that answers each path with bytes, or does with the connection what it was told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[bytes] = []
        self.answers: dict[str, bytes] = {}
        self.act: Callable[[socket.socket], None] | None = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536)
                self.asked.append(request)
                try:
                    if self.act:
                        self.act(connection)
                    else:
                        connection.sendall(self.answers[request.split(b" ")[1].decode()])
                except (BrokenPipeError, ConnectionResetError):
                    continue

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def says(self, raw: bytes, path: str = "/version") -> None:
        self.answers[path] = raw


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    made = Fake(tmp_path / "docker.sock")
    yield made
    made.close()


def failure(ask: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(EngineError) as caught:
        ask()
    assert caught.value.resolution
    assert all(part.isprintable() for part in (caught.value.brief, caught.value.details or ""))
    return caught.value.brief, caught.value.details


def test_it_asks_without_chunks_and_without_a_version(fake: Fake) -> None:
    fake.says(http('{"Version": "20.10.24+dfsg1", "ApiVersion": "1.41"}'))
    assert Engine(fake.path).version() == Version("20.10.24+dfsg1", "1.41")
    assert fake.asked == [b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n"]


def test_an_answer_without_a_length_ends_with_the_connection(fake: Fake) -> None:
    fake.says(b'HTTP/1.0 200 OK\r\n\r\n{"Version": "1", "ApiVersion": "2"}')
    assert Engine(fake.path).version() == Version("1", "2")


def test_an_answer_in_single_bytes_is_read(fake: Fake) -> None:
    raw = http('{"Version": "1", "ApiVersion": "2"}')
    fake.act = lambda connection: [connection.sendall(bytes([each])) for each in raw] and None
    assert Engine(fake.path).version() == Version("1", "2")


def test_an_engine_that_keeps_the_connection_is_not_waited_for(fake: Fake) -> None:
    done = threading.Event()

    def act(connection: socket.socket) -> None:
        connection.sendall(http('{"Version": "1", "ApiVersion": "2"}'))
        done.wait()

    fake.act = act
    try:
        assert Engine(fake.path, timeout_seconds=60).version() == Version("1", "2")
    finally:
        done.set()


NO_HTTP = "it is no HTTP/1.0: "
UNREAD = {
    "nothing at all": (b"", NO_HTTP + "b''"),
    "garbage": (b"\x00\xffgarbage\r\n\r\n", NO_HTTP + r"b'\x00\xffgarbage\r\n\r\n'"),
    "HTTP/2": (
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        NO_HTTP + r"b'\x00\x00\x12\x04\x00\x00\x00\x00\x00'",
    ),
    "a torn head": (b"HTTP/1.0 200 OK\r\nServer", NO_HTTP + r"b'HTTP/1.0 200 OK\r\nServer'"),
    "an endless head": (b"HTTP/1.0 200 OK\r\n" + b"A: b\r\n" * 20_000, None),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        None,
    ),
    "a torn body": (http('{"Version": "1"', length=40), "it ends after 15 of 40 bytes"),
    "a torn body without a length": (b'HTTP/1.0 200 OK\r\n\r\n{"Version": "1"', None),
    "no JSON": (http("<html>"), "it is no JSON (6 bytes): Expecting value: line 1 column 1 (char 0)"),
    "no UTF-8": (http(b'{"Version": "\xff"}'), None),
    "a deep nest": (http("[" * 100_000), None),
    "null": (http("null"), "it is null"),
    "another object": (http("{}"), "it has no Version and ApiVersion"),
    "another kind": (http("[]"), "it has no Version and ApiVersion"),
}


@pytest.mark.parametrize(("raw", "why"), UNREAD.values(), ids=UNREAD)
def test_what_is_no_answer_is_said_with_what_came(raw: bytes, why: str | None, fake: Fake) -> None:
    fake.says(raw)
    brief, details = failure(Engine(fake.path).version)
    assert brief == f"what answers at {fake.path} cannot be understood"
    assert (details or "").startswith("GET /version: it is ") if why is None else details == f"GET /version: {why}"


def test_an_answer_without_end_is_not_kept(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 300_000)

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n[")
        while True:
            connection.sendall(b" " * 65536)

    fake.act = flood
    assert failure(Engine(fake.path).version)[1] == "GET /version: it is longer than 300000 bytes"


@pytest.mark.parametrize("first", [b"", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.0 200 OK\r\n\r\n{"])
def test_a_silent_engine_is_given_up(first: bytes, fake: Fake) -> None:
    done = threading.Event()

    def act(connection: socket.socket) -> None:
        connection.sendall(first)
        done.wait()

    fake.act = act
    try:
        said = failure(Engine(fake.path, timeout_seconds=0.1).ping)
    finally:
        done.set()
    assert said == ("the Docker engine did not answer within 0.1 s", f"{fake.path}, GET /_ping")


def test_an_engine_that_drips_is_given_up(fake: Fake) -> None:
    def drip(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"A")
            stopped.wait(0.01)

    stopped = threading.Event()
    fake.act = drip
    said = failure(Engine(fake.path, timeout_seconds=0.3).ping)
    assert said[0] == "the Docker engine did not answer within 0.3 s"


def test_an_engine_that_takes_nobody_in_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen(0)
        first.connect(str(tmp_path / "docker.sock"))
        said = failure(Engine(tmp_path / "docker.sock", timeout_seconds=0.2).ping)
    assert said[0] == "the Docker engine did not answer within 0.2 s"


def test_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    assert failure(Engine(path).ping) == (f"there is no Docker engine at {path}", "no such socket")


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert failure(Engine(path).ping) == (f"no Docker engine answers at {path}", "nobody listens there")


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 120)
    assert failure(Engine(path).ping) == (f"{path} cannot be used", "AF_UNIX path too long")


def test_an_engine_that_hangs_up(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"

    def hang_up() -> None:
        # Closing with the request unread makes the kernel send a reset; before it comes, it is an end.
        listener.accept()[0].close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        closer = threading.Thread(target=hang_up)
        closer.start()
        said = failure(Engine(path).ping)
        closer.join()
    assert said[0] in {f"the Docker engine broke off at {path}", f"what answers at {path} cannot be understood"}


@pytest.mark.root
def test_who_may_not_use_the_socket_is_told_how(fake: Fake) -> None:
    fake.path.chmod(0o600)
    fake.path.parent.chmod(0o755)
    for parent in fake.path.parents:
        if parent.stat().st_uid == 0 and parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "from pathlib import Path\n"
        "from ds01.runtime.containers.engine import Engine, EngineError\n"
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        f"    Engine(Path({str(fake.path)!r})).ping()\n"
        "except EngineError as error:\n"
        "    print(error.render())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (f"{fake.path} may not be used\nPermission denied\nTo fix: run the command as root (sudo)\n")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            http('{"message": "layer does not exist"}', "500 Internal Server Error"),
            ("has an error of its own", "500, layer does not exist"),
        ),
        (http("no json\x1b[2J", "503 x"), ("has an error of its own", r"503, no json\x1b[2J")),
        (http("", "502 x"), ("has an error of its own", "502, without a word")),
        (http('{"message": "yours is another"}', "403 Forbidden"), ("refuses to answer", "403, yours is another")),
        (http("client version is too old", "400 x"), ("refuses to answer", "400, client version is too old")),
        (http("page not found", "404 x"), ("refuses to answer", "404, page not found")),
    ],
)
def test_the_engines_own_words_are_handed_on(raw: bytes, said: tuple[str, str], fake: Fake) -> None:
    fake.says(raw, "/containers/train/json")
    what, words = said
    assert failure(lambda: Engine(fake.path).inspect("train")) == (
        f"the Docker engine at {fake.path} {what}",
        f"GET /containers/train/json: {words}",
    )


def test_a_ping_that_is_something_else(fake: Fake) -> None:
    fake.says(http("pong"), "/_ping")
    assert failure(Engine(fake.path).ping)[1] == "GET /_ping: 200, pong"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?x=1", "a b", "a\n", "-a", "/a", "ä", "%2e"])
def test_what_no_container_is_called_is_never_asked(name: str, fake: Fake) -> None:
    with pytest.raises(BadInputError):
        Engine(fake.path).inspect(name)
    assert fake.asked == []


def test_the_beginning_of_an_id_is_nobodys_name(fake: Fake) -> None:
    sample = (DATA / "inspect/all.json").read_text()
    whole = json.loads(sample)["Id"]
    for name in (whole, whole[:12], "ev-all"):
        fake.says(http(sample), f"/containers/{name}/json")
    found = [Engine(fake.path).inspect(name) for name in (whole, whole[:12], "ev-all")]
    assert [each and each.name for each in found] == ["ev-all", None, "ev-all"]


@pytest.mark.parametrize("said", ["{}", "[1]", '[{"Id": "a"}]'])
def test_a_list_that_is_none(said: str, fake: Fake) -> None:
    fake.says(http(said), "/containers/json?all=0")
    brief, _ = failure(lambda: Engine(fake.path).containers(all_states=False))
    assert brief == f"what answers at {fake.path} cannot be understood"


def test_the_engine_is_behind_the_gateway_where_there_is_one(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path)
    (tmp_path / "run").mkdir()
    assert engine_socket(paths) == tmp_path / "run/docker.sock"
    (tmp_path / "run/docker-real.sock").touch()
    assert engine_socket(paths) == tmp_path / "run/docker-real.sock"


def test_it_starts_fast() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import ds01.runtime.containers.engine\n"
        "print(sorted({'http', 'email', 'ssl', 'docker', 'logging', 'subprocess'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == "[]\n"


# --- What has no end --------------------------------------------------------------------------------------------------


def test_lines_come_as_they_are_written(fake: Fake):
    def write(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\none\ntw")
        connection.sendall(b"o\n\nthree")

    fake.act = write
    with Engine(fake.path).lines("/events?x=1") as lines:
        assert list(lines) == [b"one", b"two", b""]
    assert fake.asked[0].startswith(b"GET /events?x=1 HTTP/1.0\r\n")


def test_of_a_line_without_an_end_only_the_beginning_is_kept(fake: Fake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LONGEST_LINE_BYTES", 10)
    fake.act = lambda connection: connection.sendall(
        b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1_000_000 + b"\n0123456789\n" + b"y" * 1_000_000
    )
    with Engine(fake.path).lines("/events") as lines:
        assert list(lines) == [b"x" * 10, b"0123456789"]
        assert len(lines._begun) == 10


def test_lines_are_ended_from_another_thread(fake: Fake):
    released = threading.Event()

    def write(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\none\n")
        released.wait(30)

    fake.act = write
    with Engine(fake.path).lines("/events") as lines:
        each = iter(lines)
        assert next(each) == b"one"
        threading.Timer(0.05, lines.end).start()
        assert list(each) == []
        lines.end()
    lines.end()
    released.set()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"HTTP/1.0 500 Internal Server Error\r\n\r\n", "has an error of its own"),
        (b'HTTP/1.0 400 Bad Request\r\n\r\n{"message": "invalid filter"}', "refuses to answer"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "cannot be understood"),
        (b"SSH-2.0\r\n", "cannot be understood"),
        (b"x" * 100_000, "cannot be understood"),
        (b"", "cannot be understood"),
    ],
)
def test_an_answer_that_brings_no_lines_is_told_from_one(fake: Fake, raw: bytes, said: str):
    fake.act = lambda connection: connection.sendall(raw)
    with pytest.raises(EngineError, match=said):
        Engine(fake.path).lines("/events")


def test_no_engine_brings_no_lines(tmp_path: Path):
    with pytest.raises(EngineError, match="there is no Docker engine"):
        Engine(tmp_path / "nowhere").lines("/events")
