"""The events daemon on a real engine: everything that happens is told once, whichever of the two is killed."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.fake_nvml.samples import shipped_host
from tests.integration.dockerapi import Api
from tests.integration.dockers import docker, engine_socket
from tests.integration.events_host import EventsHost
from tests.integration.wrapper_host import ADMIN, ALICE, WrapperHost, make_host, uid_of, until

from ds01.core.clock import parse_instant
from ds01.core.policy import read_policy
from ds01.runtime.containers.look import look
from ds01.runtime.containers.seen import Attribution, Evidence, Kind
from ds01.runtime.gpu.record import parse_ledger
from ds01.runtime.overview.notices import read_notices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engine.daemon import Daemon
    from tests.engine.fixture import StartEngine
    from tests.fake_nvml.fixture import FakeNvml

# Each is made, renamed and removed. Each fifth is started too, for which an engine of the tests takes a third of a
# second; of those each second ends by itself, the others are ended with their removal.
CHURNED, STARTED_EACH, ENDS_EACH, WORKERS = 500, 5, 10, 4
SLEEP, ENDS = [IMAGE, "sleep", "6000"], [IMAGE, "false"]
RESTARTS = 3


@pytest.fixture
def site(host: WrapperHost) -> Iterator[EventsHost]:
    made = EventsHost(host)
    yield made
    if made.daemon is not None:
        made.end(signal.SIGKILL)


def listed(engine: Path) -> dict[str, tuple[str, str]]:
    with Api(engine) as api:
        return api.all()


# --- One container ----------------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_a_containers_life_is_told_as_it_happens(site: EventsHost, image: list[str], prefix: str) -> None:
    site.start()
    docker("create", "--name", prefix, "--network=none", "-l", "exitCode=0", *image)
    docker("start", prefix)
    docker("rename", prefix, f"{prefix}-new")
    docker("kill", f"{prefix}-new")
    docker("wait", f"{prefix}-new")
    docker("rm", f"{prefix}-new")
    site.expect(prefix, "create", "start", "bypass", "rename new", "kill new", "die new", "destroy new")
    events = {each.event_type: each for each in site.events(prefix)}
    # Docker 20.10 puts the label in the exit code's place.
    assert events["container.die"].details["exit_code"] == 137
    assert events["container.rename"].details["old_name"] == prefix
    assert events["container.kill"].details["signal"] in {"9", "SIGKILL"}
    assert {each.user for each in events.values()} == {None}
    assert events["container.bypass"].details["kind"] == "unmanaged-docker"
    until(lambda: site.known(prefix) == {})
    assert site.end() == 0


@pytest.mark.docker
def test_lists_need_no_helper_until_the_label_does_not_tell_all(
    site: EventsHost, image: list[str], prefix: str
) -> None:
    site.host.change_policy(access_control={"unowned_containers": "deny"})
    lists = site.host.paths.lists
    account = prefix.replace("ds01-test", "student")
    site.start()
    until(lists.exists)
    docker("create", "--name", f"{prefix}-new", "-l", f"ds01.user={account}", *image)
    site.expect(prefix, "create new")
    assert account not in lists.read_text().split()
    docker("create", "--name", f"{prefix}-old", "-l", f"aime.mlc.USER={account}", *image)
    until(lambda: account in lists.read_text().split())
    docker("rm", f"{prefix}-old")
    until(lambda: account not in lists.read_text().split())
    assert site.end() == 0
    assert not lists.exists()


@pytest.mark.docker
def test_a_container_of_the_docker_command_is_its_users(site: EventsHost, image: list[str], prefix: str) -> None:
    site.start()
    site.host.must("create", "--name", prefix, *image)
    site.host.must("start", prefix)
    docker("run", "--detach", "--name", f"{prefix}-copy", "--network=none", "-l", f"ds01.user={ALICE}", *image)
    site.expect(prefix, "create", "start", "create copy", "start copy", "bypass copy")
    assert [each.user for each in site.events(prefix)] == [ALICE, ALICE, None, None, None]
    assert site.events(prefix)[2].details["asserted"] == ALICE
    until(lambda: len(site.known(prefix)) == 2)
    mine = {each["name"]: each for each in site.owners()["containers"].values() if each["name"].startswith(prefix)}
    assert mine == {
        prefix: {"owner": ALICE, "name": prefix, "ds01_managed": True},
        f"{prefix}-copy": {"owner": None, "name": f"{prefix}-copy", "ds01_managed": False},
    }


@pytest.mark.docker
def test_the_scanner_sees_what_docker_lists(site: EventsHost, image: list[str], prefix: str) -> None:
    site.host.must("create", "--name", prefix, *image)
    docker("run", "--detach", "--name", f"{prefix}-runs", "--network=none", *image)
    docker("run", "--detach", "--name", f"{prefix}-dev", "--network=none",
           "-l", "devcontainer.local_folder=/home/bob/x", *image)  # fmt: skip
    docker("kill", f"{prefix}-dev")
    docker("wait", f"{prefix}-dev")
    paths = site.host.paths
    found = look(paths, read_policy(paths.policy)).seen
    listed = docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}").splitlines()
    assert {f"{each.container.id} {each.container.name} {each.container.state.value}" for each in found} == set(listed)
    mine = {each.container.name.removeprefix(prefix): each for each in found if each.container.name.startswith(prefix)}
    assert {name: (each.kind, each.owner) for name, each in mine.items()} == {
        "": (Kind.MANAGED, Attribution(ALICE, Evidence.LABEL)),
        "-runs": (Kind.DOCKER, None),
        "-dev": (Kind.DEVCONTAINER, Attribution("bob", Evidence.LABEL, asserted=True)),
    }


@pytest.mark.docker
def test_what_happened_before_its_start_is_told_from_what_there_is(
    site: EventsHost, image: list[str], prefix: str
) -> None:
    docker("run", "--detach", "--name", f"{prefix}-runs", "--network=none", *image)
    docker("create", "--name", f"{prefix}-made", "--network=none", *image)
    time.sleep(1)
    site.start()
    until(lambda: len(site.told(prefix)) >= 4)
    assert sorted(site.told(prefix)) == ["bypass runs", "create made*", "create runs*", "start runs*"]
    docker("rm", "--force", f"{prefix}-runs", f"{prefix}-made")
    until(lambda: sum(each.startswith("destroy") for each in site.told(prefix)) == 2)
    assert site.twice(prefix) == {}


# --- Many -------------------------------------------------------------------------------------------------------------


def live(api: Api, name: str, number: int, made: Callable[[str], object] = lambda _: None) -> None:
    """Live a container's life, from beginning to end."""
    ends = number % ENDS_EACH == 0
    container = api.create(name, ENDS if ends else SLEEP)
    made(container)
    api.rename(container, f"{name}-new")
    if number % STARTED_EACH == 0:
        api.start(container)
        if ends:
            api.wait(container)
    api.remove(container)


