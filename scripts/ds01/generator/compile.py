"""From checked documents to the one object that becomes policy.json. Pure; defaults and units are settled here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ds01.core import names
from ds01.core.policy import POLICY_VERSION
from ds01.generator.canonical import canonicalise, compiled_schema
from ds01.generator.inventory import Documents, Member
from ds01.generator.schema import Schemas
from ds01.generator.yamltext import Document

_SECTIONS: Final = (
    "enforcement",
    "access_control",
    "gpu_allocation",
    "policies",
    "container_types",
    "bare_metal_access",
    "pressure",
    "monitoring",
)
_FIRST_ENGINE_WITH_BUILDKIT: Final = 23
# Not limits. The reason of an override stays in the inventory: everybody on the host can read policy.json.
_NO_LIMITS: Final = frozenset({"description", "members", "unix_group", "reason"})


def members_of(documents: Documents, group: str) -> Iterator[Member]:
    """Yield a group's accounts with their places: those of its file, then those in the policy itself."""
    yield from documents.members.get(group, ())
    entry = _section(_section(documents.policy.data, "groups"), group)
    for index, name in enumerate(entry.get("members") or ()):
        if isinstance(name, str):
            yield Member(name, documents.policy.value_place(("groups", group, "members", index)))


def compile_policy(documents: Documents, host: str, schemas: Schemas) -> dict[str, Any]:
    """Bring policy, members and one host together.

    Args:
        documents: modernised and valid; parts that are not have been taken out.

    Returns:
        The compiled policy in canonical units, every default filled in, ready for Policy.from_document().
    """
    data = documents.policy.data or {}
    schema = schemas.by_name["resource-limits"]["properties"]
    host_file = documents.hosts.get(host, Document(host, {}))
    compiled: dict[str, Any] = {
        "version": POLICY_VERSION,
        "host": {"name": host, **_host(host_file.data or {}, schemas)},
        "default_group": data.get("default_group"),
        "defaults": _layer(data.get("defaults") or {}, schemas),
        "groups": {name: _group(name, entry or {}, schemas) for name, entry in _section(data, "groups").items()},
        "users": dict(sorted(_users(documents).items())),
        "user_overrides": {
            name: _layer(entry or {}, schemas) for name, entry in sorted((data.get("user_overrides") or {}).items())
        },
    }
    for section in _SECTIONS:
        compiled[section] = canonicalise(schemas, "resource-limits", schema[section], data.get(section) or {})
    compiled["enforcement"].setdefault("builds", _builder(compiled["host"]["engine_version"]))
    return compiled


def policy_schema(schemas: Schemas) -> dict[str, Any]:
    """Return the schema of compile_policy()'s result, derived from those of its sources."""
    source = schemas.by_name["resource-limits"]
    layer = compiled_schema(schemas, "resource-limits", source["$defs"]["layer"])
    host = compiled_schema(schemas, "host", schemas.by_name["host"])
    host["properties"] = {"name": {"type": "string"}, **host["properties"]}
    text = {"type": "string"}
    parts: dict[str, Any] = {
        "generated": text,
        "version": {"const": POLICY_VERSION},
        "host": host,
        "default_group": text,
        "defaults": layer,
        "groups": _map_of(
            {"description": text, "unix_group": {"type": ["string", "null"]}, "slice": text, "limits": layer}
        ),
        "users": _map_of({"group": text, "slice": text}),
        "user_overrides": {"type": "object", "additionalProperties": layer},
    }
    for section in _SECTIONS:
        parts[section] = compiled_schema(schemas, "resource-limits", source["properties"][section])
    parts["enforcement"]["required"].append("builds")
    return {
        "$schema": source["$schema"],
        "$id": "policy.schema.json",
        "title": "DS01 compiled policy",
        "description": "What /etc/ds01/policy.json holds. Made from the schemas of its sources; see docs.",
        **_object(parts),
    }


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": dict(properties),
    }


def _map_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": _object(properties)}


def _section(data: Any, key: str) -> Mapping[str, Any]:
    entry = data.get(key) if isinstance(data, dict) else None
    return entry if isinstance(entry, dict) else {}


def _layer(entry: Mapping[str, Any], schemas: Schemas) -> Any:
    node = schemas.by_name["resource-limits"]["$defs"]["layer"]
    limits = {key: value for key, value in entry.items() if key not in _NO_LIMITS}
    return canonicalise(schemas, "resource-limits", node, limits)


def _group(name: str, entry: Mapping[str, Any], schemas: Schemas) -> dict[str, Any]:
    return {
        "description": entry.get("description", ""),
        "unix_group": entry.get("unix_group"),
        "slice": names.group_slice(name),
        "limits": _layer(entry, schemas),
    }


def _host(data: Mapping[str, Any], schemas: Schemas) -> dict[str, Any]:
    compiled = canonicalise(schemas, "host", schemas.by_name["host"], dict(data))
    return dict(compiled)


def _users(documents: Documents) -> dict[str, dict[str, str]]:
    """Listed account to group and slice; of an account in two groups the first counts (it is a problem anyway)."""
    users: dict[str, dict[str, str]] = {}
    for group in _section(documents.policy.data, "groups"):
        for member in members_of(documents, group):
            part = names.safe(member.name)
            users.setdefault(member.name, {"group": group, "slice": names.user_slice(group, part)})
    return users


def _builder(engine_version: str) -> str:
    major = int(engine_version.split(".", maxsplit=1)[0])
    return "buildkit" if major >= _FIRST_ENGINE_WITH_BUILDKIT else "classic"
