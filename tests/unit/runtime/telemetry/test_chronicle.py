"""From what happens to the log and to what is known: made once and gone once, however it became known."""

from __future__ import annotations

import json
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.telemetry.played import START_NANO, PlayedEngine, id_of, message

from ds01.core.events import Event, EventLog, read_events
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.value import dataclass, field
from ds01.runtime.containers.claims import Claim, write_claim
from ds01.runtime.containers.container import State
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.containers.page import locked_page
from ds01.runtime.containers.record import Row
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.containers.start import Start
from ds01.runtime.telemetry.catchup import Suspects
from ds01.runtime.telemetry.chronicle import Chronicle
from ds01.runtime.telemetry.happening import Happening, read_message
from ds01.runtime.telemetry.roster import Roster
from ds01.runtime.telemetry.writer import Writer

ALICE, ADMIN, SERVICE = "games", "daemon", "www-data"
TOKEN = "2026-03-01T08:59:59.000001Z"
LABELS = {"ds01.user": ALICE, "ds01.created_at": TOKEN, "ds01.container_type": "compose"}


@dataclass(slots=True)
class Effects:
    """What was said to follow."""

    touched: list[tuple[str, str | None]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)

    def touch(self, row: Row, allocation: str | None) -> None:
        self.touched.append((row.name, allocation))

    def started(self, seen: Seen) -> None:
        self.begun.append(seen.container.name)


@dataclass(slots=True)
class Scene:
    """A chronicle, and the engine it is about."""

    paths: HostPaths
    played: PlayedEngine
    policy: Policy
    effects: Effects = field(default_factory=Effects)
    chronicle: Chronicle | None = None
    seconds: float = 0.0

    @property
    def it(self) -> Chronicle:
        if self.chronicle is None:
            self.begin()
        assert self.chronicle is not None
        return self.chronicle

    def begin(self) -> None:
        """Begin anew, with what was written."""
        roster = Roster(self.paths)
        roster.recover()
        self.chronicle = Chronicle(
            Engine(self.played.path),
            Engine(self.played.path),
            lambda: self.policy,
            roster,
            Writer(EventLog(self.paths.events)),
            self.effects,
            Suspects(2.0),
            now=lambda: datetime.now(UTC),
        )

    def tell(self, action: str, name: str, *, ask: bool = True, **attributes: str) -> None:
        said = read_message(json.dumps(self.played.tell(action, name, **attributes)).encode())
        assert isinstance(said, Happening)
        self.it.look_anew()
        self.it.happened(said, ask=ask)

    def look(self, *, settled: bool = True) -> None:
        """Look at all containers, and once more when all messages must have come."""
        for _ in range(2 if settled else 1):
            self.it.look(self.seconds)
            self.seconds += 2

    def run(self, name: str = "train", **labels: str) -> None:
        self.played.put(name, labels=labels, status="created")
        self.tell("create", name, **labels)
        self.played.put(name, labels=labels)
        self.tell("start", name, **labels)

    def events(self) -> list[Event]:
        if not self.paths.events.exists():
            return []
        return [each for each in read_events(self.paths.events) if isinstance(each, Event)]

    def told(self, but: str = "container.bypass") -> list[str]:
        """Type and name of each event, with a mark for what was reconstructed."""

        def brief(event: Event) -> str:
            mark = "*" if "reconstructed" in event.details else ""
            return f"{event.event_type.partition('.')[2]} {event.details['container']}{mark}"

        return [brief(each) for each in self.events() if each.event_type != but]

    def details(self, event_type: str) -> dict[str, Any]:
        (found,) = [each for each in self.events() if each.event_type == event_type]
        return dict(found.details)

    def state(self, name: str = "train") -> State | None:
        row = self.it.roster.rows.get(id_of(name))
        return None if row is None else row.state

    def admit(self) -> None:
        with locked_page(self.paths.pages, pwd.getpwnam(ALICE).pw_uid) as page:
            page.admitted = (*page.admitted, TOKEN)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    paths = HostPaths(tmp_path)
    for path in (paths.containers, paths.events):
        path.parent.mkdir(parents=True)
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    document["users"] = {ALICE: {"group": "student"}}
    document["access_control"] |= {"admin_users": [ADMIN], "service_users": [SERVICE]}
    with PlayedEngine(tmp_path / "docker.sock") as played:
        yield Scene(paths, played, Policy.from_document(document))