def churn(engine: Path, prefix: str, worker: int, *, count: int) -> None:
    with Api(engine) as api:
        for number in range(count):
            live(api, f"{prefix}-{worker}-{number}", number)


def expected(*, count: int, workers: int) -> dict[str, int]:
    started, ended = workers * -(-count // STARTED_EACH), workers * -(-count // ENDS_EACH)
    everyone = dict.fromkeys(("container.create", "container.rename", "container.destroy"), count * workers)
    return {**everyone, "container.start": started, "container.die": started, "by itself": ended}


def counted(site: EventsHost, prefix: str) -> dict[str, int]:
    events = site.events(prefix)
    types = [each.event_type for each in events]
    # What `false` ends with; what is removed while it runs is killed.
    ended = sum(each.event_type == "container.die" and each.details["exit_code"] == 1 for each in events)
    kinds = [kind for kind in expected(count=1, workers=1) if kind != "by itself"]
    return {**{kind: types.count(kind) for kind in kinds}, "by itself": ended}


@pytest.mark.docker
def test_hundreds_of_containers_at_once_are_told_whole_and_once(site: EventsHost, prefix: str) -> None:
    if not docker("images", "--quiet", IMAGE):
        pytest.skip(f"the engine has no {IMAGE}")
    site.start()
    each = CHURNED // WORKERS
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda worker: churn(engine_socket(), prefix, worker, count=each), range(WORKERS)))
    whole = expected(count=each, workers=WORKERS)
    until(lambda: counted(site, prefix)["container.destroy"] >= whole["container.destroy"])
    assert counted(site, prefix) == whole
    assert site.twice(prefix) == {}
    assert site.gaps() == []
    until(lambda: site.known(prefix) == {})
    assert site.end() == 0
    assert "Traceback" not in site.said()


