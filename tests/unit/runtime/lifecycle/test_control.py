"""Stopping and removing containers: on the real engine; what that never says is said by another on a real socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker

from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.runtime.containers.container import State
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.lifecycle.control import Control, ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT = "0" * 64


@pytest.fixture
def socket(docker_host: str) -> Path:
    return Path(docker_host.removeprefix("unix://"))


@pytest.fixture
def name() -> Iterator[str]:
    made = f"control-{os.getpid()}-{time.monotonic_ns()}"
    yield made
    subprocess.run(["docker", "rm", "--force", "--volumes", made], capture_output=True, check=False)


def run(name: str, *options: str, command: str = "sleep 600") -> str:
    return docker("run", "-d", "--name", name, "--network=none", *options, IMAGE, "sh", "-c", command)


def state(socket: Path, container: str) -> State | None:
    found = Engine(socket).inspect(container)
    return None if found is None else found.state


def until(socket: Path, container: str, wanted: State) -> None:
    end = time.monotonic() + 60
    while state(socket, container) is not wanted:
        assert time.monotonic() < end
        time.sleep(0.05)


# --- A real engine ----------------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_a_container_that_heeds_its_signal_ends_by_itself(socket: Path, name: str) -> None:
    made = run(name, command="trap 'exit 7' TERM; while :; do sleep 0.1; done")
    Control(socket).stop(made, grace_seconds=60)
    found = Engine(socket).inspect(made)
    assert found is not None
    assert (found.state, found.exit_code) == (State.EXITED, 7)


@pytest.mark.docker
def test_one_that_does_not_is_killed_after_its_grace(socket: Path, name: str) -> None:
    made = run(name, command="trap : TERM; while :; do sleep 0.1; done")
    Control(socket).stop(made, grace_seconds=0.2)
    found = Engine(socket).inspect(made)
    assert found is not None
    assert (found.state, found.exit_code) == (State.EXITED, 137)


@pytest.mark.docker
def test_a_stop_outlasts_a_restart_policy(socket: Path, name: str) -> None:
    made = run(name, "--restart=always")
    Control(socket).stop(made, grace_seconds=0)
    first = Engine(socket).inspect(made)
    time.sleep(1)
    assert first is not None
    assert first.state is State.EXITED
    assert Engine(socket).inspect(made) == first


@pytest.mark.docker
def test_one_that_is_about_to_come_back_is_stopped(socket: Path, name: str) -> None:
    made = run(name, "--restart=always", command="exit 3")
    until(socket, made, State.RESTARTING)
    Control(socket).stop(made, grace_seconds=0)
    until(socket, made, State.EXITED)
    first = Engine(socket).inspect(made)
    time.sleep(2)
    assert Engine(socket).inspect(made) == first


@pytest.mark.docker
def test_done_twice_is_done_once(socket: Path, name: str) -> None:
    made = run(name)
    control = Control(socket)
    control.stop(made, grace_seconds=0)
    control.stop(made, grace_seconds=0)
    control.kill(made)
    assert state(socket, made) is State.EXITED
    control.remove(made)
    assert state(socket, made) is None
    control.stop(made, grace_seconds=0)
    control.kill(made)
    control.remove(made)
    control.remove(made, force=True)


@pytest.mark.docker
def test_a_kill_asks_no_process(socket: Path, name: str) -> None:
    made = run(name, command="trap : TERM INT HUP; while :; do sleep 0.1; done")
    Control(socket).kill(made)
    until(socket, made, State.EXITED)
    found = Engine(socket).inspect(made)
    # 128 and the number of SIGKILL.
    assert found is not None
    assert found.exit_code == 137


@pytest.mark.docker
def test_one_that_removes_itself_is_stopped_and_gone(socket: Path, name: str) -> None:
    made = run(name, "--rm")
    control = Control(socket)
    control.stop(made, grace_seconds=0)
    control.remove(made)
    end = time.monotonic() + 60
    while state(socket, made) is not None:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.docker
def test_one_that_runs_is_removed_only_by_force(socket: Path, name: str) -> None:
    made = run(name)
    with pytest.raises(ControlError) as refused:
        Control(socket).remove(made)
    assert refused.value.brief == f"the Docker engine did not remove container {made[:12]}"
    assert "running container" in str(refused.value.details)
    assert refused.value.exit_code is ExitCode.FAILED
    assert state(socket, made) is State.RUNNING
    Control(socket).remove(made, force=True)
    assert state(socket, made) is None


@pytest.mark.docker
def test_volumes_outlive_their_container(socket: Path, name: str) -> None:
    made = run(name, "-v", f"{name}:/named", "-v", "/anonymous", command="echo kept > /anonymous/file")
    docker("wait", made)
    mounts = json.loads(docker("inspect", "--format", "{{json .Mounts}}", made))
    volumes = sorted(each["Name"] for each in mounts)
    try:
        Control(socket).remove(made, force=True)
        assert len(volumes) == 2
        assert set(volumes) <= set(docker("volume", "ls", "--quiet").split())
        again = ("run", "--rm", "--network=none", "-v", f"{max(volumes, key=len)}:/it", IMAGE, "cat", "/it/file")
        assert docker(*again) == "kept"
    finally:
        docker("volume", "rm", *volumes)


# --- What a real engine cannot be made to say -------------------------------------------------------------------------


class Fake:
    """An engine that answers the version, and every order as it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.status, self.message, self.wait = 204, "", threading.Event()
        self.wait.set()
        self.asked: list[str] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("/version"):
            self._say(handler, 200, {"Version": "20.10.24", "ApiVersion": "1.41"})
            return
        self.asked.append(f"{handler.command} {handler.path}")
        self.wait.wait(60)
        self._say(handler, self.status, {"message": self.message})

    @staticmethod
    def _say(handler: BaseHTTPRequestHandler, status: int, body: dict[str, str]) -> None:
        content = b"" if status in {204, 304} else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def served(fake: Fake) -> Iterator[Fake]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.answer(self)

        def do_POST(self) -> None:
            fake.answer(self)

        def do_DELETE(self) -> None:
            fake.answer(self)

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "a socket"

    with ThreadingUnixStreamServer(os.fspath(fake.path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            fake.wait.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    with served(Fake(tmp_path / "docker.sock")) as made:
        yield made


def test_what_is_asked_of_the_engine(fake: Fake) -> None:
    control = Control(fake.path)
    control.stop(ABSENT, grace_seconds=60)
    control.stop(ABSENT, grace_seconds=0.1)
    control.stop(ABSENT, grace_seconds=-5)
    control.kill(ABSENT)
    control.remove(ABSENT)
    control.remove(ABSENT, force=True)
    here = f"/v1.41/containers/{ABSENT}"
    assert fake.asked == [
        f"POST {here}/stop?t=60",
        f"POST {here}/stop?t=1",
        f"POST {here}/stop?t=0",
        f"POST {here}/kill",
        f"DELETE {here}?v=False&link=False&force=False",
        f"DELETE {here}?v=False&link=False&force=True",
    ]


@pytest.mark.parametrize(
    ("verb", "status", "message"),
    [
        ("stop", 304, ""),
        ("stop", 404, f"No such container: {ABSENT}"),
        ("kill", 404, f"No such container: {ABSENT}"),
        ("kill", 409, f"Cannot kill container: {ABSENT}: Container {ABSENT} is not running"),
        ("remove", 404, f"No such container: {ABSENT}"),
        ("remove", 409, f"removal of container {ABSENT} is already in progress"),
    ],
)
def test_nothing_left_to_do_is_done(fake: Fake, verb: str, status: int, message: str) -> None:
    fake.status, fake.message = status, message
    act(Control(fake.path), verb)
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("verb", "status", "message"),
    [
        ("stop", 409, f"Container {ABSENT} is not running"),
        ("stop", 500, "cannot stop container: tried to kill it, but did not receive an exit event"),
        ("kill", 409, "Container is paused"),
        ("kill", 500, "is not running"),
        ("remove", 409, "You cannot remove a running container"),
        ("remove", 500, "is already in progress"),
        ("remove", 403, "\x1b[31mno\nway"),
    ],
)
def test_every_other_answer_is_a_failure_with_the_engines_words(
    fake: Fake, verb: str, status: int, message: str
) -> None:
    fake.status, fake.message = status, message
    with pytest.raises(ControlError) as failed:
        act(Control(fake.path), verb)
    assert failed.value.brief == f"the Docker engine did not {verb} container {ABSENT[:12]}"
    assert failed.value.details == message.replace("\x1b", "\\x1b").replace("\n", "\\n")
    assert failed.value.resolution == "journalctl -u docker says more"


def test_an_engine_that_says_nothing_is_not_waited_for(fake: Fake) -> None:
    fake.wait.clear()
    with pytest.raises(ControlError) as failed:
        Control(fake.path, answer_seconds=0.2).kill(ABSENT)
    assert failed.value.brief == f"the Docker engine did not say whether it could kill container {ABSENT[:12]}"
    assert "timed out" in str(failed.value.details)


def test_a_stop_has_its_grace_on_top_of_the_answers_time(fake: Fake) -> None:
    fake.wait.clear()
    threading.Timer(0.6, fake.wait.set).start()
    Control(fake.path, answer_seconds=0.2).stop(ABSENT, grace_seconds=30)
    assert len(fake.asked) == 1


def test_no_engine_is_said_as_everywhere(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as failed:
        Control(tmp_path / "docker.sock").stop(ABSENT, grace_seconds=1)
    assert failed.value.brief == f"there is no Docker engine at {tmp_path / 'docker.sock'}"


@pytest.mark.parametrize("id_", ["", "web", ABSENT[:12], f"{ABSENT}/../x", f"{ABSENT}\n", "A" * 64])
def test_what_is_no_whole_id_reaches_no_engine(fake: Fake, id_: str) -> None:
    with pytest.raises(BadInputError) as refused:
        Control(fake.path).remove(id_, force=True)
    assert isinstance(refused.value, Ds01Error)
    assert fake.asked == []


def act(control: Control, verb: str) -> None:
    match verb:
        case "stop":
            control.stop(ABSENT, grace_seconds=1)
        case "kill":
            control.kill(ABSENT)
        case _:
            control.remove(ABSENT)


def test_docker_py_is_loaded_by_the_one_who_acts() -> None:
    code = "import sys, ds01.runtime.lifecycle.control; print(sorted({'docker', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": os.fspath(Path(__file__).parents[4] / "scripts")})  # fmt: skip
    assert done.stdout == "[]\n"
