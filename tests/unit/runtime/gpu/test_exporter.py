"""Asking the exporter: real servers on the loopback, good ones, slow ones, endless ones, and one of somebody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.samples import gpu_uuid

from ds01.runtime.gpu.dcgm import read_activity
from ds01.runtime.gpu.exporter import LARGEST_BYTES, ask_exporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(__file__).parents[3] / "data/dcgm"
METRICS = (DATA / "whole-and-mig-3.3.txt").read_bytes()
PROC = Path("/proc")


@contextmanager
def http_server(status: int = 200, body: bytes = METRICS, address: str = "127.0.0.1") -> Iterator[int]:
    """Serve as Go's library does; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = status if self.path == "/metrics" else 404
            self.send_response(found)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    with Server((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def raw_server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Serve one connection in any way, until the other side is gone."""

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            try:
                serve(connection)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize("address", ["127.0.0.1", "::"])
def test_it_is_asked_and_read(address: str) -> None:
    with http_server(address=address) as port:
        found = ask_exporter(port, PROC)
    assert not isinstance(found, str)
    assert found[gpu_uuid(2), 3] == 0.421875


def test_where_nobody_listens_it_says_so_and_how_to_start_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert ask_exporter(port, PROC) == (
        f"no DCGM exporter answers at 127.0.0.1:{port}: start it (container ds01-dcgm-exporter)"
    )


def test_an_exporter_that_does_not_collect_the_field_is_told_from_one_that_says_nothing() -> None:
    with http_server(body=b"DCGM_FI_DEV_GPU_TEMP{} 61\n") as port:
        assert ask_exporter(port, PROC) == (
            f"the DCGM exporter at 127.0.0.1:{port} has no DCGM_FI_PROF_GR_ENGINE_ACTIVE: add it to the counters it"
            " collects"
        )
    with http_server(status=503) as port:
        assert ask_exporter(port, PROC) == f"the DCGM exporter at 127.0.0.1:{port} tells nothing: it answers 503"


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    pause = threading.Event()
    while not pause.wait(0.02):
        connection.sendall(b"#")


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"#" * (1 << 20))


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (trickle, "gave no answer within 0.5 s"),
        (lambda connection: connection.recv(1), "gave no answer within 0.5 s"),
        (lambda _: None, "tells nothing: what answers there speaks no HTTP"),
        (
            lambda each: each.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"),
            "tells nothing: what answers there speaks no HTTP",
        ),
        (lambda each: each.sendall(b"HTTP/1.1\r\n\r\n"), "tells nothing: what answers there speaks no HTTP"),
        (
            lambda each: each.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"),
            "tells nothing: its answer was cut off",
        ),
    ],
)
def test_a_server_that_is_slow_silent_or_none_is_given_up(serve: Callable[[socket.socket], object], why: str) -> None:
    with raw_server(serve) as port:
        assert ask_exporter(port, PROC, seconds=0.5) == f"the DCGM exporter at 127.0.0.1:{port} {why}"


def test_an_endless_answer_is_cut() -> None:
    with raw_server(endless) as port:
        found = ask_exporter(port, PROC, seconds=60)
    assert found == (
        f"the DCGM exporter at 127.0.0.1:{port} tells nothing: its answer is larger than {LARGEST_BYTES} bytes"
    )


SERVE = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
connection.recv(4096)
connection.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\nDCGM_FI_PROF_GR_ENGINE_ACTIVE{UUID="GPU-a"} 0\\n')
connection.close()
sys.stdin.read()
"""


@pytest.mark.root
@pytest.mark.parametrize(("uid", "believed"), [(0, True), (998, True), (61200, True), (1000, False), (54321, False)])
def test_an_ordinary_account_that_took_the_port_is_not_believed(uid: int, *, believed: bool) -> None:
    argv = [sys.executable, "-I", "-S", "-c", SERVE, str(uid)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        found = ask_exporter(port, PROC)
        server.kill()
    refused = (
        f"the DCGM exporter at 127.0.0.1:{port} tells nothing: its port is taken by a program of uid {uid}, which is"
        " not believed: end that one"
    )
    assert found == ({("GPU-a", None): 0.0} if believed else refused)


LISTEN = """
import os, socket, sys
family, address, port = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, sys.argv[1], int(sys.argv[2])
os.setuid(54321)
listener = socket.socket(family)
if family == socket.AF_INET6:
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
listener.bind((address, port))
listener.listen()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.root
@pytest.mark.parametrize("address", ["127.0.0.2", "::", "::1"])
def test_whoever_listens_at_another_address_takes_nothing_from_the_exporter(address: str) -> None:
    with http_server() as port:
        argv = [sys.executable, "-I", "-S", "-c", LISTEN, address, str(port)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            found = ask_exporter(port, PROC)
            other.kill()
    assert not isinstance(found, str)


@pytest.mark.parametrize(
    ("table", "address", "believed"),
    [
        ("tcp", "0100007F", True),
        ("tcp", "00000000", True),
        ("tcp6", "0" * 32, True),
        ("tcp6", "0000000000000000FFFF00000100007F", True),
        # Who answers at our address came between two looks then.
        ("tcp", "0200007F", False),
        ("tcp6", "00000000000000000000000001000000", False),
    ],
)
def test_only_who_listens_at_our_address_vouches_for_the_answer(
    table: str, address: str, tmp_path: Path, *, believed: bool
) -> None:
    (tmp_path / "net").mkdir()
    with http_server() as port:
        row = f"0: {address}:{port:04X} {'0' * len(address)}:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1"
        (tmp_path / "net" / table).write_text(f"  sl  local_address rem_address   st ...\n   {row}\n")
        found = ask_exporter(port, tmp_path)
    refused = f"the DCGM exporter at 127.0.0.1:{port} tells nothing: who listens there changed meanwhile"
    assert found == (read_activity(METRICS.decode()) if believed else refused)


def test_of_the_kernels_table_no_more_is_read_than_who_listens(tmp_path: Path) -> None:
    """It has a line for each connection of the machine, of which any account can make more than fit in our memory."""
    (tmp_path / "net").mkdir()
    with http_server() as port:
        rows = [
            f"0: {address}:{port:04X} 00000000:0000 {state} 0:0 0:0 0 {uid} 0 4711"
            for address, state, uid in (
                ("0200007F", "0A", 0),
                ("0100007F", "0A", 0),
                ("0100007F", "06", 0),
                # The kernel has none of these behind the others; whoever reads on would find it.
                ("0100007F", "0A", 54321),
            )
        ]
        (tmp_path / "net/tcp").write_text("\n".join(["sl local_address", *rows, ""]))
        found = ask_exporter(port, tmp_path)
    assert not isinstance(found, str)


def test_one_that_is_gone_when_it_has_answered_is_not_believed() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        connection, _ = listener.accept()
        listener.close()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + METRICS)

    thread = threading.Thread(target=serve)
    thread.start()
    found = ask_exporter(port, PROC)
    thread.join()
    assert found == f"the DCGM exporter at 127.0.0.1:{port} tells nothing: who listens there changed meanwhile"


def test_without_the_table_of_connections_it_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("")
    with http_server() as port:
        found = ask_exporter(port, tmp_path)
    assert found == f"the DCGM exporter at 127.0.0.1:{port} cannot be asked: {os.strerror(20)}"