# --- Message by message -----------------------------------------------------------------------------------------------


def test_a_containers_life(scene: Scene) -> None:
    scene.run()
    assert scene.state() is State.RUNNING
    scene.tell("rename", "train")
    scene.tell("pause", "train")
    assert scene.state() is State.PAUSED
    scene.tell("unpause", "train")
    scene.tell("kill", "train", signal="15")
    scene.played.die("train", 3)
    scene.tell("die", "train", exitCode="3")
    assert scene.state() is State.EXITED
    scene.tell("stop", "train")
    scene.tell("destroy", "train")
    assert scene.it.roster.rows == {}
    happened = ("create", "start", "rename", "pause", "unpause", "kill", "die", "stop", "destroy")
    assert scene.told() == [f"{each} train" for each in happened]
    assert scene.effects.begun == ["train"]


def test_an_event_says_whose_the_container_is_and_how_it_came_to_be(scene: Scene) -> None:
    scene.admit()
    scene.run(**LABELS)
    create, start = scene.events()
    assert [(each.event_type, each.user) for each in (create, start)] == [
        ("container.create", ALICE), ("container.start", ALICE),
    ]  # fmt: skip
    assert {key: create.details[key] for key in ("container_id", "container", "type", "kind", "image")} == {
        "container_id": id_of("train"), "container": "train", "type": "compose", "kind": "managed", "image": "pytorch",
    }  # fmt: skip
    assert isinstance(create.details["time_nano"], int)


def test_labels_that_ds01_did_not_write_name_nobody(scene: Scene) -> None:
    scene.run(**LABELS)
    assert {each.user for each in scene.events()} == {None}
    assert {each.details["asserted"] for each in scene.events()} == {ALICE}
    assert scene.it.roster.rows[id_of("train")].kind is Kind.UNKNOWN


def test_a_claim_counts_from_the_next_message_on(scene: Scene) -> None:
    scene.run()
    write_claim(scene.paths, Claim(id_of("train"), ALICE, ADMIN, datetime.now(UTC), "train"))
    scene.look(settled=False)
    scene.tell("pause", "train")
    assert scene.events()[-1].user == ALICE
    assert scene.it.roster.rows[id_of("train")].owner == Attribution(ALICE, Evidence.CLAIM)
    scene.paths.claims.write_text("{")
    scene.look(settled=False)
    assert scene.it.roster.rows[id_of("train")].owner == Attribution(ALICE, Evidence.CLAIM), "claims are as they were"


def test_a_rename_says_what_it_was_called(scene: Scene) -> None:
    scene.run()
    there = scene.played.containers[id_of("train")]
    there["Name"] = "/other"
    scene.tell("rename", "other", id=id_of("train"), oldName="/a lie")
    assert scene.details("container.rename") | {"time_nano": 0} == {
        "container_id": id_of("train"), "container": "other", "type": "docker", "kind": "unmanaged-docker",
        "image": "pytorch", "old_name": "train", "time_nano": 0,
    }  # fmt: skip
    assert scene.it.roster.rows[id_of("train")].name == "other"


@pytest.mark.parametrize(
    ("code", "oom", "docker_says_oom", "expected"),
    [
        ("0", False, False, (0, False)),
        ("1", True, False, (1, True)),
        ("137", True, False, (137, True)),
        ("137", False, True, (137, True)),
        ("137", False, False, (137, False)),
    ],
)
def test_how_a_run_ended(
    scene: Scene, *, code: str, oom: bool, docker_says_oom: bool, expected: tuple[int, bool]
) -> None:
    scene.run()
    if oom:
        scene.tell("oom", "train")
        assert scene.details("container.oom")["oom_killed"] is True
    scene.played.die("train", int(code))
    scene.played.containers[id_of("train")]["State"]["OOMKilled"] = docker_says_oom
    scene.tell("die", "train", exitCode=code)
    died = scene.details("container.die")
    assert (died["exit_code"], died["oom_killed"]) == expected


