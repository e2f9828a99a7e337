"""Check documents against the JSON Schemas, and say what is wrong in an admin's words.

Source: JSON Schema draft 2020-12.
"""

from __future__ import annotations

import copy
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from ds01.core.errors import Ds01Error
from ds01.core.units import UnitError, parse_duration, parse_percent, parse_rate, parse_size
from ds01.generator.problems import Problem, did_you_mean
from ds01.generator.yamltext import Document, Path

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


def as_whole(value: Any) -> Any:
    """Return 1e3 and 4.0 as whole numbers, which they are in JSON Schema; leave everything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _whole_pattern(_: object, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    """The keyword `pattern` with `$` as in ECMA 262, where it never matches before a last line break."""
    if isinstance(instance, str) and not re.search(pattern.removesuffix("$") + r"\Z" * pattern.endswith("$"), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Final[Any] = extend(  # type: ignore[no-untyped-call]  # jsonschema's own signature has no types
    Draft202012Validator, {"pattern": _whole_pattern}
)


def _format_checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, parse in _FORMATS.items():

        def check(value: object, parse: Callable[[str | int], int] = parse) -> bool:
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                parse(as_whole(value))
            return True

        checker.checks(name, raises=UnitError)(check)
    return checker


class SchemaFileError(Ds01Error):
    """A schema of the checkout is damaged."""


@dataclass(frozen=True, slots=True)
class Schemas:
    """All schemas of the project by name, each checked against the draft."""

    by_name: Mapping[str, Mapping[str, Any]]

    def validator(self, name: str) -> Any:
        """Return a validator (jsonschema's) that also knows DS01's quantities."""
        return _Validator(self.by_name[name], format_checker=_format_checker())

    def resolve(self, name: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow a node's local `$ref`; keywords beside it win."""
        if "$ref" not in node:
            return node
        target = self.by_name[name]["$defs"][node["$ref"].removeprefix("#/$defs/")]
        return {**self.resolve(name, target), **{key: value for key, value in node.items() if key != "$ref"}}


def load_schemas(folder: pathlib.Path) -> Schemas:
    """Read the schemas from their folder.

    Raises:
        SchemaFileError: a schema is missing or not JSON: a fault of the checkout.
    """
    by_name: dict[str, Mapping[str, Any]] = {}
    for name in _SCHEMA_FILES:
        path = folder / f"{name}.schema.json"
        try:
            by_name[name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            fix = "bring it back (git restore schemas)"
            raise SchemaFileError(f"{path} cannot be read", str(error), fix) from error
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
    told: set[Path] = set()
    errors = schemas.validator(name).iter_errors(document.data)
    for error in sorted(errors, key=lambda each: (each.json_path, each.validator)):
        for path, problem in _explain(error, document):
            if path not in told or error.validator == "required":
                problems.append(problem)
            told.add(path)
            _remove(rest, path)
    return tuple(dict.fromkeys(problems)), Document(document.file, rest, document.keys, document.values)


def _explain(error: ValidationError, document: Document) -> Iterator[tuple[Path, Problem]]:
    """Yield what is wrong, and the path of the smallest part that must go so that the rest is right."""
    path, instance, wanted = tuple(error.absolute_path), _any(error.instance), _any(error.validator_value)
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:] or "the file"
    match error.validator:
        case "additionalProperties":
            known = _schema_of(error)["properties"]
            for key in (each for each in instance if each not in known):
                text = f"unknown key {key!r}{f' in {shown}' if path else ''}"
                fix = did_you_mean(key, known, f"remove it; known here: {', '.join(known)}")
                yield (*path, key), Problem(document.key_place((*path, key)), text, fix)
        case "required":
            in_list = bool(path) and isinstance(path[-1], int)
            for key in (each for each in wanted if each not in instance):
                place = document.value_place(path) if in_list else document.key_place(path)
                yield path, Problem(place, f"{shown} lacks the key {key!r}", f"add `{key}:`")
        case "uniqueItems":
            for index in (each for each, value in enumerate(instance) if value in instance[:each]):
                text = f"{shown} has {_written(instance[index])} twice"
                yield (*path, index), Problem(document.value_place((*path, index)), text, "remove one of the two")
        case _:
            yield path, Problem(document.value_place(path), *_words(error, shown))


def _any(value: Any) -> Any:
    """Drop jsonschema's "unset", which an error of a finished validation never has."""
    return value


def _schema_of(error: ValidationError) -> Mapping[str, Any]:
    return error.schema if isinstance(error.schema, Mapping) else {}


def _words(error: ValidationError, shown: str) -> tuple[str, str]:
    value, wanted = _any(error.instance), _any(error.validator_value)
    schema = _schema_of(error)
    is_written = f"{shown} is {_written(value)}"
    match error.validator:
        case "type":
            return is_written, _how_to_write(schema, value)
        case "enum":
            known = [str(each) for each in wanted]
            return is_written, did_you_mean(str(value), known, f"write one of {', '.join(known)}")
        case "format" if isinstance(error.cause, UnitError):
            return f"{shown}: {error.cause.brief}", error.cause.resolution or ""
        case "minimum" | "exclusiveMinimum":
            least = "more than" if error.validator == "exclusiveMinimum" else "at least"
            return f"{is_written}, which is too small", f"write {least} {wanted}"
        case "maximum" | "exclusiveMaximum":
            most = "less than" if error.validator == "exclusiveMaximum" else "at most"
            return f"{is_written}, which is too large", f"write {most} {wanted}"
        case "pattern":
            return f"{is_written}, which has the wrong form", f"write {_example(schema) or f'text like {wanted}'}"
        case "minLength" | "minProperties" | "minItems":
            return f"{shown} is empty", "write at least one entry" if error.validator != "minLength" else "write a name"
        case _:
            return f"{shown}: {error.message}", "see docs/policy.md"


def _how_to_write(schema: Mapping[str, Any], value: object) -> str:
    if schema.get("format") in _FORMATS:
        try:
            _FORMATS[schema["format"]]("")
        except UnitError as error:
            return error.resolution or ""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    quotes = ", in quotes" if kinds[0] == "string" and isinstance(value, (int, float)) else ""
    example = f" like {schema['examples'][0]}" if "pattern" in schema and schema.get("examples") else ""
    return f"write {' or '.join(_TYPE_WORDS[each] for each in kinds)}{quotes}{example}"


def _example(schema: Mapping[str, Any]) -> str | None:
    examples = [*schema.get("examples", ()), *([schema["default"]] if "default" in schema else ())]
    return f"it like {examples[0]}" if examples else None


def _written(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping of keys"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return repr(value) if value else "empty text"
    return "empty" if value is None else json.dumps(value)


def _remove(data: Any, path: Path) -> None:
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
