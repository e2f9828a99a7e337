"""What runs and whose it is, as far as it can be told, with the policy and without, whatever else is broken."""

from __future__ import annotations

import json
import pwd
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.recorded import row, write_record
from tests.unit.runtime.gpu.engines import engine_with, inspected

from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.runtime.containers.claims import Claim, write_claim
from ds01.runtime.containers.container import State
from ds01.runtime.containers.engine import EngineError
from ds01.runtime.containers.page import locked_page
from ds01.runtime.containers.seen import Attribution, Evidence
from ds01.runtime.lifecycle.emergency import Sign, Target
from ds01.runtime.lifecycle.targets import gather, look, parts_of

SHIPPED = Path(__file__).resolve().parents[4] / "generated/ds01/root/etc/ds01/policy.json"
TOKEN = "2026-03-01T09:00:00.123456Z"


def policy(**access: object) -> Policy:
    document = json.loads(SHIPPED.read_text())
    document["users"] = {"games": {"group": "student"}, "j.doe@lab-x.org": {"group": "researcher"}}
    document["user_overrides"] = {}
    document["access_control"].update({"admin_users": ["daemon"], **access})
    document["monitoring"]["infrastructure_containers"] = ["grafana"]
    return Policy.from_document(document)


POLICY = policy()


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path)
    for path in (paths.engine, paths.claims):
        path.parent.mkdir(parents=True)
    return paths


def made(name: str, labels: Mapping[str, str] | None = None, **host: object) -> dict[str, Any]:
    """A container with other settings than it has by default."""
    whole = inspected(name, labels=dict(labels or {}), status=str(host.pop("status", "running")))
    settings = whole["HostConfig"]
    assert isinstance(settings, dict)
    settings.update(host)
    return whole


def seen(paths: HostPaths, containers: Sequence[dict[str, Any]], *, known: Policy | None = POLICY) -> list[Target]:
    with engine_with(paths.engine, *containers):
        return list(look(gather(paths, known)))


def target(container: dict[str, Any], *signs: tuple[str, str], **more: Any) -> Target:
    fields: dict[str, Any] = {"has_gpu": False, "restart_policy": "no", **more}
    state = State(container["State"]["Status"])
    return Target(container["Id"], container["Name"][1:], state, tuple(Sign(*each) for each in signs), **fields)


def test_only_what_runs_or_comes_back_is_seen(paths: HostPaths):
    states = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
    found = seen(paths, [made(state, status=state) for state in states])
    assert [each.name for each in found] == ["running", "paused", "restarting"]


def test_label_and_slice_say_whose_it_is(paths: HostPaths):
    slices = {
        "listed": ("ds01-researcher-j_doe_lab_x_org.slice", "j_doe_lab_x_org", "j.doe@lab-x.org"),
        "unlisted": ("ds01-student-bob_u1001.slice", "bob_u1001", "bob_u1001"),
        "nested": ("/ds01.slice/ds01-student.slice/ds01-student-games.slice", "games", "games"),
    }
    containers = [made(name, CgroupParent=parent) for name, (parent, _, _) in slices.items()]
    labelled = made("labelled", {"ds01.user": "bob\x1b[2J"}, CgroupParent="ds01-other.slice")
    none = made("none", CgroupParent="system.slice", RestartPolicy={"Name": "always"})
    assert seen(paths, [*containers, labelled, none]) == [
        *(
            target(container, (user, "slice"), slice_part=part)
            for container, (_, part, user) in zip(containers, slices.values(), strict=True)
        ),
        target(labelled, ("bob\\x1b[2J", "label")),
        target(none, restart_policy="always"),
    ]


def test_a_claim_comes_before_the_record_and_that_before_labels(paths: HostPaths):
    web = made("web", {"ds01.user": "a"}, CgroupParent="ds01-student-b.slice")
    write_claim(paths, Claim(web["Id"], "c", "root", datetime(2026, 3, 1, tzinfo=UTC), "web"))
    write_record(paths, row(web, owner=Attribution("d", Evidence.PROCESS)))
    signs = (("c", "claim"), ("d", "record"), ("a", "label"), ("b", "slice"))
    assert seen(paths, [web]) == [target(web, *signs, slice_part="b")]


def test_a_record_that_knows_no_owner_says_nothing(paths: HostPaths):
    web = made("web")
    write_record(paths, row(web))
    assert seen(paths, [web]) == [target(web)]


