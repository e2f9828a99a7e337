"""Ask NVIDIA's dcgm-exporter on this machine how busy GPUs are. Never waits long, never reads much.

Its port is open to whoever takes it first while the exporter is down, and an account that answered there could make
others' work look idle. So whoever answers has to be root or a service: the kernel says whose the connection is.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Collection, Mapping
from itertools import takewhile
from pathlib import Path

from ds01.core.typed import Final
from ds01.runtime.gpu.dcgm import FIELD, Place, read_activity

LIMIT_SECONDS: Final = 3.0
# A thousand times what four GPUs with all their instances fill.
LARGEST_BYTES: Final = 8 * 1024**2
_ADDRESS: Final = "127.0.0.1"
_OK: Final = b"200"
_LISTEN: Final = "0A"
# Accounts of people begin at 1000; services get theirs below, or in this range while they run.
# Source: systemd, "Users, Groups, UIDs and GIDs on systemd Systems".
_FIRST_PERSON: Final = 1000
_DYNAMIC: Final = range(61184, 65520)


class _NoAnswerError(Exception):
    """Nothing that could be read; the text says why."""


def ask_exporter(port: int, proc: Path, *, seconds: float = LIMIT_SECONDS) -> Mapping[Place, float] | str:
    """Return how busy each GPU and GPU instance is, or why the exporter does not tell.

    Args:
        proc: mount point of procfs.
        seconds: for all of it, however slowly it comes.
    """
    where = f"{_ADDRESS}:{port}"
    try:
        text = _fetch(port, proc, time.monotonic() + seconds)
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


def _fetch(port: int, proc: Path, until: float) -> str:
    before = _listeners(proc, port)
    with socket.create_connection((_ADDRESS, port), timeout=_left(until)) as connection:
        # HTTP/1.0: the answer comes in one piece and ends with the connection.
        connection.sendall(f"GET /metrics HTTP/1.0\r\nHost: {_ADDRESS}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = bytearray()
        while True:
            connection.settimeout(_left(until))
            piece = connection.recv(1 << 16)
            if not piece:
                break
            answer += piece
            if len(answer) > LARGEST_BYTES:
                raise _NoAnswerError(f"its answer is larger than {LARGEST_BYTES} bytes")
    _trust(before, _listeners(proc, port))
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

# The owner and the number of a socket.
_Sockets = frozenset[tuple[int, int]]


def _hexadecimal(family: socket.AddressFamily, address: str) -> str:
    """Return an address as the kernel's table has it: words of 32 bits, each in the machine's own order."""
    packed = socket.inet_pton(family, address)
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


_OURS: Final = tuple(_hexadecimal(socket.AF_INET, each) for each in (_ADDRESS, "0.0.0.0"))  # noqa: S104 - looked for, not bound
_OURS_MAPPED: Final = tuple(
    _hexadecimal(socket.AF_INET6, each) for each in ("::", f"::ffff:{_ADDRESS}", "::ffff:0.0.0.0")
)


def _trust(before: _Sockets, after: _Sockets) -> None:
    """Refuse an answer where a person's account listens, or where it cannot be told who did all the while.

    Who listens is asked, not whose the connection is: the kernel knows no owner of one that waits to be accepted, nor
    of one that its program has closed.
    """
    for uid, _ in sorted(before | after):
        if uid >= _FIRST_PERSON and uid not in _DYNAMIC and uid != os.geteuid():
            raise _NoAnswerError(f"its port is taken by a program of uid {uid}, which is not believed: end that one")
    if not before or before != after:
        raise _NoAnswerError("who listens there changed meanwhile")


def _listeners(proc: Path, port: int) -> _Sockets:
    """Return who may get what is sent to our address at a port.

    At a port no two sockets listen for one address, so what is there for IPv4 leaves none of IPv6 anything of it; and
    who listens at another address, as anybody may, is nobody here. Source: socket(7), SO_REUSEADDR; ipv6(7), NOTES.
    """
    return _listening(proc / "net/tcp", port, _OURS) or _listening(proc / "net/tcp6", port, _OURS_MAPPED)


def _listening(table: Path, port: int, addresses: Collection[str]) -> _Sockets:
    """Return what listens at a port for any of some addresses.

    The rest of the table is not read: it has a line for each connection, of which any account can make very many.

    Source: proc_pid_net(5), /proc/net/tcp: after the number local address, remote address, state, …, uid (field 7),
    timeout, inode; ports in hexadecimal behind a colon, state 0A is LISTEN. Kernel, networking/proc_net_tcp: first all
    that listen.
    """
    places = {f"{address}:{port:04X}" for address in addresses}
    try:
        with table.open(encoding="ascii") as lines:
            next(lines, None)
            rows = takewhile(lambda row: row[3] == _LISTEN, map(str.split, lines))
            return frozenset((int(row[7]), int(row[9])) for row in rows if row[1] in places)
    except FileNotFoundError:
        return frozenset()
