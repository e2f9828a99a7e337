"""The pages that are made from their sources: docs/policy.md, the module table, the compiled policy's schema.

Prose stands in templates/docs or in the page itself; only what a source already says is made here.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ds01.core.limits import BY_NAME, format_value
from ds01.generator.aliases import ALIASES
from ds01.generator.compile import policy_schema
from ds01.generator.schema import Schemas, load_schemas

_BEGIN: Final = "<!-- made by ./inv docs: {name} -->"
_END: Final = "<!-- end of {name} -->"
_LAYER_KEYS: Final = "Limits (in defaults, a group or an override)"


def stale_pages(checkout: Path) -> list[str]:
    """Return one line for each page that is not what its sources give."""
    return [
        f"{path.relative_to(checkout)} is stale; run ./inv docs and commit it"
        for path, text in _pages(checkout).items()
        if path.read_text(encoding="utf-8") != text
    ]


def write_pages(checkout: Path) -> list[str]:
    """Bring every made page up to date; returns those that changed."""
    changed = []
    for path, text in _pages(checkout).items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(f"{path.relative_to(checkout)} written")
    return changed


def _pages(checkout: Path) -> dict[Path, str]:
    schemas = load_schemas(checkout / "schemas")
    policy_page, architecture = checkout / "docs/policy.md", checkout / "docs/ARCHITECTURE.md"
    sections = {"keys": key_tables(schemas), "host": host_table(schemas), "aliases": alias_table()}
    return {
        policy_page: _filled(policy_page.read_text(encoding="utf-8"), sections),
        architecture: _filled(architecture.read_text(encoding="utf-8"), {"modules": module_table(checkout)}),
        checkout / "schemas/policy.schema.json": json.dumps(policy_schema(schemas), indent=2, ensure_ascii=False)
        + "\n",
    }


def _filled(page: str, sections: Mapping[str, str]) -> str:
    """Put text between the marks of each section; marks that are missing are a fault of the page."""
    for name, text in sections.items():
        begin, end = _BEGIN.format(name=name), _END.format(name=name)
        head, _, rest = page.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"the page lacks the marks of {name!r}: {begin} … {end}")
        page = f"{head}{begin}\n{text}\n{end}{tail}"
    return page


def key_tables(schemas: Schemas) -> str:
    """Return a table for each part of the policy file."""
    schema = schemas.by_name["resource-limits"]
    layer = schema["$defs"]["layer"]
    group = {
        key: value for key, value in schema["$defs"]["group"]["properties"].items() if key not in layer["properties"]
    }
    parts = [
        _table("The file", _rows(schemas, {k: v for k, v in schema["properties"].items() if _is_leaf(schemas, v)})),
        _table(_LAYER_KEYS, _rows(schemas, layer["properties"])),
        _table("Groups (`groups.<name>`, besides limits)", _rows(schemas, group)),
        _table("Overrides (`user_overrides.<account>`, besides limits)", _rows(schemas, {"reason": _reason(schema)})),
    ]
    for name in (
        "gpu_allocation",
        "enforcement",
        "access_control",
        "policies",
        "container_types",
        "bare_metal_access",
        "pressure",
        "monitoring",
    ):
        node = schema["properties"][name]
        parts.append(_table(f"`{name}`: {node['description']}", _rows(schemas, node["properties"])))
    return "\n\n".join(parts)


def host_table(schemas: Schemas) -> str:
    """Return the table of the host file's keys."""
    return _rows_table(_rows(schemas, schemas.by_name["host"]["properties"], name="host"))


def alias_table() -> str:
    """Return what each old key means today."""
    head = "| old key | write today | meaning |\n|---|---|---|"
    rows = [
        f"| `{alias.old.replace('{layer}.', '')}` | {f'`{alias.new}`' if alias.new else 'nothing'} | {alias.meaning} |"
        for alias in ALIASES
    ]
    return "\n".join([head, *rows])


def module_table(checkout: Path) -> str:
    """Return each module with the first line of its docstring."""
    head = "| module | job |\n|---|---|"
    rows = []
    for path in sorted((checkout / "scripts/ds01").rglob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = path.relative_to(checkout / "scripts/ds01").as_posix()
        if not name.endswith("__init__.py"):
            rows.append(f"| `{name}` | {text.splitlines()[0] if text else ''} |")
    return "\n".join([head, *rows])


def _reason(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reason: Mapping[str, Any] = schema["$defs"]["override"]["properties"]["reason"]
    return reason


def _is_leaf(schemas: Schemas, node: Mapping[str, Any]) -> bool:
    resolved = schemas.resolve("resource-limits", node)
    return "properties" not in resolved


def _rows(
    schemas: Schemas, properties: Mapping[str, Any], prefix: str = "", name: str = "resource-limits"
) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield key, meaning, unit, default and example; nested keys follow with their path."""
    for key, child in properties.items():
        node = schemas.resolve(name, child)
        inner = node.get("properties") or schemas.resolve(name, node.get("items", {})).get("properties")
        shown = f"{prefix}{key}"
        if inner:
            yield shown, node.get("description", ""), "", "", ""
            mark = "[]." if "items" in node else "."
            yield from _rows(schemas, inner, f"{shown}{mark}", name)
        else:
            default = _value(node, "default") or _builtin(shown)
            yield shown, _meaning(node), node.get("unit", ""), default, _example(node)


def _builtin(key: str) -> str:
    """Return what holds for a limit when no layer says anything."""
    limit = BY_NAME.get(key)
    if limit is None:
        return ""
    if limit.key == "memory_high":
        return "90 % of memory_max"
    if limit.aggregate and not limit.key.startswith("io_"):
        return "computed"
    return f"`{format_value(limit, limit.builtin)}`".replace("`no`", "`false`")


def _meaning(node: Mapping[str, Any]) -> str:
    meaning = str(node.get("description", ""))
    if "enum" in node:
        meaning += f" One of {', '.join(f'`{each}`' for each in node['enum'])}."
    return meaning


def _value(node: Mapping[str, Any], key: str) -> str:
    return f"`{json.dumps(node[key], ensure_ascii=False)}`".replace('"', "") if key in node and node[key] != {} else ""


def _example(node: Mapping[str, Any]) -> str:
    examples = node.get("examples")
    return f"`{json.dumps(examples[0], ensure_ascii=False)}`" if examples else _value(node, "default")


def _table(title: str, rows: Iterator[tuple[str, str, str, str, str]]) -> str:
    return f"### {title}\n\n{_rows_table(rows)}"


def _rows_table(rows: Iterator[tuple[str, str, str, str, str]]) -> str:
    head = "| key | meaning | unit | default | example |\n|---|---|---|---|---|"
    lines = [f"| `{key}` | {' | '.join(cell.replace('|', chr(92) + '|') for cell in rest)} |" for key, *rest in rows]
    return "\n".join([head, *lines])
