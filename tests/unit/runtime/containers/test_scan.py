"""Whose a container is, and by which way it came to be: what is believed, and what anybody could have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.gpu.hosts import held

from ds01.core.labels import ContainerType
from ds01.core.limits import resolve
from ds01.core.policy import Policy
from ds01.core.value import replace
from ds01.runtime.containers.container import Container, State
from ds01.runtime.containers.scan import (
    Findings,
    Promised,
    account_of_part,
    attribute,
    classify,
    infrastructure,
    is_admitted,
    is_of_site,
    person_of,
    see,
    site_names,
    slice_part,
    token_of,
    type_of,
)
from ds01.runtime.containers.seen import Attribution, Evidence, Kind, Seen
from ds01.runtime.containers.start import Start

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ID = "a1" * 32
TOKEN = "2026-03-01T11:59:58.123456Z"
OURS = {
    "ds01.user": "alice",
    "ds01.managed": "true",
    "ds01.container_type": "devcontainer",
    "ds01.created_at": TOKEN,
}
FOLDER = {"devcontainer.local_folder": "/home/bob/thesis"}
COMPOSE = {"com.docker.compose.project": "web", "com.docker.compose.service": "db"}


def container(labels: Mapping[str, str] | None = None, name: str = "train") -> Container:
    return Container(
        id=ID,
        name=name,
        state=State.RUNNING,
        created_at=NOON,
        started_at=NOON,
        finished_at=None,
        image="pytorch",
        cgroup_parent="",
        restart_policy="no",
        pid=4711,
        gpu=None,
        labels=labels or {},
    )


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.from_document(json.loads(SHIPPED.read_text(encoding="utf-8")))


# --- By which way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "admitted", "kind", "container_type"),
    [
        (OURS, True, Kind.MANAGED, ContainerType.DEVCONTAINER),
        (OURS | COMPOSE, True, Kind.MANAGED, ContainerType.DEVCONTAINER),
        (OURS, False, Kind.UNKNOWN, ContainerType.UNKNOWN),
        (OURS | FOLDER, False, Kind.UNKNOWN, ContainerType.UNKNOWN),
        ({"ds01.protected": "true"}, False, Kind.UNKNOWN, ContainerType.UNKNOWN),
        ({"ds01.allocation": "7f3a"}, False, Kind.UNKNOWN, ContainerType.UNKNOWN),
        ({"ds01.user": ""}, False, Kind.DOCKER, ContainerType.DOCKER),
        ({"ds01.weather": "fine"}, False, Kind.DOCKER, ContainerType.DOCKER),
        (FOLDER, False, Kind.DEVCONTAINER, ContainerType.DEVCONTAINER),
        ({"devcontainer.config_file": "/w/.devcontainer.json"}, False, Kind.DEVCONTAINER, ContainerType.DEVCONTAINER),
        (FOLDER | COMPOSE, False, Kind.DEVCONTAINER, ContainerType.DEVCONTAINER),
        (COMPOSE, False, Kind.COMPOSE, ContainerType.COMPOSE),
        ({"aime.mlc.USER": "alice", "DS01_MANAGED": "true"}, False, Kind.DOCKER, ContainerType.DOCKER),
        ({}, False, Kind.DOCKER, ContainerType.DOCKER),
    ],
)
def test_kind_and_type_are_by_labels_only_where_ds01_wrote_them(
    *, labels: Mapping[str, str], admitted: bool, kind: Kind, container_type: ContainerType
) -> None:
    assert classify(container(labels), admitted=admitted) is kind
    assert type_of(kind, labels) is container_type


# --- Whose ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "findings", "owner"),
    [
        # A claim stands above everything.
        ({}, Findings(claim="bob"), Attribution("bob", Evidence.CLAIM)),
        (OURS, Findings(claim="bob", admitted=True, slice_account="alice"), Attribution("bob", Evidence.CLAIM)),
        # DS01's own label above what the kernel shows: an administrator may choose another slice, everybody a uid.
        (OURS, Findings(admitted=True), Attribution("alice", Evidence.LABEL)),
        (OURS, Findings(admitted=True, slice_account="bob"), Attribution("alice", Evidence.LABEL)),
        (OURS, Findings(admitted=True, process_account="bob"), Attribution("alice", Evidence.LABEL)),
        # A label that anybody could have written charges nobody.
        (OURS, Findings(), Attribution("alice", Evidence.LABEL, asserted=True)),
        ({"aime.mlc.USER": "alice"}, Findings(), Attribution("alice", Evidence.LABEL, asserted=True)),
        ({"aime.mlc.USER": "alice"}, Findings(admitted=True), Attribution("alice", Evidence.LABEL, asserted=True)),
        (FOLDER, Findings(), Attribution("bob", Evidence.LABEL, asserted=True)),
        (COMPOSE, Findings(), None),
        # Nor does a slice that its maker chose; it is shown before a label, whether or not they agree.
        (OURS, Findings(slice_account="bob"), Attribution("bob", Evidence.SLICE, asserted=True)),
        (OURS, Findings(slice_account="alice"), Attribution("alice", Evidence.SLICE, asserted=True)),
        ({}, Findings(slice_account="bob", process_account="alice"),
         Attribution("bob", Evidence.SLICE, asserted=True)),
        # Nor a uid: `docker run --user`, an image with USER, or a setuid program inside. It is the last that is said.
        (FOLDER, Findings(process_account="alice"), Attribution("bob", Evidence.LABEL, asserted=True)),
        ({}, Findings(process_account="alice"), Attribution("alice", Evidence.PROCESS, asserted=True)),
        ({}, Findings(), None),
    ],
)  # fmt: skip
def test_whose_a_container_is(labels: Mapping[str, str], findings: Findings, owner: Attribution | None) -> None:
    assert attribute(container(labels), findings) == owner


@given(
    st.dictionaries(st.sampled_from([*OURS, *FOLDER, *COMPOSE, "aime.mlc.USER"]), st.text(max_size=20)),
    st.sampled_from([None, "alice", "bob"]),
    st.sampled_from([None, "alice", "bob"]),
)
def test_nothing_that_the_maker_of_a_container_chooses_ever_charges_anybody(
    labels: dict[str, str], slice_account: str | None, process_account: str | None
) -> None:
    found = see(container(labels), Findings(slice_account, process_account), NOON)
    assert found.charged is None
    assert found.owner is None or found.owner.asserted
    assert not found.is_managed


@pytest.mark.parametrize(
    ("labels", "findings", "of_site"),
    [
        ({}, Findings(listed=True), True),
        (COMPOSE, Findings(listed=True), True),
        ({}, Findings(listed=True, process_account="alice"), True),
        ({}, Findings(), False),
        (OURS, Findings(listed=True, admitted=True), False),
        (FOLDER, Findings(listed=True), False),
        ({}, Findings(listed=True, slice_account="alice"), False),
        ({}, Findings(listed=True, claim="alice"), False),
    ],
)
def test_a_name_alone_makes_no_container_the_sites_own(
    *, labels: Mapping[str, str], findings: Findings, of_site: bool
) -> None:
    assert is_of_site(container(labels), findings) is of_site


def test_all_of_it_together() -> None:
    there = container(OURS)
    assert see(there, Findings(admitted=True), NOON) == Seen(
        container=there,
        kind=Kind.MANAGED,
        owner=Attribution("alice", Evidence.LABEL),
        admitted=True,
        of_site=False,
        first_seen=NOON,
        start=Start(NOON, 0, NOON),
    )


def test_the_sites_own_names_are_those_of_both_lists(policy: Policy) -> None:
    access = {"system_containers": ["ds01-registry"]}
    both = Policy.from_document({**policy.document, "access_control": access})
    assert "ds01-dcgm-exporter" in infrastructure(both)
    assert site_names(both) == infrastructure(both) | {"ds01-registry"}
    assert site_names(Policy.from_document({**policy.document, "monitoring": {}, "access_control": {}})) == frozenset()


# --- Whether DS01 let it come to be -----------------------------------------------------------------------------------

HELD = replace(held("alice", "2:0"), id="7f3a", container_id=ID)
WITH_GPU = {"ds01.user": "alice", "ds01.allocation": "7f3a"}


@pytest.mark.parametrize(
    ("labels", "promised", "admitted"),
    [
        (OURS, Promised(tokens=(TOKEN,)), True),
        (OURS, Promised(tokens=(TOKEN,), had_by=ID), True),
        (OURS, Promised(tokens=(TOKEN,), had_by="b2" * 32), False),
        (OURS, Promised(tokens=("2026-03-01T11:59:58.123457Z",)), False),
        (OURS, Promised(), False),
        ({"ds01.created_at": TOKEN}, Promised(tokens=(TOKEN,)), False),
        ({"aime.mlc.USER": "alice", "ds01.created_at": TOKEN}, Promised(tokens=(TOKEN,)), False),
        ({"ds01.user": "alice", "ds01.created_at": ""}, Promised(tokens=("",)), False),
        (WITH_GPU, Promised(allocation=HELD), True),
        (WITH_GPU, Promised(allocation=replace(HELD, container_id=None)), False),
        (WITH_GPU, Promised(allocation=replace(HELD, container_id="b2" * 32)), False),
        (WITH_GPU, Promised(allocation=replace(HELD, user="bob")), False),
        (WITH_GPU, Promised(allocation=replace(HELD, id="other")), False),
        (WITH_GPU, Promised(), False),
    ],
)
def test_a_container_is_admitted_by_what_only_root_can_have_written(
    *, labels: Mapping[str, str], promised: Promised, admitted: bool
) -> None:
    assert is_admitted(container(labels), promised) is admitted


def test_a_token_is_the_time_that_the_label_says() -> None:
    assert token_of(container(OURS)) == TOKEN
    assert token_of(container()) is None


# --- What the kernel shows --------------------------------------------------------------------------------------------

ALICE = "/ds01.slice/ds01-student.slice/ds01-student-alice.slice"


@pytest.mark.parametrize(
    ("groups", "part"),
    [
        (f"0::{ALICE}/docker-{ID}.scope\n", "alice"),
        (f"0::{ALICE}/docker-{ID}.scope/init.scope\n", "alice"),
        (f"12:pids:/docker/{ID}\n0::{ALICE}/docker-{ID}.scope\n", "alice"),
        (f"0::/ds01.slice/ds01-phd_2.slice/ds01-phd_2-h_b_u12.slice/docker-{ID}.scope\n", "h_b_u12"),
        # Another container's, by a number that was given again.
        (f"0::{ALICE}/docker-{'b2' * 32}.scope\n", None),
        (f"0::{ALICE}\n", None),
        # Of a group, of nobody, of the system, of another tool.
        (f"0::/ds01.slice/ds01-student.slice/docker-{ID}.scope\n", None),
        (f"0::/ds01.slice/ds01-other.slice/docker-{ID}.scope\n", None),
        (f"0::/ds01.slice/docker-{ID}.scope\n", None),
        (f"0::/system.slice/docker-{ID}.scope\n", None),
        (f"0::/docker/{ID}\n", None),
        # A name that only looks like it, below somebody else's group.
        (f"0::/user.slice{ALICE}/docker-{ID}.scope\n", None),
        (f"0::/ds01.slice/ds01-student.slice/ds01-faculty-bob.slice/docker-{ID}.scope\n", None),
        (f"12:pids:{ALICE}/docker-{ID}.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_a_slice_is_read_where_systemd_puts_it(groups: str, part: str | None) -> None:
    assert slice_part(groups, ID) == part


ACCOUNTS = {"carol": 1003, "e.f@lab-x.org": 1005, "twin_u7": 1006, "student01": 1001}
UIDS = {uid: name for name, uid in ACCOUNTS.items()}


@pytest.mark.parametrize(
    ("part", "account"),
    [
        ("student01", "student01"),
        ("m_okafor_lab_x_org", "m.okafor@lab-x.org"),
        ("carol", "carol"),
        ("e_f_lab_x_org_u1005", "e.f@lab-x.org"),
        ("twin_u7_u1006", "twin_u7"),
        ("student01_u1001", "student01"),
        ("twin_u7", None),
        ("e_f_lab_x_org", None),
        ("carol_u1004", None),
        ("e_f_lab_x_org_u1003", None),
        ("nobody_here", None),
        ("m_okafor_u99999999999999999999", None),
    ],
)
def test_an_account_is_found_by_its_part_of_a_slice(part: str, account: str | None, policy: Policy) -> None:
    assert account_of_part(part, policy, ACCOUNTS.get, UIDS.get) == account


def test_every_accounts_own_slice_leads_back_to_it(policy: Policy) -> None:
    for name in (*policy.users, *ACCOUNTS):
        part = resolve(policy, name, uid=ACCOUNTS.get(name)).slice_name.removesuffix(".slice").rpartition("-")[2]
        assert account_of_part(part, policy, ACCOUNTS.get, UIDS.get) == name


@pytest.mark.parametrize(
    ("uids", "account"),
    [
        ([1003], "carol"),
        ([0, 1003, 1003], "carol"),
        ([0], None),
        ([1003, 1005], None),
        ([1003, 100_000], "carol"),
        ([101], None),
        ([65534], None),
        ([33], "student01"),
        ([], None),
    ],
)
def test_processes_tell_whose_they_are_only_where_all_are_one_persons(
    uids: list[int], account: str | None, policy: Policy
) -> None:
    names = {**UIDS, 0: "root", 101: "messagebus", 65534: "nobody", 33: "student01"}
    assert person_of(uids, policy, names.get) == account