@pytest.mark.docker
def test_killed_amid_many_and_started_again_it_tells_nothing_twice(site: EventsHost, prefix: str) -> None:
    if not docker("images", "--quiet", IMAGE):
        pytest.skip(f"the engine has no {IMAGE}")
    site.start()
    with ThreadPoolExecutor(2) as pool:
        # Less than the engine remembers, network messages included.
        running = [pool.submit(churn, engine_socket(), prefix, worker, count=20) for worker in range(2)]
        for _ in range(3):
            before = len(site.events(prefix))
            until(lambda before=before: len(site.events(prefix)) > before or all(each.done() for each in running))
            site.end(signal.SIGKILL)
            site.start()
        for each in running:
            each.result()
    docker("create", "--name", f"{prefix}-last", "--network=none", *SLEEP)
    until(lambda: f"{prefix}-last" in {name for name, _ in site.known(prefix).values()})
    whole = expected(count=20, workers=2)
    whole["container.create"] += 1
    assert counted(site, prefix) == whole
    assert site.twice(prefix) == {}
    assert site.gaps() == []


# --- The engine's restarts --------------------------------------------------------------------------------------------


def test_an_engine_that_is_killed_leaves_a_gap_and_nothing_twice(another_engine: StartEngine, tmp_path: Path) -> None:
    engine = another_engine({"live-restore": True})
    site = EventsHost(make_host(tmp_path, engine.socket))
    site.start()
    try:
        for name in ("stays", "ends", "goes"):
            engine.docker("run", "--detach", "--name", name, "--network=none", "--init", *SLEEP)
        site.expect("", "create stays", "start stays", "bypass stays", "create ends", "start ends", "bypass ends",
                    "create goes", "start goes", "bypass goes")  # fmt: skip
        engine.stop()
        engine.start()
        engine.docker("kill", "ends")
        engine.docker("rm", "--force", "goes")
        engine.docker("create", "--name", "new", "--network=none", *SLEEP)
        until(lambda: site.known() == listed(engine.socket))
        until(lambda: "destroy goes" in site.told("") and "die ends" in site.told("") and "create new" in site.told(""))
        time.sleep(3)
        assert site.known() == listed(engine.socket)
        assert site.twice("") == {}
        (gap,) = site.gaps()
        assert gap["why"] == "the engine was started anew and remembers nothing from before"
        assert not [each for each in site.told("") if each.endswith("*")]
        assert site.end() == 0
    finally:
        if site.daemon is not None:
            site.end(signal.SIGKILL)


@dataclass
class Churning:
    """Containers that come and go on an engine that is killed and started again meanwhile.

    Attributes:
        runs: how often the engine was started, or ended, so far.
        made: when each container was, by its id.
    """

    engine: Daemon
    over: threading.Event = field(default_factory=threading.Event)
    runs: int = 0
    made: dict[str, datetime] = field(default_factory=dict)

    def __call__(self, worker: int) -> int:
        """Make containers until it is over; returns how many were cut off by the engine's end."""
        cut_off = 0
        for number in count():
            if self.over.is_set():
                return cut_off
            before = self.runs
            try:
                with Api(self.engine.socket) as api:
                    live(api, f"c-{worker}-{number}", number, self._note)
            except (OSError, HTTPException, AssertionError):
                if before == self.runs and before % 2 == 0:
                    raise
                cut_off += 1
                # It is away for a moment.
                self.over.wait(0.2)
        raise AssertionError

    def _note(self, container: str) -> None:
        self.made[container] = datetime.now(UTC)

    def restart(self) -> None:
        self.runs += 1
        self.engine.stop()
        self.engine.start()
        self.runs += 1