def test_memory_that_was_short_in_an_earlier_run_ended_that_one(scene: Scene) -> None:
    scene.run()
    for action in ("oom", "die", "start"):
        scene.tell(action, "train", exitCode="1")
    scene.tell("die", "train", exitCode="2")
    ends = [each.details for each in scene.events() if each.event_type == "container.die"]
    assert [(each["exit_code"], each["oom_killed"]) for each in ends] == [(1, True), (2, False)]


def test_a_label_does_not_pass_for_an_exit_code_or_a_signal(scene: Scene) -> None:
    labels = {"exitCode": "0", "signal": "0"}
    scene.run(**labels)
    scene.tell("kill", "train", **labels)
    scene.played.die("train", 3)
    scene.tell("die", "train", **labels)
    assert scene.details("container.kill")["signal"] is None
    assert scene.details("container.die")["exit_code"] == 3


def test_what_cannot_be_asked_any_more_is_not_made_up(scene: Scene) -> None:
    labels = {"exitCode": "0"}
    scene.run(**labels)
    scene.played.containers.clear()
    scene.tell("die", "train", **labels)
    assert scene.details("container.die")["exit_code"] is None


def test_one_that_is_gone_before_it_can_be_asked_about_is_told_all_the_same(scene: Scene) -> None:
    scene.admit()
    for action in ("create", "start", "die", "destroy"):
        scene.tell(action, "train", exitCode="0", **LABELS)
    assert scene.told() == ["create train", "start train", "die train", "destroy train"]
    assert {each.user for each in scene.events()} == {ALICE}
    assert scene.effects.begun == []


def test_behind_many_messages_the_engine_is_not_asked(scene: Scene) -> None:
    scene.played.put("train")
    for action in ("create", "start"):
        scene.tell(action, "train", ask=False)
    scene.tell("pause", "other", ask=False)
    assert scene.told() == ["create train", "start train", "pause other"]
    assert scene.played.asked == []


def test_when_a_container_was_last_asked_for_outlasts_its_restart_policy_and_the_daemon(scene: Scene) -> None:
    def began(restarts: int, at: str, status: str = "running") -> None:
        there = scene.played.put("train", status=status)
        there["State"] |= {"StartedAt": at}
        there |= {"RestartCount": restarts}

    def start() -> Start | None:
        return scene.it.roster.rows[id_of("train")].start

    scene.run()
    first = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
    assert start() == Start(first, 0, first)
    began(1, "2026-03-01T10:00:00Z", status="restarting")
    scene.tell("die", "train", exitCode="1")
    scene.look()
    assert start() == Start(first, 0, first)
    began(1, "2026-03-01T10:05:00Z")
    scene.tell("start", "train")
    assert start() == Start(first, 1, first + timedelta(minutes=5))
    scene.it.roster.write(scene.policy, datetime.now(UTC))
    again(scene)
    began(7, "2026-03-01T10:30:00.123456Z")
    scene.look()
    assert start() == Start(first, 7, first + timedelta(minutes=30, milliseconds=123))
    began(0, "2026-03-01T11:00:00Z")
    scene.tell("start", "train")
    asked = first + timedelta(hours=1)
    assert start() == Start(asked, 0, asked)
    began(1, "2026-03-01T11:05:00Z")
    scene.look()
    assert start() == Start(asked, 1, asked + timedelta(minutes=5))


def test_one_that_nobody_told_of_was_made_first(scene: Scene) -> None:
    scene.played.put("train")
    scene.tell("pause", "train")
    assert scene.told() == ["create train*", "pause train"]
    assert scene.events()[0].timestamp == datetime(2026, 3, 1, 9, 0, 0, 123000, tzinfo=UTC)
    scene.tell("destroy", "stranger")
    assert scene.told()[2:] == ["destroy stranger"]


