"""Holding documents against schemas: every mistake in an admin's words, and the rest still usable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ds01.generator.schema import SchemaFileError, Schemas, as_whole, check_document, load_schemas
from ds01.generator.yamltext import read_yaml

CHECKOUT = Path(__file__).resolve().parents[3]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "size"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "size": {"$ref": "#/$defs/size"},
        "quota": {"type": ["string", "null"], "format": "ds01-percent"},
        "mode": {"enum": ["off", "warn", "enforce"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "word": {"type": "string", "pattern": "^[a-z]+$", "examples": ["abc"]},
        "bare": {"type": "string", "pattern": "^[a-z]+$"},
        "list": {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
        "rows": {"type": "array", "items": {"type": "object", "required": ["a", "b"]}},
        "part": {"type": "object", "minProperties": 1},
        "odd": {"multipleOf": 2},
    },
    "$defs": {"size": {"type": ["string", "integer"], "format": "ds01-size"}},
}
SCHEMAS = Schemas({"thing": SCHEMA})
GOOD = "name: x\nsize: 1g\n"


def judge(text: str) -> tuple[list[str], Any]:
    problems, rest = check_document(read_yaml(text, "f")[0], SCHEMAS, "thing")
    return list(map(str, problems)), rest.data


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"{GOOD}quota: 100%\nmode: off\ncount: 9\nshare: 0.5\nword: abc\nlist: [a, b]\npart: {{x: 1}}\n",
        "name: x\nsize: 1e3\ncount: 4.0\nquota: null\n",
    ],
)
def test_right_document_is_kept_as_it_is(text: str) -> None:
    assert judge(text) == ([], read_yaml(text, "f")[0].data)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nmae: x", "f:3:1: unknown key 'nmae'; did you mean 'name'?"),
        ("mode: of", "f:3:7: mode is 'of'; did you mean 'off'?"),
        ("mode: 5", "f:3:7: mode is 5; write one of off, warn, enforce"),
        ("count: 0", "f:3:8: count is 0, which is too small; write at least 1"),
        ("count: 10", "f:3:8: count is 10, which is too large; write at most 9"),
        ("count: 1.5", "f:3:8: count is 1.5; write a whole number"),
        ("count: true", "f:3:8: count is true; write a whole number"),
        ("count: ~", "f:3:8: count is empty; write a whole number"),
        ("count: {a: 1}", "f:3:8: count is a mapping of keys; write a whole number"),
        ("count: [1]", "f:3:8: count is a list; write a whole number"),
        ("count: ''", "f:3:8: count is empty text; write a whole number"),
        ("share: 0", "f:3:8: share is 0, which is too small; write more than 0"),
        ("share: 1", "f:3:8: share is 1, which is too large; write less than 1"),
        ("word: A", "f:3:7: word is 'A', which has the wrong form; write it like abc"),
        ('word: "abc\\n"', "f:3:7: word is 'abc\\n', which has the wrong form; write it like abc"),
        ("word: 5", "f:3:7: word is 5; write text, in quotes like abc"),
        ("bare: A", "f:3:7: bare is 'A', which has the wrong form; write text like ^[a-z]+$"),
        ("quota: 96", "f:3:8: quota: 96 is not a CPU quota; write percent of one CPU, such as 9600% for 96 CPUs"),
        ("quota: {}", "f:3:8: quota is a mapping of keys; write percent of one CPU, such as 9600% for 96 CPUs"),
        ("quota: '96'", "f:3:8: quota: '96' is not a CPU quota; write percent of one CPU, such as 9600% for 96 CPUs"),
        ("list: [a, b, a]", "f:3:14: list has 'a' twice; remove one of the two"),
        ("list: [a, 5]", "f:3:11: list[1] is 5; write text, in quotes"),
        ("list: a", "f:3:7: list is 'a'; write a list"),
        ("part: {}", "f:3:7: part is empty; write at least one entry"),
        ("odd: 3", "f:3:6: odd: 3 is not a multiple of 2; see docs/policy.md"),
    ],
)
def test_mistake_is_told_where_it_stands_and_taken_out(line: str, said: str) -> None:
    problems, rest = judge(GOOD + line)
    assert (problems, rest["name"], rest["size"]) == ([said], "x", "1g")


KNOWN = f"remove it; known here: {', '.join(SCHEMA['properties'])}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{}",
            [
                "f:1:1: the file lacks the key 'name'; add `name:`",
                "f:1:1: the file lacks the key 'size'; add `size:`",
            ],
        ),
        (
            "name: ''\nsize: x",
            [
                "f:1:7: name is empty; write a name",
                "f:2:7: size: 'x' is not a size; write a number with k, m, g or t, such as 64g or 512m",
            ],
        ),
        (
            f"{GOOD}rows: [{{a: 1}}, {{}}]",
            [
                "f:3:8: rows[0] lacks the key 'b'; add `b:`",
                "f:3:16: rows[1] lacks the key 'a'; add `a:`",
                "f:3:16: rows[1] lacks the key 'b'; add `b:`",
            ],
        ),
        (f"{GOOD}x: 1\ny: 2", [f"f:3:1: unknown key 'x'; {KNOWN}", f"f:4:1: unknown key 'y'; {KNOWN}"]),
    ],
)
def test_all_mistakes_are_told_at_once(text: str, said: list[str]) -> None:
    assert sorted(judge(text)[0]) == sorted(said)


def test_wrong_entry_of_a_list_leaves_the_places_of_the_others() -> None:
    assert judge(GOOD + "list: [a, 5, c]")[1]["list"] == ["a", None, "c"]


def test_document_that_could_not_be_read_has_no_further_problems() -> None:
    assert judge("") == ([], None)


def test_document_that_is_given_is_not_changed() -> None:
    document, _ = read_yaml(GOOD + "count: x\n", "f")
    check_document(document, SCHEMAS, "thing")
    assert document.data == {"name": "x", "size": "1g", "count": "x"}


@pytest.mark.parametrize(
    ("value", "whole"), [(1000.0, 1000), (1.5, 1.5), (3, 3), ("3.0", "3.0"), (True, True), (None, None)]
)
def test_whole_numbers_written_as_fractions_are_whole(value: Any, whole: Any) -> None:
    assert (as_whole(value), type(as_whole(value))) == (whole, type(whole))


def test_reference_is_followed_and_what_stands_beside_it_wins() -> None:
    node = {"$ref": "#/$defs/size", "description": "x"}
    assert SCHEMAS.resolve("thing", node) == {"type": ["string", "integer"], "format": "ds01-size", "description": "x"}


def test_schemas_of_the_checkout_are_loaded_by_name() -> None:
    folder = CHECKOUT / "schemas"
    loaded = load_schemas(folder).by_name
    assert loaded["host"] == json.loads((folder / "host.schema.json").read_text())


def test_missing_schema_is_a_fault_of_the_checkout(tmp_path: Path) -> None:
    with pytest.raises(SchemaFileError, match="cannot be read"):
        load_schemas(tmp_path)


def test_damaged_schema_is_a_fault_of_the_checkout_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "resource-limits.schema.json").write_text("{")
    with pytest.raises(SchemaFileError) as caught:
        load_schemas(tmp_path)
    assert caught.value.brief == f"{tmp_path}/resource-limits.schema.json cannot be read"
    assert caught.value.resolution == "bring it back (git restore schemas)"
