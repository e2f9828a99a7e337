"""The sampler as a service: a real process, real terminals, a real Docker; only the kernel's counters are files."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.cgroups import events_text, pressure_text
from tests.integration.dockers import docker, engine_socket
from tests.unit.runtime.telemetry.pressure_host import GIB, HIGH, OWN, SLICE, UID, USER, Host

from ds01.runtime.containers.engine import Engine
from ds01.runtime.telemetry.oom import Kills, Victim, Whose
from ds01.runtime.telemetry.victims import Containers

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SERVICE = "import sys; from ds01.runtime.commands.sampler import main; sys.exit(main())"
PATIENCE_SECONDS = 60
KEY = f"pressure.{SLICE}"


def wait_for(what: str, come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not come():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.05)


def show(path: Path, text: str) -> None:
    """Write a file of the kernel's in one step: nobody ever reads half a counter."""
    path.with_suffix(".new").write_text(f"{text}\n")
    path.with_suffix(".new").rename(path)


@contextmanager
def service(host: Host) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", SERVICE, "--root", os.fspath(host.paths.root)]
    running = subprocess.Popen(
        [*argv, "--interval", "0.1", "--pressure-interval", "0.1"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.fspath(SCRIPTS)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        before = host.paths.pressure.stat().st_ino if host.paths.pressure.exists() else None
        wait_for("the first look", lambda: _looked(host, before) or running.poll() is not None)
        yield running
    finally:
        running.kill()
        running.communicate()


def _looked(host: Host, before: int | None) -> bool:
    return host.paths.pressure.exists() and host.paths.pressure.stat().st_ino != before


def end(running: subprocess.Popen[str]) -> tuple[int, str]:
    running.send_signal(signal.SIGTERM)
    _, words = running.communicate(timeout=PATIENCE_SECONDS)
    return running.returncode, words


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    document = json.loads(made.paths.policy.read_text())
    document["pressure"] |= {"report_after_seconds": 0, "stall_after_seconds": 0}
    made.paths.policy.write_text(json.dumps(document))
    made.put(GIB)
    made.paths.terminals.parent.mkdir(parents=True, exist_ok=True)
    made.paths.terminals.symlink_to("/dev/pts")
    return made


@pytest.fixture
def terminal() -> Iterator[int]:
    """The reader's side of a terminal of the account's."""
    reader, session = os.openpty()
    os.fchown(session, UID, -1)
    os.fchmod(session, 0o620)
    yield reader
    os.close(session)
    os.close(reader)


def shown(reader: int) -> str:
    return os.read(reader, 65536).decode() if select.select([reader], [], [], 0)[0] else ""


@pytest.mark.root
def test_a_stall_is_told_ended_and_its_limit_put_back_with_the_service(host: Host, terminal: int) -> None:
    with service(host) as running:
        show(host.group() / "memory.current", f"{HIGH + GIB // 4}")
        show(host.group() / "memory.pressure", pressure_text(60, 50))
        wait_for("the limit to be lifted", lambda: host.high() == "max")
        wait_for("a word on the terminal", lambda: "DS01: your containers hardly move" in shown(terminal))
        assert list(host.notices()) == [KEY]
        assert end(running) == (0, "")
    assert (host.high(), host.notices()) == (f"{HIGH}", {})
    assert host.said() == ["pressure.high", "pressure.stalled", "pressure.released", "pressure.restored"]
    assert host.events()[-1].details["reason"] == "stop"


@pytest.mark.root
def test_a_service_that_was_killed_puts_it_back_when_it_starts(host: Host) -> None:
    show(host.group() / "memory.current", f"{HIGH + GIB // 4}")
    show(host.group() / "memory.pressure", pressure_text(9, 9, some10=90, full10=80))
    with service(host) as running:
        wait_for("the limit to be lifted", lambda: host.high() == "max")
        running.kill()
        running.wait()
    show(host.group() / "memory.current", f"{GIB}")
    with service(host) as running:
        wait_for("the limit to be back", lambda: host.high() == f"{HIGH}")
        assert end(running)[0] == 0
    assert [each.details.get("reason") for each in host.events()][-1] in {"start", "below"}


@pytest.mark.root
def test_it_lives_on_while_files_come_and_go(host: Host) -> None:
    with service(host) as running:
        for _ in range(5):
            policy = host.paths.policy.read_text()
            for path in (host.paths.policy, host.paths.pressure, host.paths.events):
                path.unlink(missing_ok=True)
            time.sleep(0.2)
            host.paths.policy.write_text(policy)
        wait_for("another look", host.paths.pressure.exists)
        assert running.poll() is None
        code, words = end(running)
    assert code == 0
    assert "Traceback" not in words


# --- With a real Docker -----------------------------------------------------------------------------------------------


@pytest.fixture
def with_docker(host: Host, docker_host: str) -> Host:
    host.paths.engine.symlink_to(engine_socket())
    return host


@pytest.mark.docker
@pytest.mark.root
def test_a_container_that_was_ended_is_named_where_its_owner_sits(
    with_docker: Host, image: list[str], prefix: str, terminal: int
) -> None:
    host = with_docker
    id_ = docker("run", "--detach", "--network=none", "--name", prefix, *image)
    scope = host.put_container(id_)
    with service(host) as running:
        wait_for("the container to be seen", lambda: id_ in host.paths.pressure.read_text())
        docker("kill", prefix)
        for file in scope.iterdir():
            file.unlink()
        scope.rmdir()
        show(host.group() / "memory.events", events_text(oom=1, oom_kill=1))
        wait_for("the event", lambda: host.said() == ["pressure.oom"])
        wait_for("a word on the terminal", lambda: f"DS01: container {prefix} was ended at" in shown(terminal))
        assert end(running)[0] == 0
    details = host.events()[0].details
    assert (host.events()[0].user, details["kills"]) == (USER, 1)
    assert details["containers"] == [
        # Docker gave it no limit, so none can be named.
        {"name": prefix, "id": id_[:12], "ended": True, "limit": "container", "limit_bytes": None}
    ]
    assert host.notices()[f"oom.{id_}"].endswith(": out of memory (its own limit)")


@pytest.mark.docker
@pytest.mark.parametrize(
    ("ends", "options"),
    [(["kill"], ["--memory", "64m"]), (["kill"], ["--rm"]), (["kill", "--signal=TERM"], [])],
)
def test_docker_tells_which_of_those_gone_it_was(
    engine: Engine, image: list[str], prefix: str, ends: list[str], options: list[str]
) -> None:
    containers = Containers(lambda: engine)
    since = datetime.now(UTC) - timedelta(seconds=1)
    id_ = docker("run", "--detach", "--init", "--network=none", "--name", prefix, *options, *image)
    containers.learn([id_])
    docker(*ends, prefix)
    wait_for("it to end", lambda: (there := engine.inspect(id_)) is None or not there.is_live)
    if "--rm" in options:
        wait_for("it to go", lambda: engine.inspect(id_) is None)
    kills = Kills(1, (), 1, {id_: OWN}, Whose.CONTAINER)
    found = containers.victims(kills, SLICE, since)
    assert [each.id for each in found] == [id_]
    assert containers.names[id_] == prefix
    assert found[0].ended
    assert (found[0].at is None) == ("--rm" in options)


@pytest.mark.docker
def test_one_that_came_and_went_between_two_looks_is_found_by_its_slice(
    engine: Engine, image: list[str], prefix: str
) -> None:
    containers = Containers(lambda: engine)
    since = datetime.now(UTC) - timedelta(seconds=1)
    ids = {}
    for name, parent in (("hers", SLICE), ("anothers", "ds01-student-bob.slice")):
        options = ["--cgroup-parent", parent, "--network=none", "--memory=64m"]
        ids[name] = docker("run", "--detach", "--name", f"{prefix}-{name}", *options, *image)
        docker("kill", ids[name])
        docker("wait", ids[name])
    kills = Kills(1, (), 1, {}, Whose.CONTAINER)
    found = containers.victims(kills, SLICE, since)
    assert found == (Victim(ids["hers"], ended=True, whose=Whose.CONTAINER, limit_bytes=64 * 2**20, at=found[0].at),)
    assert containers.names[ids["hers"]] == f"{prefix}-hers"
    assert containers.victims(kills, SLICE, datetime.now(UTC) + timedelta(hours=1)) == ()
