"""From the model to a tree of files; the same model gives the same bytes on every machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from jinja2 import Environment, TemplateError

from ds01.core.errors import Ds01Error
from ds01.core.tree import Form, Tree, TreeFile, sha256
from ds01.generator.manifest import Artefact
from ds01.generator.model import Model, SliceUnit

_UNITS: Final[Mapping[str, Callable[[Model], tuple[SliceUnit, ...]]]] = {
    "root": lambda model: (model.root,),
    "other": lambda model: (model.other,),
    "build": lambda model: (model.build,),
    "group": lambda model: model.groups,
    "limited_group": lambda model: model.limited_groups,
    "limited_user": lambda model: model.limited_users,
}


class RenderError(Ds01Error):
    """A template cannot be rendered: a fault of the checkout."""


def render_tree(model: Model, artefacts: Sequence[Artefact], environment: Environment) -> Tree:
    """Render every artefact.

    Raises:
        RenderError: a template is missing, asks for something the model does not have, or claims a path twice.
    """
    digest = sha256(json.dumps(model.document, sort_keys=True).encode())
    files = [file for artefact in artefacts for file in _render(model, artefact, environment)]
    try:
        return Tree.of(model.host, digest, files)
    except ValueError as error:
        raise RenderError("two templates make the same file", str(error), "mend templates/manifest.yaml") from error


def _link(artefact: Artefact) -> TreeFile:
    return TreeFile(
        path=PurePosixPath(artefact.target),
        content=artefact.leads_to or "",
        owner=artefact.owner,
        group=artefact.group,
        source="templates/manifest.yaml",
        form=Form.LINK,
        part=artefact.part,
    )


def _render(model: Model, artefact: Artefact, environment: Environment) -> Iterator[TreeFile]:
    if artefact.when is not None and artefact.when not in model.switches:
        return
    if artefact.source is None:
        yield _link(artefact)
        return
    source = f"templates/{artefact.source}"
    header = f"Made by DS01 from {source}, do not edit"
    units: Sequence[SliceUnit | None] = (None,)
    if artefact.for_each is not None:
        units = _UNITS[artefact.for_each](model)
    try:
        template = environment.get_template(artefact.source)
        for unit in units:
            target = artefact.target
            if unit is not None:
                target = target.replace("@group@", unit.group).replace("@user@", unit.user)
            yield TreeFile(
                path=PurePosixPath(target),
                content=template.render(model=model, unit=unit, header=header),
                mode=artefact.mode,
                owner=artefact.owner,
                group=artefact.group,
                source=source,
                merge=artefact.merge,
                check=artefact.check,
                handlers=artefact.handlers,
                account=unit.account if unit is not None else None,
                part=artefact.part,
            )
    except TemplateError as error:
        raise RenderError(f"{source} cannot be rendered", f"{type(error).__name__}: {error}") from error
