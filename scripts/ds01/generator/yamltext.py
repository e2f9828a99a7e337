"""YAML with positions, read by the core rules of YAML 1.2: only true and false are booleans.

`off`, `no`, `12:30` and `2026-01-31` stay text. Tags and merge keys are refused, duplicate keys are problems.
Source: YAML 1.2.2, 10.3 Core Schema.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from ds01.generator.problems import Place, Problem

Path = tuple[str | int, ...]
# Enough for 10,000 accounts with overrides, far below what aliases of aliases can blow up to.
_MOST_NODES: Final = 2_000_000


class _CoreResolver(BaseResolver):
    """Which plain scalars are not text."""


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _CoreResolver.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


class _PlainLoader(Reader, Scanner, Parser, Composer, _CoreResolver):
    """PyYAML's own reader, for installations without libyaml."""

    def __init__(self, stream: str) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _CoreResolver.__init__(self)


def _fast_loader() -> Any:
    """Return a loader on libyaml, ten times as fast and with the same positions; None where it is missing."""
    if not getattr(yaml, "__with_libyaml__", False):
        return None
    parser: Any = importlib.import_module("yaml.cyaml").CParser

    class _FastLoader(parser, _CoreResolver):  # type: ignore[misc]  # a C type that the stubs do not have
        def __init__(self, stream: str) -> None:
            parser.__init__(self, stream)
            _CoreResolver.__init__(self)

    return _FastLoader


_LOADER: Final[Any] = _fast_loader() or _PlainLoader


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file: its plain data, and where each key and value stands.

    Attributes:
        data: dicts, lists, text, numbers, booleans and None.
        keys: path to the place of its key.
        values: path to the place of its value.
    """

    file: str
    data: Any
    keys: Mapping[Path, Place] = field(default_factory=dict)
    values: Mapping[Path, Place] = field(default_factory=dict)

    def key_place(self, path: Path) -> Place:
        """Return where a key stands, or its nearest ancestor that has a place."""
        return self._nearest(path, self.keys)

    def value_place(self, path: Path) -> Place:
        """Return where a value stands, or its nearest ancestor that has a place."""
        return self._nearest(path, self.values)

    def _nearest(self, path: Path, places: Mapping[Path, Place]) -> Place:
        for end in range(len(path), 0, -1):
            place = places.get(path[:end]) or self.keys.get(path[:end])
            if place is not None:
                return place
        return Place(self.file)


@dataclass(slots=True)
class _Builder:
    file: str
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0

    def place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def problem(self, node: yaml.Node, text: str, fix: str) -> None:
        self.problems.append(Problem(self.place(node), text, fix))

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise _TooLargeError
        self.values[path] = self.place(node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.problem(key_node, "a key must be plain text", "write one word before the colon")
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key == "<<" and not key_node.style:
                self.problem(key_node, "merge keys (<<) are not used in YAML 1.2", "write the keys out")
            elif key in result:
                first = self.keys[here].line
                self.problem(key_node, f"key {key!r} stands twice (first in line {first})", "remove one of the two")
            else:
                self.keys[here] = self.place(key_node)
                result[key] = self.build(value_node, here)
        return result

    def scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                base = {"0o": 8, "0x": 16}.get(text[:2].lower(), 10)
                return int(text, base)
            case "float":
                return float(text)
            case other:
                self.problem(node, f"tag {other!r} is not used here", "write the plain value")
                return None


class _TooLargeError(Exception):
    """Aliases of aliases: the file would grow without end."""


def read_yaml(text: str, file: str) -> tuple[Document, tuple[Problem, ...]]:
    """Read one YAML document.

    Args:
        file: how the file is named in messages.

    Returns:
        The document, and what is wrong with its text. After a syntax error the data is None.
    """
    builder = _Builder(file)
    try:
        node = yaml.compose(text, Loader=_LOADER)
        data = None if node is None else builder.build(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        cause = error.problem or error.context or "cannot be read"
        return Document(file, None), (Problem(place, f"not YAML: {cause}", "mend the text at this place"),)
    except yaml.YAMLError as error:
        cause = str(error).splitlines()[0]
        return Document(file, None), (Problem(Place(file), f"not YAML: {cause}", "remove the character"),)
    except (RecursionError, _TooLargeError):
        problem = Problem(Place(file), "nested too deeply, or aliases that grow without end", "write it plainly")
        return Document(file, None), (problem,)
    return Document(file, data, builder.keys, builder.values), tuple(builder.problems)
