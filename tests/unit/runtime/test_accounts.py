"""Who asks, who is an administrator: by the kernel's word, or sudo's where it ran the program; by nobody else's."""

from __future__ import annotations

import grp
import json
import os
import pwd
from pathlib import Path

import pytest

from ds01.core.policy import Policy
from ds01.runtime.accounts import Caller, UnknownCallerError, caller, is_admin, is_known, limits_of, unix_groups

SHIPPED = Path(__file__).resolve().parents[3] / "generated/ds01/root/etc/ds01/policy.json"
NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def policy() -> Policy:
    return Policy.from_document(json.loads(SHIPPED.read_text()))


def test_the_caller_is_the_real_uid_whatever_the_environment_says(policy: Policy) -> None:
    environment = {"SUDO_UID": "0", "SUDO_USER": "root", "USER": "root", "LOGNAME": "root"}
    assert caller(policy, uid=NOBODY, environment=environment) == Caller(NOBODY, "nobody", is_admin=False)


def test_behind_sudo_the_caller_is_who_called_it(policy: Policy) -> None:
    environment = {"SUDO_UID": str(NOBODY), "SUDO_USER": "root"}
    assert caller(policy, uid=0, environment=environment) == Caller(NOBODY, "nobody", is_admin=False)


def test_root_itself_is_an_administrator(policy: Policy) -> None:
    for environment in ({}, {"SUDO_UID": "0"}):
        assert caller(policy, uid=0, environment=environment) == Caller(0, "root", is_admin=True)


@pytest.mark.parametrize("text", ["", "-1", "0x0", "root", "1 ", "٠", "9" * 30, "4294967295"])
def test_a_sudo_uid_that_is_none_is_nobody_and_never_root(policy: Policy, text: str) -> None:
    with pytest.raises(UnknownCallerError, match="SUDO_UID is"):
        caller(policy, uid=0, environment={"SUDO_UID": text})


def test_a_uid_without_an_account_is_refused(policy: Policy) -> None:
    with pytest.raises(UnknownCallerError, match="uid 54321 has no account"):
        caller(policy, uid=54321, environment={})


def test_administrators_are_listed_or_in_the_policys_group_or_in_the_linux_group(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_group = next(name for name, group in policy.users.items() if group == "admin")
    assert [is_admin(policy, name) for name in ("root", "sysop", in_group, "nobody", "nobody-knows-me")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    own = grp.getgrgid(os.getgrouplist("nobody", pwd.getpwnam("nobody").pw_gid)[0]).gr_name
    document = {**policy.document, "access_control": {"admin_group": own, "admin_users": []}}
    assert is_admin(Policy.from_document(document), "nobody")


def test_an_account_is_known_when_it_is_listed_or_this_machine_has_it(policy: Policy) -> None:
    listed = next(iter(policy.users))
    assert [is_known(policy, name) for name in (listed, "root", "ghost", "a\0b", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_an_account_that_is_not_there_has_no_groups() -> None:
    assert unix_groups("ghost") == ()
    assert grp.getgrgid(0).gr_name in unix_groups("root")


def test_an_account_that_nobody_listed_has_the_default_groups_limits(policy: Policy) -> None:
    assert (limits_of(policy, "nobody").group, limits_of(policy, "nobody").listed) == (policy.default_group, False)
