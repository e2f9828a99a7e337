"""Asking the exporter: real servers on the loopback, good ones, slow ones, endless ones, and one of somebody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.samples import gpu_uuid

from ds01.runtime.gpu.dcgm import read_activity
from ds01.runtime.gpu.exporter import LARGEST_BYTES, ask_exporter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

DATA = Path(__file__).parents[3] / "data/dcgm"
METRICS = (DATA / "whole-and-mig-3.3.txt").read_bytes()
PROC = Path("/proc")
IDS = {name: f"{number:064x}" for number, name in enumerate(("ds01-dcgm-exporter", "nb"), 0xABC)}


@dataclass(frozen=True)
class Known:
    """The containers of a host: those that are believed, and who publishes at an address."""

    believed: tuple[str, ...] = ()
    published: dict[str, str] | None = field(default_factory=dict)

    def publishing(self, port: int, addresses: Collection[str]) -> tuple[str, ...] | None:
        assert port > 0
        if self.published is None:
            return None
        return tuple(IDS[name] for address, name in self.published.items() if address in addresses)

    def doubt(self, container_id: str) -> str | None:
        (name,) = (name for name, each in IDS.items() if each == container_id)
        return None if name in self.believed else name


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
        found = ask_exporter(port, PROC, Known())
    assert not isinstance(found, str)
    assert found[gpu_uuid(2), 3] == 0.421875


def test_where_nobody_listens_it_says_so_and_how_to_start_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert ask_exporter(port, PROC, Known()) == (
        f"no DCGM exporter answers at 127.0.0.1:{port}: start it (container ds01-dcgm-exporter)"
    )


def test_an_exporter_that_does_not_collect_the_field_is_told_from_one_that_says_nothing() -> None:
    with http_server(body=b"DCGM_FI_DEV_GPU_TEMP{} 61\n") as port:
        assert ask_exporter(port, PROC, Known()) == (
            f"the DCGM exporter at 127.0.0.1:{port} has no DCGM_FI_PROF_GR_ENGINE_ACTIVE: add it to the counters it"
            " collects"
        )
    with http_server(status=503) as port:
        assert (
            ask_exporter(port, PROC, Known()) == f"the DCGM exporter at 127.0.0.1:{port} tells nothing: it answers 503"
        )


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
        assert ask_exporter(port, PROC, Known(), seconds=0.5) == f"the DCGM exporter at 127.0.0.1:{port} {why}"


def test_an_endless_answer_is_cut() -> None:
    with raw_server(endless) as port:
        found = ask_exporter(port, PROC, Known(), seconds=60)
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
        found = ask_exporter(port, PROC, Known())
        server.kill()
    refused = (
        f"the DCGM exporter at 127.0.0.1:{port} tells nothing: its port is taken by a program of uid {uid}, which is"
        " not believed: end that one"
    )
    assert found == ({("GPU-a", None): 0.0} if believed else refused)


def procfs(folder: Path, inode: int, *, group: str = "/system.slice/x.service", name: str = "x", uid: int = 0) -> Path:
    """Lay down a folder like procfs, in which one process has a socket open; tables of sockets are still to come."""
    process = folder / "4242"
    (process / "fd").mkdir(parents=True)
    (process / "fd/0").symlink_to("/dev/null")
    (process / "fd/7").symlink_to(f"socket:[{inode}]")
    (process / "stat").write_text(f"4242 ({name}) S 1 {'0 ' * 48}")
    (process / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t0\t0\t0\n")
    (process / "comm").write_text(f"{name}\n")
    (process / "cgroup").write_text(f"0::{group}\n")
    # One of somebody else, and one that may not be looked at.
    (folder / "17/fd").mkdir(parents=True)
    (folder / "17/fd/3").symlink_to(f"socket:[{inode + 1}]")
    (folder / "18").mkdir()
    (folder / "net").mkdir()
    return folder


def asked(folder: Path, containers: Known, *, owner: int = 0) -> object:
    """Ask a real server, whose socket the folder has as one of number 4711."""
    with http_server() as port:
        row = f"0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {owner} 0 4711 1"
        (folder / "net/tcp").write_text(f"  sl  local_address rem_address   st ...\n   {row}\n")
        found = ask_exporter(port, folder, containers)
    if isinstance(found, str):
        return found.removeprefix(f"the DCGM exporter at 127.0.0.1:{port} tells nothing: ")
    return found == read_activity(METRICS.decode())


def scope(name: str) -> str:
    return f"/ds01.slice/ds01-student.slice/ds01-student-alice.slice/docker-{IDS[name]}.scope"


NOT_BELIEVED = (
    "its port is taken by a container, which is not believed: end nb; the site's own is named in"
    " monitoring.infrastructure_containers"
)
SITES = Known(("ds01-dcgm-exporter",))


@pytest.mark.parametrize("owner", [0, 1000])
@pytest.mark.parametrize("group", [scope("nb"), f"/docker/{IDS['nb']}", f"{scope('nb')}/init"])
def test_root_of_somebodys_container_on_the_hosts_network_is_not_believed(
    tmp_path: Path, group: str, owner: int
) -> None:
    assert asked(procfs(tmp_path, 4711, group=group, uid=owner), SITES, owner=owner) == NOT_BELIEVED


@pytest.mark.parametrize("owner", [0, 1000])
def test_the_sites_own_container_is_believed_whoever_it_runs_as(tmp_path: Path, owner: int) -> None:
    host = procfs(tmp_path, 4711, group=scope("ds01-dcgm-exporter"), uid=owner)
    assert asked(host, SITES, owner=owner) is True


def test_a_socket_that_two_have_is_believed_of_both_or_not_at_all(tmp_path: Path) -> None:
    """A container may hand its socket to a program outside."""
    procfs(tmp_path, 4711)
    other = tmp_path / "17"
    for name in ("stat", "status", "comm"):
        (other / name).write_bytes((tmp_path / "4242" / name).read_bytes())
    (other / "cgroup").write_text(f"0::{scope('nb')}\n")
    (other / "fd/4").symlink_to("socket:[4711]")
    assert asked(tmp_path, SITES) == NOT_BELIEVED


@pytest.mark.parametrize(
    ("group", "uid", "why"),
    [
        # su(1), while its user has not said a password, with a socket that was handed to it.
        ("/user.slice/user-1000.slice/session-2.scope", 1000,
         "its port is taken by a program of uid 1000, which is not believed: end that one"),
        # Docker's own with a parent that is no slice, podman's, Kubernetes'.
        *((group, 0, "its port is taken by what may be a container of something else than Docker: end that one")
          for group in (f"/site/{IDS['nb']}", f"/machine.slice/libpod-{IDS['nb']}.scope", "/kubepods/pod1/c")),
    ],
)  # fmt: skip
def test_root_on_the_host_is_believed_only_where_it_is_that(tmp_path: Path, group: str, uid: int, why: str) -> None:
    assert asked(procfs(tmp_path, 4711, group=group, uid=uid), SITES) == why


def test_where_nobody_is_seen_who_listens_nothing_is_believed(tmp_path: Path) -> None:
    assert asked(procfs(tmp_path, 815), SITES) == "which program listens there cannot be told"


UNKNOWN = "Docker passes its port on to a container, and does not say to which"


@pytest.mark.parametrize(
    ("program", "published", "said"),
    [
        ("docker-proxy", {"0.0.0.0": "nb"}, NOT_BELIEVED),
        ("docker-proxy", {"127.0.0.1": "nb"}, NOT_BELIEVED),
        ("docker-proxy", {"127.0.0.1": "ds01-dcgm-exporter"}, True),
        # At another address whoever wants may have that port.
        ("docker-proxy", {"127.0.0.1": "ds01-dcgm-exporter", "192.0.2.7": "nb", "::": "nb"}, True),
        ("dcgm-exporter", {"192.0.2.7": "nb", "::": "nb"}, True),
        # As without docker-proxy, where the kernel passes it on.
        ("dockerd", {"0.0.0.0": "nb"}, NOT_BELIEVED),
        ("something", {"0.0.0.0": "nb"}, NOT_BELIEVED),
        # It is gone again, or Docker is; a service of its own needs no Docker.
        ("docker-proxy", {}, UNKNOWN),
        ("dockerd", {"192.0.2.7": "ds01-dcgm-exporter"}, UNKNOWN),
        ("docker-proxy", None, UNKNOWN),
        ("dcgm-exporter", None, True),
    ],
)
def test_a_port_that_a_container_publishes_is_that_containers(
    tmp_path: Path, program: str, published: dict[str, str] | None, *, said: str | bool
) -> None:
    host = procfs(tmp_path, 4711, group="/system.slice/docker.service", name=program)
    assert asked(host, Known(SITES.believed, published)) == said


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
            found = ask_exporter(port, PROC, Known())
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
    procfs(tmp_path, inode=4711)
    with http_server() as port:
        row = f"0: {address}:{port:04X} {'0' * len(address)}:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1"
        (tmp_path / "net" / table).write_text(f"  sl  local_address rem_address   st ...\n   {row}\n")
        found = ask_exporter(port, tmp_path, Known())
    refused = f"the DCGM exporter at 127.0.0.1:{port} tells nothing: who listens there changed meanwhile"
    assert found == (read_activity(METRICS.decode()) if believed else refused)


def test_of_the_kernels_table_no_more_is_read_than_who_listens(tmp_path: Path) -> None:
    """It has a line for each connection of the machine, of which any account can make more than fit in our memory."""
    procfs(tmp_path, inode=4711)
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
        found = ask_exporter(port, tmp_path, Known())
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
    found = ask_exporter(port, PROC, Known())
    thread.join()
    assert found == f"the DCGM exporter at 127.0.0.1:{port} tells nothing: who listens there changed meanwhile"


def test_without_the_table_of_connections_it_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("")
    with http_server() as port:
        found = ask_exporter(port, tmp_path, Known())
    assert found == f"the DCGM exporter at 127.0.0.1:{port} cannot be asked: {os.strerror(20)}"
