"""Containers that came to run by themselves: who may not is stopped, the oldest stays, doubt stops nobody."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.telemetry.played import PlayedEngine, id_of

from ds01.core.errors import BusyError, Ds01Error
from ds01.core.events import Event
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.rules import Rule
from ds01.core.value import dataclass, field, replace
from ds01.runtime.containers import page as page_module
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.containers.page import locked_page
from ds01.runtime.containers.pending import Pending
from ds01.runtime.containers.request import Verb
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.containers.standing import Place
from ds01.runtime.identity import ProcessRef
from ds01.runtime.lifecycle.comeback import Checks, Reach
from ds01.runtime.machine import Machine

ALICE, ADMIN, OTHER = "games", "daemon", "man"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GIB = 2**30
NO_GPU = Refusal(Rule.GPU, "DS01 GPU Taken", (("Requested", "GPU 2:0"),), "Bob has it.", ("wait",), {"reason": "taken"})


@dataclass(slots=True)
class Scene:
    """A host, and what was done on it."""

    paths: HostPaths
    played: PlayedEngine
    policy: Policy
    events: list[Event] = field(default_factory=list)
    told: list[tuple[str, str, str]] = field(default_factory=list)
    stopped: list[tuple[str, float]] = field(default_factory=list)
    units: Refusal | None = None
    units_hang: set[str] = field(default_factory=set)
    asked_units: list[str] = field(default_factory=list)
    fails: bool = False
    later: list[Callable[[], None]] | None = None

    def checks(self) -> Checks:
        reach = Reach(
            self.paths,
            Place(self.paths.cgroup, Engine(self.played.path), Machine()),
            write=self.events.append,
            tell=self._tell,
            stop=self._stop,
            units=self._units,
        )
        return Checks(reach, self._begin)

    def _tell(self, user: str, text: str, *, key: str) -> None:
        self.told.append((user, text, key))

    def _stop(self, container_id: str, grace_seconds: float) -> None:
        if self.fails:
            raise Ds01Error("the Docker engine did not stop it", "it is busy")
        self.stopped.append((self.played.containers[container_id]["Name"][1:], grace_seconds))
        del self.played.containers[container_id]

    def _units(self, container: Container) -> Refusal | None:
        self.asked_units.append(container.name)
        if container.name in self.units_hang:
            raise EngineError("the Docker engine did not answer within 5 s")
        return self.units

    def _begin(self, job: Callable[[], None]) -> None:
        if self.later is None:
            job()
        else:
            self.later.append(job)

    def put(self, name: str, minutes: int = 0, **changes: Any) -> Seen:
        """Have a container of alice's that runs, made so many minutes after noon."""
        status = changes.pop("status", "running")
        labels = {"ds01.user": ALICE, "ds01.created_at": f"token-{name}", **changes.pop("labels", {})}
        there = self.played.put(name, labels=labels, status=status, **changes)
        there["Created"] = f"2026-03-01T12:{minutes:02d}:00.5Z"
        there["HostConfig"]["Memory"] = GIB
        return self.seen(name)

    def seen(self, name: str, user: str | None = ALICE, kind: Kind = Kind.MANAGED) -> Seen:
        container = Engine(self.played.path).inspect(name)
        assert container is not None
        owner = None if user is None else Attribution(user, Evidence.LABEL)
        return Seen(container, kind, owner, admitted=kind is Kind.MANAGED, of_site=False, first_seen=NOON)

    def kinds(self) -> list[tuple[str, object]]:
        return [
            (each.event_type, each.details["container"]) for each in self.events if "fail_open" not in each.event_type
        ]

    def change(self, section: str, **values: Any) -> None:
        document = json.loads(json.dumps(self.policy.document))
        document[section].update(values)
        self.policy = Policy.from_document(document)

    def rule(self, name: str, mode: str) -> None:
        document = json.loads(json.dumps(self.policy.document))
        document["enforcement"]["rules"][name] = mode
        self.policy = Policy.from_document(document)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    document["users"] = {ALICE: {"group": "student"}}
    document["user_overrides"] = {ALICE: {"max_containers": 2, "sigterm_grace_seconds": 7}}
    document["access_control"]["admin_users"] = [ADMIN]
    paths = HostPaths(tmp_path)
    paths.containers.parent.mkdir(parents=True)
    with PlayedEngine(tmp_path / "docker.sock") as played:
        yield Scene(paths, played, Policy.from_document(document))


def test_who_is_within_the_limits_runs_on(scene: Scene) -> None:
    checks = scene.checks()
    both = [scene.put("a"), scene.put("b", 1)]
    checks.check(scene.policy, both)
    assert (scene.stopped, scene.kinds(), scene.told) == ([], [], [])
    assert all(map(checks.is_passed, both))


