"""JSON text that keeps its look: read it with positions, change one value, leave every other byte alone.

Works on text alone; decides nothing about whose key is whose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_SPACE: Final = re.compile(r"[ \t\r\n]*")
# Real settings nest four deep; a bound keeps a hostile file from exhausting the stack.
_DEEPEST: Final = 100
# Lists up to this long stay on one line, the way people write exec-opts.
_LINE: Final = 80


class JsonTextError(ValueError):
    """Text that is not the JSON object we expect.

    Attributes:
        line: counted from 1.
        column: counted from 1, in characters.
        problem: what is wrong there.
        resolution: how to mend it.
    """

    def __init__(self, text: str, at: int, problem: str, resolution: str) -> None:
        self.line = text.count("\n", 0, at) + 1
        self.column = at - text.rfind("\n", 0, at)
        self.problem = problem
        self.resolution = resolution
        super().__init__(f"line {self.line}, column {self.column}: {problem}")


@dataclass(frozen=True, slots=True)
class Node:
    """One value and where its text lies.

    Attributes:
        value: plain JSON: dict, list, str, int, float, bool or None.
        start: index of its first character; `end` is one past the last.
        members: of an object, in the order of the text.
    """

    value: object
    start: int
    end: int
    members: Mapping[str, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """One key of an object and its value; `start` is where the key's text begins."""

    start: int
    node: Node


def parse(text: str) -> Node:
    """Read a whole text as one JSON object.

    Raises:
        JsonTextError: not JSON, not an object, a key given twice, a byte order mark, nested too deep.

    Source: RFC 8259; sections 4 (names should be unique) and 8.1 (no byte order mark).
    """
    if text.startswith("\ufeff"):
        raise JsonTextError(text, 0, "it starts with a byte order mark", "save it as UTF-8 without BOM")
    reader = _Reader(text)
    node = reader.value(reader.space(0), 0)
    if not isinstance(node.value, dict):
        raise JsonTextError(text, node.start, "it is not a JSON object", 'write { "key": value, … }')
    end = reader.space(node.end)
    if end < len(text):
        raise JsonTextError(text, end, "there is text after the closing }", "remove what follows, or the } too many")
    return node


def find(root: Node, path: Sequence[str]) -> Node | None:
    """Return the value at a key path, or None when a key is missing or its parent is no object."""
    node = root
    for key in path:
        member = node.members.get(key)
        if member is None:
            return None
        node = member.node
    return node


def with_value(text: str, path: Sequence[str], value: object) -> str:
    """Return the text with the value at a key path set; a new key goes last in its object.

    Raises:
        JsonTextError: the text is not a JSON object.
        KeyError: the key's parent is missing or no object.
    """
    root, parent, member = _place(text, path)
    layout = _Layout.of(text, root)
    if member is None:
        return _appended(text, parent, path[-1], value, layout)
    node = member.node
    wide = "\n" in text[node.start : node.end]
    source = layout.render(value, layout.lead(text, member.start), wide=wide)
    return text[: node.start] + source + text[node.end :]


def with_source(text: str, path: Sequence[str], source: str) -> str:
    """Return the text with the value of an existing key replaced by this JSON text, byte for byte.

    Raises:
        JsonTextError: the text is not a JSON object.
        KeyError: there is no such key.
    """
    _, _, member = _place(text, path)
    if member is None:
        raise KeyError(tuple(path))
    return text[: member.node.start] + source + text[member.node.end :]


def without(text: str, path: Sequence[str]) -> str:
    """Return the text without a key, its value and one comma; undoes with_value() of a new key to the byte.

    Raises:
        JsonTextError: the text is not a JSON object.
        KeyError: there is no such key.
    """
    _, parent, member = _place(text, path)
    if member is None:
        raise KeyError(tuple(path))
    members = list(parent.members.values())
    place = members.index(member)
    if len(members) == 1:
        return text[: parent.start + 1] + text[parent.end - 1 :]
    if place:
        return text[: members[place - 1].node.end] + text[member.node.end :]
    return text[: member.start] + text[members[1].start :]


