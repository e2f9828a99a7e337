"""YAML with positions, read by the core rules of YAML 1.2: only true and false are booleans.

`off`, `no`, `12:30` and `2026-01-31` stay text. Tags and merge keys are refused, duplicate keys are problems. Whatever
the text is, the answer is a document or problems: no file can make the reader hang, crash or run something.
Source: YAML 1.2.2, 10.3 Core Schema.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from ds01.generator.problems import Place, Problem

Path = tuple[str | int, ...]
_DEEPEST: Final = 50
# How many nodes aliases may add to those that are written: shared sections are welcome, aliases of aliases are not.
_MOST_REPEATED: Final = 50_000
_LARGEST_INTEGER: Final = 2**63 - 1

# Which plain scalars are not text.
_PLAIN: Final[tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...]] = (
    (re.compile(r"|~|null|Null|NULL"), lambda _: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
    (re.compile(r"[-+]?[0-9]{1,4000}"), int),
    (re.compile(r"0o[0-7]{1,4000}"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]{1,4000}"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)


class _PlainParser(Reader, Scanner, Parser):
    """PyYAML's own parser, for installations without libyaml."""

    def __init__(self, stream: str) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)


def _parser() -> Any:
    """Return libyaml's parser, many times as fast and with the same positions, or PyYAML's where it is missing."""
    if not getattr(yaml, "__with_libyaml__", False):
        return _PlainParser
    return importlib.import_module("yaml.cyaml").CParser


_PARSER: Final[Any] = _parser()


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


class _Refused(Exception):  # noqa: N818 - never leaves this module; read_yaml() makes it a problem
    """The text cannot be read any further."""

    def __init__(self, mark: Any, text: str, fix: str) -> None:
        self.mark, self.text, self.fix = mark, text, fix
        super().__init__(text)


@dataclass(slots=True)
class _Composer:
    """From the parser's events to nodes. Ours, since libyaml's own recursion ends the process on deep nesting."""

    events: Iterator[yaml.Event]
    anchors: dict[str, yaml.Node] = field(default_factory=dict)
    nodes: int = 0

    def document(self) -> yaml.Node | None:
        """Return the one document of the stream, None when there is none."""
        root: yaml.Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _Refused(event.start_mark, "a second document begins here", "keep one document a file")
                root = self.node(next(self.events), 0)
        return root

    def node(self, event: Any, depth: int) -> yaml.Node:
        self.nodes += 1
        if depth > _DEEPEST:
            raise _Refused(event.start_mark, f"nested more than {_DEEPEST} levels deep", "write it flatter")
        if isinstance(event, yaml.AliasEvent):
            anchored = self.anchors.get(event.anchor)
            if anchored is None:
                raise _Refused(event.start_mark, f"alias *{event.anchor} has no anchor above it", "write the value out")
            return anchored
        node = self._fresh(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _fresh(self, event: Any, depth: int) -> yaml.Node:
        mark = event.start_mark
        if isinstance(event, yaml.ScalarEvent):
            return yaml.ScalarNode(event.tag, event.value, mark, style=event.style)
        if isinstance(event, yaml.SequenceStartEvent):
            items = [self.node(each, depth + 1) for each in self._until(yaml.SequenceEndEvent)]
            return yaml.SequenceNode(event.tag, items, mark)
        pairs = [
            (self.node(each, depth + 1), self.node(next(self.events), depth + 1))
            for each in self._until(yaml.MappingEndEvent)
        ]
        return yaml.MappingNode(event.tag, pairs, mark)

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        while not isinstance(event := next(self.events), end):
            yield event


@dataclass(slots=True)
class _Builder:
    """From nodes to plain data and places."""

    file: str
    nodes_left: int
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, node: yaml.Node) -> Place:
        return _place(self.file, node.start_mark)

    def problem(self, node: yaml.Node, text: str, fix: str) -> None:
        self.problems.append(Problem(self.place(node), text, fix))

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.nodes_left -= 1
        if self.nodes_left < 0:
            raise _Refused(node.start_mark, "aliases of aliases make this file grow without end", "write it out")
        self.values[path] = self.place(node)
        if node.tag is not None:
            self.problem(node, f"tag {node.tag!r} is not used here", "write the plain value")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag is not None:
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
        if node.style:
            return text
        value = next((convert(text) for pattern, convert in _PLAIN if pattern.fullmatch(text)), text)
        number = isinstance(value, (int, float))
        if number and not (math.isfinite(value) and abs(value) <= _LARGEST_INTEGER):
            self.problem(node, f"{text[:20]} is too large a number", "write a smaller one, or null for no limit")
            return None
        return value


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)


def read_yaml(text: str, file: str) -> tuple[Document, tuple[Problem, ...]]:
    """Read one YAML document.

    Args:
        file: how the file is named in messages.

    Returns:
        The document, and what is wrong with its text. After a syntax error the data is None.
    """
    try:
        composer = _Composer(iter(yaml.parse(text, Loader=_PARSER)))
        node = composer.document()
        builder = _Builder(file, composer.nodes + _MOST_REPEATED)
        data = None if node is None else builder.build(node, ())
    except _Refused as error:
        return Document(file, None), (Problem(_place(file, error.mark), error.text, error.fix),)
    except ReaderError as error:
        return Document(file, None), (_unreadable(text, file, error),)
    except yaml.MarkedYAMLError as error:
        place = _place(file, error.problem_mark or error.context_mark)
        return Document(file, None), (Problem(place, *_syntax(text, place, error)),)
    return Document(file, data, builder.keys, builder.values), tuple(builder.problems)


def _unreadable(text: str, file: str, error: ReaderError) -> Problem:
    """A character that YAML does not know; PyYAML tells only how far into the text it stands."""
    raise NotImplementedError


def _syntax(text: str, place: Place, error: yaml.MarkedYAMLError) -> tuple[str, str]:
    return f"not YAML: {error.problem or error.context}", "mend the text at this place"
