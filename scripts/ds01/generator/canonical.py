"""From what people write to canonical units, led by the schema: `wait: 3m` becomes `wait_seconds: 180`.

Pure. The same walk over the schema itself gives the schema of the compiled policy, so the two cannot part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ds01.core.units import parse_duration, parse_percent, parse_rate, parse_size
from ds01.generator.schema import Schemas, as_whole

_QUANTITIES: Final[Mapping[str, tuple[str, Callable[[str | int], int]]]] = {
    "ds01-size": ("bytes", parse_size),
    "ds01-duration": ("seconds", parse_duration),
    "ds01-rate": ("bytes_per_second", parse_rate),
    "ds01-percent": ("percent", parse_percent),
}


def canonical_name(key: str, node: Mapping[str, Any]) -> str:
    """Return a key's name with its unit when the schema says it is a quantity."""
    quantity = _QUANTITIES.get(node.get("format", ""))
    return f"{key}_{quantity[0]}" if quantity else key


def canonicalise(schemas: Schemas, name: str, node: Mapping[str, Any], value: Any) -> Any:
    """Convert quantities and fill in defaults, below one node of a schema.

    Args:
        name: which schema `node` is part of.
        value: valid by that node.
    """
    node = schemas.resolve(name, node)
    if "format" in node and node["format"] in _QUANTITIES:
        return None if value is None else _QUANTITIES[node["format"]][1](as_whole(value))
    if isinstance(value, list):
        items = schemas.resolve(name, node.get("items", {}))
        return [canonicalise(schemas, name, items, each) for each in value if each is not None]
    if not isinstance(value, dict):
        return as_whole(value)
    properties = node.get("properties", {})
    result: dict[str, Any] = {}
    for key, child in properties.items():
        resolved = schemas.resolve(name, child)
        if key in value or "default" in resolved:
            given = value[key] if key in value else resolved["default"]
            result[canonical_name(key, resolved)] = canonicalise(schemas, name, resolved, given)
    other = node.get("additionalProperties")
    if isinstance(other, dict):
        for key in (each for each in value if each not in properties):
            result[key] = canonicalise(schemas, name, other, value[key])
    return result


def compiled_schema(schemas: Schemas, name: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of what canonicalise() makes: quantities are whole numbers, names carry their unit."""
    node = schemas.resolve(name, node)
    if node.get("format") in _QUANTITIES:
        types = node.get("type", [])
        null = ["null"] if "null" in types else []
        return {"type": ["integer", *null] if null else "integer", "minimum": 0}
    result = {key: value for key, value in node.items() if key not in _ANNOTATIONS}
    if "properties" in node:
        result["properties"] = {}
        required = []
        for key, child in node["properties"].items():
            resolved = schemas.resolve(name, child)
            result["properties"][canonical_name(key, resolved)] = compiled_schema(schemas, name, resolved)
            if "default" in resolved or key in node.get("required", ()):
                required.append(canonical_name(key, resolved))
        result.pop("required", None)
        if required:
            result["required"] = required
    if isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = compiled_schema(schemas, name, node["additionalProperties"])
    if isinstance(node.get("items"), dict):
        result["items"] = compiled_schema(schemas, name, node["items"])
    return result


_ANNOTATIONS: Final = frozenset({"description", "default", "examples", "unit", "title", "$id", "$schema", "$defs"})