def test_an_engine_that_is_killed_amid_many_leaves_a_gap_each_time_and_nothing_twice(
    another_engine: StartEngine, tmp_path: Path
) -> None:
    engine = another_engine({"live-restore": True})
    site, churning = EventsHost(make_host(tmp_path, engine.socket)), Churning(engine)
    site.start()
    try:
        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(churning, worker) for worker in range(3)]
            try:
                for number in range(RESTARTS):
                    before = len(churning.made)
                    until(lambda before=before: len(churning.made) > before + 20 or any(r.done() for r in running))
                    churning.restart()
                    until(lambda number=number: len(site.gaps()) > number)
            finally:
                churning.over.set()
            cut_off = sum(each.result() for each in running)
        until(lambda: site.known() == listed(engine.socket))
        time.sleep(3)
        assert site.known() == listed(engine.socket)
        assert site.twice("") == {}
        why = "the engine was started anew and remembers nothing from before"
        assert [gap["why"] for gap in site.gaps()] == [why] * RESTARTS
        assert cut_off > 0
        told = {each.details["container_id"] for each in site.events("") if each.event_type == "container.create"}
        spans = [(parse_instant(gap["from"]), parse_instant(gap["to"])) for gap in site.gaps()]
        missing = {container: at for container, at in churning.made.items() if container not in told}
        # The engine makes a container a moment before it says so.
        early = timedelta(seconds=5)
        assert [at for at in missing.values() if not any(begin - early <= at <= end for begin, end in spans)] == []
        assert len(missing) < len(told)
        assert site.end() == 0
        assert "Traceback" not in site.said()
    finally:
        if site.daemon is not None:
            site.end(signal.SIGKILL)


def test_what_an_engine_lost_with_its_containers_is_reconstructed(another_engine: StartEngine, tmp_path: Path) -> None:
    """Both are away: containers end and go, and no message tells of it."""
    engine = another_engine({"live-restore": True})
    site = EventsHost(make_host(tmp_path, engine.socket))
    site.start()
    try:
        for name in ("ends", "goes"):
            engine.docker("run", "--detach", "--name", name, "--network=none", *SLEEP)
        until(lambda: len(site.told("")) == 6)
        assert site.end() == 0
        engine.docker("kill", "ends")
        engine.docker("rm", "--force", "goes")
        engine.docker("create", "--name", "new", "--network=none", *SLEEP)
        engine.stop()
        engine.start()
        site.start()
        until(lambda: len(site.told("")) >= 9)
        assert sorted(site.told("")[6:]) == ["create new*", "destroy goes*", "die ends*"]
        (died,) = [each for each in site.host.events() if each.event_type == "container.die"]
        assert died.details["exit_code"] == 137
        assert len(site.gaps()) == 1
        until(lambda: site.known() == listed(engine.socket))
    finally:
        if site.daemon is not None:
            site.end(signal.SIGKILL)


# --- Come-backs -------------------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_a_container_that_comes_back_over_the_limits_is_stopped(
    site: EventsHost, image: list[str], prefix: str
) -> None:
    site.host.override(max_containers=2, sigterm_grace_seconds=0)
    site.start()
    for name in ("a", "b"):
        site.host.must("run", "--detach", "--name", f"{prefix}-{name}", "--restart=always", *image)
    until(lambda: len(site.known(prefix)) == 2)
    time.sleep(1)
    assert "stopped_by_policy" not in " ".join(site.told(prefix))
    site.host.override(max_containers=1, sigterm_grace_seconds=0)
    docker("restart", "--time", "0", f"{prefix}-b")  # past the docker command
    until(lambda: "stopped_by_policy b" in site.told(prefix))
    wanted = {f"{prefix}-a": "running", f"{prefix}-b": "exited"}
    until(lambda: dict(site.known(prefix).values()) == wanted)
    assert dict(each for each in listed(engine_socket()).values() if each[0].startswith(prefix)) == wanted
    (stopped,) = [each for each in site.events(prefix) if each.event_type == "container.stopped_by_policy"]
    assert (stopped.user, stopped.details["rule"]) == (ALICE, "containers")
    notices = read_notices(site.host.paths, uid_of(ALICE), datetime.now(UTC))
    assert "came to run again and was stopped" in str(notices)
    docker("restart", "--time", "0", f"{prefix}-a")
    until(lambda: site.told(prefix)[-1] == "restart a")
    time.sleep(1)
    assert "stopped_by_policy a" not in site.told(prefix)