def test_one_too_many_is_stopped_logged_and_told_of(scene: Scene) -> None:
    checks = scene.checks()
    for minutes, name in enumerate(("a", "b")):
        checks.accept(scene.put(name, minutes))
    checks.check(scene.policy, [scene.put("c", 2)])
    assert scene.stopped == [("c", 7)]
    (event,) = [each for each in scene.events if each.event_type == "container.stopped_by_policy"]
    assert (event.user, event.source) == (ALICE, "eventsd")
    figures = "current usage 2 containers (a, b), requested 1 more (c), your limit 2 containers"
    reason = f"DS01 Container Quota Exceeded: {figures}"
    which = {"container_id": id_of("c"), "container": "c", "rule": "containers", "reason": reason}
    assert event.details == {**which, "current": 2, "requested": 1, "limit": 2}
    said = (
        f"your container c came to run again and was stopped. {reason}. "
        "Running and paused containers count, and those that are just being started."
    )
    assert scene.told == [(ALICE, said, f"comeback:{id_of('c')[:12]}")]


def test_of_a_long_name_its_user_is_told_the_beginning_and_the_log_all(scene: Scene) -> None:
    checks = scene.checks()
    for minutes, name in enumerate(("a", "b")):
        checks.accept(scene.put(name, minutes))
    checks.check(scene.policy, [scene.put("c" * 300, 2)])
    ((_, said, _),) = scene.told
    assert said.startswith(
        f"your container {'c' * 59}… came to run again and was stopped. DS01 Container Quota Exceeded"
    )
    (event,) = [each for each in scene.events if each.event_type == "container.stopped_by_policy"]
    assert event.details["container"] == "c" * 300


def test_of_several_that_came_back_together_the_oldest_stay(scene: Scene) -> None:
    """After a restart of the engine, in whatever order they are told of."""
    checks = scene.checks()
    seen = {name: scene.put(name, minutes) for minutes, name in enumerate(("a", "b", "c", "d"))}
    checks.check(scene.policy, [seen["d"], seen["b"], seen["a"], seen["c"]])
    assert [name for name, _ in scene.stopped] == ["c", "d"]


def test_the_oldest_stays_also_when_it_is_told_of_first_and_alone(scene: Scene) -> None:
    checks = scene.checks()
    seen = {name: scene.put(name, minutes) for minutes, name in enumerate(("a", "b", "c"))}
    for name in ("a", "b", "c"):
        checks.check(scene.policy, [seen[name]])
    assert scene.stopped == [("c", 7)]


def test_two_of_one_second_do_not_both_pass_for_the_older(scene: Scene) -> None:
    scene.change("user_overrides", **{ALICE: {"max_containers": 1}})
    checks = scene.checks()
    both = [scene.put("a", 5), scene.put("b", 5)]
    checks.check(scene.policy, both[1:])
    checks.check(scene.policy, both[:1])
    assert len(scene.stopped) == 1


def test_one_that_ends_does_not_count_any_more(scene: Scene) -> None:
    scene.later = []
    checks = scene.checks()
    seen = [scene.put(name, minutes) for minutes, name in enumerate(("a", "b", "c"))]
    for each in seen[:2]:
        checks.accept(each)
    checks.check(scene.policy, seen[2:])
    assert len(scene.later) == 1
    checks.check(scene.policy, seen[2:])
    assert len(scene.later) == 1, "it is being stopped already"
    del scene.played.containers[id_of("a")]
    checks.check(scene.policy, [scene.put("e", 4)])
    assert len(scene.later) == 1


def test_memory_that_it_uses_itself_is_not_counted_twice(scene: Scene) -> None:
    scene.change("user_overrides", **{ALICE: {"aggregate": {"memory_max_bytes": GIB}}})
    checks = scene.checks()
    first, second = scene.put("a"), scene.put("b", 1)
    checks.check(scene.policy, [first])
    assert scene.stopped == []
    checks.check(scene.policy, [second])
    assert scene.stopped == [("b", 60)]


def test_what_was_asked_about_is_not_asked_about_again(scene: Scene) -> None:
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    me = Machine().process(os.getpid())
    assert me is not None
    new, old = scene.put("new"), scene.put("old")
    with locked_page(scene.paths.pages, pwd.getpwnam(ALICE).pw_uid) as page:
        page.promises = (Pending("token-new", Verb.RUN, GIB, me), Pending(id_of("old"), Verb.START, GIB, me))
    checks = scene.checks()
    checks.check(scene.policy, [new, old])
    assert (scene.stopped, scene.events) == ([], [])
    assert checks.is_passed(new)
    with locked_page(scene.paths.pages, pwd.getpwnam(ALICE).pw_uid) as page:
        assert page.promises == (), "each is for one start"


