"""The daemon on a played engine: nothing twice and nothing missing, whichever of the two ends and however."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.telemetry.played import PlayedEngine, id_of, message, until

from ds01.core.events import Event, EventLog, read_events
from ds01.core.jsonstate import write_json
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.value import dataclass, field
from ds01.runtime.containers.claims import Claim, remove_claim, write_claim
from ds01.runtime.containers.engine import Engine
from ds01.runtime.containers.look import Looked, read_record
from ds01.runtime.containers.record import Row
from ds01.runtime.containers.seen import Attribution, Evidence, Seen
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry import daemon as module
from ds01.runtime.telemetry.catchup import Suspects
from ds01.runtime.telemetry.chronicle import Chronicle
from ds01.runtime.telemetry.daemon import Daemon
from ds01.runtime.telemetry.inbox import Inbox
from ds01.runtime.telemetry.inforce import PolicyInForce
from ds01.runtime.telemetry.roster import Roster
from ds01.runtime.telemetry.writer import Writer

POLICY = Policy.from_document(json.loads(SHIPPED.read_text(encoding="utf-8")))


@dataclass(slots=True)
class Steps:
    """Stands for what is done beside the events, which is tested for itself."""

    looks: list[tuple[list[str], list[str] | None, bool]] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def touch(self, row: Row, allocation: str | None) -> None:
        self.touched.append(row.name)

    def started(self, seen: Seen) -> None:
        self.begun.append(seen.container.name)

    def looked(self, looked: Looked, before: Mapping[str, Row] | None, *, gpus: bool) -> None:
        known = None if before is None else sorted(row.name for row in before.values())
        self.looks.append((sorted(each.container.name for each in looked.seen), known, gpus))

    def run(self) -> None:
        self.ended.wait()

    def end(self) -> None:
        self.ended.set()


@dataclass(slots=True)
class Host:
    """Where a daemon runs, again and again."""

    paths: HostPaths
    played: PlayedEngine
    settle_seconds: float = 0.3
    policy: Callable[[], Policy] = field(default=lambda: POLICY)
    steps: Steps = field(default_factory=Steps)
    runs: list[bool] = field(default_factory=list)

    def daemon(self, inbox: Inbox | None = None) -> Daemon:
        self.steps = Steps()
        chronicle = Chronicle(
            Engine(self.played.path),
            Engine(self.played.path),
            self.policy,
            Roster(self.paths),
            Writer(EventLog(self.paths.events)),
            self.steps,
            Suspects(self.settle_seconds),
            now=Machine().now,
        )
        return Daemon(chronicle, self.policy, self.steps, inbox=Inbox() if inbox is None else inbox)  # type: ignore[arg-type] # stands for it

    @contextmanager
    def running(self, inbox: Inbox | None = None) -> Iterator[Daemon]:
        daemon = self.daemon(inbox)
        thread = threading.Thread(target=lambda: self.runs.append(daemon.run()))
        thread.start()
        try:
            yield daemon
        finally:
            daemon.end()
            thread.join(20)
            assert not thread.is_alive()

    def events(self) -> list[Event]:
        if not self.paths.events.exists():
            return []
        return [each for each in read_events(self.paths.events) if isinstance(each, Event)]

    def told(self) -> list[str]:
        return [
            f"{each.event_type.removeprefix('container.')} {each.details.get('container', '')}".strip()
            for each in self.events()
            if each.event_type != "container.bypass"
        ]

    def gaps(self) -> list[Mapping[str, Any]]:
        return [each.details for each in self.events() if each.event_type == "events.gap"]

    def known(self) -> dict[str, str]:
        return {row.name: row.state.value for row in read_record(self.paths).rows.values()}

    def owners(self) -> Any:
        return json.loads(self.paths.container_owners.read_text()) if self.paths.container_owners.exists() else {}

    def owner(self, name: str) -> str | None:
        """Whose a container is to other programs."""
        owner = self.owners()["containers"][id_of(name)]["owner"]
        assert owner is None or isinstance(owner, str)
        return owner

    def cursor(self) -> dict[str, Any]:
        if not self.paths.event_cursor.exists():
            return {}
        return dict(json.loads(self.paths.event_cursor.read_text()))

    def beyond(self) -> list[str] | None:
        """Whose lists the label does not tell; None when nothing is said."""
        try:
            until, *names = self.paths.lists.read_text().split()
        except FileNotFoundError:
            return None
        assert time.time() < int(until) <= time.time() + 90
        return names

    def expect(self, number: int) -> None:
        until(lambda: len(self.told()) >= number)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    paths = HostPaths(tmp_path)
    for path in (paths.containers, paths.events):
        path.parent.mkdir(parents=True)
    with PlayedEngine(tmp_path / "docker.sock") as played:
        yield Host(paths, played)


def test_what_happens_is_in_the_log_and_what_there_is_in_the_files(host: Host) -> None:
    host.played.put("before")
    with host.running():
        host.expect(2)
        host.played.run("train")
        host.played.run("web")
        host.played.remove("web")
        host.expect(7)
        until(lambda: host.known() == {"before": "running", "train": "running"})
    assert host.told() == [
        "create before", "start before", "create train", "start train", "create web", "start web", "destroy web",
    ]  # fmt: skip
    assert host.cursor()["action"] == "destroy"
    owners = json.loads(host.paths.container_owners.read_text())["containers"]
    assert {each["name"] for each in owners.values()} == {"before", "train"}
    assert host.runs == [True]


def test_whom_the_label_tells_all_is_said_as_it_changes_and_not_when_nobody_follows(host: Host) -> None:
    host.played.put("hers", labels={"ds01.user": "alice"})
    host.paths.lists.parent.mkdir(parents=True)
    host.paths.lists.write_text(f"{int(time.time()) + 60}\n")
    with host.running():
        until(lambda: host.beyond() == [] and bool(host.known()))
        host.played.run("older", **{"aime.mlc.USER": "bob"})
        until(lambda: host.beyond() == ["bob"])
        host.played.run("web")
        until(lambda: host.beyond() == ["*"])
        host.played.remove("web")
        until(lambda: host.beyond() == ["bob"])
        host.played.stop()
        until(lambda: host.beyond() is None)
        host.played.remove("older")
        host.played.start()
        until(lambda: host.beyond() == [])
    assert host.beyond() is None


def test_what_may_have_been_missed_leaves_lists_to_the_helper(host: Host) -> None:
    with host.running() as daemon:
        until(lambda: host.beyond() == [])
        daemon._look_at = time.monotonic() + 600
        host.played.stop()
        until(lambda: host.beyond() is None)
        daemon._look_at = 0.0
        until(lambda: daemon._trouble is not None)
        assert host.beyond() is None


def test_one_of_before_is_gone_at_the_start(host: Host) -> None:
    host.played.stop()
    host.paths.lists.parent.mkdir(parents=True)
    host.paths.lists.write_text(f"{int(time.time()) + 60}\n")
    assert host.beyond() == []
    with host.running():
        until(lambda: not host.paths.lists.exists())
        assert host.beyond() is None


def test_a_clock_that_was_set_back_hides_nothing(host: Host) -> None:
    """An engine looks back from its newest message as far as the first that is older than asked for."""
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.expect(2)
    hour = 3600 * 10**9
    for number, action in enumerate(("create", "start", "die", "destroy")):
        host.played.remembered.append(message(action, "b", time.time_ns() - hour + number * 10**6, exitCode="0"))
    with host.running():
        host.expect(6)
        host.played.remove("a")
        host.expect(7)
    told = ["create a", "start a", "create b", "start b", "die b", "destroy b", "destroy a"]
    assert (host.told(), host.gaps()) == (told, [])


def test_what_cannot_be_read_makes_it_look_once_and_not_again_and_again(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as what an engine says of a container with labels of many megabytes, each second."""
    with host.running(), caplog.at_level(logging.WARNING):
        until(lambda: len(host.steps.looks) >= 2)
        before = len(host.steps.looks)
        for _ in range(20):
            host.played.say(b"{\n")
            time.sleep(0.05)
        time.sleep(0.5)
        assert len(host.steps.looks) == before
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == [
        "a message of the Docker engine cannot be read"
    ]