def test_what_is_damaged_is_missed_in_words_and_hinders_nothing(paths: HostPaths):
    paths.claims.write_text("{")
    paths.containers.write_text("{")
    web = made("web", {"ds01.user": "games"})
    assert [each.partition(": ")[2] for each in gather(paths, POLICY).missing] == [
        "claims are not known",
        "only labels and slices say whose a container is",
    ]
    assert seen(paths, [web]) == [target(web, ("games", "label"))]


def test_without_docker_nothing_is_seen(paths: HostPaths):
    with pytest.raises(EngineError):
        look(gather(paths, POLICY))


def test_who_has_a_gpu(paths: HostPaths):
    gpu = inspected("gpu", everything=True)
    label = made("label", {"ds01.allocation": "abcdefgh"})
    assert [each.has_gpu for each in seen(paths, [gpu, label, made("none")])] == [True, True, False]


# --- One that Docker cannot look at -----------------------------------------------------------------------------------


def test_of_a_container_that_hangs_its_labels_are_known(paths: HostPaths):
    """Docker lists it, and answers no question about it."""
    broken = made("broken", {"ds01.user": "games", "ds01.allocation": "abcdefgh"})
    dark = made("dark")
    for each in (broken, dark):
        del each["HostConfig"]
    assert seen(paths, [broken, dark, made("web")]) == [
        target(broken, ("games", "label"), has_gpu=True, restart_policy=None),
        target(dark, has_gpu=None, restart_policy=None),
        target(made("web")),
    ]


# --- The site's own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "of_site"),
    [
        (made("grafana"), True),
        (made("grafana", {"ds01.user": "daemon"}, CgroupParent="ds01-admin-daemon.slice"), True),
        (made("grafana", {"ds01.user": "ds01-dashboard"}), True),
        # A name that is free is anybody's to take.
        (made("grafana", {"ds01.user": "games"}), False),
        (made("grafana", CgroupParent="ds01-student-games.slice"), False),
        (made("grafana2"), False),
    ],
)
def test_a_name_is_the_sites_unless_a_user_has_taken_it(paths: HostPaths, container: dict[str, Any], of_site: object):
    assert [each.of_site for each in seen(paths, [container])] == [of_site]


def test_without_a_policy_what_has_an_owner_is_a_users_and_of_the_rest_nobody_can_tell(paths: HostPaths):
    owned, free, recorded, other = made("owned", {"ds01.user": "games"}), made("free"), made("yes"), made("no")
    write_record(paths, row(recorded, of_site=True), row(other))
    found = seen(paths, [owned, free, recorded, other], known=None)
    assert {each.name: each.of_site for each in found} == {"owned": False, "free": None, "yes": True, "no": False}


# --- Protection -------------------------------------------------------------------------------------------------------


def test_protection_is_believed_of_what_ds01_let_come_to_be_and_of_what_was_claimed_for_an_administrator(
    paths: HostPaths,
):
    token = {"ds01.protected": "true", "ds01.user": "daemon", "ds01.created_at": TOKEN}
    with locked_page(paths.pages, pwd.getpwnam("daemon").pw_uid) as page:
        page.admitted = (TOKEN,)
    admitted = made("admitted", token)
    said = made("said", {**token, "ds01.created_at": "now"})
    plain = made("plain", {**token, "ds01.protected": "false"})
    claimed, mine = made("claimed", {"ds01.protected": "true"}), made("mine", {"ds01.protected": "true"})
    for container, user in ((claimed, "daemon"), (mine, "games")):
        write_claim(paths, Claim(container["Id"], user, "root", datetime(2026, 3, 1, tzinfo=UTC), "name"))
    found = seen(paths, [admitted, said, plain, claimed, mine])
    assert {each.name for each in found if each.protected} == {"admitted", "claimed"}


def test_without_a_policy_every_container_that_says_so_is_spared(paths: HostPaths):
    found = seen(paths, [made("said", {"ds01.protected": "true"}), made("plain")], known=None)
    assert {each.name: each.protected for each in found} == {"said": True, "plain": False}


# --- An account's slices ----------------------------------------------------------------------------------------------


def test_an_accounts_parts_are_those_of_its_slices_listed_or_not():
    uid = pwd.getpwnam("games").pw_uid
    assert parts_of(POLICY, "games") == {"games", f"games_u{uid}"}
    assert parts_of(POLICY, "j.doe@lab-x.org") == {"j_doe_lab_x_org"}
    assert parts_of(None, "games") == {"games"}
    assert parts_of(None, "www-data") == {"www_data", f"www_data_u{pwd.getpwnam('www-data').pw_uid}"}
    assert parts_of(POLICY, "a/b") == parts_of(None, "a/b") == frozenset()
