"""Pages made from their sources: what is between the marks is replaced, everything else is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ds01.generator.aliases import ALIASES
from ds01.generator.reference import alias_table, host_table, key_tables, module_table, stale_pages, write_pages
from ds01.generator.schema import load_schemas

CHECKOUT = Path(__file__).resolve().parents[3]
SCHEMAS = load_schemas(CHECKOUT / "schemas")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return the parts of a checkout that pages are made from, with pages that hold only their marks."""
    shutil.copytree(CHECKOUT / "schemas", tmp_path / "schemas")
    package = tmp_path / "scripts" / "ds01" / "core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""Core."""\n')
    (package / "units.py").write_text('"""Sizes and durations.\n\nMore.\n"""\n')
    (package / "bare.py").write_text("x = 1\n")
    (tmp_path / "docs").mkdir()
    for page, names in (("policy.md", ("keys", "host", "aliases")), ("ARCHITECTURE.md", ("modules",))):
        marks = [f"<!-- made by ./inv docs: {name} -->\nold\n<!-- end of {name} -->\n" for name in names]
        (tmp_path / "docs" / page).write_text("Before.\n" + "between\n".join(marks) + "After.\n")
    return tmp_path


def test_only_what_is_between_the_marks_is_written(checkout: Path) -> None:
    write_pages(checkout)
    assert (checkout / "docs" / "ARCHITECTURE.md").read_text() == (
        "Before.\n<!-- made by ./inv docs: modules -->\n"
        "| module | job |\n|---|---|\n| `core/bare.py` |  |\n| `core/units.py` | Sizes and durations. |\n"
        "<!-- end of modules -->\nAfter.\n"
    )


def test_pages_are_stale_until_they_are_written(checkout: Path) -> None:
    before, written, after = stale_pages(checkout), write_pages(checkout), stale_pages(checkout)
    assert (before, written, after) == (
        [f"docs/{page} is stale; run ./inv docs and commit it" for page in ("policy.md", "ARCHITECTURE.md")],
        ["docs/policy.md written", "docs/ARCHITECTURE.md written"],
        [],
    )


def test_schema_of_the_compiled_policy_is_one_of_the_pages(checkout: Path) -> None:
    schema = checkout / "schemas" / "policy.schema.json"
    fresh = schema.read_text()
    schema.write_text("{}\n")
    write_pages(checkout)
    assert schema.read_text() == fresh


def test_page_without_its_marks_is_a_fault(checkout: Path) -> None:
    (checkout / "docs" / "policy.md").write_text("nothing\n")
    with pytest.raises(ValueError, match=r"^the page lacks the marks of 'keys'"):
        write_pages(checkout)


@pytest.mark.parametrize(
    "row",
    [
        '| `default_group` | Group of every account that no group lists. |  |  | `"student"` |',
        '| `sigterm_grace` | Time between SIGTERM and SIGKILL when DS01 stops a container. | time | `1m` | `"60s"` |',
    ],
)
def test_keys_are_told_with_meaning_unit_default_and_example(row: str) -> None:
    assert row in key_tables(SCHEMAS).splitlines()


def test_every_key_of_a_layer_and_of_the_host_has_its_row() -> None:
    keys, host = key_tables(SCHEMAS), host_table(SCHEMAS)
    layer = SCHEMAS.by_name["resource-limits"]["$defs"]["layer"]["properties"]
    missing = [key for key in layer if f"| `{key}` |" not in keys]
    missing += [key for key in SCHEMAS.by_name["host"]["properties"] if f"| `{key}` |" not in host]
    assert missing == []


def test_every_old_key_has_its_row() -> None:
    rows = alias_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [alias.old.replace("{layer}.", "") for alias in ALIASES]


def test_module_table_leaves_no_module_out() -> None:
    table = module_table(CHECKOUT)
    modules = [path for path in (CHECKOUT / "scripts" / "ds01").rglob("*.py") if path.name != "__init__.py"]
    missing = [path.name for path in modules if f"{path.relative_to(CHECKOUT / 'scripts' / 'ds01')}`" not in table]
    assert missing == []
