"""Looking at containers: an engine on a real socket, pages, claims and a ledger as their own writers leave them."""

from __future__ import annotations

import json
import os
import pwd
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.rows import id_of, row
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.gpu.hosts import held, ledger
from tests.unit.runtime.gpu.test_processes import put

from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.value import replace
from ds01.runtime.containers.claims import Claim, write_claim
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.containers.look import look, read_record, remember
from ds01.runtime.containers.page import locked_page
from ds01.runtime.containers.record import Record, row_of, spend
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.gpu.record import format_ledger

# An account that every Debian has, with a uid of the machine's.
ALICE, BOB, ADMIN = "games", "www-data", "daemon"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOKEN = "2026-03-01T08:59:59.000001Z"
LABELS = {"ds01.user": ALICE, "ds01.managed": "true", "ds01.created_at": TOKEN}


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    for path in (made.engine, made.gpu_state):
        path.parent.mkdir(parents=True)
    return made


@pytest.fixture(scope="module")
def policy() -> Policy:
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    document["users"] = {ALICE: {"group": "student"}, BOB: {"group": "researcher"}}
    document["access_control"]["admin_users"] = [ADMIN]
    return Policy.from_document(document)


def admit(paths: HostPaths, token: str = TOKEN, account: str = ALICE) -> None:
    """As the docker command does when it lets a container come to be."""
    with locked_page(paths.pages, pwd.getpwnam(account).pw_uid) as page:
        page.admitted = (*page.admitted, token)


def seen(paths: HostPaths, policy: Policy, *containers: dict[str, Any]) -> dict[str, Seen]:
    with engine_with(paths.engine, *containers):
        return {each.container.name: each for each in look(paths, policy).seen}


def brief(found: dict[str, Seen]) -> dict[str, tuple[Kind, Attribution | None]]:
    return {name: (each.kind, each.owner) for name, each in found.items()}


def keep(paths: HostPaths, found: dict[str, Seen], before: Record | None = None) -> None:
    """As the events daemon does after a look."""
    rows = {each.container.id: row_of(each) for each in found.values()}
    spent = spend(before.spent if before else {}, rows.values())
    remember(paths, Record(rows, spent), NOON)


def test_every_container_in_every_state_is_seen(paths: HostPaths, policy: Policy) -> None:
    states = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
    before = datetime.now(UTC)
    found = seen(paths, policy, *(inspected(state, status=state) for state in states))
    assert set(found) == set(states)
    assert brief(found) == dict.fromkeys(states, (Kind.DOCKER, None))
    assert all(before <= each.first_seen <= datetime.now(UTC) for each in found.values())
    assert not any(each.admitted or each.of_site for each in found.values())


def test_what_the_docker_command_let_come_to_be_is_managed(paths: HostPaths, policy: Policy) -> None:
    admit(paths)
    found = seen(
        paths,
        policy,
        inspected("train", labels=LABELS),
        inspected("forged", labels=LABELS | {"ds01.created_at": "2026-03-01T08:59:59.000002Z"}),
        inspected("bobs", labels=LABELS | {"ds01.user": BOB}),
        inspected("nobodys", labels=LABELS | {"ds01.user": "no.such.account"}),
    )
    assert brief(found) == {
        "train": (Kind.MANAGED, Attribution(ALICE, Evidence.LABEL)),
        "forged": (Kind.UNKNOWN, Attribution(ALICE, Evidence.LABEL, asserted=True)),
        "bobs": (Kind.UNKNOWN, Attribution(BOB, Evidence.LABEL, asserted=True)),
        "nobodys": (Kind.UNKNOWN, Attribution("no.such.account", Evidence.LABEL, asserted=True)),
    }


def test_of_two_with_one_token_the_older_one_had_it(paths: HostPaths, policy: Policy) -> None:
    """An image that was made of a container carries its labels."""
    admit(paths)
    younger = inspected("copy", labels=LABELS) | {"Created": "2026-03-01T09:00:01Z"}
    found = seen(paths, policy, younger, inspected("train", labels=LABELS))
    assert {name: each.admitted for name, each in found.items()} == {"train": True, "copy": False}