@pytest.mark.docker
def test_what_the_docker_command_let_start_is_not_stopped_for_it(
    site: EventsHost, image: list[str], prefix: str
) -> None:
    """A restart of one's own that ran already, and a start by an administrator for somebody else."""
    for name in ("a", "b"):
        site.host.must("run", "--detach", "--name", f"{prefix}-{name}", *image)
    site.host.override(max_containers=1, sigterm_grace_seconds=0)
    site.start()
    site.host.must("restart", "--time", "0", f"{prefix}-b")
    until(lambda: "restart b" in site.told(prefix))
    site.host.must("stop", "--time", "0", f"{prefix}-b")
    site.host.must("start", f"{prefix}-b", account=ADMIN)
    until(lambda: site.told(prefix).count("start b") == 2)
    time.sleep(1)
    assert "stopped_by_policy b" not in site.told(prefix)
    docker("kill", "--signal", "CHLD", f"{prefix}-b")
    until(lambda: site.told(prefix)[-1] == "kill b")
    assert set(dict(site.known(prefix).values()).values()) == {"running"}


# --- GPUs -------------------------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_the_record_of_gpus_follows_what_becomes_of_containers(
    host: WrapperHost, fake_nvml: FakeNvml, prefix: str
) -> None:
    fake_nvml.write(shipped_host())
    site = EventsHost(replace(host, environment=fake_nvml.environment))
    state = host.paths.gpu_state

    def held() -> dict[str, tuple[str | None, bool]]:
        """User, and whether it is stopped, of what is held, by the container's name without the prefix."""
        found = parse_ledger(state.read_bytes()).allocations if state.exists() else {}
        return {
            name.removeprefix(prefix): (each.user, each.stopped_at is not None)
            for name, each in found.items()
            if each.container_id is not None
        }

    site.start()
    try:
        site.host.must("run", "--detach", "--gpus", "1", "--name", prefix, *SLEEP)
        until(lambda: held() == {"": (ALICE, False)})
        docker("kill", prefix)
        until(lambda: held() == {"": (ALICE, True)})
        docker("rename", prefix, f"{prefix}-b")
        until(lambda: held() == {"-b": (ALICE, True)})
        docker("start", f"{prefix}-b")
        until(lambda: held() == {"-b": (ALICE, False)})
        docker("rm", "--force", f"{prefix}-b")
        until(lambda: held() == {})
        site.host.must("run", "--rm", "--gpus", "1", "--name", f"{prefix}-short", IMAGE, "true")
        until(lambda: parse_ledger(state.read_bytes()).allocations == {})
        until(lambda: "destroy short" in site.told(prefix))
        assert "stopped_by_policy" not in " ".join(site.told(prefix)), site.told(prefix)

        def kinds() -> list[str]:
            return [each.event_type for each in site.host.events() if each.event_type.startswith("gpu.")]

        # A look at all containers may find out first what became of one; it is told when it is written down.
        until(lambda: sum(each in {"gpu.released", "gpu.freed"} for each in kinds()) == 2)
        assert (kinds()[0], kinds().count("gpu.allocated")) == ("gpu.allocated", 2)
        assert set(kinds()) <= {
            "gpu.allocated", "gpu.held", "gpu.resumed", "gpu.corrected", "gpu.released", "gpu.freed",
        }  # fmt: skip
        assert site.end() == 0
    finally:
        if site.daemon is not None:
            site.end(signal.SIGKILL)
