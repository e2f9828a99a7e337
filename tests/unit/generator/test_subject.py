"""What the checks look at: sections that are there, places, and what was taken out because it was wrong."""

from __future__ import annotations

import pytest

from ds01.generator.inventory import Documents
from ds01.generator.problems import Place
from ds01.generator.subject import Subject
from ds01.generator.yamltext import Document, read_yaml

POLICY = "defaults: {memory: 1g}\ngroups:\n  a: {memory: 2g}\n  b: 5\nuser_overrides:\n  bob: {memory: 3g}\n"


def make_subject(policy: str = POLICY, host: str = "gpus: [{model: x}]\n", name: str = "box") -> Subject:
    return Subject(Documents(read_yaml(policy, "p")[0], {}, {"box": read_yaml(host, "h")[0]}, ()), None, name)


@pytest.mark.parametrize(
    ("path", "section"),
    [
        (("defaults",), {"memory": "1g"}),
        (("groups", "a"), {"memory": "2g"}),
        (("groups", "b"), {}),
        (("groups", "c"), {}),
        (("groups", "b", "x"), {}),
        (("nowhere",), {}),
    ],
)
def test_section_that_is_no_mapping_is_empty(path: tuple[str, ...], section: dict[str, str]) -> None:
    assert make_subject().section(*path) == section


@pytest.mark.parametrize("policy", ["", "- a", "5"])
def test_policy_that_is_no_mapping_has_no_sections(policy: str) -> None:
    assert make_subject(policy).section("groups") == {}


@pytest.mark.parametrize(
    ("host", "name", "gpus"),
    [
        ("gpus: [{model: x}]", "box", [{"model": "x"}]),
        ("gpus: 5", "box", []),
        ("cpus: 5", "box", []),
        ("", "box", []),
        ("gpus: [1]", "elsewhere", []),
    ],
)
def test_list_of_the_host_that_is_not_there_is_empty(host: str, name: str, gpus: list[object]) -> None:
    assert make_subject(host=host, name=name).host_section("gpus") == gpus


def test_places_are_those_of_the_policy_file() -> None:
    subject = make_subject()
    assert (subject.key("groups", "a", "memory"), subject.value("groups", "a", "memory")) == (
        Place("p", 3, 7),
        Place("p", 3, 15),
    )


def test_layers_are_the_defaults_groups_and_overrides() -> None:
    assert list(make_subject().layers()) == [
        (("defaults",), {"memory": "1g"}),
        (("groups", "a"), {"memory": "2g"}),
        (("groups", "b"), {}),
        (("user_overrides", "bob"), {"memory": "3g"}),
    ]


def test_what_was_taken_out_is_written_but_not_intact() -> None:
    whole = read_yaml("groups: {a: {members: [x]}}", "p")[0]
    rest = Document("p", {"groups": {"a": {}}}, whole.keys, whole.values)
    subject = Subject(Documents(rest, {}, {}, ()), None, "box")
    paths = [("groups",), ("groups", "a"), ("groups", "a", "members"), ("groups", "b")]
    assert [(subject.written(*path), subject.intact(*path)) for path in paths] == [
        (True, True),
        (True, True),
        (True, False),
        (False, True),
    ]
