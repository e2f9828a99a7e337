"""Whose a slice is: listed accounts, accounts of this machine that nobody lists, and nobody."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.policy import Policy, read_policy
from ds01.core.value import replace
from ds01.runtime.accounts import limits_of
from ds01.runtime.slices import slice_owners

POLICY = Path(__file__).resolve().parents[3] / "tests/golden/lab/expected/root/etc/ds01/policy.json"
GAMES = pwd.getpwnam("games")


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(POLICY)


def test_every_listed_account_has_its_slice_in_every_group(policy: Policy) -> None:
    slices = {limits_of(policy, account).slice_name: account for account in policy.users}
    assert len(slices) == len(policy.users) > 2
    assert slice_owners(policy, slices) == slices
    former = {f"ds01-former-{name.rpartition('-')[2]}": account for name, account in slices.items()}
    assert slice_owners(policy, former) == former


def test_an_account_that_nobody_lists_is_found_by_its_name(policy: Policy) -> None:
    assert slice_owners(policy, ["ds01-student-games.slice"]) == {"ds01-student-games.slice": "games"}


def test_and_by_its_uid_where_its_name_could_be_anothers(policy: Policy) -> None:
    listed = replace(policy, users={**policy.users, "GAMES": "student"})
    plain, with_uid = "ds01-student-games.slice", f"ds01-student-games_u{GAMES.pw_uid}.slice"
    assert slice_owners(listed, [plain, with_uid]) == {with_uid: "games"}


def test_who_was_not_listed_when_its_containers_began_is_found_too(policy: Policy) -> None:
    listed = replace(policy, users={**policy.users, "games": "student"})
    # Its plain form is safe, so it never had another.
    assert slice_owners(listed, ["ds01-student-games.slice"]) == {"ds01-student-games.slice": "games"}


@pytest.mark.parametrize(
    "name",
    [
        "ds01-student-nobody_has_this_name.slice",
        "ds01-student-games_u4711.slice",
        f"ds01-student-other_u{GAMES.pw_uid}.slice",
        "ds01-student-games_u99999999999.slice",
        "ds01-student-_u4294967295.slice",
        "ds01-student.slice",
        "system.slice",
        "",
    ],
)
def test_the_slice_of_nobody_is_left_out(policy: Policy, name: str) -> None:
    assert slice_owners(policy, [name]) == {}


@given(name=st.text("abcdefghijklmnopqrstuvwxyz_0123456789", max_size=20))
def test_nobody_gets_anothers_slice(policy: Policy, name: str) -> None:
    """Whoever is found has such a slice in fact."""
    found = slice_owners(policy, [f"ds01-student-{name}.slice"])
    for slice_name, account in found.items():
        uid = None if account in policy.users else pwd.getpwnam(account).pw_uid
        part = slice_name.removesuffix(".slice").rpartition("-")[2]
        assert part in {limits_of(policy, account).slice_name.removesuffix(".slice").rpartition("-")[2], f"_u{uid}"}


def test_root_is_an_account_like_any_other(policy: Policy) -> None:
    assert slice_owners(policy, ["ds01-student-root.slice"]) == {"ds01-student-root.slice": "root"}
