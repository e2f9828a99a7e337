"""Who is hit by an emergency stop, and who is left alone with the reason."""

from __future__ import annotations

import pytest

from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.lifecycle.emergency import Choice, Left, Scope, Sign, Target, What, choose

WEB = Target("a" * 64, "web", State.RUNNING)
ALICE = Scope(What.USER, "alice", frozenset({"alice", "alice_u1001"}))
GPUS, ALL = Scope(What.GPU), Scope(What.ALL)


def of(*signs: tuple[str, str], part: str | None = None) -> Target:
    return replace(WEB, signs=tuple(Sign(user, by) for user, by in signs), slice_part=part)


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        (of(("alice", "label")), True),
        (of(("alice", "record")), True),
        (of(("alice", "claim")), True),
        (of(("alice", "slice"), part="alice"), True),
        # The slice of an account that was listed once, or is no more.
        (of(("alice_u1001", "slice"), part="alice_u1001"), True),
        # Whoever writes another's label on his container is no less hit than the one whose slice it is in.
        (of(("bob", "label"), ("alice", "slice"), part="alice"), True),
        (of(("bob", "record"), ("alice", "label")), True),
        # An administrator's word is above all.
        (of(("bob", "claim"), ("alice", "label"), ("alice", "slice"), part="alice"), False),
        (of(("bob", "label")), False),
        (of(("alice2", "label"), part="alice2"), False),
        (of(("Alice", "label")), False),
        (of(), False),
    ],
)
def test_an_accounts_containers_are_those_that_anything_gives_to_it(target: Target, meant: object):
    assert choose([target], ALICE) == (Choice((target,), ()) if meant else Choice((), ()))


def test_containers_with_a_gpu_and_those_of_which_nobody_knows():
    gpu, none, dark = (replace(WEB, has_gpu=each) for each in (True, False, None))
    assert choose([gpu, none, dark], GPUS) == Choice(
        (gpu,), (Left(dark, "Docker does not say whether it has a GPU", unclear=True),)
    )


SITE = Left(replace(WEB, of_site=True), "it is one of the site's own")
DOUBT = Left(
    replace(WEB, of_site=None), "it may be one of the site's own; without a policy nobody can tell", unclear=True
)


def test_all_is_all_but_the_sites_own():
    user = replace(WEB, signs=(Sign("alice", "label"),))
    assert choose([user, SITE.target, WEB, DOUBT.target], ALL) == Choice((user, WEB), (SITE, DOUBT))


def test_the_sites_own_are_hit_only_when_that_is_said():
    everything = replace(ALL, including_site=True)
    assert choose([SITE.target, WEB, DOUBT.target], everything) == Choice((SITE.target, WEB, DOUBT.target), ())


def test_the_sites_own_with_a_gpu_go_on():
    exporter = replace(WEB, of_site=True, has_gpu=True)
    assert choose([exporter], GPUS) == Choice((), (Left(exporter, "it is one of the site's own"),))


def test_protection_holds_only_when_that_is_said():
    protected = replace(WEB, protected=True)
    assert choose([protected], ALL) == Choice((protected,), ())
    spared = replace(ALL, spare_protected=True)
    assert choose([protected, WEB], spared) == Choice((WEB,), (Left(protected, "it is protected"),))


def test_what_is_not_meant_is_not_spoken_of():
    site = replace(WEB, of_site=True, has_gpu=False)
    assert choose([site], GPUS) == Choice((), ())
    assert choose([site], ALICE) == Choice((), ())


@pytest.mark.parametrize(("scope", "words"), [(ALICE, "--user alice"), (GPUS, "--gpu"), (ALL, "--all")])
def test_a_scope_is_told_as_it_was_asked_for(scope: Scope, words: str):
    assert scope.words == words
