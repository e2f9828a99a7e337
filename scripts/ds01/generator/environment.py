"""The Jinja2 environment: one place that sets its rules and its filters."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def make_environment(templates: Path) -> Environment:
    """Return an environment in which an unknown name is an error and white space is what the template says."""
    environment = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - units, JSON and shell are not HTML; each has its own filter
    )
    environment.filters["json"] = to_json
    environment.filters["shell"] = to_shell
    return environment


def to_json(value: object) -> str:
    """Return JSON in the order of the object; the only way JSON gets into a rendered file.

    Letters of every language stay as they are; what cannot be seen is escaped, so that it cannot mislead a reader.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def to_shell(value: str) -> str:
    """Return text as one word of a shell; the only way text of the policy gets into a script."""
    return shlex.quote(value)
