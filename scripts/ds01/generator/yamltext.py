"""YAML with positions, read by the core rules of YAML 1.2: only true and false are booleans.

`off`, `no`, `12:30` and `2026-01-31` stay text. Tags and merge keys are refused, duplicate keys are problems. Whatever
the text is, the answer is a document or problems: no file can make the reader hang, crash or run something.
Source: YAML 1.2.2, 10.3 Core Schema.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from ds01.generator.problems import Place, Problem

Path = tuple[str | int, ...]
_DEEPEST: Final = 50
# How many nodes aliases may add to those that are written: shared sections are welcome, aliases of aliases are not.
_MOST_REPEATED: Final = 50_000
_LARGEST_INTEGER: Final = 2**63 - 1
# What stands for a value that is a problem already: its key is left out, so that nobody complains a second time.
_NOTHING: Final = object()

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


@dataclass(frozen=True, slots=True)
class _Node:
    """A value as it is written: text, a list or a mapping, whichever of the three is not None."""

    mark: Any
    tag: str | None
    text: str | None = None
    quoted: bool = False
    items: tuple[_Node, ...] | None = None
    pairs: tuple[tuple[_Node, _Node], ...] | None = None


@dataclass(slots=True)
class _Composer:
    """From the parser's events to nodes. Ours, since libyaml's own recursion ends the process on deep nesting."""

    events: Iterator[Any]
    anchors: dict[str, _Node] = field(default_factory=dict)
    nodes: int = 0

    def document(self) -> _Node | None:
        """Return the one document of the stream, None when there is none."""
        root: _Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _Refused(event.start_mark, "a second document begins here", "keep one document a file")
                root = self.node(next(self.events), 0)
        return root

    def node(self, event: Any, depth: int) -> _Node:
        self.nodes += 1
        if depth > _DEEPEST:
            raise _Refused(event.start_mark, f"nested more than {_DEEPEST} levels deep", "write it flatter")
        if isinstance(event, yaml.AliasEvent):
            anchored = self.anchors.get(str(event.anchor))
            if anchored is None:
                raise _Refused(event.start_mark, f"alias *{event.anchor} has no anchor above it", "write the value out")
            return anchored
        node = self._fresh(event, depth + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _fresh(self, event: Any, depth: int) -> _Node:
        mark, tag = event.start_mark, event.tag
        if isinstance(event, yaml.ScalarEvent):
            return _Node(mark, tag, text=event.value, quoted=bool(event.style))
        if isinstance(event, yaml.SequenceStartEvent):
            return _Node(mark, tag, items=tuple(self.node(each, depth) for each in self._until(yaml.SequenceEndEvent)))
        pairs = (
            (self.node(each, depth), self.node(next(self.events), depth)) for each in self._until(yaml.MappingEndEvent)
        )
        return _Node(mark, tag, pairs=tuple(pairs))

    def _until(self, end: type[yaml.Event]) -> Iterator[Any]:
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

    def problem(self, node: _Node, text: str, fix: str) -> None:
        self.problems.append(Problem(_place(self.file, node.mark), text, fix))

    def build(self, node: _Node, path: Path) -> Any:
        self.nodes_left -= 1
        if self.nodes_left < 0:
            raise _Refused(node.mark, "aliases of aliases make this file grow without end", "write it out")
        self.values[path] = _place(self.file, node.mark)
        if node.tag is not None:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.problem(node, f"tag {tag} is not used here", "write the plain value")
            return _NOTHING
        if node.pairs is not None:
            return self.mapping(node.pairs, path)
        if node.items is not None:
            built = [self.build(child, (*path, index)) for index, child in enumerate(node.items)]
            return [None if each is _NOTHING else each for each in built]
        return self.scalar(node, node.text or "")

    def mapping(self, pairs: tuple[tuple[_Node, _Node], ...], path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in pairs:
            key = key_node.text
            if key is None or key_node.tag is not None:
                self.problem(key_node, "a key must be plain text", "write one word before the colon")
                continue
            here = (*path, key)
            if self.unseen(key_node, key):
                continue
            if key == "<<" and not key_node.quoted:
                self.problem(key_node, "merge keys (<<) are not used in YAML 1.2", "write the keys out")
            elif key in result:
                first = self.keys[here].line
                self.problem(key_node, f"key {key!r} stands twice (first in line {first})", "remove one of the two")
            else:
                self.keys[here] = _place(self.file, key_node.mark)
                value = self.build(value_node, here)
                if value is not _NOTHING:
                    result[key] = value
        return result

    def unseen(self, node: _Node, text: str) -> bool:
        """Whether text holds what nobody sees, such as U+202E, which turns the rest of a line around."""
        found = next((each for each in text if not each.isprintable() and each not in "\n\t"), None)
        if found is not None:
            self.problem(node, f"holds the character U+{ord(found):04X}, which cannot be seen", "remove it")
        return found is not None

    def scalar(self, node: _Node, text: str) -> Any:
        if self.unseen(node, text):
            return _NOTHING
        if node.quoted:
            return text
        value = next((convert(text) for pattern, convert in _PLAIN if pattern.fullmatch(text)), text)
        too_large = abs(value) > _LARGEST_INTEGER if isinstance(value, (int, float)) else False
        if too_large:
            self.problem(node, f"{text[:20]} is too large a number", "write a smaller one, or null for no limit")
            return _NOTHING
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
    bad = _CONTROL.search(text)
    if bad is not None:
        start = text.rfind("\n", 0, bad.start()) + 1
        place = Place(file, text.count("\n", 0, start) + 1, bad.start() - start + 1)
        character = f"character U+{ord(bad[0]):04X} is not allowed in YAML"
        return Document(file, None), (Problem(place, character, "remove it"),)
    try:
        composer = _Composer(iter(yaml.parse(text, Loader=_PARSER)))
        node = composer.document()
        builder = _Builder(file, composer.nodes + _MOST_REPEATED)
        data = None if node is None else builder.build(node, ())
        data = None if data is _NOTHING else data
    except _Refused as error:
        return Document(file, None), (Problem(_place(file, error.mark), error.text, error.fix),)
    except yaml.YAMLError as error:
        return Document(file, None), (_syntax(text, file, error),)
    return Document(file, data, builder.keys, builder.values), tuple(builder.problems)


def _syntax(text: str, file: str, error: yaml.YAMLError) -> Problem:
    """Say in an admin's words what the parser stumbled over."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(Place(file), f"not YAML: {str(error).splitlines()[0]}", "mend the text")
    said, place = str(error.problem or error.context), _place(file, error.problem_mark or error.context_mark)
    lines = text.split("\n")
    there = lines[place.line - 1][place.column - 1 :] if place.line <= len(lines) else ""
    if there.startswith("\t"):
        return Problem(place, "a tab cannot indent in YAML", "indent with spaces")
    for words, problem, fix, from_start in _SYNTAX:
        if words in said:
            at = _place(file, error.context_mark) if from_start and error.context_mark else place
            return Problem(at, problem.format(there[:1]), fix)
    return Problem(place, f"not YAML: {said}", "mend the text at this place")


_CONTROL: Final = Reader.NON_PRINTABLE
# What the parser says, what it means, what to do, and whether the place is where the construct begins.
_SYNTAX: Final = (
    ("end of stream", "a quote is opened here and never closed", "close it", True),
    ("',' or ']'", "a list is opened here and never closed", "close it with ], and part its entries by commas", True),
    ("',' or '}'", "a mapping is opened here and never closed", "close it with }", True),
    (
        "values are not allowed",
        "a colon where no key can be",
        "put the value in quotes, or mend the indentation",
        False,
    ),
    ("cannot start any token", "a value cannot start with {0}", "put it in quotes", False),
    ("expected key", "this line fits neither what is above it nor its indentation", "mend the indentation", False),
    (
        "expected <block end>",
        "this line fits neither what is above it nor its indentation",
        "mend the indentation",
        False,
    ),
    (
        "node content",
        "a value is missing here, or a bracket stands alone",
        "write the value, or quote the bracket",
        False,
    ),
    ("expected ':'", "a line without a colon", "write `key: value`", True),
)
