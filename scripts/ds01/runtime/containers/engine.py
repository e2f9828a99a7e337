"""A small reader of the Docker engine's socket, for everything that must start fast. Never changes anything.

Speaks HTTP/1.0, to which an engine answers in one piece and closes: no chunks, no kept connection, no http.client,
whose import alone takes longer than a question. Paths carry no API version: what is read here has been the same in all
of them, and a fixed one is refused by some engine one day (20.10 ends at 1.41, 29 begins at 1.44).
"""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ds01.core.errors import BadInputError, Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.containers.container import AnswerError, Container, ContainerSummary, read_container, read_summary
from ds01.runtime.containers.question import Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

__all__ = ["Container", "ContainerSummary", "Engine", "EngineError", "Lines", "Version", "engine_socket"]

_OK: Final = 200
_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500
_ASCII_END: Final = 128
# A thousand containers fill 10 MiB.
_MOST_BYTES: Final = 64 * 1024**2
_MOST_HEAD_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 256 * 1024
# Labels of a container may be of any length; with more than that nobody has to be served.
_LONGEST_LINE_BYTES: Final = 1024**2
_STATUS: Final = pattern(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?")
_LENGTH: Final = pattern(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*(?:\r\n|\Z)", re.IGNORECASE)
_CODED: Final = pattern(rb"\r\ntransfer-encoding:", re.IGNORECASE)
# What the engine takes for a name or an id, however long; nothing in it has to be escaped in a path.
# Source: moby, daemon/names/names.go.
_NAME: Final = pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_START: Final = "sudo systemctl status docker says whether it runs; sudo systemctl start docker starts it"
_LOOK: Final = "journalctl -u docker says more"


class EngineError(Ds01Error):
    """The Docker engine gave no answer that can be used. Nothing may be concluded about containers then."""


@dataclass(frozen=True, slots=True)
class Version:
    """What the engine says of itself.

    Attributes:
        api: the newest API it speaks, such as `1.41`.
    """

    engine: str
    api: str


def engine_socket(paths: HostPaths) -> Path:
    """Return the engine's own socket: behind the gateway where there is one, else where Docker puts it."""
    return paths.engine_behind_gateway if paths.engine_behind_gateway.exists() else paths.engine


class Engine:
    """The engine behind a socket; a connection for each question, so it may be kept for long.

    Args:
        timeout_seconds: for one question, from connecting to the last byte.
    """

    def __init__(self, socket_path: Path, *, timeout_seconds: float = 10.0) -> None:
        self._path = socket_path
        self._timeout_seconds = timeout_seconds

    @property
    def path(self) -> Path:
        """Its socket."""
        return self._path

    @property
    def timeout_seconds(self) -> float:
        """How long one question may take."""
        return self._timeout_seconds

    def ping(self) -> None:
        """Return when the engine answers.

        Raises:
            EngineError: as every other question: no socket, not allowed, too slow, or an answer that is none.
        """
        status, body = self._get("/_ping")
        if status != _OK or body.strip() != b"OK":
            raise self._refused("/_ping", status, body)

    def version(self) -> Version:
        """Return which engine it is."""
        said = self._json("/version")
        if not isinstance(said, dict) or not said.get("Version") or not said.get("ApiVersion"):
            raise self._unreadable("/version", "it has no Version and ApiVersion")
        return Version(visible(str(said["Version"])), visible(str(said["ApiVersion"])))

    def containers(self, *, all_states: bool = True, label: str | None = None) -> tuple[ContainerSummary, ...]:
        """Return the containers, newest first as the engine lists them.

        Args:
            all_states: False for those that run or are paused alone.
            label: of those that carry it alone, as `name=value`.
        """
        path = f"/containers/json?all={int(all_states)}"
        if label is not None:
            path += f"&filters={_escaped(json.dumps({'label': [label]}))}"
        said = self._json(path)
        if not isinstance(said, list):
            raise self._unreadable(path, "it is no list")
        try:
            return tuple(map(read_summary, said))
        except AnswerError as error:
            raise self._unreadable(path, str(error)) from error

    def inspect(self, name_or_id: str, *, by_beginning: bool = False) -> Container | None:
        """Return a container by its name or its whole id; None when there is none.

        Args:
            by_beginning: whether the beginning of an id will do, as it does in a client's command. Else that is no
                answer, or a name that nobody has any more would find another's container.

        Raises:
            BadInputError: no container can have such a name.
        """
        if not _NAME.fullmatch(name_or_id):
            raise BadInputError(
                f"{visible(name_or_id)!r} is not a container's name",
                None,
                "use letters, digits and _ . - as docker ps shows them",
            )
        path = f"/containers/{name_or_id}/json"
        container = self._container(path, *self._get(path))
        if container is None:
            return None
        return container if by_beginning or name_or_id in {container.name, container.id} else None

    def ask_about(self, container_id: str, *, seconds: float) -> Question:
        """Ask about a container of which the whole id is known, and do not wait for the answer.

        Args:
            seconds: for the answer, from now on.

        Raises:
            EngineError: the engine does not even take the question.
        """
        path = f"/containers/{container_id}/json"
        connection = self._asked(path, time.monotonic() + self._timeout_seconds)

        def answer(deadline: float) -> Container | None:
            with self._named_failures(path, seconds):
                status, body = self._answer(connection, path, deadline)
            container = self._container(path, status, body)
            return container if container is not None and container.id == container_id else None

        return Question(connection, answer, seconds)

    def _container(self, path: str, status: int, body: bytes) -> Container | None:
        """Read what came of a question about a container; None when it is 404 with the engine's own words for that."""
        if status == _NOT_FOUND and _message(body).startswith("No such container"):
            return None
        try:
            return read_container(self._read(path, status, body))
        except AnswerError as error:
            raise self._unreadable(path, str(error)) from error

    def _json(self, path: str) -> object:
        return self._read(path, *self._get(path))

    def _read(self, path: str, status: int, body: bytes) -> object:
        if status != _OK:
            raise self._refused(path, status, body)
        try:
            said: object = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._unreadable(path, f"it is no JSON ({len(body)} bytes): {error}") from error
        if said is None:
            raise self._unreadable(path, "it is null")
        return said

    def lines(self, path: str) -> Lines:
        """Ask for what has no end, and return its lines as they come.

        Raises:
            EngineError: as every other question; also while the lines are read, when the connection breaks off.
        """
        deadline = time.monotonic() + self._timeout_seconds
        connection = self._asked(path, deadline)
        try:
            begun = self._begun(connection, path, deadline)
        except BaseException:
            connection.close()
            raise
        return Lines(connection, begun, self._unreachable)

    def _begun(self, connection: socket.socket, path: str, deadline: float) -> bytes:
        """Return what came of an answer behind its head, when it is a good one."""
        with self._named_failures(path):
            head, begun = _head(connection, deadline)
        status = self._status(path, head, begun)
        if status != _OK:
            raise self._refused(path, status, begun)
        return begun

    def _get(self, path: str) -> tuple[int, bytes]:
        """Ask once and return the status and the body."""
        deadline = time.monotonic() + self._timeout_seconds
        with self._asked(path, deadline) as connection, self._named_failures(path):
            return self._answer(connection, path, deadline)

    def _asked(self, path: str, deadline: float) -> socket.socket:
        """Return a connection on which the question was asked."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self._named_failures(path):
                # A connect to a socket with a full queue waits for the send timeout and says EAGAIN; without blocking
                # it would say so at once. Source: unix(7), socket(7).
                seconds, rest = divmod(self._timeout_seconds, 1)
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(seconds), int(rest * 1_000_000))
                )
                connection.connect(str(self._path))
                connection.settimeout(_left(deadline))
                connection.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _named_failures(self, path: str, seconds: float | None = None) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, BlockingIOError) as error:
            raise EngineError(
                f"the Docker engine did not answer within {seconds or self._timeout_seconds:g} s",
                f"{self._path}, GET {path}",
                f"try again; {_LOOK}",
            ) from error
        except OSError as error:
            raise self._unreachable(error) from error

    def _answer(self, connection: socket.socket, path: str, deadline: float) -> tuple[int, bytes]:
        received = bytearray()
        body, whole = -1, _MOST_BYTES
        while len(received) < whole:
            connection.settimeout(_left(deadline))
            piece = connection.recv(_PIECE_BYTES)
            if not piece:
                break
            received += piece
            if body < 0 and (end := received.find(b"\r\n\r\n", 0, _MOST_HEAD_BYTES)) >= 0:
                body = end + 4
                length = _LENGTH.search(received, 0, end)
                whole = min(body + int(length[1]), _MOST_BYTES) if length else _MOST_BYTES
            if body < 0 and len(received) >= _MOST_HEAD_BYTES:
                break
        head = bytes(received[: max(body - 4, 0)])
        status = self._status(path, head, received)
        if len(received) >= _MOST_BYTES:
            raise self._unreadable(path, f"it is longer than {_MOST_BYTES} bytes")
        if _LENGTH.search(head) and len(received) < whole:
            raise self._unreadable(path, f"it ends after {len(received) - body} of {whole - body} bytes")
        return status, bytes(received[body:whole])

    def _status(self, path: str, head: bytes, received: bytes | bytearray) -> int:
        status = _STATUS.match(head)
        if status is None or _CODED.search(head):
            raise self._unreadable(path, f"it is no HTTP/1.0: {visible(repr(bytes(received[:60])))}")
        return int(status[1])

    def _unreachable(self, error: OSError) -> EngineError:
        if isinstance(error, FileNotFoundError):
            return EngineError(f"there is no Docker engine at {self._path}", "no such socket", _START)
        if isinstance(error, ConnectionRefusedError):
            return EngineError(f"no Docker engine answers at {self._path}", "nobody listens there", _START)
        if isinstance(error, PermissionError):
            return EngineError(f"{self._path} may not be used", error.strerror, "run the command as root (sudo)")
        if isinstance(error, ConnectionError):
            return EngineError(f"the Docker engine broke off at {self._path}", error.strerror, f"try again; {_LOOK}")
        return EngineError(f"{self._path} cannot be used", error.strerror or str(error), _START)

    def _refused(self, path: str, status: int, body: bytes) -> EngineError:
        said = visible(_message(body) or "without a word")
        what = "has an error of its own" if status >= _SERVER_ERROR else "refuses to answer"
        return EngineError(
            f"the Docker engine at {self._path} {what}", f"GET {path}: {status}, {said}", f"try again; {_LOOK}"
        )

    def _unreadable(self, path: str, why: str) -> EngineError:
        return EngineError(
            f"what answers at {self._path} cannot be understood",
            f"GET {path}: {visible(why)}",
            f"sudo curl --unix-socket {self._path} http://docker/version should show a Docker engine; {_LOOK}",
        )


class Lines:
    """The lines of an answer that has no end: a block to read them in, after which the connection is closed."""

    def __init__(self, connection: socket.socket, begun: bytes, failure: Callable[[OSError], EngineError]) -> None:
        connection.settimeout(None)
        self._connection = connection
        self._begun = bytearray(begun)
        self._failure = failure

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._connection.close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield each line without its end; of one that is longer than a megabyte only the beginning.

        Raises:
            EngineError: the connection broke off.
        """
        begun = self._begun
        try:
            while True:
                while (end := begun.find(b"\n")) >= 0:
                    line = bytes(begun[: min(end, _LONGEST_LINE_BYTES)])
                    del begun[: end + 1]
                    yield line
                del begun[_LONGEST_LINE_BYTES:]
                piece = self._connection.recv(_PIECE_BYTES)
                if not piece:
                    return
                begun += piece
        except OSError as error:
            raise self._failure(error) from error

    def end(self) -> None:
        """Make whoever reads the lines, in whatever thread, come to their end."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def _escaped(text: str) -> str:
    """Write text as part of a path. Source: RFC 3986, section 2.1."""
    return "".join(chr(byte) if chr(byte).isalnum() and byte < _ASCII_END else f"%{byte:02X}" for byte in text.encode())


def _head(connection: socket.socket, deadline: float) -> tuple[bytes, bytes]:
    """Return an answer's head, empty when it has none, and what came behind it or in its place."""
    received = bytearray()
    while len(received) < _MOST_HEAD_BYTES:
        connection.settimeout(_left(deadline))
        piece = connection.recv(_PIECE_BYTES)
        received += piece
        end = received.find(b"\r\n\r\n")
        if end >= 0:
            return bytes(received[:end]), bytes(received[end + 4 :])
        if not piece:
            break
    return b"", bytes(received)


def _left(deadline: float) -> float:
    """Return the seconds until then; 0 would mean without blocking."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _message(body: bytes) -> str:
    """Return the engine's own words about a failure."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace").strip()
    return str(said.get("message") or "") if isinstance(said, dict) else ""
