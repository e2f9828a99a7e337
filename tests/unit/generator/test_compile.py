"""Policy, members and one host become one object, with every default filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ds01.generator.compile import compile_policy, members_of, policy_schema
from ds01.generator.inventory import Documents, Member
from ds01.generator.problems import Place
from ds01.generator.schema import load_schemas
from ds01.generator.yamltext import read_yaml

CHECKOUT = Path(__file__).resolve().parents[3]
SCHEMAS = load_schemas(CHECKOUT / "schemas")
POLICY = """
default_group: student
groups:
  student: {members: [bob], memory: 1g}
  staff: {description: Staff, unix_group: staff, members: ~}
user_overrides:
  bob: {reason: thesis, memory: null}
  alice: ~
"""


def documents(policy: str = POLICY, host: str = "cpus: 4\nmemory: 8G\n") -> Documents:
    members = {"staff": (Member("j.doe", Place("m", 1, 1)), Member("bob", Place("m", 2, 1)))}
    return Documents(read_yaml(policy, "p")[0], members, {"box": read_yaml(host, "h")[0]}, ())


def compiled(**texts: str) -> dict[str, Any]:
    return compile_policy(documents(**texts), "box", SCHEMAS)


def test_limits_groups_and_accounts_are_brought_together() -> None:
    document = compiled()
    parts = ("version", "default_group", "defaults", "groups", "users", "user_overrides")
    assert {part: document[part] for part in parts} == {
        "version": 1,
        "default_group": "student",
        "defaults": {},
        "groups": {
            "student": {
                "description": "",
                "unix_group": None,
                "slice": "ds01-student.slice",
                "limits": {"memory_bytes": 1024**3},
            },
            "staff": {"description": "Staff", "unix_group": "staff", "slice": "ds01-staff.slice", "limits": {}},
        },
        "users": {
            "bob": {"group": "student", "slice": "ds01-student-bob.slice"},
            "j.doe": {"group": "staff", "slice": "ds01-staff-j_doe.slice"},
        },
        "user_overrides": {"alice": {}, "bob": {"memory_bytes": None}},
    }


def test_host_has_its_name_and_its_defaults() -> None:
    host = compiled()["host"]
    assert {key: host[key] for key in ("name", "cpus", "memory_bytes", "reserve_cpus", "engine_version", "gpus")} == {
        "name": "box",
        "cpus": 4,
        "memory_bytes": 8 * 1024**3,
        "reserve_cpus": 4,
        "engine_version": "20.10",
        "gpus": [],
    }


def test_result_keeps_the_schema_that_is_derived_for_it() -> None:
    document = {"generated": "", **compiled()}
    assert list(SCHEMAS.validator("policy").iter_errors(document)) == []


@pytest.mark.parametrize(
    ("engine", "enforcement", "builds"),
    [
        ("19.03", "", "classic"),
        ("22.9", "", "classic"),
        ("23.0", "", "buildkit"),
        ("28.2.2", "", "buildkit"),
        ("28.2.2", "enforcement: {builds: deny}", "deny"),
    ],
)
def test_builder_follows_the_engine_unless_it_is_named(engine: str, enforcement: str, builds: str) -> None:
    document = compiled(policy=POLICY + enforcement, host=f'cpus: 4\nmemory: 8G\nengine_version: "{engine}"\n')
    assert document["enforcement"]["builds"] == builds


def test_order_of_accounts_does_not_depend_on_where_they_are_listed() -> None:
    reordered = POLICY.replace("[bob]", "[zed, bob]")
    assert list(compiled(policy=reordered)["users"]) == ["bob", "j.doe", "zed"]


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("student", [Member("bob", Place("p", 4, 23))]),
        ("staff", [Member("j.doe", Place("m", 1, 1)), Member("bob", Place("m", 2, 1))]),
        ("nobody", []),
    ],
)
def test_members_come_from_the_file_and_from_the_policy(group: str, members: list[Member]) -> None:
    assert list(members_of(documents(), group)) == members


@pytest.mark.parametrize(
    "policy",
    [
        "x: 1",
        "groups: ~",
        "groups: {student: ~}",
        "defaults: ~",
        "user_overrides: ~",
        "groups: {a: {members: [~]}}",
    ],
)
def test_broken_documents_are_compiled_as_far_as_they_go(policy: str) -> None:
    assert compiled(policy=policy)["version"] == 1


def test_every_section_of_the_policy_has_its_schema() -> None:
    schema, parts = policy_schema(SCHEMAS), sorted(["generated", *compiled()])
    assert (sorted(schema["properties"]), sorted(schema["required"])) == (parts, parts)
