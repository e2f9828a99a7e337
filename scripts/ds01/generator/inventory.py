"""Read the inventory: the policy, the lists of members, the hosts. Decides nothing about what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ds01.generator.problems import Place, Problem
from ds01.generator.yamltext import Document, read_yaml

POLICY_FILE = "resource-limits.yaml"


@dataclass(frozen=True, slots=True)
class Member:
    """An account as somebody wrote it down."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Documents:
    """Everything in the inventory, as written.

    Attributes:
        members: group to the accounts of its .members file.
        hosts: host name to its file.
        problems: what could not be read.
    """

    policy: Document
    members: Mapping[str, tuple[Member, ...]]
    hosts: Mapping[str, Document]
    problems: tuple[Problem, ...]


def load_inventory(folder: Path) -> Documents:
    """Read every file of an inventory folder.

    Returns:
        What was read; files that are missing or broken are problems, not errors.
    """
    problems: list[Problem] = []
    policy = _read_document(folder / POLICY_FILE, folder, problems)
    members: dict[str, tuple[Member, ...]] = {}
    for path in _visible(folder, "groups/*.members"):
        text = _read_text(path, folder, problems)
        members[path.stem] = _read_members(text, _shown(path, folder)) if text is not None else ()
    hosts = {path.stem: _read_document(path, folder, problems) for path in _visible(folder, "hosts/*.yaml")}
    if not hosts:
        place = Place(f"{folder.name}/hosts")
        problems.append(Problem(place, "there is no host file", "describe the server in hosts/<name>.yaml"))
    return Documents(policy, members, hosts, tuple(problems))


def _visible(folder: Path, pattern: str) -> list[Path]:
    """Return the files that match; editors keep locks and copies under names that begin with a dot."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def _shown(path: Path, folder: Path) -> str:
    """Name a file as from the folder above the inventory, so that messages do not depend on the checkout's place."""
    return f"{folder.name}/{path.relative_to(folder)}"


def _read_text(path: Path, folder: Path, problems: list[Problem]) -> str | None:
    place = Place(_shown(path, folder))
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problems.append(Problem(place, "there is no such file", "write it, or name another inventory"))
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        at = Place(place.file, before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        problems.append(Problem(at, f"not UTF-8 text (byte 0x{error.object[error.start]:02x})", "save it as UTF-8"))
    except OSError as error:
        problems.append(Problem(place, f"cannot be read: {error.strerror}", "check the file and its permissions"))
    return None


def _read_document(path: Path, folder: Path, problems: list[Problem]) -> Document:
    text = _read_text(path, folder, problems)
    if text is None:
        return Document(_shown(path, folder), None)
    document, found = read_yaml(text, _shown(path, folder))
    problems += found
    if isinstance(document.data, dict):
        return document
    if not found:
        what = "the file is empty" if document.data is None else "not a mapping of keys"
        problems.append(Problem(Place(document.file), what, "write `key: value` lines"))
    return Document(document.file, None)


def _read_members(text: str, file: str) -> tuple[Member, ...]:
    """One account a line; `#` starts a comment."""
    members = []
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.split("#", 1)[0].strip()
        if name:
            members.append(Member(name, Place(file, number, line.index(name) + 1)))
    return tuple(members)
