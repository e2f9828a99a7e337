"""Brings our keys together with a JSON file that others write too, and takes them out again.

Pure: text and an earlier record in, text and a new record out. Never touches a key that is not ours.

The record holds one entry for each thing of ours, parents first: where it is, what we wrote, and the text
that was there before (null: nothing was). An object or list that we had to make is an entry with the value {}
or [], which is what it is again once everything of ours inside is gone. So one rule takes all of them back,
last first: what still holds our value gets its former text, what somebody changed since stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, cast

from ds01.core.errors import BadInputError
from ds01.deployer import jsontext

KeyPath = tuple[str, ...]
# A list of "name=value" texts that dockerd reads as a map, so ours and the admin's options live side by side.
# Source: moby daemon/daemon_unix.go, getCD: the first option of a name counts, upper and lower case alike.
_OPTIONS: Final[KeyPath] = ("exec-opts",)
_DAEMON_JSON: Final = "/etc/docker/daemon.json"


class MergeError(BadInputError):
    """The file on disk cannot be merged with; it is left as it is."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged file and what to remember about it.

    Attributes:
        record: plain JSON; hand it to the next merge, to unmerge_json() and to ours_in().
    """

    text: str
    record: dict[str, object]


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A file without our keys; `text` is None when the file was ours alone and should be removed."""

    text: str | None


class _Nothing(Enum):
    """Stands for a key that is not there, which null is not."""

    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class _Place:
    """A key, or one named option inside the list at a key."""

    path: KeyPath
    option: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """One thing of ours: the value we wrote, and the JSON text that was there before, None for nothing."""

    place: _Place
    ours: object
    prior: str | None

    @property
    def is_container(self) -> bool:
        """Whether it only has to be there, as an object or option list; its content has its own entries."""
        return self.ours == {} or (self.ours == [] and self.place == _Place(_OPTIONS))

    def to_json(self) -> dict[str, object]:
        place: dict[str, object] = {"path": list(self.place.path)}
        if self.place.option is not None:
            place["option"] = self.place.option
        return place | {"ours": self.ours, "prior": self.prior}

    @classmethod
    def from_json(cls, stored: object) -> _Entry:
        if not isinstance(stored, dict) or not isinstance(stored.get("path"), list):
            raise TypeError("an entry is not an object with a path")
        prior, option = stored["prior"], stored.get("option")
        place = _Place(tuple(map(str, stored["path"])), None if option is None else str(option))
        return cls(place, stored["ours"], None if prior is None else str(prior))


def merge_json(
    ours: str, current: str | None, record: Mapping[str, object] | None, *, path: str = _DAEMON_JSON
) -> Merged:
    """Decide the text of a merged file.

    Objects recurse, exec-opts merges by option name, other lists and single values are replaced. Keys that
    left `ours` get back what was there before us. What a person put over a key of ours since the last merge
    counts from now on as what was there before us, because that is what is displaced now.

    Args:
        ours: a JSON object of our keys alone.
        current: the file's text; None when there is no file. An empty file counts as {}.
        record: what the last merge of this file returned, None at first.
        path: named in messages.

    Returns:
        The text is `current`, byte for byte, when it says all of this already; else only our keys' bytes
        differ. A file that was missing or empty becomes `ours` as it is.

    Raises:
        MergeError: `current` is no JSON object that can be merged with; names line, column and the fix.

    Source: moby daemon/config/config.go, getConflictFreeConfiguration: blank is an empty configuration.
    """
    document = _Document(current, path)
    earlier = _entries(record, path)
    wanted = list(_flatten(_Document(ours, f"our part of {path}").root(), ()))
    kept = {place for place, _ in wanted}
    for entry in reversed(earlier.values()):
        if entry.place not in kept:
            document.take_back(entry)
    laid = [_lay(document, _Entry(place, value, None), earlier.get(place)) for place, value in wanted]
    existed = current is not None and (not record or bool(record.get("existed")))
    text = ours if document.was_blank else document.text
    return Merged(text, {"existed": existed, "entries": [entry.to_json() for entry in laid if entry]})


def unmerge_json(current: str | None, record: Mapping[str, object] | None, *, path: str = _DAEMON_JSON) -> Unmerged:
    """Decide the text of a merged file once nothing in it is ours any more.

    Raises:
        MergeError: `current` is no JSON object; names line, column and the fix.
    """
    if current is None:
        return Unmerged(None)
    document = _Document(current, path)
    for entry in reversed(_entries(record, path).values()):
        document.take_back(entry)
    if record and not record.get("existed") and not document.root():
        return Unmerged(None)
    return Unmerged(document.text)


def ours_in(
    current: str | None, record: Mapping[str, object] | None, *, path: str = _DAEMON_JSON
) -> tuple[KeyPath, ...]:
    """Return the key paths of ours that somebody changed since the last merge; foreign keys do not matter.

    An option of exec-opts is named by the list's path and the option's name.

    Raises:
        MergeError: `current` is no JSON object; names line, column and the fix.
    """
    document = _Document(current, path)
    changed: list[KeyPath] = []
    # Last first: a lost object is named only when nothing inside it is named already.
    for entry in reversed(_entries(record, path).values()):
        place, now = entry.place, document.get(entry.place)
        full = place.path if place.option is None else (*place.path, place.option)
        if entry.is_container:
            if type(now) is not type(entry.ours) and not any(each[: len(full)] == full for each in changed):
                changed.append(full)
        elif not _same(now, entry.ours):
            changed.append(full)
    return tuple(reversed(changed))