def test_who_was_asked_about_when_it_was_made_is_asked_about_when_it_starts(scene: Scene) -> None:
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    me = Machine().process(os.getpid())
    assert me is not None
    seen = scene.put("new")
    with locked_page(scene.paths.pages, pwd.getpwnam(ALICE).pw_uid) as page:
        page.promises = (Pending("token-new", Verb.CREATE, GIB, me),)
    scene.checks().check(scene.policy, [seen])
    assert scene.stopped == [("new", 60)]


def test_who_asked_for_more_memory_asked_for_no_start(scene: Scene) -> None:
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    seen = scene.put("web")
    promised(scene, pwd.getpwnam(ALICE).pw_uid, seen, Verb.UPDATE)
    promised(scene, 0, seen, Verb.UPDATE)
    scene.checks().check(scene.policy, [seen])
    assert scene.stopped == [("web", 60)]


def promised(scene: Scene, uid: int, seen: Seen, verb: Verb, process: ProcessRef | None = None) -> None:
    me = process or Machine().process(os.getpid())
    assert me is not None
    with locked_page(scene.paths.pages, uid) as page:
        page.promises = (Pending(seen.container.id, verb, GIB, me),)


def test_what_an_administrator_starts_for_somebody_runs_on(scene: Scene) -> None:
    """It stands on the page of whoever asked, once for each start."""
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    seen = scene.put("a")
    promised(scene, 0, seen, Verb.START)
    checks = scene.checks()
    checks.check(scene.policy, [seen])
    assert (scene.stopped, scene.kinds(), checks.is_passed(seen)) == ([], [], True)
    checks.keep([])
    checks.check(scene.policy, [seen])
    assert scene.stopped == [("a", 60)]


@pytest.mark.parametrize("verb", [Verb.CREATE, Verb.START])
def test_a_word_of_long_ago_is_for_no_start_of_today(scene: Scene, verb: Verb) -> None:
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    seen = scene.put("a")
    long_ago = ProcessRef(2**22 + 1, 1, Machine().boot_id())
    promised(scene, 0, seen, verb, None if verb is Verb.CREATE else long_ago)
    scene.checks().check(scene.policy, [seen])
    assert scene.stopped == [("a", 60)]


def test_a_page_that_is_held_holds_up_nobody_else(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "_WAIT_SECONDS", 0.1)
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}, OTHER: {"max_containers": 0}})
    held, other = scene.put("a"), replace(scene.put("b", 1), owner=Attribution(OTHER, Evidence.LABEL))
    with locked_page(scene.paths.pages, pwd.getpwnam(ALICE).pw_uid), pytest.raises(BusyError):
        scene.checks().check(scene.policy, [held, other])
    assert [name for name, _ in scene.stopped] == ["b"]


def test_of_several_that_come_back_once_more_the_oldest_stay(scene: Scene) -> None:
    """Each of them had leave for its start before."""
    checks = scene.checks()
    before = {name: scene.put(name, minutes) for minutes, name in enumerate(("a", "b", "c"))}
    for each in before.values():
        checks.accept(each)
    for name in before:
        scene.played.containers[id_of(name)]["State"]["StartedAt"] = "2026-03-01T13:00:00.5Z"
    scene.change("user_overrides", **{ALICE: {"max_containers": 1}})
    checks.check(scene.policy, [scene.seen(name) for name in before])
    assert [name for name, _ in scene.stopped] == ["b", "c"]


@pytest.mark.parametrize(
    ("user", "kind"),
    [
        (ADMIN, Kind.MANAGED),
        (None, Kind.MANAGED),
        (ALICE, Kind.UNKNOWN),
        (ALICE, Kind.DOCKER),
        ("no.one", Kind.MANAGED),
    ],
)
def test_only_managed_containers_of_ordinary_accounts_are_checked(scene: Scene, user: str | None, kind: Kind) -> None:
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    scene.put("a")
    checks = scene.checks()
    checks.check(scene.policy, [scene.seen("a", user, kind)])
    assert (scene.stopped, scene.events) == ([], [])


def test_a_rule_that_only_warns_stops_nobody(scene: Scene) -> None:
    scene.rule("containers", "warn")
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    checks = scene.checks()
    checks.check(scene.policy, [scene.put("a")])
    assert (scene.stopped, scene.kinds()) == ([], [("admission.overruled", "a")])
    scene.rule("containers", "off")
    checks.check(scene.policy, [scene.put("b")])
    assert len(scene.kinds()) == 1


def test_what_cannot_be_told_stops_nobody_and_is_said_once(scene: Scene) -> None:
    checks = scene.checks()
    checks.check(scene.policy, [scene.put("a"), scene.put("b", 1)])
    opened = [each.details["text"] for each in scene.events]
    assert len(opened) == 1
    assert str(opened[0]).startswith("FAIL-OPEN: ")
    assert scene.stopped == []