def test_what_comes_late_brings_nobody_back(scene: Scene) -> None:
    scene.run()
    scene.tell("destroy", "train")
    before = scene.told()
    for action in ("destroy", "die", "create", "start"):
        scene.tell(action, "train")
    assert scene.told() == before
    assert scene.it.roster.rows == {}


def test_an_engine_that_does_not_answer_holds_up_no_event(scene: Scene) -> None:
    scene.run()
    message = scene.played.tell("die", "train", exitCode="137")
    scene.played.stop()
    said = read_message(json.dumps(message).encode())
    assert isinstance(said, Happening)
    scene.it.happened(said)
    assert scene.details("container.die")["exit_code"] == 137


def test_of_many_that_are_gone_nothing_is_left(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ds01.runtime.telemetry.chronicle._MOST_GONE", 50)
    labels = {"exitCode": "0"}
    for number in range(80):
        for action in ("create", "oom", "destroy"):
            said = message(action, f"c{number}", START_NANO + number, **labels)
            happening = read_message(json.dumps(said).encode())
            assert isinstance(happening, Happening)
            scene.it.happened(happening, ask=False)
    it = scene.it
    assert (len(it._gone), len(it._oomed), len(it._overwritten), len(it.roster.rows)) == (50, 0, 0, 0)


# --- GPUs -------------------------------------------------------------------------------------------------------------


def test_what_happens_to_a_container_with_a_gpu_is_handed_on(scene: Scene) -> None:
    scene.admit()
    labels = {**LABELS, "ds01.allocation": "7f3a", "ds01.gpu.slots": "2:0"}
    scene.run(**labels)
    for action in ("pause", "die", "rename", "destroy"):
        scene.tell(action, "train", exitCode="0", **labels)
    assert scene.effects.touched == [
        ("train", "7f3a"), ("train", None), ("train", None), ("train", None), ("train", None), ("train", None),
    ]  # fmt: skip
    scene.effects.touched.clear()
    scene.run("other")
    assert scene.effects.touched == []


def test_a_label_of_an_allocation_that_ds01_did_not_write_is_not_handed_on(scene: Scene) -> None:
    scene.played.put("thief", labels={"ds01.allocation": "7f3a"}, devices=["GPU-0"])
    scene.tell("create", "thief", **{"ds01.allocation": "7f3a"})
    assert {allocation for _, allocation in scene.effects.touched} == {None}


# --- Past DS01 --------------------------------------------------------------------------------------------------------


def bypassed(scene: Scene) -> list[str]:
    return [str(each.details["container"]) for each in scene.events() if each.event_type == "container.bypass"]


def test_a_container_that_came_past_ds01_is_told_once(scene: Scene) -> None:
    scene.played.put("web", everything=True)
    scene.run("web", **{"com.docker.compose.project": "web"})
    there = scene.details("container.bypass")
    assert (there["kind"], there["evidence"], there["gpu"]) == ("unmanaged-compose", None, None)
    scene.tell("die", "web")
    scene.tell("start", "web")
    scene.look()
    scene.it.roster.write(scene.policy, datetime.now(UTC))
    scene.begin()
    scene.look()
    assert bypassed(scene) == ["web"]


def test_one_that_never_runs_is_told_when_it_is_some_seconds_old(scene: Scene) -> None:
    scene.played.put("old", status="created")
    young = scene.played.put("young", status="created")
    young["Created"] = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    scene.tell("create", "old")
    scene.tell("create", "young")
    assert bypassed(scene) == []
    scene.look()
    assert bypassed(scene) == ["old"]


def test_those_who_may_do_that_are_not_told_of(scene: Scene) -> None:
    scene.admit()
    for name, user in (("admins", ADMIN), ("services", SERVICE)):
        write_claim(scene.paths, Claim(id_of(name), user, ADMIN, datetime.now(UTC), name))
    scene.run("admins")
    scene.run("services")
    scene.run("ds01-grafana")
    scene.run("train", **LABELS)
    scene.look()
    assert bypassed(scene) == []
    scene.run("forged", **{"ds01.user": ADMIN})
    assert bypassed(scene) == ["forged"]


# --- All containers ---------------------------------------------------------------------------------------------------


def test_what_was_there_before_is_told_of_once_it_has_lasted(scene: Scene) -> None:
    scene.played.put("a")
    scene.played.put("b", status="exited")
    scene.look(settled=False)
    assert scene.told() == []
    assert scene.it.roster.rows == {}
    scene.look(settled=False)
    assert sorted(scene.told()) == sorted(["create a*", "start a*", "create b*", "start b*", "die b*"])
    assert (scene.state("a"), scene.state("b")) == (State.RUNNING, State.EXITED)
    scene.look()
    assert len(scene.told()) == 5


def test_a_message_that_comes_in_time_is_told_in_its_place(scene: Scene) -> None:
    scene.played.put("train", status="created")
    scene.look(settled=False)
    scene.tell("create", "train")
    scene.look()
    assert scene.told() == ["create train"]


def test_a_message_that_comes_too_late_is_not_told_again(scene: Scene) -> None:
    scene.played.put("train", status="created")
    scene.look()
    scene.tell("create", "train")
    scene.played.containers.clear()
    scene.look()
    scene.tell("destroy", "train")
    assert scene.told() == ["create train*", "destroy train*"]


def test_what_happened_to_a_container_meanwhile(scene: Scene) -> None:
    for name in ("ended", "gone", "renamed", "stays"):
        scene.run(name)
    scene.look()
    scene.played.die("ended", 5)
    scene.played.containers[id_of("ended")]["State"]["OOMKilled"] = True
    del scene.played.containers[id_of("gone")]
    scene.played.containers[id_of("renamed")]["Name"] = "/other"
    before = len(scene.told())
    scene.look()
    assert sorted(scene.told()[before:]) == ["destroy gone*", "die ended*", "rename other*"]
    died = scene.details("container.die")
    assert (died["exit_code"], died["oom_killed"]) == (5, True)
    assert scene.details("container.rename")["old_name"] == "renamed"
    assert sorted(row.name for row in scene.it.roster.rows.values()) == ["ended", "other", "stays"]


def test_a_container_is_remembered_as_it_was_told_until_a_difference_has_lasted(scene: Scene) -> None:
    scene.run()
    scene.played.die("train", 1)
    scene.look(settled=False)
    assert scene.state() is State.RUNNING
    scene.look(settled=False)
    assert scene.state() is State.EXITED


def test_labels_are_known_from_a_look_on(scene: Scene) -> None:
    scene.played.put("train", labels={"exitCode": "0"})
    scene.look()
    scene.played.die("train", 3)
    scene.tell("die", "train", exitCode="0")
    assert scene.details("container.die")["exit_code"] == 3


def test_without_an_engine_a_look_changes_nothing(scene: Scene) -> None:
    scene.run()
    before = scene.told()
    scene.played.stop()
    with pytest.raises(EngineError):
        scene.it.look(0)
    assert (scene.told(), scene.state()) == (before, State.RUNNING)


def test_one_that_docker_cannot_describe_is_not_gone_and_keeps_its_row(scene: Scene) -> None:
    for name in ("stuck", "gone", "ended"):
        scene.run(name)
    scene.look()
    row, before = scene.it.roster.rows[id_of("stuck")], len(scene.told())
    scene.played.broken = {"stuck"}
    del scene.played.containers[id_of("gone")]
    scene.played.die("ended", 5)
    scene.look()
    assert sorted(scene.told()[before:]) == ["destroy gone*", "die ended*"]
    assert scene.it.roster.rows[id_of("stuck")] == row


def test_what_happened_to_it_meanwhile_is_told_once_docker_describes_it_again(scene: Scene) -> None:
    scene.run("stuck")
    scene.run("web")
    scene.played.broken = {"stuck"}
    scene.played.die("stuck", 5)
    scene.look()
    before = len(scene.told())
    scene.played.broken = set()
    scene.look()
    assert scene.told()[before:] == ["die stuck*"]


def test_a_message_of_one_that_docker_cannot_describe_is_told_as_it_is(scene: Scene) -> None:
    scene.played.broken = {"stuck"}
    scene.run("stuck")
    scene.run("web")
    scene.look()
    assert scene.told() == ["create stuck", "start stuck", "create web", "start web"]
    assert scene.state("stuck") is State.RUNNING


# --- After an end -----------------------------------------------------------------------------------------------------


def again(scene: Scene) -> None:
    """End without writing anything, and begin with the log."""
    log = scene.events()
    scene.begin()
    scene.it.recover(log)


def test_the_log_is_ahead_of_what_was_written(scene: Scene) -> None:
    scene.run("a")
    scene.run("b")
    scene.tell("destroy", "b")
    del scene.played.containers[id_of("b")]
    scene.run("c")
    scene.played.die("c", 1)
    scene.tell("die", "c", exitCode="1")
    before = scene.told("")
    again(scene)
    assert (scene.state("a"), scene.state("b"), scene.state("c")) == (State.RUNNING, None, State.EXITED)
    scene.look()
    assert scene.told("") == before, "bypasses too are told once"
    scene.tell("destroy", "b")
    scene.tell("create", "b")
    assert scene.told("") == before


def test_an_old_log_does_not_undo_what_is_remembered(scene: Scene) -> None:
    scene.admit()
    scene.run("train", **LABELS)
    scene.look()
    scene.it.roster.write(scene.policy, datetime.now(UTC))
    before = scene.it.roster.rows[id_of("train")]
    again(scene)
    after = scene.it.roster.rows[id_of("train")]
    assert (after.owner, after.kind, after.admitted, after.state) == (
        before.owner, before.kind, True, State.RUNNING,
    )  # fmt: skip


def test_what_is_no_event_of_a_container_tells_nothing(scene: Scene) -> None:
    now = datetime.now(UTC)
    scene.it.recover([Event("gpu.released", None, "gpu", now, {"container": "train"}), Event("a.b", None, "x", now)])
    assert scene.it.roster.rows == {}


def test_a_token_of_one_that_came_and_went_before_the_start_is_nobody_elses(scene: Scene) -> None:
    """Seen at the first look: a copy of it. The messages that come then tell of the one that it was for."""
    scene.admit()
    scene.played.put("copy", labels=LABELS)
    scene.it.look(scene.seconds)
    for action, name in (("create", "train"), ("start", "train"), ("destroy", "train"), ("create", "copy")):
        said = read_message(json.dumps(scene.played.tell(action, name, **LABELS)).encode())
        assert isinstance(said, Happening)
        scene.it.happened(said)
    created = [(each.details["container"], each.user) for each in scene.events() if "create" in each.event_type]
    assert created == [("train", ALICE), ("copy", None)]


def test_a_storm_of_signals_does_not_fill_the_log(scene: Scene) -> None:
    scene.run()
    for _ in range(200):
        scene.tell("kill", "train", signal="28")
    scene.tell("destroy", "train")
    kinds = [each.event_type for each in scene.events() if each.event_type != "container.bypass"]
    kills = kinds.count("container.kill")
    assert kills in {60, 61, 120}, "the minute may end meanwhile"
    assert kinds == ["container.create", "container.start", *["container.kill"] * kills, "container.destroy"]
    assert sum(int(str(each.details.get("unsaid", 0))) for each in scene.events()) == 200 - kills


def test_a_name_is_followed_also_where_it_is_not_told(scene: Scene) -> None:
    scene.run()
    for number in range(100):
        there = scene.played.containers[id_of("train")]
        there["Name"] = f"/n{number}"
        scene.tell("rename", f"n{number}", id=id_of("train"), oldName="/x")
    assert scene.it.roster.rows[id_of("train")].name == "n99"