def test_a_difference_that_a_message_explains_is_not_looked_at_again(host: Host) -> None:
    with host.running() as daemon:
        until(lambda: len(host.steps.looks) >= 2)
        before = len(host.steps.looks)
        host.played.put("a")
        daemon._soon(0)
        daemon.inbox.wake()
        until(lambda: len(host.steps.looks) == before + 1)
        host.played.tell("create", "a")
        host.played.tell("start", "a")
        host.expect(2)
        time.sleep(1)
        assert len(host.steps.looks) == before + 1
    assert host.told() == ["create a", "start a"]


def test_who_administrates_is_written_also_when_nothing_happens(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with host.running() as daemon:
        until(lambda: len(host.steps.looks) >= 2)
        until(host.paths.container_owners.exists)
        monkeypatch.setattr("ds01.runtime.telemetry.roster.administrators", lambda _: ["root", "newcomer"])
        daemon._soon(0)
        until(lambda: "newcomer" in host.paths.container_owners.read_text())
    assert json.loads(host.paths.container_owners.read_text())["admins"] == ["newcomer", "root"]


def test_its_end_leaves_everything_written(host: Host) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        for number in range(50):
            host.played.run(f"c{number}")
        host.expect(100)
    assert len(host.known()) == 50
    assert host.cursor()["id"] == id_of("c49")


def test_it_goes_on_where_it_ended(host: Host) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.expect(2)
    host.played.run("b")
    host.played.die("a", 1)
    with host.running():
        host.expect(5)
        host.played.remove("a")
        host.expect(6)
        until(lambda: host.known() == {"b": "running"})
    assert host.told() == ["create a", "start a", "create b", "start b", "die a", "destroy a"]


@pytest.mark.parametrize("lost", [("containers",), ("event_cursor",), ("containers", "event_cursor")])
def test_killed_before_it_wrote_anything_but_the_log_it_tells_nothing_twice(host: Host, lost: tuple[str, ...]) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.expect(2)
        time.sleep(0.6)
        before = {name: getattr(host.paths, name).read_bytes() for name in lost if getattr(host.paths, name).exists()}
        for number in range(40):
            host.played.run(f"c{number}")
            host.played.die(f"c{number}")
            host.played.remove(f"c{number}")
        host.played.die("a", 1)
        host.expect(2 + 160 + 1)
    for name, content in before.items():
        getattr(host.paths, name).write_bytes(content)
    host.played.run("b")
    with host.running():
        host.expect(2 + 160 + 1 + 2)
        time.sleep(1)
        until(lambda: host.known() == {"a": "exited", "b": "running"})
    twice = {each: number for each, number in Counter(host.told()).items() if number > 1}
    assert twice == {}
    assert host.gaps() == []


def test_an_engine_that_was_restarted_leaves_a_gap_and_what_can_be_known(host: Host) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("ended")
        host.played.run("gone")
        host.expect(4)
        host.played.stop()
        host.played.containers[id_of("ended")]["State"] |= {"Status": "exited", "ExitCode": 137}
        del host.played.containers[id_of("gone")]
        host.played.put("new", status="created")
        host.played.start()
        host.expect(8)
        host.played.run("after")
        host.expect(10)
        until(lambda: host.known() == {"ended": "exited", "new": "created", "after": "running"})
    assert host.told()[:5] == ["create ended", "start ended", "create gone", "start gone", "events.gap"]
    assert sorted(host.told()[5:8]) == ["create new", "destroy gone", "die ended"]
    assert len(host.told()) == 10
    (gap,) = host.gaps()
    assert gap["why"] == "the engine was started anew and remembers nothing from before"
    assert gap["from"] < gap["to"]


def test_a_gap_begins_where_the_log_ends_when_the_power_took_its_last_lines(host: Host) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.played.run("b")
        host.expect(4)
    lines = host.paths.events.read_bytes().splitlines(keepends=True)
    host.paths.events.write_bytes(b"".join(lines[:2]))
    assert "b" in host.known()
    host.played.stop()
    host.played.start()
    with host.running():
        until(lambda: len(host.gaps()) == 1)
    assert host.told() == ["create a", "start a", "events.gap"]
    (gap,) = host.gaps()
    last = next(each for each in reversed(host.events()) if each.event_type == "container.start")
    assert datetime.fromisoformat(gap["from"]) <= last.timestamp


def test_more_than_the_engine_remembers_leaves_a_gap(host: Host) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.expect(2)
        time.sleep(0.6)
    for number in range(200):
        host.played.run(f"c{number}")
    host.played.remove("a")
    with host.running():
        until(lambda: len(host.known()) == 200)
        host.expect(2 + 400 + 1 + 1)
    assert [gap["why"] for gap in host.gaps()] == ["more happened than the engine remembers (256 messages)"]
    assert {each: number for each, number in Counter(host.told()).items() if number > 1} == {}
    assert len(host.told()) == 2 + 400 + 1 + 1


def test_messages_that_were_dropped_leave_a_gap_and_a_look(host: Host) -> None:
    with host.running(Inbox(most_items=10)) as daemon:
        until(lambda: len(host.steps.looks) > 0)
        host.played.hold = threading.Event()
        for number in range(100):
            host.played.run(f"c{number}")
        until(lambda: daemon.inbox._dropped >= 150)
        host.played.hold.set()
        until(lambda: len(host.known()) == 100)
        host.expect(201)
    assert {each: number for each, number in Counter(host.told()).items() if number > 1} == {}
    assert len(host.told()) == 201
    (gap,) = host.gaps()
    assert "messages came faster than they could be dealt with" in gap["why"]


def test_an_engine_that_is_not_there_yet_is_waited_for(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.played.stop()
    host.played.put("before")
    with host.running(), caplog.at_level(logging.INFO):
        until(lambda: any("not followed" in each.getMessage() for each in caplog.records))
        time.sleep(0.5)
        host.played.start()
        host.expect(2)
    assert host.told() == ["create before", "start before"]
    said = Counter(each.getMessage().partition(":")[0] for each in caplog.records)
    assert said == {
        "containers cannot be looked at": 1,
        "containers are not followed": 1,
        "containers are followed again": 1,
    }


def test_a_full_disk_loses_nothing(host: Host) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        until(lambda: host.cursor().get("action") == "start")
        moved = host.paths.events.parent.with_name("moved")
        host.paths.events.parent.rename(moved)
        host.played.run("b")
        until(lambda: "b" in host.known())
        time.sleep(1.2)
        assert host.cursor()["id"] == id_of("a"), "it does not go beyond what is in the log"
        moved.rename(host.paths.events.parent)
        host.expect(4)
        until(lambda: host.cursor()["id"] == id_of("b"))
    assert host.told() == ["create a", "start a", "create b", "start b"]


def test_events_that_were_given_up_leave_a_gap(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ds01.runtime.telemetry.writer._MOST_KEPT", 3)
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.expect(2)
        moved = host.paths.events.parent.with_name("moved")
        host.paths.events.parent.rename(moved)
        for number in range(5):
            host.played.run(f"c{number}")
        until(lambda: len(host.known()) == 6)
        moved.rename(host.paths.events.parent)
        until(lambda: len(host.gaps()) == 1)
    assert "events could not be written" in host.gaps()[0]["why"]


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1, "time_nano": "now"}', "\x00" * 50])
def test_a_cursor_that_cannot_be_believed_is_read_off_the_log(host: Host, text: str) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.expect(2)
    host.paths.event_cursor.write_text(text)
    host.played.run("b")
    with host.running():
        host.expect(4)
    assert host.told() == ["create a", "start a", "create b", "start b"]
    assert host.gaps() == []


def test_a_record_that_cannot_be_believed_is_kept_aside_and_made_anew(host: Host) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.expect(2)
    host.paths.containers.write_text("{")
    with host.running():
        until(host.paths.containers.with_name("containers.json.bad").exists)
        until(lambda: host.paths.containers.exists() and host.known() == {"a": "running"})
    assert host.paths.containers.with_name("containers.json.bad").read_text() == "{"
    assert host.told() == ["create a", "start a"]


def test_the_first_look_hands_on_what_was_known_before(host: Host) -> None:
    with host.running():
        until(lambda: len(host.steps.looks) > 0)
        host.played.run("a")
        host.expect(2)
    host.played.put("b", devices=["GPU-0"])
    with host.running():
        until(lambda: host.known() == {"a": "running", "b": "running"})
        looks = list(host.steps.looks)
        until(lambda: any(gpus for _, _, gpus in host.steps.looks))
    assert looks[0] == (["a", "b"], ["a"], False)
    assert {known is None for _, known, _ in looks[1:]} <= {True}


def test_a_thread_that_fails_ends_the_daemon(host: Host) -> None:
    daemon = host.daemon()
    host.steps.end()
    assert daemon.run() is False
    assert host.paths.containers.exists()


def test_what_a_message_explains_is_not_looked_for_again(host: Host) -> None:
    """Where containers come and go all the time, each look finds one whose message is on its way."""
    host.settle_seconds = 1.0
    host.played.put("train", status="created")
    with host.running():
        until(lambda: len(host.steps.looks) >= 2)
        before = len(host.steps.looks)
        host.played.tell("create", "train")
        host.expect(1)
        time.sleep(1.5)
        assert len(host.steps.looks) == before
    assert host.told() == ["create train"]


def test_an_engine_that_is_away_is_not_asked_all_the_time(host: Host) -> None:
    """Also when something was suspected just before."""
    host.played.put("train")
    with host.running() as daemon:
        until(lambda: bool(daemon.chronicle.suspects))
        host.played.stop()
        until(lambda: daemon._trouble is not None)
        assert daemon.chronicle.suspects
        assert daemon._next_look() > time.monotonic() + 5


def test_what_fails_beside_it_ends_the_daemon(host: Host) -> None:
    """Timers that are armed no more would be missed by nobody."""
    daemon, other = host.daemon(), Steps()
    daemon.beside = (other,)
    other.end()
    assert daemon.run() is False
    assert host.steps.ended.is_set()


# --- What administrators say ------------------------------------------------------------------------------------------


def settled(host: Host, daemon: Daemon) -> None:
    """Wait until all is looked at and written, and the next look is minutes away."""
    until(lambda: len(host.steps.looks) >= 2 and not daemon.chronicle.suspects)
    until(lambda: daemon._look_at > time.monotonic() + 100 and not daemon._is_unwritten())


def test_a_claim_is_known_at_once_and_so_is_that_it_was_taken_back(host: Host) -> None:
    """Nothing happens to the container, and the next look at all of them is minutes away."""
    host.played.put("web")
    with host.running() as daemon:
        until(lambda: id_of("web") in host.owners().get("containers", {}))
        settled(host, daemon)
        assert host.owner("web") is None
        write_claim(host.paths, Claim(id_of("web"), "alice", "root", datetime.now(UTC), "web"))
        until(lambda: host.owner("web") == "alice")
        assert read_record(host.paths).rows[id_of("web")].owner == Attribution("alice", Evidence.CLAIM)
        settled(host, daemon)
        remove_claim(host.paths, id_of("web"))
        until(lambda: host.owner("web") is None)


def test_another_policy_is_known_at_once(host: Host) -> None:
    def deploy(*admins: str) -> None:
        access = {**POLICY.document["access_control"], "admin_users": list(admins)}  # type: ignore[dict-item] # an object
        host.paths.policy.parent.mkdir(parents=True, exist_ok=True)
        write_json(host.paths.policy, {**POLICY.document, "access_control": access})

    deploy("alice")
    host.policy = PolicyInForce(host.paths.policy)
    with host.running() as daemon:
        until(lambda: "alice" in host.owners().get("admins", ()))
        settled(host, daemon)
        deploy("bob")
        until(lambda: "bob" in host.owners()["admins"])
        assert "alice" not in host.owners()["admins"]


def test_looking_at_claims_makes_no_look_at_containers(host: Host) -> None:
    write_claim(host.paths, Claim(id_of("web"), "alice", "root", datetime.now(UTC), "web"))
    with host.running() as daemon:
        settled(host, daemon)
        looks = len(host.steps.looks)
        time.sleep(2)
        assert len(host.steps.looks) == looks


def test_it_looks_again_after_a_while(host: Host) -> None:
    daemon = host.daemon()
    daemon.look_seconds = 0.2
    thread = threading.Thread(target=daemon.run)
    thread.start()
    until(lambda: len(host.steps.looks) >= 4)
    daemon.end()
    thread.join(20)
    assert module.LOOK_SECONDS == 600


def test_a_look_at_which_nothing_had_changed_renews_the_record_all_the_same(host: Host) -> None:
    daemon = host.daemon()
    daemon.look_seconds = 0.2
    thread = threading.Thread(target=daemon.run)
    thread.start()
    until(lambda: len(host.steps.looks) >= 1 and host.paths.containers.exists())
    first = read_record(host.paths)
    until(lambda: read_record(host.paths).updated_at != first.updated_at)
    assert read_record(host.paths).rows == first.rows
    daemon.end()
    thread.join(20)


def test_what_docker_cannot_describe_is_said_once_and_holds_up_nothing(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.played.put("stuck", status="created")
    host.played.put("web")
    host.played.broken = {"stuck"}
    with caplog.at_level(logging.INFO), host.running():
        host.expect(2)
        until(lambda: len(host.steps.looks) > 1 and host.known() == {"web": "running"})
    said = [each.getMessage() for each in caplog.records if "could not describe" in each.getMessage()]
    assert [each.partition(": ")[0] for each in said] == ["Docker could not describe stuck, which is left alone"]
