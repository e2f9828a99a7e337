"""The generator's front door: load, validate, resolve, render."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ds01.core.errors import BadInputError, Ds01Error
from ds01.core.policy import Policy, PolicyError
from ds01.core.tree import Tree
from ds01.core.value import replace
from ds01.generator.aliases import modernise
from ds01.generator.checks import check_inventory
from ds01.generator.compile import compile_policy
from ds01.generator.environment import make_environment
from ds01.generator.inventory import Documents, load_inventory
from ds01.generator.manifest import load_artefacts
from ds01.generator.model import make_model
from ds01.generator.problems import Problem, did_you_mean
from ds01.generator.render import render_tree
from ds01.generator.schema import Schemas, check_document, load_schemas
from ds01.generator.subject import Subject
from ds01.generator.yamltext import Document


class InventoryError(BadInputError):
    """The inventory has problems; nothing was written.

    Attributes:
        problems: all of them, with their places; notices too.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        wrong = [problem for problem in problems if not problem.notice]
        count = f"{len(wrong)} problem{'s' if len(wrong) != 1 else ''} in the inventory; nothing was written"
        super().__init__(count, "\n".join(map(str, wrong)))


@dataclass(frozen=True, slots=True)
class Validated:
    """An inventory that can be rendered for one host, with what an admin should still know about it."""

    document: dict[str, Any]
    notices: tuple[Problem, ...]


def validate(documents: Documents, host: str, schemas: Schemas) -> tuple[tuple[Problem, ...], dict[str, Any]]:
    """Check everything at once.

    Args:
        host: which of the inventory's hosts the policy is held against; one it lacks when it has none.

    Returns:
        Every problem and notice in the order of their places, and the compiled policy of what is right.
    """
    policy, notices = modernise(documents.policy)
    problems = [*documents.problems, *notices]
    found, rest = check_document(policy, schemas, "resource-limits")
    problems += found
    hosts: dict[str, Document] = {}
    for name, file in documents.hosts.items():
        found, hosts[name] = check_document(file, schemas, "host")
        problems += found
    documents = replace(documents, policy=rest, hosts=hosts)
    compiled: dict[str, Any] = {}
    resolved: Policy | None = None
    here = hosts.get(host)
    needed = schemas.by_name["host"]["required"]
    if isinstance(rest.data, dict) and here is not None and isinstance(here.data, dict):
        compiled = compile_policy(documents, host, schemas)
        try:
            resolved = Policy.from_document(compiled) if all(key in here.data for key in needed) else None
        except PolicyError:
            # A part that everything hangs on is missing, and already among the problems.
            resolved = None
    problems += check_inventory(Subject(documents, resolved, host))
    return tuple(sorted(set(problems))), compiled


def check(checkout: Path, inventory: Path, host: str | None) -> Validated:
    """Load and validate an inventory for one host.

    Raises:
        InventoryError: it has problems.
        BadInputError: there is no such host.
        Ds01Error: the compiled policy is not what its schema promises, which no inventory should be able to do.
    """
    documents = load_inventory(inventory)
    schemas = load_schemas(checkout / "schemas")
    name = choose_host(documents, host) if documents.hosts else ""
    problems, compiled = validate(documents, name, schemas)
    if any(not problem.notice for problem in problems):
        raise InventoryError(problems)
    broken = next(schemas.validator("policy").iter_errors({"generated": "", **compiled}), None)
    if broken is not None:
        fault = f"{broken.json_path}: {broken.message}"
        raise Ds01Error("the compiled policy breaks schemas/policy.schema.json", fault, "report it: a fault of DS01")
    return Validated(compiled, problems)


def build(checkout: Path, inventory: Path, host: str | None = None) -> tuple[Tree, tuple[Problem, ...]]:
    """Make the wanted tree of one host.

    Args:
        checkout: where schemas/ and templates/ are.
        host: None for the only host there is, or the one named like this machine.

    Raises:
        InventoryError, BadInputError: as check().
        ManifestError, RenderError: the checkout is broken.
    """
    validated = check(checkout, inventory, host)
    templates = checkout / "templates"
    artefacts = load_artefacts(templates, load_schemas(checkout / "schemas"))
    tree = render_tree(make_model(validated.document), artefacts, make_environment(templates))
    return tree, validated.notices


def choose_host(documents: Documents, host: str | None) -> str:
    """Decide which host is meant.

    Raises:
        BadInputError: the named host has no file, or several have one and none was named.
    """
    known = sorted(documents.hosts)
    if host is None:
        here = socket.gethostname().split(".")[0]
        if len(known) == 1 or here in known:
            return known[0] if len(known) == 1 else here
        raise BadInputError(
            "which host?",
            f"the inventory has {', '.join(known)}, this machine is {here}",
            "name one with --host",
        )
    if host not in known:
        raise BadInputError(
            f"there is no host {host!r}",
            None,
            did_you_mean(host, known, f"the inventory has {', '.join(known)}"),
        )
    return host


def host_names(inventory: Path) -> tuple[str, ...]:
    """Return the hosts that the inventory describes."""
    return tuple(sorted(load_inventory(inventory).hosts))
