"""The manifest of templates: one row an artefact, with every default filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds01.core.services import SERVICES
from ds01.core.tree import Merge, Part
from ds01.deployer.release import LAUNCHERS
from ds01.generator.manifest import Artefact, ManifestError, load_artefacts
from ds01.generator.schema import load_schemas

CHECKOUT = Path(__file__).resolve().parents[3]
SCHEMAS = load_schemas(CHECKOUT / "schemas")


def test_row_says_only_what_is_not_usual(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("artefacts: [{source: etc/x.conf.j2}]\n")
    assert load_artefacts(tmp_path, SCHEMAS) == (
        Artefact(
            source="etc/x.conf.j2",
            target="/etc/x.conf",
            leads_to=None,
            owner="root",
            group="root",
            mode=0o644,
            for_each=None,
            when=None,
            merge=None,
            check=(),
            handlers=(),
            part=None,
        ),
    )


def test_row_may_say_everything(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(
        "artefacts:\n"
        "  - {source: a.j2, target: /b, owner: alice, group: staff, mode: '0755', for_each: group, part: runtime,\n"
        "     when: aggregate_limits, merge: json, check: ['true', '{file}'], handlers: [daemon-reload]}\n"
    )
    assert load_artefacts(tmp_path, SCHEMAS) == (
        Artefact(
            source="a.j2",
            target="/b",
            leads_to=None,
            owner="alice",
            group="staff",
            mode=0o755,
            for_each="group",
            when="aggregate_limits",
            merge=Merge.JSON,
            check=("true", "{file}"),
            handlers=("daemon-reload",),
            part=Part.RUNTIME,
        ),
    )


def test_row_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("artefacts: [{link: /usr/bin/x, leads_to: ../../opt/x, part: runtime}]\n")
    assert load_artefacts(tmp_path, SCHEMAS) == (
        Artefact(
            source=None,
            target="/usr/bin/x",
            leads_to="../../opt/x",
            owner="root",
            group="root",
            mode=0o644,
            for_each=None,
            when=None,
            merge=None,
            check=(),
            handlers=(),
            part=Part.RUNTIME,
        ),
    )


@pytest.mark.parametrize(
    ("row", "details"),
    [
        ("{}", "1:13: artefacts[0] lacks the key 'source'; add `source:`"),
        ("{link: /a}", "1:13: artefacts[0] lacks the key 'leads_to'; add `leads_to:`"),
        ("{source: a.j2, leads_to: b}", "1:13: artefacts[0]: 'link' is a dependency of 'leads_to'; see docs/policy.md"),
        ("{link: /a, leads_to: b, source: c.j2}",
         ("1:13: artefacts[0]: {'link': '/a', 'leads_to': 'b', 'source': 'c.j2'} should not be valid"
          " under {'required': ['source']}; see docs/policy.md")),
        ("{source: a}", "1:22: artefacts[0].source is 'a', which has the wrong form; write text like \\.j2$"),
        ("{source: a.j2, mode: 0644}", "1:34: artefacts[0].mode is 644; write text, in quotes"),
        ("{source: a.j2, moed: '0644'}", "1:28: unknown key 'moed' in artefacts[0]; did you mean 'mode'?"),
        ("!x {}", ("1:13: tag !x is not used here; write the plain value\n"
                  "templates/manifest.yaml:1:13: artefacts[0] is empty; write a mapping of keys")),
    ],
)  # fmt: skip
def test_broken_manifest_is_a_fault_of_the_checkout(row: str, details: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(f"artefacts: [{row}]")
    with pytest.raises(ManifestError) as refused:
        load_artefacts(tmp_path, SCHEMAS)
    assert (refused.value.brief, refused.value.details) == (
        "templates/manifest.yaml is broken",
        f"templates/manifest.yaml:{details}",
    )


def test_missing_manifest_says_how_to_get_it_back(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as refused:
        load_artefacts(tmp_path, SCHEMAS)
    assert (refused.value.brief, refused.value.resolution) == (
        f"{tmp_path / 'manifest.yaml'} cannot be read",
        "restore the checkout (git checkout)",
    )


def test_every_template_has_its_row_and_every_row_its_template() -> None:
    templates = CHECKOUT / "templates"
    there = {str(path.relative_to(templates)) for path in templates.rglob("*.j2") if "_parts" not in path.parts}
    artefacts = load_artefacts(templates, SCHEMAS)
    assert {artefact.source for artefact in artefacts if artefact.leads_to is None} == there


def test_every_command_of_a_release_has_its_link_and_every_link_to_one_its_command() -> None:
    links = [each.leads_to for each in load_artefacts(CHECKOUT / "templates", SCHEMAS) if each.leads_to is not None]
    commands = [link.removeprefix("../../../opt/ds01/current/bin/") for link in links if "/current/" in link]
    # These are called where they lie: by a login shell's lines, by units.
    services = [each.name for each in SERVICES]
    assert sorted([*commands, "ds01-greeting", *services]) == sorted(LAUNCHERS)