def test_a_token_stays_used_when_its_container_is_gone(paths: HostPaths, policy: Policy) -> None:
    admit(paths)
    keep(paths, seen(paths, policy, inspected("train", labels=LABELS)))
    keep(paths, {}, read_record(paths))
    found = seen(paths, policy, inspected("copy", labels=LABELS))
    assert brief(found) == {"copy": (Kind.UNKNOWN, Attribution(ALICE, Evidence.LABEL, asserted=True))}


def test_what_was_admitted_stays_so_when_its_page_has_forgotten_it(paths: HostPaths, policy: Policy) -> None:
    admit(paths)
    before = seen(paths, policy, inspected("train", labels=LABELS))
    keep(paths, before)
    for page in paths.pages.glob("*.json"):
        page.unlink()
    after = seen(paths, policy, inspected("train", labels=LABELS, status="exited"))
    assert brief(after) == {"train": (Kind.MANAGED, Attribution(ALICE, Evidence.LABEL))}
    assert after["train"].first_seen == before["train"].first_seen.replace(
        microsecond=before["train"].first_seen.microsecond // 1000 * 1000
    )


def test_a_container_that_the_ledger_has_is_managed_and_no_other_with_its_id(paths: HostPaths, policy: Policy) -> None:
    allocation = replace(held(ALICE, "2:0", name="train"), id="7f3a", container_id=id_of("train"))
    paths.gpu_state.write_bytes(format_ledger(ledger(allocation), NOON))
    labels = {"ds01.user": ALICE, "ds01.allocation": "7f3a"}
    found = seen(paths, policy, inspected("train", labels=labels), inspected("thief", labels=labels))
    assert {name: each.kind for name, each in found.items()} == {"train": Kind.MANAGED, "thief": Kind.UNKNOWN}


def test_a_ledger_that_cannot_be_read_admits_nobody(paths: HostPaths, policy: Policy) -> None:
    paths.gpu_state.write_bytes(b"{}")
    found = seen(paths, policy, inspected("train", labels={"ds01.user": ALICE, "ds01.allocation": "7f3a"}))
    assert found["train"].kind is Kind.UNKNOWN


def test_a_claim_says_whose_a_container_is(paths: HostPaths, policy: Policy) -> None:
    write_claim(paths, Claim(id_of("web"), BOB, ADMIN, NOON, "web"))
    found = seen(paths, policy, inspected("web"), inspected("other"))
    assert brief(found) == {"web": (Kind.DOCKER, Attribution(BOB, Evidence.CLAIM)), "other": (Kind.DOCKER, None)}


def test_slice_and_uid_of_its_processes_are_shown_and_charge_nobody(paths: HostPaths, policy: Policy) -> None:
    uids = {ALICE: pwd.getpwnam(ALICE).pw_uid, ADMIN: pwd.getpwnam(ADMIN).pw_uid}
    listed = Policy.from_document({**policy.document, "users": {**_users(policy), ADMIN: {"group": "admin"}}})
    places = {
        10: ("in-slice", "ds01.slice/ds01-researcher.slice/ds01-researcher-www_data.slice", 0),
        11: ("as-account", "ds01.slice/ds01-other.slice", uids[ALICE]),
        12: ("as-admin", "ds01.slice/ds01-other.slice", uids[ADMIN]),
        13: ("as-root", "ds01.slice/ds01-other.slice", 0),
        14: ("spoofed", "ds01.slice/ds01-student.slice/ds01-student-games.slice", 0),
    }
    labels = {"spoofed": {"ds01.user": BOB}}
    containers = []
    for pid, (name, slice_name, uid) in places.items():
        put(paths.proc, pid, groups=f"0::/{slice_name}/docker-{id_of(name)}.scope\n", uid=uid)
        container = inspected(name, labels=labels.get(name))
        container["State"] |= {"Pid": pid}  # type: ignore[operator] # an object
        containers.append(container)
    found = {name: each.owner for name, each in seen(paths, listed, *containers).items()}
    assert found == {
        "in-slice": Attribution(BOB, Evidence.SLICE, asserted=True),
        "as-account": Attribution(ALICE, Evidence.PROCESS, asserted=True),
        "as-admin": Attribution(ADMIN, Evidence.PROCESS, asserted=True),
        "as-root": None,
        "spoofed": Attribution(ALICE, Evidence.SLICE, asserted=True),
    }


