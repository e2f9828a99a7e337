"""Names: what may be listed, what an account's slice is called, and that no two accounts ever share one."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.names import (
    BadNameError,
    cgroup_path,
    check_group,
    check_listed_user,
    group_slice,
    safe,
    slice_parts,
    user_part,
    user_slice,
)

RULE = "use 1 to 64 letters, digits or _ . @ + -, not starting with . @ + or -"
GROUP_RULE = "use 1 to 32 letters, digits, _ or -, starting with a letter"
# Names that differ only in characters that a slice cannot hold, and some that look like the answer to that.
NASTY_NAMES = st.text("aA1_.-@+u", min_size=1, max_size=6) | st.from_regex(r"[a.]{1,2}_u[0-9]{1,2}", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("alice", "alice"),
        ("j.doe@lab-x.org", "j_doe_lab_x_org"),
        ("a-b", "a_b"),
        ("204117", "204117"),
        ("zoë", "zo_"),
        ("x+y", "x_y"),
    ],
)
def test_safe_form_keeps_only_letters_digits_and_underscores(name: str, form: str) -> None:
    assert safe(name) == form


@pytest.mark.parametrize(
    "name", ["alice", "j.doe@lab-x.org", "204117", "_svc", "a" * 64, "A.B", "user_u", "u1", "x_u1a"]
)
def test_ordinary_account_may_be_listed(name: str) -> None:
    assert check_listed_user(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a\nb",
        "a%i",
        "a\\b",
        "a/b",
        "..",
        "-a",
        ".a",
        "@a",
        "+a",
        "zoë",
        "a" * 65,
        "a\x00",
        "a\n",
        "a$",
        "a;b",
    ],
)
def test_account_that_files_or_shells_would_misread_is_refused(name: str) -> None:
    with pytest.raises(BadNameError) as refused:
        check_listed_user(name)
    assert (refused.value.brief, refused.value.resolution) == (f"{name!r} is not an account name", RULE)


@pytest.mark.parametrize("name", ["alice_u1000", "a.u1", "b-u99", "_u0"])
def test_account_that_ends_like_an_unlisted_one_is_refused(name: str) -> None:
    with pytest.raises(BadNameError) as refused:
        check_listed_user(name)
    assert refused.value.brief == (
        f"account {name!r} ends in _u and digits, which DS01 keeps for accounts that are not listed"
    )


@pytest.mark.parametrize("name", ["student", "phd-2026", "a", "A_b", "x" * 32])
def test_ordinary_group_is_accepted(name: str) -> None:
    assert check_group(name) == name


@pytest.mark.parametrize("name", ["", "1st", "_x", "a b", "a.b", "x" * 33, "zoë", "a\n", "-a"])
def test_group_that_a_slice_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(BadNameError) as refused:
        check_group(name)
    assert (refused.value.brief, refused.value.resolution) == (f"{name!r} is not a group name", GROUP_RULE)


@pytest.mark.parametrize("name", ["other", "build"])
def test_reserved_group_is_refused(name: str) -> None:
    with pytest.raises(BadNameError) as refused:
        check_group(name)
    assert refused.value.brief == f"group {name!r} is reserved: ds01-{name}.slice is DS01's own"


@pytest.mark.parametrize(
    ("name", "uid", "listed", "part"),
    [
        ("j.doe", None, (), "j_doe"),
        ("j.doe", None, ("j_doe",), "j_doe"),
        ("bob", 1000, (), "bob"),
        ("bob", 1000, ("alice",), "bob"),
        ("j.doe", 1000, (), "j_doe_u1000"),
        ("j_doe", 1000, ("j_doe",), "j_doe_u1000"),
        ("bob_u7", 1000, (), "bob_u7_u1000"),
        ("zoë", 1000, (), "zo__u1000"),
        ("x" * 161, 1000, (), "x" * 160 + "_u1000"),
        ("Bob", 1000, ("bob",), "Bob_u1000"),
        ("bob", 1000, ("Bob",), "bob_u1000"),
        ("Bob", None, ("bob",), "Bob"),
    ],
)
def test_unlisted_account_gets_its_uid_where_its_name_could_be_anothers(
    name: str, uid: int | None, listed: tuple[str, ...], part: str
) -> None:
    assert user_part(name, uid=uid, listed=listed) == part


@pytest.mark.parametrize(
    "name",
    ["", "a\nb", "a%b", "a\\b", "a/b", "a\x00", "a\x7f", "a\tb", "a\u202eb", "a\u200bb", "a\x85b", "\udcff", "../a"],
)
def test_name_with_a_dangerous_character_has_no_slice(name: str) -> None:
    with pytest.raises(BadNameError) as refused:
        user_part(name, uid=1000)
    assert refused.value.brief == (
        f"account name {name!r} has a character that DS01 refuses (control character, %, \\ or /)"
    )


@pytest.mark.parametrize("name", [".alice", "-alice", "..", "-"])
def test_name_that_starts_like_an_option_or_a_hidden_file_has_no_slice(name: str) -> None:
    with pytest.raises(BadNameError) as refused:
        user_part(name, uid=1000)
    assert (refused.value.brief, refused.value.resolution) == (
        f"account name {name!r} starts with {name[0]}",
        "rename the account",
    )


@pytest.mark.parametrize(
    ("slice_name", "path"),
    [
        ("ds01.slice", "ds01.slice"),
        (group_slice("student"), "ds01.slice/ds01-student.slice"),
        (user_slice("student", "alice"), "ds01.slice/ds01-student.slice/ds01-student-alice.slice"),
        (user_slice("phd-a", "j_doe"), "ds01.slice/ds01-phd_a.slice/ds01-phd_a-j_doe.slice"),
    ],
)
def test_cgroup_path_is_the_nested_one(slice_name: str, path: str) -> None:
    assert cgroup_path(slice_name) == PurePosixPath(path)


def acceptable(name: str) -> bool:
    """Whether an account may be listed."""
    try:
        check_listed_user(name)
    except BadNameError:
        return False
    return True


@given(
    st.lists(NASTY_NAMES, unique=True, max_size=8),
    st.dictionaries(st.text(min_size=1, max_size=6) | NASTY_NAMES, st.integers(0, 99), max_size=8),
    st.sampled_from(["student", "phd-a"]),
)
def test_no_two_accounts_ever_share_a_slice(candidates: list[str], unlisted: dict[str, int], group: str) -> None:
    listed: dict[str, str] = {}
    for name in filter(acceptable, candidates):
        listed.setdefault(safe(name), name)  # two listed accounts in one slice are refused by the checks
    slices = [user_slice(group, user_part(name)) for name in listed.values()]
    uids: set[int] = set()
    for name, uid in unlisted.items():
        if name in listed.values() or uid in uids:
            continue
        uids.add(uid)
        try:
            part = user_part(name, uid=uid, listed=set(listed))
        except BadNameError:
            continue
        slices.append(user_slice(group, part))
    assert len(slices) == len(set(slices))


@given(st.text(min_size=1, max_size=300) | NASTY_NAMES, st.integers(0, 2**32), st.sampled_from(["student", "phd-a"]))
def test_user_slice_is_always_three_levels_deep_and_a_unit_name(name: str, uid: int, group: str) -> None:
    try:
        part = user_part(name, uid=uid)
    except BadNameError:
        return
    slice_name = user_slice(group, part)
    depth = len(cgroup_path(slice_name).parts)
    assert ("-" in part, depth, len(slice_name) < 256, slice_name.isascii()) == (False, 3, True, True)


@pytest.mark.parametrize(
    ("slice_name", "account", "uid", "parts"),
    [
        ("ds01-student-alice.slice", "alice", 1001, ("alice", "alice_u1001")),
        ("ds01-phd_a-j_doe_lab_x_org.slice", "j.doe@lab-x.org", 7, ("j_doe_lab_x_org", "j_doe_lab_x_org_u7")),
        ("ds01-student-j_doe_u1001.slice", "j.doe", 1001, ("j_doe_u1001",)),
        ("ds01-student-alice.slice", "alice", None, ("alice",)),
    ],
)
def test_an_account_is_known_by_each_name_its_slice_ever_had(
    slice_name: str, account: str, uid: int | None, parts: tuple[str, ...]
) -> None:
    assert slice_parts(slice_name, account, uid) == parts


@given(st.sampled_from(["alice", "j.doe", "j_doe", "a-b", "a_b", "x" * 64]), st.integers(0, 10**9), st.booleans())
def test_every_part_is_one_that_user_part_gives_to_this_account(account: str, uid: int, listed) -> None:
    part = user_part(account) if listed else user_part(account, uid=uid, listed=["j_doe"])
    assert slice_parts(user_slice("student", part), account, uid)[0] == part
    marked = user_part(account, uid=uid, listed=[safe(account)])
    assert marked in slice_parts(user_slice("student", part), account, uid)