def _place(text: str, path: Sequence[str]) -> tuple[Node, Node, Member | None]:
    root = parse(text)
    parent = find(root, path[:-1])
    if parent is None or not isinstance(parent.value, dict):
        raise KeyError(tuple(path))
    return root, parent, parent.members.get(path[-1])


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a file is laid out, seen from its first key: one level of indent, and the line ending."""

    indent: str
    newline: str

    @classmethod
    def of(cls, text: str, root: Node) -> _Layout:
        first = next(iter(root.members.values()), None)
        gap = "" if first is None else text[root.start + 1 : first.start]
        indent = gap.rpartition("\n")[2] if "\n" in gap else ""
        return cls(indent or "  ", "\r\n" if "\r\n" in text else "\n")

    def lead(self, text: str, at: int) -> str:
        """Return the white space that starts the line of a position."""
        line = text.rfind("\n", 0, at) + 1
        return text[line : _end_of_blank(text, line)]

    def render(self, value: object, lead: str, *, wide: bool) -> str:
        """Return a value's text; `wide` keeps a list that was spread over lines spread."""
        short = json.dumps(value, ensure_ascii=False)
        if not value or not isinstance(value, dict | list):
            return short
        if not wide and len(short) <= _LINE and not any(isinstance(item, dict | list) for item in value):
            return short
        return json.dumps(value, indent=self.indent, ensure_ascii=False).replace("\n", self.newline + lead)


def _end_of_blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def _appended(text: str, parent: Node, key: str, value: object, layout: _Layout) -> str:
    name = json.dumps(key, ensure_ascii=False)
    if not parent.members:
        outer = layout.lead(text, parent.start)
        inner = outer + layout.indent
        source = f"{name}: {layout.render(value, inner, wide=False)}"
        body = f"{layout.newline}{inner}{source}{layout.newline}{outer}"
        return text[: parent.start + 1] + body + text[parent.end - 1 :]
    members = list(parent.members.values())
    inner = layout.lead(text, members[-1].start)
    one_line = "\n" not in text[parent.start : members[0].start]
    gap = ", " if one_line else f",{layout.newline}{inner}"
    end = members[-1].node.end
    return f"{text[:end]}{gap}{name}: {layout.render(value, inner, wide=False)}{text[end:]}"


class _Reader:
    """A strict recursive reader; the standard decoder gives no positions and lets the last duplicate win."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.scalars = json.JSONDecoder(parse_constant=_no_constant)

    def space(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return at if match is None else match.end()

    def fail(self, at: int, problem: str, resolution: str) -> JsonTextError:
        if self.text.startswith(("//", "/*", "#"), at):
            return JsonTextError(self.text, at, "JSON has no comments", "remove the comment")
        return JsonTextError(self.text, at, problem, resolution)

    def value(self, at: int, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self.fail(at, f"it is nested more than {_DEEPEST} levels deep", "write it flatter")
        if self.text.startswith("{", at):
            return self.object(at, depth)
        if self.text.startswith("[", at):
            return self.array(at, depth)
        try:
            value, end = self.scalars.raw_decode(self.text, at)
        except json.JSONDecodeError as error:
            problem = "a value is missing" if error.msg == "Expecting value" else error.msg
            raise self.fail(error.pos, problem, "put strings in double quotes; see the line named") from error
        except ValueError as error:
            raise self.fail(at, str(error), "write a number that JSON knows") from error
        return Node(value, at, end)

    def object(self, start: int, depth: int) -> Node:
        members: dict[str, Member] = {}
        at = self.space(start + 1)
        while not (self.text.startswith("}", at) and not members):
            key, colon = self.key(at, members)
            node = self.value(self.space(colon + 1), depth + 1)
            members[key] = Member(at, node)
            at = self.space(node.end)
            if self.text.startswith("}", at):
                break
            at = self.comma(at, "}")
        value = {key: member.node.value for key, member in members.items()}
        return Node(value, start, at + 1, members)

    def key(self, at: int, members: Mapping[str, Member]) -> tuple[str, int]:
        if not self.text.startswith('"', at):
            raise self.fail(at, "a key in double quotes is missing", 'write "key": value, and close every {')
        key = self.value(at, 0)
        name = str(key.value)
        if name in members:
            raise self.fail(at, f"the key {name!r} is given twice", "keep one of the two")
        colon = self.space(key.end)
        if not self.text.startswith(":", colon):
            raise self.fail(colon, f"a colon is missing after {name!r}", 'write "key": value')
        return name, colon

    def array(self, start: int, depth: int) -> Node:
        items: list[object] = []
        at = self.space(start + 1)
        while not (self.text.startswith("]", at) and not items):
            node = self.value(at, depth + 1)
            items.append(node.value)
            at = self.space(node.end)
            if self.text.startswith("]", at):
                break
            at = self.comma(at, "]")
        return Node(items, start, at + 1)

    def comma(self, at: int, closing: str) -> int:
        if not self.text.startswith(",", at):
            raise self.fail(at, f"a comma or {closing} is missing", "put a comma between two values")
        after = self.space(at + 1)
        if self.text.startswith(closing, after):
            raise self.fail(at, f"there is a comma before {closing}", "remove that comma")
        return after


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not a JSON number")
