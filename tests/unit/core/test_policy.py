"""The compiled policy is read strictly: the right version, complete, or not at all."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ds01.core.errors import ExitCode
from ds01.core.jsonstate import StateError
from ds01.core.policy import Group, Policy, PolicyError, read_policy

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "default_group": "student",
    "defaults": {"priority": 10},
    "groups": {
        "student": {"description": "Courses", "unix_group": "students", "slice": "x", "limits": {"memory_bytes": 1}},
        "staff": {"description": "", "unix_group": None, "slice": "y", "limits": {}},
    },
    "users": {"alice": {"group": "student", "slice": "z"}},
    "user_overrides": {"alice": {"memory_bytes": None}},
    "host": {"cpus": 16},
    "enforcement": {"aggregate_limits": True},
}
MISSING = object()


def changed(*path: str, to: object) -> dict[str, Any]:
    """Return the document with one part replaced, or taken out."""
    document = copy.deepcopy(DOCUMENT)
    node = document
    for step in path[:-1]:
        node = node[step]
    if to is MISSING:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return document


def test_document_gets_its_types() -> None:
    assert Policy.from_document(DOCUMENT) == Policy(
        default_group="student",
        defaults={"priority": 10},
        groups={
            "student": Group("student", "Courses", "students", {"memory_bytes": 1}),
            "staff": Group("staff", "", None, {}),
        },
        users={"alice": "student"},
        overrides={"alice": {"memory_bytes": None}},
        host_cpus=16,
        aggregate_limits=True,
        document=DOCUMENT,
    )


@pytest.mark.parametrize("version", [0, 2, "1", None, MISSING])
def test_other_versions_are_refused(version: object) -> None:
    with pytest.raises(PolicyError) as refused:
        Policy.from_document(changed("version", to=version))
    shown = None if version is MISSING else version
    assert refused.value.brief == f"the compiled policy has version {shown!r}, this DS01 reads version 1"


@pytest.mark.parametrize(
    ("document", "details"),
    [
        (changed("groups", to=MISSING), "KeyError: 'groups'"),
        (changed("groups", "student", "limits", to=MISSING), "KeyError: 'limits'"),
        (changed("groups", "student", to=[]), "TypeError: expected an object, found list"),
        (changed("default_group", to="nobody"), "KeyError: 'nobody'"),
        (changed("users", "alice", to="student"), "TypeError: expected an object, found str"),
        (changed("host", "cpus", to="many"), "ValueError: invalid literal for int() with base 10: 'many'"),
        (changed("enforcement", to=None), "TypeError: expected an object, found NoneType"),
    ],
)
def test_incomplete_policy_is_refused(document: dict[str, Any], details: str) -> None:
    with pytest.raises(PolicyError) as refused:
        Policy.from_document(document)
    error = refused.value
    assert (error.brief, error.details, error.resolution, error.exit_code) == (
        "the compiled policy is not complete",
        details,
        "deploy again",
        ExitCode.BAD_INPUT,
    )


@pytest.mark.parametrize("value", [False, None, "yes", 1])
def test_aggregates_are_limited_only_by_a_plain_true(value: object) -> None:
    assert Policy.from_document(changed("enforcement", "aggregate_limits", to=value)).aggregate_limits is False


def test_policy_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(DOCUMENT))
    assert read_policy(path) == Policy.from_document(DOCUMENT)


def test_missing_policy_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as refused:
        read_policy(tmp_path / "policy.json")
    assert (refused.value.brief, refused.value.resolution) == (
        f"there is no compiled policy at {tmp_path / 'policy.json'}",
        "deploy first (sudo ./inv deploy)",
    )


def test_policy_that_is_no_json_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(StateError):
        read_policy(tmp_path / "policy.json")


def test_a_missing_policy_says_what_else_its_reader_takes(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(tmp_path / "policy.json", otherwise=", or do without")
    assert caught.value.resolution == "deploy first (sudo ./inv deploy), or do without"


@pytest.mark.root
def test_root_can_refuse_a_policy_that_others_could_have_written(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text("{}")
    path.chmod(0o666)
    with pytest.raises(StateError, match="others than root can write it"):
        read_policy(path, of_root=True)
