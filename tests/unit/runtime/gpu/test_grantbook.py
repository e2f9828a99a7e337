"""The file of grants on a disk: who may read it, who is believed, and many who change it at once."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.hosts import NOON

from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.runtime.gpu.grantbook import change_grants, read_grants
from ds01.runtime.gpu.grants import Grant, GrantsError, granted


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    made = HostPaths(tmp_path)
    made.bare_metal_grants.parent.mkdir(parents=True)
    return made


def grant(user: str) -> Grant:
    return Grant(user, "root", NOON, NOON + timedelta(hours=1))


def test_there_are_none_before_the_first(paths: HostPaths) -> None:
    assert read_grants(paths) == ()
    change_grants(paths, lambda grants: grants)
    assert not paths.bare_metal_grants.exists()


def test_everybody_may_read_them(paths: HostPaths) -> None:
    before = os.umask(0o077)
    change_grants(paths, lambda grants: granted(grants, grant("alice")))
    os.umask(before)
    assert stat.S_IMODE(paths.bare_metal_grants.stat().st_mode) == 0o644
    assert read_grants(paths) == (grant("alice"),)


def test_of_many_who_give_one_at_once_none_is_lost(paths: HostPaths) -> None:
    users = [f"student{number:02}" for number in range(8)]
    with ThreadPoolExecutor(len(users)) as pool:
        list(pool.map(lambda user: change_grants(paths, lambda grants: granted(grants, grant(user))), users))
    assert sorted(each.user for each in read_grants(paths)) == users


@pytest.mark.parametrize(("content", "error"), [("{", StateError), ('{"version": 9, "grants": []}', GrantsError)])
def test_a_damaged_file_is_reported_and_left_as_it_is(content: str, error: type[Exception], paths: HostPaths) -> None:
    paths.bare_metal_grants.write_text(content)
    with pytest.raises(error):
        read_grants(paths)
    with pytest.raises(error):
        change_grants(paths, lambda grants: granted(grants, grant("alice")))
    assert paths.bare_metal_grants.read_text() == content


@pytest.mark.root
def test_what_others_can_write_is_not_believed(paths: HostPaths) -> None:
    change_grants(paths, lambda grants: granted(grants, grant("alice")))
    paths.bare_metal_grants.chmod(0o666)
    with pytest.raises(StateError):
        read_grants(paths)
