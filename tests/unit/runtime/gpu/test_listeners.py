"""Who listens at a port: real sockets of real processes, told by the real kernel."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from ds01.runtime.gpu.listeners import Holder, Listening, holders, listening
from ds01.runtime.machine import Machine

PROC = Path("/proc")
IPV4 = frozenset({"127.0.0.1", "0.0.0.0"})
IPV6 = frozenset({"::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"})


def inode(listener: socket.socket) -> int:
    return os.fstat(listener.fileno()).st_ino


@pytest.mark.parametrize(("address", "addresses"), [("127.0.0.1", IPV4), ("0.0.0.0", IPV4), ("::", IPV6)])
def test_what_listens_for_our_address_is_found(address: str, addresses: frozenset[str]) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family, dualstack_ipv6=family is socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        sockets = frozenset({(os.geteuid(), inode(listener))})
        assert listening(PROC, port) == Listening(port, addresses, sockets)
    assert listening(PROC, port).sockets == frozenset()


def test_whoever_has_a_socket_open_is_found_and_nobody_else() -> None:
    """It was made by one process, and is held by another too."""
    machine = Machine()
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        other = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        argv = [sys.executable, "-I", "-S", "-c", "print('ready', flush=True); import sys; sys.stdin.read()"]
        child = opened.enter_context(
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[listener.fileno()])
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        found = {each.pid: each for each in holders(machine, {inode(listener)})}
        assert set(found) == {os.getpid(), child.pid}
        assert found[child.pid] == Holder(
            child.pid, os.getuid(), machine.command(child.pid), machine.groups(child.pid) or ""
        )
        assert {each.pid for each in holders(machine, {inode(other)})} == {os.getpid()}
        assert holders(machine, set()) == ()
        child.kill()
