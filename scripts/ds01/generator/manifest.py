"""Read `templates/manifest.yaml`: which files and links there are, with which owner, check and handlers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ds01.core.errors import Ds01Error
from ds01.core.tree import Merge, Part
from ds01.generator.canonical import canonicalise
from ds01.generator.schema import Schemas, check_document
from ds01.generator.yamltext import read_yaml


class ManifestError(Ds01Error):
    """templates/manifest.yaml is broken: a fault of the checkout, not of the inventory."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """One row of the manifest.

    Attributes:
        source: template, relative to templates/; None for a link.
        target: absolute path, with @group@ and @user@ where for_each fills them in.
        leads_to: where a link leads; None for a file.
        for_each: name of the model's list to render once for each of, or None.
        when: switch that must be on, or None.
    """

    source: str | None
    target: str
    leads_to: str | None
    owner: str
    group: str
    mode: int
    for_each: str | None
    when: str | None
    merge: Merge | None
    check: tuple[str, ...]
    handlers: tuple[str, ...]
    part: Part | None


def load_artefacts(templates: Path, schemas: Schemas) -> tuple[Artefact, ...]:
    """Return the manifest's rows in their order.

    Raises:
        ManifestError: the file is missing or breaks its schema.
    """
    path = templates / "manifest.yaml"
    try:
        document, problems = read_yaml(path.read_text(), "templates/manifest.yaml")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read", str(error), "restore the checkout (git checkout)") from error
    more, _ = check_document(document, schemas, "manifest")
    if problems or more:
        raise ManifestError("templates/manifest.yaml is broken", "\n".join(map(str, (*problems, *more))))
    rows = canonicalise(schemas, "manifest", schemas.by_name["manifest"], document.data)["artefacts"]
    return tuple(_artefact(row) for row in rows)


def _artefact(row: Mapping[str, Any]) -> Artefact:
    source = row.get("source")
    return Artefact(
        source=source,
        target=row.get("link") or row.get("target") or f"/{str(source).removesuffix('.j2')}",
        leads_to=row.get("leads_to"),
        owner=row["owner"],
        group=row["group"],
        mode=int(row["mode"], 8),
        for_each=row.get("for_each"),
        when=row.get("when"),
        merge=Merge(row["merge"]) if "merge" in row else None,
        check=tuple(row["check"]),
        handlers=tuple(row["handlers"]),
        part=Part(row["part"]) if "part" in row else None,
    )
