"""At the edges of an admission: exactly at a limit, one above it, and the moment in which something changes."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.integration.test_wrapper_quota import lay_down
from tests.unit.runtime.gpu.engines import engine_of, inspected

from ds01.core.limits import LimitValue
from ds01.core.policy import read_policy
from ds01.core.rules import Mode, Rule, Rules
from ds01.core.value import replace
from ds01.runtime.accounts import limits_of
from ds01.runtime.containers.admission import Admission, Refusal, admit
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.denials import Denials, Telling, one_more
from ds01.runtime.containers.page import locked_page, take_back
from ds01.runtime.containers.pending import LAPSE_SECONDS, Pending, lapse, review
from ds01.runtime.containers.request import AccountRules, ContainerRequest, Settings, Usage, Verb
from ds01.runtime.containers.standing import Account, Place, Standing, read_standing
from ds01.runtime.identity import Caller, ProcessRef
from ds01.runtime.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ds01.runtime.gpu.answer import Grant

SHIPPED: Final = Path(__file__).resolve().parents[2] / "generated/ds01/root/etc/ds01/policy.json"
GIB: Final = 1024**3
LIMITS: Final = {
    "max_containers": 3,
    "memory": 4 * GIB,
    "max_cpus": 2.0,
    "pids_limit": 100,
    "shm_size": GIB,
    "ipc_mode": "private",
    "aggregate.memory_max": 8 * GIB,
    "aggregate.tasks_max": 1000,
}
FILLED: Final = Settings(4 * GIB, 2 * 10**9, 100, GIB, None)
ENFORCED: Final = dict.fromkeys(Rule, Mode.ENFORCE)


def rules(modes: Mapping[Rule, Mode] | None = None, **limits: object) -> AccountRules:
    found = limits_of(read_policy(SHIPPED), "alice")
    values: dict[str, Any] = {**LIMITS, **limits}
    stated = {name: LimitValue(value, "test", 0) for name, value in values.items()}
    return AccountRules(replace(found, values={**found.values, **stated}), Rules({**ENFORCED, **(modes or {})}))


def no_gpu() -> Grant | Refusal:
    raise AssertionError("no GPU is asked for")


def decided(
    request: ContainerRequest, usage: Usage, held: AccountRules | None = None, *, admin: bool = False
) -> Admission | Refusal:
    return admit(request, Caller(1000, "alice", admin), held or rules(), usage, no_gpu)


def titles(
    request: ContainerRequest, usage: Usage, held: AccountRules | None = None, *, admin: bool = False
) -> tuple[str, ...]:
    """Return what refuses, or what would."""
    answer = decided(request, usage, held, admin=admin)
    return (f"{answer.rule.value}!",) if isinstance(answer, Refusal) else tuple(e.rule.value for e in answer.overruled)


RUN: Final = ContainerRequest(Verb.RUN)
FULL: Final = Usage(containers=3, committed_bytes=8 * GIB, working_set_bytes=8 * GIB)


@pytest.mark.parametrize(
    ("asked", "used", "refused"),
    [
        ({}, {"containers": 2}, ()),
        ({}, {"containers": 3}, ("containers!",)),
        ({}, {"containers": None}, ()),
        ({"memory_bytes": 4 * GIB}, {}, ()),
        ({"memory_bytes": 4 * GIB + 1}, {}, ("limits!",)),
        ({"nano_cpus": 2 * 10**9}, {}, ()),
        ({"nano_cpus": 2 * 10**9 + 1}, {}, ("limits!",)),
        ({"pids": 100}, {}, ()),
        ({"pids": 101}, {}, ("limits!",)),
        ({"pids": 0}, {}, ("limits!",)),
        ({"pids": -1}, {}, ("limits!",)),
        ({"shm_bytes": GIB}, {}, ()),
        ({"shm_bytes": GIB + 1}, {}, ("limits!",)),
        ({"ipc_mode": "host"}, {}, ("limits!",)),
        ({"ipc_mode": "shareable"}, {}, ()),
        ({}, {"committed_bytes": 4 * GIB}, ()),
        ({}, {"committed_bytes": 4 * GIB + 1}, ("memory!",)),
        ({}, {"working_set_bytes": 4 * GIB}, ()),
        ({}, {"working_set_bytes": 4 * GIB + 1}, ("memory!",)),
        ({}, {"committed_bytes": None, "working_set_bytes": None}, ()),
        ({}, {"committed_bytes": None, "working_set_bytes": 4 * GIB + 1}, ("memory!",)),
    ],
)
def test_a_limit_is_reached_exactly(asked: dict[str, Any], used: dict[str, Any], refused: tuple[str, ...]) -> None:
    assert titles(replace(RUN, **asked), replace(Usage(), **used)) == refused


def test_rules_are_asked_in_their_order_and_each_mode_holds_for_its_own() -> None:
    wish = replace(RUN, memory_bytes=5 * GIB)
    warned = {Rule.CONTAINERS: Mode.WARN, Rule.LIMITS: Mode.WARN}
    assert titles(wish, FULL) == ("containers!",)
    assert titles(wish, FULL, rules({Rule.CONTAINERS: Mode.WARN})) == ("limits!",)
    assert titles(wish, FULL, rules(warned)) == ("memory!",)
    assert titles(wish, FULL, rules({**warned, Rule.MEMORY: Mode.WARN})) == ("containers", "limits", "memory")
    assert titles(wish, FULL, rules(dict.fromkeys(Rule, Mode.OFF))) == ()
    assert titles(wish, FULL, admin=True) == ()


def test_what_runs_already_takes_no_room_a_second_time() -> None:
    again = ContainerRequest(Verb.RESTART, "web", memory_bytes=GIB, is_live=True)
    answer = decided(again, FULL)
    assert isinstance(answer, Admission)
    assert (answer.reserved_bytes, answer.overruled) == (0, ())


@pytest.mark.parametrize(
    ("memory", "used", "refused"),
    [
        (3 * GIB, {"committed_bytes": 5 * GIB, "working_set_bytes": 6 * GIB}, ()),
        (3 * GIB, {"committed_bytes": 5 * GIB + 1}, ("memory!",)),
        # Its own part is in what is in use already.
        (3 * GIB, {"working_set_bytes": 6 * GIB + 1}, ("memory!",)),
        (GIB, {"committed_bytes": 8 * GIB, "working_set_bytes": 9 * GIB}, ()),
        (GIB // 2, {"committed_bytes": 8 * GIB, "working_set_bytes": 9 * GIB}, ()),
        (None, {"committed_bytes": 8 * GIB, "working_set_bytes": 9 * GIB}, ()),
        (3 * GIB, {"committed_bytes": None, "working_set_bytes": None}, ()),
        (5 * GIB, {}, ("limits!",)),
    ],
)
def test_what_runs_is_given_more_memory_within_what_all_may_have(
    memory: int | None, used: dict[str, Any], refused: tuple[str, ...]
) -> None:
    update = ContainerRequest(Verb.UPDATE, "web", memory_bytes=memory, is_live=True, had_bytes=GIB)
    assert titles(update, replace(FULL, **{"committed_bytes": 0, "working_set_bytes": 0, **used})) == refused


def test_no_cpus_are_unlimited() -> None:
    refusal = decided(ContainerRequest(Verb.UPDATE, nano_cpus=-(10**9), is_live=True), Usage())
    assert isinstance(refusal, Refusal)
    assert (refusal.title, refusal.rows[0]) == (
        "DS01 Container CPU Limit Exceeded",
        ("Requested", "--cpus unlimited"),
    )
    free = rules(max_cpus=None)
    assert titles(ContainerRequest(Verb.UPDATE, nano_cpus=-(10**9), is_live=True), Usage(), free) == ()


@pytest.mark.parametrize(
    ("asked", "limits", "made"),
    [
        ({}, {}, FILLED),
        ({"memory_bytes": GIB, "nano_cpus": 1, "pids": 1, "shm_bytes": 1}, {}, Settings(GIB, 1, 1, 1, None)),
        ({}, {"ipc_mode": "host"}, replace(FILLED, shm_bytes=None, ipc_mode="host")),
        ({"shm_bytes": 1}, {"ipc_mode": "host"}, replace(FILLED, shm_bytes=1)),
        ({"ipc_mode": "shareable"}, {"ipc_mode": "host"}, replace(FILLED, ipc_mode="shareable")),
        ({"ipc_mode": "container:x"}, {}, replace(FILLED, shm_bytes=None, ipc_mode="container:x")),
    ],
)
def test_what_a_container_is_made_with(asked: dict[str, Any], limits: dict[str, Any], made: Settings) -> None:
    answer = decided(replace(RUN, **asked), Usage(), rules(**limits))
    assert isinstance(answer, Admission)
    assert (answer.settings, answer.reserved_bytes) == (made, made.memory_bytes)


def test_without_the_rule_of_limits_nothing_is_filled_in() -> None:
    answer = decided(replace(RUN, pids=7), Usage(), rules({Rule.LIMITS: Mode.OFF}))
    assert answer == Admission(Settings(pids=7), 0)


@pytest.mark.parametrize(
    ("number", "shown"), [(0, ""), (1, " (a)"), (5, " (a, b, c, d, e)"), (6, " (a, b, c, d, e, …)")]
)
def test_five_names_are_shown(number: int, shown: str) -> None:
    refusal = decided(RUN, Usage(containers=9, names=tuple("abcdef"[:number])))
    assert isinstance(refusal, Refusal)
    assert refusal.rows[0] == ("Current usage", f"9 containers{shown}")


@pytest.mark.parametrize(
    ("pids", "mode", "notes"), [(899, "warn", 0), (900, "enforce", 1), (900, "off", 0), (None, "warn", 0)]
)
def test_nearly_all_processes_are_a_notice(pids: int | None, mode: str, notes: int) -> None:
    answer = decided(RUN, Usage(pids=pids), rules({Rule.PIDS: Mode(mode)}))
    assert isinstance(answer, Admission)
    assert len(answer.notes) == notes


# --- Promises ---------------------------------------------------------------------------------------------------------

THEN: Final = datetime(2026, 3, 1, tzinfo=UTC)
KEEPER: Final = ProcessRef(4711, 12345, "boot")


def container(state: str, *, started: bool = True, exit_code: int = 0) -> Container:
    return Container(
        "c" * 64, "web", State(state), THEN, THEN if started else None, None, "", "", "no", None, None, exit_code
    )


@pytest.mark.parametrize(
    ("verb", "found", "alive", "stands"),
    [
        ("run", None, True, True),
        ("run", None, False, False),
        ("run", container("created", started=False), True, True),
        ("run", container("created", started=False), False, False),
        ("run", container("created", started=False, exit_code=127), True, True),
        ("run", container("created", started=False, exit_code=127), False, False),
        ("run", container("running"), True, False),
        ("run", container("exited"), True, False),
        ("create", None, True, True),
        ("create", container("created", started=False), True, False),
        ("start", container("exited"), True, False),
        ("start", container("created", started=False), True, True),
        ("start", container("created", started=False, exit_code=127), False, False),
        ("start", container("running"), True, False),
        ("start", container("paused"), True, False),
        ("start", None, False, False),
    ],
)
def test_a_promise_is_settled_by_what_docker_shows(
    verb: str, found: Container | None, *, alive: bool, stands: bool
) -> None:
    promise = Pending("x", Verb(verb), GIB, KEEPER)
    assert review(promise, found, alive=alive) == (promise if stands else None)


def test_where_docker_cannot_be_asked_a_promise_stands_for_a_minute_more() -> None:
    promise = Pending("x", Verb.START, GIB, KEEPER)
    gone = replace(promise, gone_at=100.0)
    for each, now, stands in ((promise, 100.0, gone), (gone, 99.0 + LAPSE_SECONDS, gone), (gone, 160.0, None)):
        assert lapse(each, alive=False, boot_seconds=now) == stands
    assert review(gone, container("created", started=False), alive=True) == promise
    assert lapse(gone, alive=True, boot_seconds=500.0) == promise


# --- Refusals ---------------------------------------------------------------------------------------------------------


def test_ten_refusals_an_hour_are_told_and_the_next_hour_says_how_many_were_not() -> None:
    denials, told = Denials(), []
    for second in range(12):
        denials, telling = one_more(denials, 1000.0 + second)
        told.append((telling.in_full, telling.number, telling.unsaid))
    assert told == [(True, n, 0) for n in range(1, 11)] + [(False, 11, 0), (False, 12, 1)]
    assert one_more(denials, 4599.9)[1].in_full is False
    later, telling = one_more(denials, 4600.0)
    assert telling == Telling(in_full=True, number=10, unsaid=2)
    assert later == Denials((*(1000.0 + n for n in range(1, 10)), 4600.0), 0)
    # The clock was set back.
    assert one_more(denials, 5.0) == (Denials((5.0,)), Telling(in_full=True, number=1, unsaid=2))


# --- The page ---------------------------------------------------------------------------------------------------------

ONE: Final = Pending("one", Verb.RUN, GIB, KEEPER)
TWO: Final = Pending("two", Verb.START, 0, KEEPER, 7.5)


def test_a_page_keeps_what_is_left_in_it_for_root_alone(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    with locked_page(folder, 1000) as page, locked_page(folder, 1001) as other:
        page.promises, page.denials = (ONE, TWO), Denials((1.0, 2.5), 3)
        other.promises = (TWO,)
    take_back(folder, 1000, lambda each: each.id == "one")
    with locked_page(folder, 1000) as page, locked_page(folder, 1001) as other:
        assert (page.promises, page.denials, page.trouble) == ((TWO,), Denials((1.0, 2.5), 3), None)
        assert (other.promises, other.denials, other.trouble) == ((TWO,), Denials(), None)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("1000.json", "1000.lock", "1001.json", "1001.lock"), 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 2, "pending": [], "denied_at": [], "denied_unsaid": 0}',
        '{"version": 1, "pending": {}, "denied_at": [], "denied_unsaid": 0}',
        '{"version": 1, "pending": [{"id": "x"}], "denied_at": [], "denied_unsaid": 0}',
        '{"version": 1, "pending": [], "denied_at": ["1"], "denied_unsaid": 0}',
        '{"version": 1, "pending": [], "denied_at": [], "denied_unsaid": null}',
    ],
)
def test_a_page_of_another_form_is_put_aside_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "1000.json"
    path.write_text(text)
    path.chmod(0o600)
    with locked_page(tmp_path, 1000) as page:
        assert (page.promises, page.denials) == ((), Denials())
        assert str(page.trouble).startswith(f"{path} could not be used and lies in 1000.json.bad now: ")
    assert (tmp_path / "1000.json.bad").read_text() == text
    assert path.exists()
    with locked_page(tmp_path, 1000) as page:
        assert page.trouble is None


# --- How an account stands --------------------------------------------------------------------------------------------

ALICE: Final = Account("alice", ("alice",))
SLICE: Final = "ds01.slice/ds01-student.slice/ds01-student-alice.slice"
MINE: Final = {"ds01.user": "alice", "ds01.created_at": "now"}


def stood(
    folder: Path, answers: list[list[dict[str, object]]], *promises: Pending, without: frozenset[str] = frozenset()
) -> Standing:
    """Read how alice stands while the engine answers each question with the next of these, the last for ever."""
    left = iter(answers[:-1])
    with engine_of(folder / "engine", lambda: next(left, answers[-1])) as engine:
        return read_standing(Place(folder / "cgroup", engine, Machine()), ALICE, promises, without, admitted=())


def alive() -> ProcessRef:
    found = Machine().process(os.getpid())
    assert found is not None
    return found


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    root = tmp_path / "cgroup"
    for folder in (root / SLICE, *(root / SLICE).parents[:2]):
        lay_down(folder)
    (root / "cgroup.controllers").write_text("cpu io memory pids\n")
    return root / SLICE


def created(name: str = "web", status: str = "created") -> dict[str, object]:
    made = inspected(name, labels=MINE, status=status)
    state, config = made["State"], made["HostConfig"]
    assert isinstance(state, dict)
    assert isinstance(config, dict)
    config["Memory"] = 2 * GIB
    if status == "created":
        state["StartedAt"] = "0001-01-01T00:00:00Z"
    return made


def counted(standing: Standing) -> tuple[int | None, int | None]:
    return standing.usage.containers, standing.usage.committed_bytes


@pytest.mark.parametrize("keeper", [alive(), KEEPER], ids=["alive", "gone"])
def test_what_starts_between_two_questions_is_counted_once(tmp_path: Path, groups: Path, keeper: ProcessRef) -> None:
    """It was listed as created, runs when it is asked for, and the kernel was read before it had a group."""
    promise = Pending("now", Verb.RUN, 2 * GIB, keeper)
    standing = stood(tmp_path, [[created()], [created(status="running")]], promise)
    assert (counted(standing), standing.promises) == ((1, 2 * GIB), (promise,))


def test_what_runs_has_its_group_and_no_promise(tmp_path: Path, groups: Path) -> None:
    running = created(status="running")
    folder = groups / f"docker-{running['Id']}.scope"
    lay_down(folder)
    (folder / "memory.max").write_text(f"{2 * GIB}\n")
    promise = Pending("now", Verb.RUN, 2 * GIB, alive())
    standing = stood(tmp_path, [[running]], promise)
    assert (counted(standing), standing.promises, standing.usage.names) == ((1, 2 * GIB), (), ("web",))
    # Seen as created by Docker, and in its group a moment later by the kernel.
    standing = stood(tmp_path, [[created()]], promise)
    assert (counted(standing), standing.promises) == ((1, 2 * GIB), (promise,))
    asked = stood(tmp_path, [[running]], promise, without=frozenset({str(running["Id"])}))
    assert (counted(asked), asked.usage.names) == ((0, 0), ())


def test_a_container_without_a_limit_may_use_what_it_uses(tmp_path: Path, groups: Path) -> None:
    lay_down(groups / f"docker-{'a' * 64}.scope", memory=3 * GIB, cache=GIB)
    assert counted(stood(tmp_path, [[]])) == (1, 2 * GIB)


def test_without_control_groups_docker_is_asked_what_runs_now(tmp_path: Path) -> None:
    standing = stood(tmp_path, [[created()], [created(status="running")]])
    assert counted(standing) == (1, 2 * GIB)
    assert counted(stood(tmp_path, [[created()]])) == (0, 0)
    # Where nothing of the account runs there is nothing that the kernel could have been asked about.
    assert stood(tmp_path, [[created()]]).usage.unknown == ()
    assert len(stood(tmp_path, [[created(status="running")]]).usage.unknown) == 1


def test_a_promise_counts_beside_others_and_not_beside_itself(tmp_path: Path, groups: Path) -> None:
    old = created("old", "exited")
    mine = Pending(str(old["Id"]), Verb.START, 2 * GIB, alive(), started_at=datetime(2026, 3, 1, 10, tzinfo=UTC))
    pulls = Pending("later", Verb.RUN, GIB, alive())
    gone = Pending("never", Verb.RUN, GIB, KEEPER)
    assert counted(stood(tmp_path, [[old]], mine, pulls, gone)) == (2, 3 * GIB)
    standing = stood(tmp_path, [[old]], mine, pulls, gone, without=frozenset({mine.id}))
    assert (counted(standing), standing.promises) == ((1, GIB), (mine, pulls))