def decode(content: bytes, *, path: str = _DAEMON_JSON) -> str:
    """Return a file's bytes as text.

    Raises:
        MergeError: not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise MergeError(
            f"{path}, line {line}, column {column} (bytes): it is not UTF-8 text",
            error.reason,
            "save it as UTF-8 and try again; nothing was changed",
        ) from error


def _entries(record: Mapping[str, object] | None, path: str) -> dict[_Place, _Entry]:
    if not record:
        return {}
    try:
        entries = [_Entry.from_json(each) for each in cast("list[object]", record["entries"])]
    except (KeyError, TypeError, ValueError) as error:
        raise MergeError(
            f"what DS01 remembers about {path} cannot be read",
            f"{type(error).__name__}: {error}",
            "restore the manifest below /var/lib/ds01/deploy from an earlier generation",
        ) from error
    return {entry.place: entry for entry in entries}


def _flatten(value: Mapping[str, object], path: KeyPath) -> Iterator[tuple[_Place, object]]:
    """Yield every thing of ours, parents first; an object stands as {} and exec-opts as []."""
    for key, each in value.items():
        here = (*path, key)
        if isinstance(each, dict):
            yield _Place(here), {}
            yield from _flatten(each, here)
        elif here == _OPTIONS and isinstance(each, list):
            yield _Place(here), []
            by_name: dict[str, list[object]] = {}
            for item in each:
                by_name.setdefault(_option_name(item), []).append(item)
            yield from ((_Place(here, name), items) for name, items in by_name.items())
        else:
            yield _Place(here), each


def _lay(document: _Document, wanted: _Entry, earlier: _Entry | None) -> _Entry | None:
    """Put one thing of ours into the document; None when it was there before us and only has to be there."""
    now = document.get(wanted.place)
    if wanted.is_container and type(now) is type(wanted.ours):
        document.refuse_odd_options(wanted.place)
        return earlier if earlier is not None and _same(earlier.ours, wanted.ours) else None
    document.refuse_odd_options(wanted.place)
    still_ours = earlier is not None and _same(now, earlier.ours)
    prior = earlier.prior if earlier is not None and still_ours else document.source(wanted.place)
    if not _same(now, wanted.ours):
        document.put(wanted.place, wanted.ours)
    return _Entry(wanted.place, wanted.ours, prior)


def _option_name(item: object) -> str:
    return str(item).partition("=")[0].strip().lower()


def _same(left: object, right: object) -> bool:
    """Whether two values are the same JSON: true is not 1, the order of keys does not matter."""
    if left is _Nothing.ABSENT or right is _Nothing.ABSENT:
        return left is right
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


class _Document:
    """A JSON object's text, changed in place; reads and writes keys and the options of exec-opts alike."""

    def __init__(self, text: str | None, path: str) -> None:
        self.was_blank = text is None or not text.strip()
        self.text = "{}\n" if text is None or self.was_blank else text
        self._path = path
        self._parse()

    def root(self) -> dict[str, object]:
        return cast("dict[str, object]", self._parse().value)  # parse() accepts objects alone

    def get(self, place: _Place) -> object:
        """Return the value; for an option the items of that name; ABSENT when there is none."""
        node = jsontext.find(self._parse(), place.path)
        if node is None:
            return _Nothing.ABSENT
        if place.option is None:
            return node.value
        named = [item for item in _items(node.value) if _option_name(item) == place.option]
        return named or _Nothing.ABSENT

    def source(self, place: _Place) -> str | None:
        """Return the JSON text of get(), None when there is nothing."""
        if place.option is not None:
            named = self.get(place)
            return None if named is _Nothing.ABSENT else json.dumps(named)
        node = jsontext.find(self._parse(), place.path)
        return None if node is None else self.text[node.start : node.end]

    def put(self, place: _Place, value: object) -> None:
        """Set a value; an option's items take the place of the first of that name, else go last."""
        if place.option is not None:
            value = self._with_option(place, _items(value))
        self.text = jsontext.with_value(self.text, place.path, value)

    def take_back(self, entry: _Entry) -> None:
        """Restore what was there before us, unless somebody changed our value since."""
        place = entry.place
        if not _same(self.get(place), entry.ours):
            return
        if place.option is not None:
            self.put(place, json.loads(entry.prior) if entry.prior else [])
        elif entry.prior is None:
            self.text = jsontext.without(self.text, place.path)
        else:
            self.text = jsontext.with_source(self.text, place.path, entry.prior)

    def refuse_odd_options(self, place: _Place) -> None:
        """Raise MergeError when the list of options is something else, which dockerd refuses too."""
        node = jsontext.find(self._parse(), place.path)
        if place.path != _OPTIONS or node is None:
            return
        if not isinstance(node.value, list) or not all(isinstance(item, str) for item in node.value):
            problem = f"{_OPTIONS[0]} is not a list of texts"
            fix = 'write it as ["name=value", …]'
            raise self._error(jsontext.JsonTextError(self.text, node.start, problem, fix))

    def _with_option(self, place: _Place, replacement: Sequence[object]) -> list[object]:
        node = jsontext.find(self._parse(), place.path)
        items = [] if node is None else list(_items(node.value))
        first = next((at for at, item in enumerate(items) if _option_name(item) == place.option), len(items))
        rest = [item for item in items[first:] if _option_name(item) != place.option]
        return [*items[:first], *replacement, *rest]

    def _parse(self) -> jsontext.Node:
        try:
            return jsontext.parse(self.text)
        except jsontext.JsonTextError as error:
            raise self._error(error) from error

    def _error(self, error: jsontext.JsonTextError) -> MergeError:
        return MergeError(f"{self._path}, {error}", None, f"{error.resolution}; nothing was changed")


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
