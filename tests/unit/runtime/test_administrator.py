"""An administrator's command works for administrators alone, and root is not led astray."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from ds01.core.errors import RefusedError
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.runtime.accounts import UnknownCallerError
from ds01.runtime.administrator import administrator, administrator_without_policy, require_root
from ds01.runtime.identity import Caller

SHIPPED = Path(__file__).resolve().parents[3] / "generated/ds01/root/etc/ds01/policy.json"
GAMES, DAEMON = (pwd.getpwnam(name).pw_uid for name in ("games", "daemon"))


@pytest.fixture(scope="module")
def policy() -> Policy:
    document = json.loads(SHIPPED.read_text())
    document["access_control"]["admin_users"] = ["daemon"]
    return Policy.from_document(document)


def test_root_and_administrators_are_let_through_by_whatever_way_they_come(policy: Policy):
    assert administrator(policy, uid=0, environment={}) == Caller(0, "root", is_admin=True)
    assert administrator(policy, uid=DAEMON, environment={"SUDO_UID": "0"}) == Caller(DAEMON, "daemon", is_admin=True)
    sudo = {"SUDO_UID": str(DAEMON)}
    assert administrator(policy, uid=0, environment=sudo) == Caller(DAEMON, "daemon", is_admin=True)


@pytest.mark.parametrize("environment", [{}, {"SUDO_UID": str(GAMES)}])
def test_anybody_else_is_refused_by_name(policy: Policy, environment: dict[str, str]):
    with pytest.raises(RefusedError, match="games is not an administrator"):
        administrator(policy, uid=0 if environment else GAMES, environment=environment)


def test_who_nobody_knows_is_refused(policy: Policy):
    with pytest.raises(UnknownCallerError):
        administrator(policy, uid=0, environment={"SUDO_UID": "-1"})


def test_without_a_policy_root_alone_is_one_and_others_are_told_how_to_become_it():
    assert administrator_without_policy("ds01 x", uid=0, environment={}) == Caller(0, "root", is_admin=True)
    with pytest.raises(RefusedError) as caught:
        administrator_without_policy("ds01 x --all", uid=0, environment={"SUDO_UID": str(DAEMON)})
    assert "daemon" in caught.value.brief
    assert caught.value.resolution == "become root first: sudo env -u SUDO_UID ds01 x --all"


@pytest.mark.root
def test_root_changes_nothing_in_a_folder_of_somebody_elses(tmp_path: Path):
    require_root(HostPaths(tmp_path), "this is done")
    os.chown(tmp_path, GAMES, -1)
    with pytest.raises(RefusedError, match="another account's"):
        require_root(HostPaths(tmp_path), "this is done")


@pytest.mark.root
def test_on_the_machine_itself_root_alone_goes_on():
    require_root(HostPaths(), "this is done")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(GAMES)
        try:
            require_root(HostPaths(), "this is done")
        except RefusedError as error:
            os.write(writer, error.render().encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert os.read(reader, 1000) == b"this is done by root alone\nTo fix: run the command through sudo"
    os.close(reader)
