"""Check documents against the JSON Schemas, and say what is wrong in an admin's words.

Source: JSON Schema draft 2020-12.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from ds01.core.units import UnitError, parse_duration, parse_percent, parse_rate, parse_size
from ds01.generator.problems import Problem, did_you_mean
from ds01.generator.yamltext import Document

_SCHEMA_FILES: Final = ("resource-limits", "host", "manifest", "policy")
_FORMATS: Final[Mapping[str, Callable[[str | int], int]]] = {
    "ds01-size": parse_size,
    "ds01-duration": parse_duration,
    "ds01-rate": parse_rate,
    "ds01-percent": parse_percent,
}
_TYPE_WORDS: Final = {
    "object": "a mapping of keys",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def _format_checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, parse in _FORMATS.items():

        def check(value: object, parse: Callable[[str | int], int] = parse) -> bool:
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                parse(value)
            return True

        checker.checks(name, raises=UnitError)(check)
    return checker


@dataclass(frozen=True, slots=True)
class Schemas:
    """All schemas of the project by name, each checked against the draft."""

    by_name: Mapping[str, Mapping[str, Any]]

    def validator(self, name: str) -> Draft202012Validator:
        """Return a validator that also knows DS01's quantities."""
        return Draft202012Validator(self.by_name[name], format_checker=_format_checker())

    def resolve(self, name: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow a node's local `$ref`; keywords beside it win."""
        if "$ref" not in node:
            return node
        target = self.by_name[name]["$defs"][node["$ref"].removeprefix("#/$defs/")]
        return {**self.resolve(name, target), **{key: value for key, value in node.items() if key != "$ref"}}


def load_schemas(folder: Path) -> Schemas:
    """Read the schemas from their folder.

    Raises:
        OSError, ValueError: the checkout is broken; a schema is missing or no schema.
    """
    by_name = {name: json.loads((folder / f"{name}.schema.json").read_text()) for name in _SCHEMA_FILES}
    return Schemas(by_name)


def check_document(document: Document, schemas: Schemas, name: str) -> tuple[tuple[Problem, ...], Document]:
    """Hold a document against a schema.

    Returns:
        The problems, and the document without the parts that are wrong, so that what a schema cannot say is still
        checked for the rest and all problems come at once.
    """
    if document.data is None:
        return (), document
    problems: list[Problem] = []
    rest = copy.deepcopy(document.data)
    for error in sorted(schemas.validator(name).iter_errors(document.data), key=lambda each: str(each.json_path)):
        for path, problem in _explain(error, document):
            problems.append(problem)
            _remove(rest, path)
    return tuple(problems), Document(document.file, rest, document.keys, document.values)


def _explain(error: ValidationError, document: Document) -> Iterator[tuple[tuple[str | int, ...], Problem]]:
    schema: Any = error.schema
    path = tuple(error.absolute_path)
    shown = ".".join(map(str, path)) or "the file"
    if error.validator == "additionalProperties":
        known = schema["properties"]
        instance: Any = error.instance
        for key in instance:
            if key not in known:
                place = document.key_place((*path, key))
                fix = did_you_mean(key, known, f"remove it; known here: {', '.join(known)}")
                yield (
                    (*path, key),
                    Problem(place, f"unknown key {key!r}{f' in {shown}' if path else ''}", fix),
                )
        return
    text, fix = _words(error, shown)
    at_key = error.validator in {"required", "minProperties"}
    place = document.key_place(path) if at_key else document.value_place(path)
    yield path, Problem(place, text, fix)


def _words(error: ValidationError, shown: str) -> tuple[str, str]:
    value: Any = error.instance
    wanted: Any = error.validator_value
    schema: Any = error.schema
    written = _written(value)
    match error.validator:
        case "required":
            missing = next(key for key in wanted if key not in value)
            return f"{shown} lacks the key {missing!r}", f"add `{missing}:`"
        case "type":
            words = " or ".join(_TYPE_WORDS[each] for each in ([wanted] if isinstance(wanted, str) else wanted))
            quote = ", in quotes" if wanted == "string" and isinstance(value, (int, float, bool)) else ""
            return f"{shown} is {written}", f"write {words}{quote}"
        case "enum":
            known = [str(each) for each in wanted]
            return f"{shown} is {written}", did_you_mean(str(value), known, f"write one of {', '.join(known)}")
        case "format":
            cause = error.cause
            if isinstance(cause, UnitError):
                return f"{shown}: {cause.brief}", cause.resolution or "see docs/policy.md"
            return f"{shown} is {written}", "see docs/policy.md"
        case "minimum" | "exclusiveMinimum":
            least = "more than" if error.validator == "exclusiveMinimum" else "at least"
            return f"{shown} is {written}, which is too small", f"write {least} {wanted}"
        case "maximum" | "exclusiveMaximum":
            most = "less than" if error.validator == "exclusiveMaximum" else "at most"
            return f"{shown} is {written}, which is too large", f"write {most} {wanted}"
        case "pattern":
            examples = schema.get("examples") or [schema.get("default")]
            example = f" such as {examples[0]}" if examples[0] is not None else ""
            return f"{shown} is {written}, which has the wrong form", f"write it{example} (pattern {wanted})"
        case "uniqueItems":
            return f"{shown} has an entry twice", "remove one of the two"
        case _:
            return f"{shown}: {error.message}", "see docs/policy.md"


def _written(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping of keys"
    if isinstance(value, list):
        return "a list"
    return "empty" if value is None else json.dumps(value, ensure_ascii=False)


def _remove(data: Any, path: tuple[str | int, ...]) -> None:
    """Take a part out; list entries become None, so that the places of the others stay right."""
    node = data
    for step in path[:-1]:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return
    if not path:
        return
    if isinstance(node, dict):
        node.pop(path[-1], None)
    elif isinstance(node, list) and isinstance(path[-1], int) and path[-1] < len(node):
        node[path[-1]] = None
