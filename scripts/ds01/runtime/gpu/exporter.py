"""Ask NVIDIA's dcgm-exporter on this machine how busy GPUs are. Never waits long, never reads much.

Its port is open to whoever takes it first while the exporter is down, and an account that answered there could make
others' work look idle. So whoever answers has to be a program of root's or of a service outside any container, or one
of the site's own containers that the policy names: root of a container is root to the kernel, whoever made it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ds01.core.typed import Final, Protocol
from ds01.runtime.gpu.dcgm import FIELD, Place, read_activity
from ds01.runtime.gpu.listeners import LOOPBACK, Holder, Listening, holders, listening
from ds01.runtime.gpu.processes import container_in, is_on_host
from ds01.runtime.machine import Machine

LIMIT_SECONDS: Final = 3.0
# A thousand times what four GPUs with all their instances fill.
LARGEST_BYTES: Final = 8 * 1024**2
_OK: Final = b"200"
# Accounts of people begin at 1000; services get theirs below, or in this range while they run.
# Source: systemd, "Users, Groups, UIDs and GIDs on systemd Systems".
_FIRST_PERSON: Final = 1000
_DYNAMIC: Final = range(61184, 65520)
# They hold the ports that containers publish. Source: moby, cmd/docker-proxy; libnetwork/portmapper.
_PROXIES: Final = frozenset({"docker-proxy", "dockerd"})


class Containers(Protocol):
    """Who knows containers; sitecontainers.py."""

    def publishing(self, port: int, addresses: Collection[str]) -> tuple[str, ...] | None:
        """Return the ids of those that publish a port at any of some addresses; None when Docker does not say."""

    def doubt(self, container_id: str) -> str | None:
        """Return what to call a container that is not believed; None for one that is."""


class _NoAnswerError(Exception):
    """Nothing that could be read; the text says why."""


def ask_exporter(
    port: int, proc: Path, containers: Containers, *, seconds: float = LIMIT_SECONDS
) -> Mapping[Place, float] | str:
    """Return how busy each GPU and GPU instance is, or why the exporter does not tell.

    Args:
        proc: mount point of procfs.
        seconds: for all of it, however slowly it comes.
    """
    where = f"{LOOPBACK}:{port}"
    try:
        before = listening(proc, port)
        text = _fetch(port, time.monotonic() + seconds)
        _trust(before, listening(proc, port), Machine(proc), containers)
    except _NoAnswerError as error:
        return f"the DCGM exporter at {where} tells nothing: {error}"
    except ConnectionRefusedError:
        return f"no DCGM exporter answers at {where}: start it (container ds01-dcgm-exporter)"
    except TimeoutError:
        return f"the DCGM exporter at {where} gave no answer within {seconds:g} s"
    except OSError as error:
        return f"the DCGM exporter at {where} cannot be asked: {error.strerror or error}"
    found = read_activity(text)
    if not found:
        return f"the DCGM exporter at {where} has no {FIELD}: add it to the counters it collects"
    return found


def _fetch(port: int, until: float) -> str:
    with socket.create_connection((LOOPBACK, port), timeout=_left(until)) as connection:
        # HTTP/1.0: the answer comes in one piece and ends with the connection.
        connection.sendall(f"GET /metrics HTTP/1.0\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = bytearray()
        while True:
            connection.settimeout(_left(until))
            piece = connection.recv(1 << 16)
            if not piece:
                break
            answer += piece
            if len(answer) > LARGEST_BYTES:
                raise _NoAnswerError(f"its answer is larger than {LARGEST_BYTES} bytes")
    return _body(bytes(answer))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _body(answer: bytes) -> str:
    """Take the document out of an answer.

    Source: RFC 1945, section 6: status line, header fields, empty line, body.
    """
    head, end, body = answer.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    status = first.split(b" ", 2)
    if not end or not first.startswith(b"HTTP/1.") or len(status) < 2:  # noqa: PLR2004 - version and code
        raise _NoAnswerError("what answers there speaks no HTTP")
    if status[1] != _OK:
        raise _NoAnswerError(f"it answers {status[1][:20].decode('ascii', 'replace')}")
    for field in fields:
        name, _, value = field.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip() != str(len(body)).encode():
            raise _NoAnswerError("its answer was cut off")
    return body.decode("utf-8", "replace")


# --- Who answers ------------------------------------------------------------------------------------------------------


def _trust(before: Listening, after: Listening, machine: Machine, containers: Containers) -> None:
    """Refuse an answer where it may be a person's, or where it cannot be told who listened all the while.

    Who listens is asked, not whose the connection is: the kernel knows no owner of one that waits to be accepted, nor
    of one that its program has closed.
    """
    sockets = before.sockets | after.sockets
    found = holders(machine, {inode for _, inode in sockets})
    outside = [each for each in found if container_in(each.groups) is None]
    _believe_containers(filter(None, (container_in(each.groups) for each in found)), containers)
    if outside or not found:
        _believe_accounts({uid for uid, _ in sockets} | {each.uid for each in outside})
    if not before.sockets or before != after:
        raise _NoAnswerError("who listens there changed meanwhile")
    if not found:
        raise _NoAnswerError("which program listens there cannot be told")
    if not all(is_on_host(machine, each.pid) for each in outside):
        raise _NoAnswerError("its port is taken by what may be a container of something else than Docker: end that one")
    _believe_published(after, outside, containers)


def _believe_accounts(uids: Iterable[int]) -> None:
    for uid in sorted(uids):
        if uid >= _FIRST_PERSON and uid not in _DYNAMIC and uid != os.geteuid():
            raise _NoAnswerError(f"its port is taken by a program of uid {uid}, which is not believed: end that one")


def _believe_containers(found: Iterable[str], containers: Containers) -> None:
    for each in sorted(set(found)):
        name = containers.doubt(each)
        if name is not None:
            raise _NoAnswerError(
                f"its port is taken by a container, which is not believed: end {name}; the site's own is named in"
                " monitoring.infrastructure_containers"
            )


def _believe_published(there: Listening, outside: Iterable[Holder], containers: Containers) -> None:
    """Refuse what a container answers whose port Docker passes on: to the kernel that is root's own program."""
    passes_on = any(each.command in _PROXIES for each in outside)
    published = containers.publishing(there.port, there.addresses)
    _believe_containers(published or (), containers)
    if passes_on and not published:
        raise _NoAnswerError("Docker passes its port on to a container, and does not say to which")
