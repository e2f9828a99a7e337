"""Who gets what is sent to a port of this machine: the kernel's table of sockets, and the processes that hold them.

Only reads. What it does not find may be there all the same: whoever asks has to take nobody for a reason to doubt.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.machine import Machine

LOOPBACK: Final = "127.0.0.1"
_LISTEN: Final = "0A"


@dataclass(frozen=True, slots=True)
class Listening:
    """What listens at a port for our address.

    Attributes:
        addresses: by which such a socket may be named.
        sockets: owner's uid and number of each.
    """

    port: int
    addresses: frozenset[str]
    sockets: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has such a socket open.

    Attributes:
        uid: its real one, which a program that runs as root for somebody has from that one.
        command: the short name of its program.
        groups: its control groups.
    """

    pid: int
    uid: int
    command: str
    groups: str


def listening(proc: Path, port: int) -> Listening:
    """Return what may get what is sent to 127.0.0.1 at a port.

    At a port no two sockets listen for one address, so what is there for IPv4 leaves none of IPv6 anything of it; and
    who listens at another address, as anybody may, is nobody here. Source: socket(7), SO_REUSEADDR; ipv6(7), NOTES.

    Args:
        proc: mount point of procfs.
    """
    found = _in_table(proc / "net/tcp", port, _OURS)
    if found:
        return Listening(port, frozenset(_OURS.values()), found)
    return Listening(port, frozenset(_OURS_MAPPED.values()), _in_table(proc / "net/tcp6", port, _OURS_MAPPED))


def holders(machine: Machine, inodes: Collection[int]) -> tuple[Holder, ...]:
    """Return the processes that have any of some sockets open, as far as they may be looked at.

    Source: proc_pid_fd(5), `socket:[inode]`.
    """
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = (
        _holder(machine, int(each)) for each in _processes(machine.proc) if _has(machine.proc / each / "fd", wanted)
    )
    return tuple(each for each in found if each is not None)


def _holder(machine: Machine, pid: int) -> Holder | None:
    uid, groups = machine.uid(pid), machine.groups(pid)
    if uid is None or groups is None:
        # It has ended meanwhile.
        return None
    return Holder(pid, uid, machine.command(pid), groups)


def _processes(proc: Path) -> Iterator[str]:
    with os.scandir(proc) as entries:
        yield from (each.name for each in entries if each.name.isascii() and each.name.isdigit())


def _has(folder: Path, wanted: Collection[str]) -> bool:
    """Whether a process has something open."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - paths of all files of all processes take three times as long
    except OSError:
        return False
    return any(_leads_to(f"{folder}/{each}") in wanted for each in names)


def _leads_to(link: str) -> str | None:
    try:
        return os.readlink(link)  # noqa: PTH115 - as above
    except OSError:
        return None


# --- The kernel's table -----------------------------------------------------------------------------------------------


def _hexadecimal(family: socket.AddressFamily, address: str) -> str:
    """Return an address as the kernel's table has it: words of 32 bits, each in the machine's own order."""
    packed = socket.inet_pton(family, address)
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


_OURS: Final = {_hexadecimal(socket.AF_INET, each): each for each in (LOOPBACK, "0.0.0.0")}  # noqa: S104 - looked for, not bound
_OURS_MAPPED: Final = {
    _hexadecimal(socket.AF_INET6, each): each for each in ("::", f"::ffff:{LOOPBACK}", "::ffff:0.0.0.0")
}


def _in_table(table: Path, port: int, addresses: Mapping[str, str]) -> frozenset[tuple[int, int]]:
    """Return owner and number of what listens at a port for any of some addresses.

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
