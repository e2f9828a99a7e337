"""Canonical units: quantities become whole numbers with their unit in the name, defaults are filled in."""

from __future__ import annotations

from typing import Any

import pytest

from ds01.generator.canonical import canonical_name, canonicalise, compiled_schema
from ds01.generator.schema import Schemas

SIZE = {"type": ["string", "integer", "null"], "format": "ds01-size"}
WAIT = {"type": "string", "format": "ds01-duration", "default": "3m"}
DISK = {"type": "object", "properties": {"size": SIZE, "kind": {"default": "ssd"}}}
NODE: dict[str, Any] = {
    "type": "object",
    "description": "x",
    "required": ["memory"],
    "properties": {
        "memory": {"$ref": "#/$defs/size", "description": "y"},
        "wait": WAIT,
        "quota": {"type": "string", "format": "ds01-percent"},
        "speed": {"type": "string", "format": "ds01-rate"},
        "cpus": {"type": "number", "minimum": 0, "examples": [1]},
        "disks": {"type": "array", "items": DISK},
        "empty": {"type": "object", "default": {}, "properties": {"wait": WAIT}},
    },
    "additionalProperties": {"type": "object", "properties": {"wait": WAIT}},
}
SCHEMAS = Schemas({"thing": {**NODE, "$defs": {"size": SIZE}}})


@pytest.mark.parametrize(
    ("key", "node", "name"),
    [
        ("memory", {"format": "ds01-size"}, "memory_bytes"),
        ("wait", {"format": "ds01-duration"}, "wait_seconds"),
        ("quota", {"format": "ds01-percent"}, "quota_percent"),
        ("speed", {"format": "ds01-rate"}, "speed_bytes_per_second"),
        ("mail", {"format": "email"}, "mail"),
        ("cpus", {}, "cpus"),
    ],
)
def test_name_of_a_quantity_ends_in_its_unit(key: str, node: dict[str, Any], name: str) -> None:
    assert canonical_name(key, node) == name


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        ({}, {"wait_seconds": 180, "empty": {"wait_seconds": 180}}),
        (
            {"memory": "1g", "wait": "1h", "quota": "200%", "speed": "1k", "cpus": 2.0},
            {
                "memory_bytes": 1024**3,
                "wait_seconds": 3600,
                "quota_percent": 200,
                "speed_bytes_per_second": 1000,
                "cpus": 2,
                "empty": {"wait_seconds": 180},
            },
        ),
        ({"memory": None}, {"memory_bytes": None, "wait_seconds": 180, "empty": {"wait_seconds": 180}}),
        (
            {"disks": [{"size": 1e3}, None, {}]},
            {
                "wait_seconds": 180,
                "disks": [{"size_bytes": 1000, "kind": "ssd"}, {"kind": "ssd"}],
                "empty": {"wait_seconds": 180},
            },
        ),
        ({"other": {}}, {"wait_seconds": 180, "empty": {"wait_seconds": 180}, "other": {"wait_seconds": 180}}),
    ],
)
def test_value_is_brought_to_canonical_units(value: dict[str, Any], canonical: dict[str, Any]) -> None:
    assert canonicalise(SCHEMAS, "thing", NODE, value) == canonical


def test_schema_of_the_result_has_the_same_names_and_no_prose() -> None:
    wait = {"type": "integer", "minimum": 0}
    size = {"type": ["integer", "null"], "minimum": 0}
    waiting = {"type": "object", "properties": {"wait_seconds": wait}, "required": ["wait_seconds"]}
    assert compiled_schema(SCHEMAS, "thing", NODE) == {
        "type": "object",
        "properties": {
            "memory_bytes": size,
            "wait_seconds": wait,
            "quota_percent": wait,
            "speed_bytes_per_second": wait,
            "cpus": {"type": "number", "minimum": 0},
            "disks": {
                "type": "array",
                "items": {"type": "object", "properties": {"size_bytes": size, "kind": {}}, "required": ["kind"]},
            },
            "empty": waiting,
        },
        "additionalProperties": waiting,
        "required": ["memory_bytes", "wait_seconds", "empty"],
    }
