"""Whose each container is, as other programs read it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from tests.unit.runtime.containers.rows import NOON, id_of, row, stray
from tests.unit.runtime.containers.samples import SHIPPED

from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.runtime.containers.owners import administrators, owners_document, service_users, write_owners
from ds01.runtime.containers.seen import Attribution, Evidence, Kind


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.from_document(json.loads(SHIPPED.read_text(encoding="utf-8")))


def test_only_who_is_charged_is_an_owner() -> None:
    rows = (
        row("train"),
        stray("web", owner=Attribution("bob", Evidence.CLAIM)),
        stray("job", owner=Attribution("bob", Evidence.SLICE, asserted=True)),
        stray("dev", owner=Attribution("bob", Evidence.LABEL, asserted=True), kind=Kind.UNKNOWN),
        stray("old"),
    )
    assert owners_document(rows, ["sysop", "root", "sysop"], ["ds01-dashboard"]) == {
        "version": 1,
        "containers": {
            id_of("train"): {"owner": "alice", "name": "train", "ds01_managed": True},
            id_of("web"): {"owner": "bob", "name": "web", "ds01_managed": False},
            id_of("job"): {"owner": None, "name": "job", "ds01_managed": False},
            id_of("dev"): {"owner": None, "name": "dev", "ds01_managed": False},
            id_of("old"): {"owner": None, "name": "old", "ds01_managed": False},
        },
        "admins": ["root", "sysop"],
        "service_users": ["ds01-dashboard"],
    }


def test_it_is_written_for_root_and_its_group_with_the_time(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path)
    write_owners(paths, owners_document((), ["root"], ()), NOON)
    assert json.loads(paths.container_owners.read_text()) == {
        "version": 1,
        "containers": {},
        "admins": ["root"],
        "service_users": [],
        "updated_at": "2026-03-01T12:00:00.000Z",
    }
    assert stat.S_IMODE(paths.container_owners.stat().st_mode) == 0o640


def test_administrators_are_those_of_list_group_and_linux_group(policy: Policy) -> None:
    in_group = {name for name, group in policy.users.items() if group == "admin"}
    assert in_group
    assert administrators(policy) == {"root", "sysop", "n.adeyemi"} | in_group
    assert service_users(policy) == {"ds01-dashboard"}
    bare = Policy.from_document({**policy.document, "access_control": {"admin_group": "no such group"}, "users": {}})
    assert (administrators(bare), service_users(bare)) == ({"root"}, frozenset())
    nothing = Policy.from_document({**policy.document, "access_control": None, "users": {}})
    assert (administrators(nothing), service_users(nothing)) == ({"root"}, frozenset())