def test_without_an_engine_nobody_is_stopped(scene: Scene) -> None:
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    seen = scene.put("a")
    scene.played.stop()
    checks = scene.checks()
    with pytest.raises(Ds01Error):
        checks.check(scene.policy, [seen])
    assert (scene.stopped, checks.is_passed(seen)) == ([], False)


def test_one_that_cannot_be_stopped_is_told_of_and_checked_again(scene: Scene) -> None:
    scene.change("user_overrides", **{ALICE: {"max_containers": 0}})
    scene.fails = True
    checks = scene.checks()
    seen = scene.put("a")
    checks.check(scene.policy, [seen])
    assert scene.kinds() == [("container.stop_failed", "a")]
    assert scene.told == []
    scene.fails = False
    checks.check(scene.policy, [seen])
    assert scene.kinds()[1:] == [("container.stopped_by_policy", "a")]


# --- GPUs -------------------------------------------------------------------------------------------------------------

GPU = {"labels": {"ds01.allocation": "7f3a", "ds01.gpu.slots": "2:0"}, "devices": ["MIG-20"]}


def test_one_whose_gpu_is_somebody_elses_is_stopped(scene: Scene) -> None:
    scene.units = NO_GPU
    scene.checks().check(scene.policy, [scene.put("train", **GPU)])
    assert scene.asked_units == ["train"]
    assert (scene.stopped, scene.kinds()) == ([("train", 7)], [("container.stopped_by_policy", "train")])
    assert "GPU 2:0. Bob has it." in scene.told[0][1]


def test_one_whose_gpu_nobody_knows_runs_on(scene: Scene) -> None:
    scene.checks().check(scene.policy, [scene.put("train", **GPU)])
    assert (scene.asked_units, scene.stopped) == (["train"], [])


@pytest.mark.parametrize("changes", [{"labels": GPU["labels"]}, {"devices": ["MIG-20"]}, {}])
def test_one_without_a_gpu_of_ours_is_not_asked_about(scene: Scene, changes: dict[str, Any]) -> None:
    scene.units = NO_GPU
    scene.checks().check(scene.policy, [scene.put("train", **changes)])
    assert (scene.asked_units, scene.stopped) == ([], [])


@pytest.mark.parametrize(("mode", "kinds"), [("warn", [("admission.overruled", "train")]), ("off", [])])
def test_the_rule_for_gpus_has_its_mode(scene: Scene, mode: str, kinds: list[tuple[str, object]]) -> None:
    scene.rule("gpu", mode)
    scene.units = NO_GPU
    scene.checks().check(scene.policy, [scene.put("train", **GPU)])
    assert (scene.stopped, scene.kinds()) == ([], kinds)


# --- Which start it is ------------------------------------------------------------------------------------------------


def test_leave_is_for_one_start(scene: Scene) -> None:
    checks = scene.checks()
    seen = scene.put("a")
    assert not checks.is_passed(seen)
    checks.accept(seen)

    def started(seconds: float) -> Seen:
        assert seen.container.started_at is not None
        later = seen.container.started_at + timedelta(seconds=seconds)
        return replace(seen, container=replace(seen.container, started_at=later))

    assert checks.is_passed(started(0))
    assert not checks.is_passed(started(0.5))
    checks.keep([])
    assert not checks.is_passed(seen)


# --- What Docker cannot describe --------------------------------------------------------------------------------------


def test_one_that_cannot_be_described_stops_no_other(scene: Scene) -> None:
    checks = scene.checks()
    there = [scene.put("a"), scene.put("stuck", 1), scene.put("c", 2)]
    scene.played.broken = {"stuck"}
    checks.check(scene.policy, [there[0], there[2]])
    assert (scene.stopped, scene.kinds()) == ([], [])
    assert all(map(checks.is_passed, (there[0], there[2])))


def test_one_that_hangs_since_it_was_seen_holds_up_nobody_else(scene: Scene) -> None:
    checks = scene.checks()
    labels = {"ds01.allocation": "token-123"}
    stuck = scene.put("stuck", labels=labels, devices=["MIG-20"])
    scene.put("others", 5, labels={"ds01.user": OTHER})
    others = scene.seen("others", OTHER)
    scene.units_hang = {"stuck"}
    with pytest.raises(EngineError, match="did not answer"):
        checks.check(scene.policy, [stuck, others])
    assert (checks.is_passed(stuck), checks.is_passed(others)) == (False, True)
    assert scene.stopped == []


def test_an_engine_that_does_not_answer_at_all_is_not_asked_about_each(scene: Scene) -> None:
    checks = scene.checks()
    came = [scene.put("a"), scene.put("b", 1)]
    others = replace(came[1], owner=Attribution(OTHER, Evidence.LABEL))
    scene.played.stop()
    with pytest.raises(EngineError, match="there is no Docker engine"):
        checks.check(scene.policy, [came[0], others])
    assert not any(map(checks.is_passed, came))