def _users(policy: Policy) -> dict[str, object]:
    users = policy.document["users"]
    assert isinstance(users, dict)
    return users


def test_the_sites_own_containers_are_marked(paths: HostPaths, policy: Policy) -> None:
    found = seen(paths, policy, inspected("ds01-grafana"), inspected("ds01-prometheus", labels={"ds01.user": ALICE}))
    assert {name: each.of_site for name, each in found.items()} == {"ds01-grafana": True, "ds01-prometheus": False}


# --- What cannot be told ----------------------------------------------------------------------------------------------


def test_without_docker_nothing_is_concluded(paths: HostPaths, policy: Policy) -> None:
    with pytest.raises(EngineError):
        look(paths, policy)


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 9, "containers": {}, "spent": {}}'])
def test_a_record_that_cannot_be_read_is_no_empty_one(paths: HostPaths, policy: Policy, text: str) -> None:
    paths.containers.write_text(text)
    with engine_with(paths.engine, inspected("train")), pytest.raises(StateError) as caught:
        look(paths, policy)
    assert os.fspath(paths.containers) in caught.value.brief
    assert paths.containers.read_text() == text


def test_claims_that_cannot_be_read_are_no_empty_ones(paths: HostPaths, policy: Policy) -> None:
    paths.claims.write_text("{}")
    with engine_with(paths.engine, inspected("train")), pytest.raises(StateError):
        look(paths, policy)


def test_what_was_remembered_is_read_back(paths: HostPaths) -> None:
    assert read_record(paths) == Record()
    there = row("train", finished_at=NOON + timedelta(hours=1))
    remember(paths, Record({there.id: there}, {"t": there.id}), NOON)
    assert read_record(paths) == Record({there.id: there}, {"t": there.id}, NOON)
    assert paths.containers.stat().st_mode & 0o777 == 0o640


# --- What Docker cannot describe --------------------------------------------------------------------------------------


def test_one_that_docker_cannot_describe_is_there_with_what_was_known_and_the_others_are_seen(
    paths: HostPaths, policy: Policy
) -> None:
    admit(paths)
    containers = [inspected("train", labels=LABELS), inspected("web")]
    keep(paths, seen(paths, policy, *containers))
    with engine_with(paths.engine, *containers, inspected("new"), broken={"train", "new"}):
        found = look(paths, policy)
    assert [each.container.name for each in found.seen] == ["web"]
    assert {each.there.name: each.user for each in found.unseen} == {"train": ALICE, "new": None}


def test_one_that_never_answers_holds_up_the_look_for_some_seconds_alone(paths: HostPaths, policy: Policy) -> None:
    with engine_with(paths.engine, inspected("stuck"), inspected("web"), hung={"stuck"}):
        found = look(paths, policy, Engine(paths.engine, timeout_seconds=2))
    assert [each.container.name for each in found.seen] == ["web"]
    assert [each.there.name for each in found.unseen] == ["stuck"]


def test_the_token_of_an_older_one_that_cannot_be_described_lets_no_copy_come_to_be(
    paths: HostPaths, policy: Policy
) -> None:
    admit(paths)
    copy = inspected("copy", labels=LABELS) | {"Created": "2026-03-01T09:00:01Z"}
    with engine_with(paths.engine, inspected("train", labels=LABELS), copy, broken={"train"}):
        found = look(paths, policy)
    assert [(each.container.name, each.admitted) for each in found.seen] == [("copy", False)]


def test_where_docker_describes_nothing_nothing_may_be_concluded(paths: HostPaths, policy: Policy) -> None:
    with engine_with(paths.engine, inspected("a"), inspected("b"), broken={"a", "b"}), pytest.raises(EngineError):
        look(paths, policy)
