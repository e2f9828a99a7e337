"""Who may touch a container, and for whom DS01's label does not tell all that they may touch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.containers.touch import (
    Labelled,
    beyond_labels,
    labelled,
    lists_text,
    may_touch,
    owner_to,
    unowned_are_free,
)

ACCOUNTS = ("alice", "bob", "student01")
MAYBE = st.none() | st.sampled_from(ACCOUNTS)


@pytest.mark.parametrize(
    ("labels", "said", "plain"),
    [
        ({"ds01.user": "alice"}, Labelled("alice", "alice"), True),
        ({"ds01.user": "alice", "aime.mlc.USER": "bob"}, Labelled("alice", "alice"), True),
        ({"aime.mlc.USER": "bob"}, Labelled("bob", None), False),
        ({"ds01.user": "", "aime.mlc.USER": "bob"}, Labelled("bob", ""), False),
        ({"devcontainer.local_folder": "/home/bob/web"}, Labelled("bob", None), False),
        ({"com.docker.compose.project": "web"}, Labelled(None, None), False),
        ({"ds01.user": "al\nice"}, Labelled("al\\nice", "al\nice"), False),
    ],
)
def test_what_labels_say(labels: dict[str, str], said: Labelled, *, plain: bool) -> None:
    assert labelled(labels) == said
    assert said.is_plain is plain


@pytest.mark.parametrize(
    ("label", "claim", "owner"),
    [
        ("alice", "bob", "alice"),
        ("bob", "alice", "alice"),
        ("bob", None, "bob"),
        (None, "bob", "bob"),
        (None, None, None),
    ],
)
def test_an_administrators_word_stands_above_the_label_of_others(
    label: str | None, claim: str | None, owner: str | None
) -> None:
    assert owner_to("alice", label, lambda: claim) == owner


def test_claims_are_not_asked_of_ones_own() -> None:
    assert owner_to("alice", "alice", lambda: pytest.fail("asked")) == "alice"


@pytest.mark.parametrize(
    ("policy", "free"),
    [
        ({"access_control": {"unowned_containers": "allow"}}, True),
        ({"access_control": {"unowned_containers": "deny"}}, False),
        ({"access_control": {}}, False),
        ({}, False),
    ],
)
def test_only_a_policy_that_says_so_frees_what_is_nobodys(policy: dict[str, object], *, free: bool) -> None:
    assert unowned_are_free(policy) is free


@pytest.mark.parametrize(
    ("container", "claim", "closed", "free"),
    [
        (Labelled("alice", "alice"), None, set(), set()),
        (Labelled("alice", "alice"), "alice", set(), set()),
        (Labelled("alice", "alice"), "bob", {"bob"}, {"bob"}),
        (Labelled("alice", None), None, {"alice"}, {"alice"}),
        # Whom the older label names may touch it, whoever claimed it.
        (Labelled("alice", None), "bob", {"alice", "bob"}, {"alice", "bob"}),
        (Labelled(None, None), "bob", {"bob"}, {"bob"}),
        (Labelled(None, None), None, set(), None),
        (Labelled(None, None, "nb"), None, set(), None),
        # The site's own are nobody's, and free for nobody.
        (Labelled(None, None, "exporter"), None, set(), set()),
        (Labelled(None, None, "exporter"), "bob", {"bob"}, {"bob"}),
    ],
)
def test_who_may_touch_more_than_the_label_shows(
    container: Labelled, claim: str | None, closed: set[str], free: set[str] | None
) -> None:
    claims = {} if claim is None else {"c": claim}
    own = {"exporter"}
    assert beyond_labels({"c": container}, claims, unowned_free=False, sites_own=own) == closed
    assert beyond_labels({"c": container}, claims, unowned_free=True, sites_own=own) == free
    assert beyond_labels({}, claims, unowned_free=True) == set()


@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(MAYBE, MAYBE, MAYBE)),
    st.sampled_from((*ACCOUNTS, "j.doe@lab-x.org")),
    st.booleans(),
)
def test_for_everybody_else_the_label_shows_just_what_they_may_touch(
    containers: dict[str, tuple[str | None, str | None, str | None]],
    account: str,
    free: bool,  # noqa: FBT001
) -> None:
    known, claims = {}, {}
    for name, (own, older, claim) in containers.items():
        texts = {"ds01.user": own, "aime.mlc.USER": older}
        known[name] = labelled({key: text for key, text in texts.items() if text is not None})
        if claim is not None:
            claims[name] = claim
    theirs = {
        name
        for name, each in known.items()
        if may_touch(account, owner_to(account, each.owner, lambda name=name: claims.get(name)), unowned_free=free)  # type: ignore[misc] # a default binds it
    }
    shown = {name for name, each in known.items() if each.label == account}
    beyond = beyond_labels(known, claims, unowned_free=free)
    assert (beyond is None or account in beyond) is (theirs != shown or beyond is None)


@pytest.mark.parametrize(
    ("beyond", "text"),
    [
        (frozenset(), "1772366490\n"),
        (frozenset({"bob", "j.doe@lab-x.org"}), "1772366490 bob j.doe@lab-x.org\n"),
        (None, "1772366490 *\n"),
        # What is no word stands for anybody.
        (frozenset({"bob", "x y"}), "1772366490 *\n"),
        (frozenset({"bob\n9999999999"}), "1772366490 *\n"),
        (frozenset({"jürgen"}), "1772366490 *\n"),
        (frozenset({"x" * 257}), "1772366490 *\n"),
        (frozenset(map(str, range(1001))), "1772366490 *\n"),
    ],
)
def test_what_the_docker_command_reads(beyond: frozenset[str] | None, text: str) -> None:
    assert lists_text(beyond, 1_772_366_490) == text
