"""The runtime as a value: which release a plan puts in force, what it says of it, which releases stay."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from ds01.core.tree import Form, Part, Tree, TreeFile
from ds01.core.value import replace
from ds01.deployer.plan import Action, Plan, Verb
from ds01.deployer.release import (
    CURRENT,
    Found,
    Release,
    State,
    candidates,
    current_link,
    gone,
    judge,
    release_of,
    releases_to_keep,
    with_runtime,
)

OLD = Release("0.1.0-aaa", {"ds01": "0.1.0", "Python": "3.11", "docker": "7.1.0", "six": "1.0"})
NEW = Release("0.2.0-bbb", {"ds01": "0.2.0", "Python": "3.11", "docker": "7.1.0", "idna": "3.7"})
HERE = PurePosixPath("/opt/ds01/releases")


def test_the_link_in_force_is_a_file_of_the_tree_and_goes_with_the_runtime() -> None:
    assert current_link(NEW.name) == TreeFile(
        path=PurePosixPath("/opt/ds01/current"),
        content="releases/0.2.0-bbb",
        source="scripts/ds01 and requirements/host.txt",
        handlers=("restart-sampler", "restart-eventsd", "restart-gpuwatch"),
        form=Form.LINK,
        part=Part.RUNTIME,
    )
    plain = TreeFile(PurePosixPath("/etc/a"), "x\n")
    tree = Tree.of("ds01", "hash", [plain])
    assert with_runtime(tree, NEW.name) == Tree.of("ds01", "hash", [current_link(NEW.name), plain])
    assert tree == Tree.of("ds01", "hash", [plain])


@pytest.mark.parametrize(
    ("goal", "name"),
    [
        ("releases/0.1.0-aaa", "0.1.0-aaa"),
        ("releases/0.1.0-aaa.2", "0.1.0-aaa.2"),
        (None, None),
        ("", None),
        ("releases", None),
        ("releases/", None),
        ("releases/..", None),
        ("releases/.new-x", None),
        ("releases/a/b", None),
        ("/opt/ds01/releases/a", None),
        ("../releases/a", None),
        ("elsewhere/a", None),
    ],
)
def test_a_link_names_a_release_only_when_it_leads_right_to_one(goal: str | None, name: str | None) -> None:
    assert release_of(goal) == name


def test_a_spoilt_release_leaves_numbered_names_for_others() -> None:
    names = list(candidates("x"))
    assert names[:3] == ["x", "x.2", "x.3"]
    assert (len(names), len(set(names))) == (99, 99)


def test_a_release_in_words_is_its_packages() -> None:
    assert NEW.words == "ds01 0.2.0, Python 3.11, docker 7.1.0, idna 3.7"
    assert gone("x") == Found(State.BROKEN, Release("x"), "this release is gone, since only 2 stay")


@pytest.mark.parametrize(
    ("current", "used", "kept"),
    [
        (None, [], set()),
        ("a", [], {"a"}),
        ("a", ["a"], {"a"}),
        ("c", ["c", "b", "a"], {"c", "b"}),
        ("b", ["b", "b", "c", "a"], {"b", "c"}),  # rolled back from c
        ("a", ["a", None, None, "b", "c"], {"a", "b"}),  # deploys without the runtime come between
        (None, [None, "b", "a"], {"b", "a"}),  # rolled back to before the runtime
        ("x", ["b", "a"], {"x", "b"}),  # put in force by hand
    ],
)
def test_the_release_in_force_and_the_one_before_it_stay(
    current: str | None, used: list[str | None], kept: set[str]
) -> None:
    assert releases_to_keep(current, used) == kept


def test_no_more_generations_are_read_than_are_needed() -> None:
    def used() -> object:
        yield "b"
        raise AssertionError("one too many was read")

    assert releases_to_keep("a", used()) == {"a", "b"}  # type: ignore[arg-type]


def action(verb: Verb, before: Release | None = OLD, after: Release = NEW, **more: object) -> Action:
    """What a plan says of the link before it knows of releases."""
    goal = f"releases/{after.name}"
    was = None if before is None else f"releases/{before.name}"
    given = {"file": current_link(after.name), "was": Form.LINK, "part": Part.RUNTIME} | more
    return Action(verb, CURRENT, "as the plan said", was, goal, **given)  # type: ignore[arg-type]


SAME = action(Verb.UNCHANGED, NEW)
CHANGE = action(Verb.CHANGE)
ADD = action(Verb.ADD, None)
WHOLE_OLD = Found(State.WHOLE, OLD)
TO_BUILD = Found(State.ABSENT, NEW)
WHOLE_NEW = Found(State.WHOLE, NEW)
WORDS = "ds01 0.2.0, Python 3.11, docker 7.1.0, idna 3.7"
VERSIONS = "ds01 0.1.0 → 0.2.0, idna (none) → 3.7, six 1.0 → (none)"
JUDGED = {
    "a first one, to be built": (ADD, TO_BUILD, None, {"reason": f"runtime 0.2.0-bbb ({WORDS})"}),
    "a first one, built already": (ADD, WHOLE_NEW, None, {"reason": f"runtime 0.2.0-bbb ({WORDS})"}),
    "another version": (CHANGE, TO_BUILD, WHOLE_OLD, {"reason": f"runtime 0.1.0-aaa → 0.2.0-bbb ({VERSIONS})"}),
    "other code, the same versions": (
        CHANGE,
        Found(State.ABSENT, replace(OLD, name="0.1.0-ccc")),
        WHOLE_OLD,
        {"reason": "runtime 0.1.0-aaa → 0.1.0-ccc (the same versions)"},
    ),
    "the one before cannot be read": (
        CHANGE,
        TO_BUILD,
        Found(State.UNKNOWN, Release("0.1.0-aaa"), "no"),
        {"reason": f"runtime 0.1.0-aaa → 0.2.0-bbb ({WORDS})"},
    ),
    "the one before is gone": (
        CHANGE,
        TO_BUILD,
        Found(State.ABSENT, Release(OLD.name)),
        {"reason": f"runtime 0.2.0-bbb ({WORDS})"},
    ),
    "the one before is broken": (
        CHANGE,
        TO_BUILD,
        Found(State.BROKEN, OLD, "its Python is gone: /usr/bin/python3.11"),
        {"reason": f"{HERE}/0.1.0-aaa: its Python is gone: /usr/bin/python3.11; 0.2.0-bbb takes its place"},
    ),
    "the one before was edited": (
        CHANGE,
        TO_BUILD,
        Found(State.EDITED, OLD, "bin/ds01 differs"),
        {
            "reason": f"{HERE}/0.1.0-aaa was edited by hand: bin/ds01 differs;"
            " a fresh one takes its place, this one stays",
            "drift": True,
        },
    ),
    "as wanted": (SAME, WHOLE_NEW, WHOLE_NEW, {}),
    "as wanted but for its owner": (action(Verb.CHANGE, NEW), WHOLE_NEW, WHOLE_NEW, {}),
    "removed by hand": (
        SAME,
        TO_BUILD,
        TO_BUILD,
        {"verb": Verb.CHANGE, "reason": f"{HERE}/0.2.0-bbb was removed by hand; it is built anew", "drift": True},
    ),
    "a link that was edited": (action(Verb.CHANGE, drift=True), TO_BUILD, WHOLE_OLD, {}),
    "a wanted one that was edited": (
        CHANGE,
        Found(State.EDITED, NEW, "bin/ds01 differs"),
        WHOLE_OLD,
        {
            "verb": Verb.BLOCKED,
            "reason": f"{HERE}/0.2.0-bbb: bin/ds01 differs; --no-runtime leaves the runtime as it is",
        },
    ),
    "a wanted one that is gone": (
        CHANGE,
        gone(NEW.name),
        WHOLE_OLD,
        {
            "verb": Verb.BLOCKED,
            "reason": f"{HERE}/0.2.0-bbb: this release is gone, since only 2 stay;"
            " --no-runtime leaves the runtime as it is",
        },
    ),
    "a wanted one that is gone, though the link stays": (
        SAME,
        gone(NEW.name),
        gone(NEW.name),
        {
            "verb": Verb.BLOCKED,
            "reason": f"{HERE}/0.2.0-bbb: this release is gone, since only 2 stay;"
            " --no-runtime leaves the runtime as it is",
        },
    ),
    "a wanted one that may not be read": (
        SAME,
        Found(State.UNKNOWN, Release(NEW.name), "it may not be read"),
        None,
        {"verb": Verb.UNKNOWN, "reason": f"{HERE}/0.2.0-bbb: it may not be read"},
    ),
    "something in the link's place": (action(Verb.BLOCKED), TO_BUILD, None, {}),
    "a link that may not be read": (action(Verb.UNKNOWN), TO_BUILD, None, {}),
    "a runtime that goes": (action(Verb.REMOVE, file=None), TO_BUILD, WHOLE_OLD, {}),
}


@pytest.mark.parametrize(("there", "wanted", "before", "changed"), JUDGED.values(), ids=JUDGED)
def test_a_plan_says_of_the_runtime_what_it_says_of_files(
    there: Action, wanted: Found, before: Found | None, changed: dict[str, object]
) -> None:
    other = Action(Verb.CHANGE, PurePosixPath("/etc/a"), "another file", "x\n", "y\n")
    plan = Plan("ds01", "hash", (other, there), ("docker-restart",))
    judged = Plan("ds01", "hash", (other, replace(there, **changed)), ("docker-restart",))  # type: ignore[arg-type]
    assert judge(plan, wanted, before) == judged
