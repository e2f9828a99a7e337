"""Checks of names and accounts: what they need, in which order they answer, and that each is run."""

from __future__ import annotations

import pytest

from ds01.generator import access_checks, checks, limit_checks
from ds01.generator.checks import check_inventory
from ds01.generator.inventory import Documents, Member
from ds01.generator.problems import Place
from ds01.generator.subject import Subject
from ds01.generator.yamltext import read_yaml

RULE = "use 1 to 64 letters, digits or _ . @ + -, not starting with . @ + or -"


def said(policy: str, members: dict[str, list[str]] | None = None, host: str = "") -> list[str]:
    listed = {
        group: tuple(
            Member(name, Place(f"inv/groups/{group}.members", line)) for line, name in enumerate(names, start=1)
        )
        for group, names in (members or {}).items()
    }
    documents = Documents(read_yaml(policy, "inv/p.yaml")[0], listed, {"box": read_yaml(host, "h")[0]}, ())
    return [str(problem) for problem in check_inventory(Subject(documents, None, "box"))]


def test_nothing_is_said_about_an_empty_policy() -> None:
    assert said("") == []


def test_problems_stand_in_the_order_of_their_places_and_once_each() -> None:
    policy = "default_group: x\ngroups: {a: {members: [-b, c]}, other: {members: [c]}}\n"
    assert said(policy) == [
        "inv/p.yaml:1:16: default_group 'x' is no group; write one of a, other",
        f"inv/p.yaml:2:24: '-b' is not an account name; {RULE}",
        "inv/p.yaml:2:33: group 'other' is reserved: ds01-other.slice is DS01's own; choose another group name",
        "inv/p.yaml:2:51: account 'c' is in two groups, a (inv/p.yaml:2:28) and other; remove it from one of the two",
    ]


def test_every_file_of_members_needs_its_group() -> None:
    assert said("groups: {staff: {}}", {"staff": ["a"], "stuff": ["b"]}) == [
        "inv/groups/stuff.members:1:1: there is no group 'stuff'; did you mean 'staff'?"
    ]


def test_three_accounts_in_one_slice_are_two_problems() -> None:
    assert said("groups: {s: {}}", {"s": ["a.b", "a-b", "a_b"]}) == [
        f"inv/groups/s.members:{line}:1: accounts 'a.b' and {name!r} would share the slice name 'a_b'; "
        "rename one, or leave one unlisted: its uid then tells them apart"
        for line, name in ((2, "a-b"), (3, "a_b"))
    ]


@pytest.mark.parametrize(
    ("gpus", "problems"),
    [
        ("[{mig: [7g.80gb]}]", []),
        ("[{mig: [3g.40gb, 4g.40gb]}, {mig: ~}, {}, ~]", []),
        (
            "[{mig: []}, {mig: [4g.40gb, 4g.40gb]}]",
            [
                (
                    "h:1:25: GPU 1 cannot hold these instances: they take 8 of 7 compute slices; "
                    "list what `nvidia-smi mig -lgi` shows"
                )
            ],
        ),
    ],
)
def test_mig_instances_must_fit_their_gpu(gpus: str, problems: list[str]) -> None:
    assert said("", host=f"gpus: {gpus}") == problems


@pytest.mark.parametrize("module", [access_checks, limit_checks])
def test_every_check_of_the_other_modules_is_run(module: object) -> None:
    run = {*checks._CHECKS, *checks._LIMIT_CHECKS}
    assert set(module.CHECKS) <= run  # type: ignore[attr-defined]
